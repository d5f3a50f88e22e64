"""glmkit beside Hugging Face transformers' Glm4MoeForCausalLM, both running. Needs PyTorch: `make parity`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file
from transformers import Glm4MoeConfig
from transformers.models.glm4_moe.modeling_glm4_moe import Glm4MoeRotaryEmbedding

from glmkit import GLM, GLMConfig, load_hf, save_hf
from glmkit.model.layers import rope_frequencies
from golden.cases import CASES, GREEDY_TOKENS, NEAR_TIE_EXPERTS, NEAR_TIE_TOKENS, Case, Inputs, write_checkpoint
from golden.compare import BFLOAT16_KL, LOGITS_TOLERANCE, load_of, mean_kl, relative_error
from golden.programs import mtp, whole
from parity.reference import Reference, Scores, closest_expert, closest_token

GRID: dict[str, tuple[Any, ...]] = {
    "use_qk_norm": (False, True),
    "attention_bias": (False, True),
    "n_group, topk_group": ((1, 1), (2, 1), (4, 2)),
    "first_k_dense_replace": (0, 1, 3),
    "n_shared_experts": (1, 2),
    "tie_word_embeddings": (False, True),
    "routed_scaling_factor": (1.0, 2.5),
    "norm_topk_prob": (False, True),
}


def covering(options: Mapping[str, tuple[Any, ...]], strength: int) -> Iterator[dict[str, Any]]:
    """Choices of one value per option in which every combination of values of any `strength` options occurs."""
    rows = list(itertools.product(*options.values()))
    combinations = {row: set(itertools.combinations(enumerate(row), strength)) for row in rows}
    missing = set().union(*combinations.values())
    while missing:
        row = max(rows, key=lambda row: len(combinations[row] & missing))
        missing -= combinations[row]
        yield dict(zip(options, row, strict=True))


def grid_case(row: dict[str, Any]) -> Case:
    n_group, topk_group = row["n_group, topk_group"]
    single = {key: value for key, value in row.items() if key in GRID and "," not in key}
    return Case(single | {"n_group": n_group, "topk_group": topk_group, "num_hidden_layers": 4})


GRID_CASES = [grid_case(row) for row in covering(GRID, strength=3)]


def run_reference(folder: Path, case: Case) -> tuple[Inputs, np.ndarray, Scores]:
    """The case's inputs with greedy tokens behind them, these tokens, and the reference's scores of both."""
    reference, inputs = Reference(folder), case.inputs
    greedy = reference.greedy(inputs, GREEDY_TOKENS) if case.greedy else np.zeros((len(inputs.tokens), 0), np.int32)
    inputs = inputs.followed_by(greedy)
    return inputs, greedy, reference(inputs)


def decided(folder: Path, case: Case) -> tuple[Inputs, np.ndarray, Scores]:
    """`run_reference` with the first seed that leads to no near tie, which rounding could decide either way."""
    for seed in range(20):
        write_checkpoint(folder, replace(case, seed=seed))
        inputs, greedy, scores = run_reference(folder, replace(case, seed=seed))
        far_expert = closest_expert(scores, inputs.valid) > NEAR_TIE_EXPERTS
        if far_expert and closest_token(scores, greedy) > NEAR_TIE_TOKENS:
            return inputs, greedy, scores
    raise AssertionError("near ties with every seed: the reference decides hardly anything by more than rounding")


def assert_same(model: GLM, inputs: Inputs, greedy: np.ndarray, scores: Scores) -> None:
    logits, load = whole(model, inputs)
    assert relative_error(logits[inputs.valid], scores.logits[inputs.valid]) < LOGITS_TOLERANCE
    np.testing.assert_array_equal(load, load_of(scores.experts, inputs, load.shape[1]))
    if greedy.size:
        np.testing.assert_array_equal(logits[:, -1 - GREEDY_TOKENS : -1].argmax(-1), greedy)


@pytest.mark.parametrize("case", GRID_CASES, ids=lambda case: json.dumps(case.changes))
def test_grid_of_features(case, tmp_path):
    inputs, greedy, scores = decided(tmp_path, case)
    assert_same(load_hf(tmp_path, dtype=jnp.float32), inputs, greedy, scores)


@pytest.mark.parametrize("name", CASES)
def test_named_cases(name, tmp_path):
    write_checkpoint(tmp_path, CASES[name])
    inputs, greedy, scores = run_reference(tmp_path, CASES[name])
    assert_same(load_hf(tmp_path, dtype=jnp.float32, stacked=name == "many_layers"), inputs, greedy, scores)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.bfloat16])
def test_bfloat16(name, tmp_path):
    write_checkpoint(tmp_path, CASES[name])
    inputs = CASES[name].inputs
    logits, _ = whole(load_hf(tmp_path, dtype=jnp.bfloat16), inputs)
    expected = Reference(tmp_path, "bfloat16")(inputs).logits
    assert mean_kl(logits[inputs.valid], expected[inputs.valid]) < BFLOAT16_KL


def test_multi_token_prediction(tmp_path):
    case = CASES["many_layers"]
    write_checkpoint(tmp_path, case)
    expected = Reference(tmp_path).mtp_logits(case.inputs)
    assert relative_error(mtp(load_hf(tmp_path, stacked=True), case.inputs), expected) < LOGITS_TOLERANCE


@pytest.mark.parametrize("name", ["full", "two_groups", "four_groups"])
def test_a_saved_checkpoint_is_the_same_to_the_reference(name, tmp_path):
    case = CASES[name]
    tensors = write_checkpoint(tmp_path / "released", case)
    save_hf(load_hf(tmp_path / "released", dtype=case.stored), tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert saved.keys() == tensors.keys()
    ours, theirs = (Reference(tmp_path / folder)(case.inputs).logits for folder in ("saved", "released"))
    np.testing.assert_array_equal(ours, theirs)


def test_a_new_model_saved_in_shards_is_read_by_the_reference(tmp_path):
    model = GLM(GLMConfig.from_hf(CASES["two_groups"].config), rngs=nnx.Rngs(0), mtp=None)
    save_hf(model, tmp_path, max_shard_bytes=100_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    inputs = CASES["two_groups"].inputs
    expected = Reference(tmp_path)(inputs).logits
    assert relative_error(whole(model, inputs)[0], expected) < LOGITS_TOLERANCE


@pytest.mark.parametrize("name", ["full", "two_groups"])
def test_a_checkpoint_saved_by_the_reference_is_read(name, tmp_path):
    case = CASES[name]
    write_checkpoint(tmp_path / "released", case)
    reference = Reference(tmp_path / "released")
    reference.model.save_pretrained(tmp_path / "saved")  # without the prediction layer, which its config announces
    model = load_hf(tmp_path / "saved", dtype=jnp.float32)
    assert model.mtp is None
    logits, _ = whole(model, case.inputs)
    assert relative_error(logits, reference(case.inputs).logits) < LOGITS_TOLERANCE


@pytest.mark.parametrize("theta", [10_000, 1_000_000])
@pytest.mark.parametrize("rotary", [8, 16, 32, 64, 128])
def test_rotary_frequencies_are_the_references_to_the_last_bit(rotary, theta):
    """At position 130,000 one rounding of a frequency turns a channel by 0.008.

    64 is what the released models rotate. Of 128 frequencies PyTorch's float32 power itself rounds one the wrong way.
    """
    config = Glm4MoeConfig(head_dim=2 * rotary, rope_theta=theta, partial_rotary_factor=0.5)
    expected = Glm4MoeRotaryEmbedding(config).inv_freq.numpy()
    np.testing.assert_array_max_ulp(rope_frequencies(rotary, theta), expected, maxulp=0 if rotary <= 64 else 1)
