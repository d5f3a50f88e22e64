"""The recipe of glm-nano on a model of a few thousand parameters: what a step changes, and that runs resume."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import glmkit as gk
from glmkit.config import GLMConfig
from glmkit.errors import CheckpointError
from glmkit.model import GLM
from glmkit.nano import pipeline
from glmkit.nano.card import model_card
from glmkit.nano.evaluation import THINKING_MODES
from glmkit.nano.packing import Batch, batch
from glmkit.nano.recipe import Recipe, make_optimizer, nano_config
from glmkit.nano.tokenizer import build_tokenizer, curriculum_texts
from glmkit.nano.training import RunState, compiled_step, exact_share, train
from glmkit.text.tokenizer import Tokenizer
from glmkit.train.optimizer import apply_optimizer

RECIPE = Recipe(tokens=4 * 2 * 256, batch_size=2, length=256, warmup_steps=1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build_tokenizer(curriculum_texts(examples=5000), RECIPE.vocab_size, max_length=256)


@pytest.fixture(scope="module")
def config(tokenizer: Tokenizer) -> GLMConfig:
    return dataclasses.replace(
        nano_config(tokenizer, 256),
        hidden_size=32,
        num_hidden_layers=1,
        first_k_dense_replace=0,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        moe_intermediate_size=16,
        n_routed_experts=4,
    )


def fresh(config: GLMConfig) -> RunState:
    return RunState.start(RECIPE, GLM(config, rngs=nnx.Rngs(0)))


def routers(model: GLM):
    return [model.blocks[0].mlp.router, model.mtp.block.mlp.router]


def parameters(model: GLM) -> dict[str, np.ndarray]:
    """Copies, because a step takes the memory of what it is given."""
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(model, nnx.Param))
    return {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in leaves}


def test_every_feature_of_the_large_model_is_on(tokenizer: Tokenizer):
    config = nano_config(tokenizer, 1024)
    assert config.use_qk_norm
    assert config.attention_bias
    assert config.q_per_kv > 1
    assert config.moe_layers == (1, 2, 3, 4)
    assert config.n_shared_experts == config.num_nextn_predict_layers == 1
    assert config.routed_scaling_factor != 1  # a forgotten factor would go unnoticed
    assert [tokenizer.decode([i]) for i in config.eos_token_id] == ["<|endoftext|>", "<|user|>", "<|observation|>"]
    assert config.num_parameters("shared") < 7e6


def test_a_step_moves_biases_by_load_alone_and_every_parameter_by_gradient(tokenizer, config):
    step, state = compiled_step(RECIPE), fresh(config)
    for router in routers(state.model):
        router.bias[...] = jnp.array([0.5, -0.5, 0.0, 0.125])  # non-zero, so that weight decay would show
    start, biases = parameters(state.model), [np.asarray(router.bias[...]) for router in routers(state.model)]
    rows = batch(tokenizer, 0, 0, RECIPE.batch_size, RECIPE.length)

    model, opt_state, _ = step(state.model, state.opt_state, rows)
    # The warm-up starts at a learning rate of 0, so nothing but the biases has moved yet.
    first = parameters(model)
    assert all(np.array_equal(first[name], start[name]) for name in start)
    for old, router in zip(biases, routers(model), strict=True):
        moved = np.asarray(router.bias[...]) - old
        # Every token chose the first expert for its bias and none the second. Near 0.5, float32 is exact to 6e-8.
        assert np.allclose(moved[:2], [-RECIPE.bias_update_rate, RECIPE.bias_update_rate], rtol=0, atol=1e-7)

    model, _, _ = step(model, opt_state, rows)
    second = parameters(model)
    assert [name for name in first if np.array_equal(first[name], second[name])] == []


def test_loss_of_packed_examples_is_that_of_each_alone(tokenizer, config):
    """Neither attention nor targets reach from one example of a row into another, padding into none."""
    step, packed = compiled_step(RECIPE), batch(tokenizer, 3, 0, RECIPE.batch_size, RECIPE.length)
    rows = [(row, segment) for row in range(RECIPE.batch_size) for segment in range(packed.segment_ids[row].max() + 1)]
    totals, count = np.zeros(2), 0
    for row, segment in rows:
        own = packed.segment_ids[row] == segment
        alone = [np.zeros_like(part) for part in packed]
        alone[2] -= 1
        for part, whole in zip(alone, packed, strict=True):
            part[0, : own.sum()] = whole[row, own]
        alone[2][0, : own.sum()] = 0
        metrics = step(*fresh(config)[:2], Batch(*alone))[2]
        learned = alone[1].sum()
        totals += learned * np.array([metrics.loss, metrics.mtp_loss])
        count += learned
    metrics = step(*fresh(config)[:2], packed)[2]
    # Means of a few hundred float32 losses around 6.5, summed in another order.
    assert np.allclose(totals / count, [metrics.loss, metrics.mtp_loss], rtol=1e-5)


def test_muon_orthogonalises_each_expert_on_its_own(config: GLMConfig):
    recipe = dataclasses.replace(RECIPE, warmup_steps=0, weight_decay=0.0)
    optimizer = make_optimizer(recipe)
    params = nnx.State({"gate_up": GLM(config, rngs=nnx.Rngs(0)).blocks[0].mlp.gate_up})
    key = jax.random.key(1)
    gradients = jax.tree.map(lambda p: jax.device_put(jax.random.normal(key, p.shape), p.sharding), params)
    opt_state = jax.jit(optimizer.init)(params)
    updates, _ = jax.jit(functools.partial(apply_optimizer, optimizer))(gradients, opt_state, params)
    gate_up = np.asarray(updates["gate_up"][...])  # [expert, embed, gate or up, width]
    expected = recipe.learning_rate * 0.2 * np.sqrt(max(gate_up.shape[1], gate_up.shape[3]))
    for expert in gate_up:
        for half in range(2):
            singular = np.linalg.svd(expert[:, half], compute_uv=False) / expected
            # Five Newton-Schulz steps with Muon's coefficients bring singular values into about [0.7, 1.2].
            assert singular.min() > 0.5
            assert singular.max() < 1.3


def test_a_run_resumed_from_disk_ends_as_one_that_never_stopped(tokenizer, config, tmp_path):
    whole = [metrics for _, metrics in train(RECIPE, tokenizer, fresh(config))]
    assert len(whole) == RECIPE.steps == 4
    run = train(RECIPE, tokenizer, fresh(config))
    first = next(run), next(run)
    file = tmp_path / "state.safetensors"
    first[-1][0].save(file, RECIPE)
    resumed = list(train(RECIPE, tokenizer, fresh(config).restore(file, RECIPE)))
    assert [metrics for _, metrics in first] + [metrics for _, metrics in resumed] == whole  # bit for bit
    assert resumed[-1][0].step == 4
    assert list(tmp_path.iterdir()) == [file]


def test_a_state_of_another_recipe_is_refused(config, tmp_path):
    file = tmp_path / "state.safetensors"
    state = fresh(config)
    state.save(file, RECIPE)
    with pytest.raises(CheckpointError, match="another recipe"):
        state.restore(file, dataclasses.replace(RECIPE, seed=1))


def test_the_whole_way_to_a_checkpoint_that_loads(config, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "nano_config", lambda *_: config)
    monkeypatch.setattr(pipeline, "EVALUATED", 3)
    out = tmp_path / "tiny"
    accuracy = pipeline.make_nano(out, RECIPE)
    assert set(accuracy) == set(THINKING_MODES)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]  # nothing of the run is left beside it
    expected = {"README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"}
    assert {path.name for path in out.iterdir()} == expected | {"tokenizer.json", "tokenizer_config.json"}
    assert f"| forced | {accuracy['forced']:.1%} |" in (out / "README.md").read_text()
    with gk.load(out) as lm:
        assert lm.config == config
        assert lm.generation.eos_token_id == config.eos_token_id
        assert lm.model.mtp is not None


class Echo(GLM):
    """Foresees the next token by looking at it, except for the sums of the rows in `wrong`."""

    class Output(NamedTuple):
        hidden: jax.Array

    def __init__(self, wrong: int):
        self.wrong = wrong

    def __call__(self, tokens: jax.Array, segment_ids: jax.Array) -> Output:
        ahead = jnp.roll(tokens, -1, axis=1)
        last = (segment_ids >= 0).sum(axis=1) - 3  # where the answer's last digit is to be foreseen
        rows = jnp.arange(self.wrong)
        ahead = ahead.at[rows, last[rows]].add(1)
        return self.Output(jax.nn.one_hot(ahead, RECIPE.vocab_size))

    def logits(self, hidden: jax.Array) -> jax.Array:
        return hidden


def test_exact_share_asks_for_every_token_of_a_completion(tokenizer, config):
    assert exact_share(Echo(0), tokenizer, n=20) == 1
    assert exact_share(Echo(5), tokenizer, n=20) == 0.75
    assert exact_share(GLM(config, rngs=nnx.Rngs(0)), tokenizer, n=20) == 0


def test_the_card_states_the_measured_numbers(config):
    card = model_card(
        config, RECIPE, {"forced": 0.973, "disabled": 0.41}, 200, steps=3, minutes=12, hardware="2 CPU cores"
    )
    assert "| forced | 97.3% |" in card
    assert "over 200 problems" in card
    assert "{" not in card
