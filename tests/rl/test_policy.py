"""Policies of a model that has learned nothing: what they sample, how it is scored, and what an update does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from glmkit.engine.sampling import Sampling, allowed
from glmkit.errors import ConfigError, DataError, TrainingError
from glmkit.generation_config import GenerationConfig
from glmkit.lm import LM
from glmkit.model import GLM
from glmkit.model.params import Buffer, is_variable
from glmkit.probe import ablate
from glmkit.rl import (
    CISPO,
    DPO,
    GSPO,
    KL,
    PPO,
    Corrected,
    Entropy,
    Policy,
    Problem,
    Reinforce,
    Rollout,
    advantage,
    demonstrations,
    mixed,
    per_sequence,
)
from glmkit.rl.batches import micro_batches
from glmkit.rl.critic import hidden_before
from glmkit.rl.update import Plan, gradient
from glmkit.runs import PHASES
from glmkit.train import LoRAParam, add_lora
from tiny import CONFIG, model as several_layers, one_layer, small_model, tokenizer

SGD = optax.sgd(1.0)  # so that the change of a parameter is its gradient
LOSS = PPO()
FORCED, PROMPT = PHASES.index("forced"), PHASES.index("prompt")
# Sampler and scorer are two programs: float32 sums in another order, some ulps of logits of order 10.
MISMATCH = 1e-5


ENDS = (*CONFIG.eos_token_id, *range(200, 256))  # of a model that has learned nothing, so that turns do end


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM(one_layer(), tokenizer(), generation=GenerationConfig(eos_token_id=ENDS), max_len=600)


def policy_of(lm, **settings) -> Policy:
    return Policy(lm, **settings)


@pytest.fixture(scope="module")
def policy(lm) -> Policy:
    """Not to be updated."""
    return policy_of(lm)


@pytest.fixture(scope="module")
def rollout(policy):
    drawn = policy.sample(["hi", "hello you"], 3, thinking="forced", budget=3, max_tokens=10, seed=1)
    return drawn.with_rewards([1, 0, 0, 0, 2, 1]).with_advantage(advantage.dr_grpo)


def test_only_what_the_policy_drew_is_learned(rollout):
    for row in range(len(rollout.tokens)):
        length, spans, mask = rollout.length[row], rollout.spans[row], rollout.mask[row]
        assert not mask[spans == PROMPT].any()
        assert not mask[spans == FORCED].any()
        assert mask[(spans != PROMPT) & (spans != FORCED) & (spans >= 0)].all()
        assert (spans[:length] >= 0).all()
        assert (spans[length:] == -1).all()
        assert (rollout.logprobs[row][mask] < 0).all()
        assert not rollout.logprobs[row][~mask].any()
    assert (rollout.spans == FORCED).any()  # the budget of three is spent by most
    close = tokenizer().token_id("</think>")
    assert ((rollout.tokens == close) & (rollout.spans == FORCED)).any()


def test_the_end_of_a_turn_is_learned_too(rollout):
    """The model has drawn it: without it, to stop could not be learned."""
    drawn = rollout
    ended = [sample.index for sample in drawn.samples if sample.last.finish_reason == "stop"]
    assert ended
    for row in ended:
        last = drawn.length[row] - 1
        assert drawn.tokens[row, last] in ENDS
        assert drawn.mask[row, last]
        forced = (drawn.spans[row] == FORCED).sum()
        assert drawn.lengths()[row] == drawn.samples[row].tokens + 1 - forced


def test_the_scorer_agrees_and_goes_where_the_sampler_went(policy, rollout):
    scores = policy.score(rollout)
    assert scores.measures["mismatch_max"] <= MISMATCH
    assert scores.measures["route_flips"] == 0
    assert not scores.logprobs[~rollout.mask].any()


def test_replayed_routes_are_obeyed_whatever_the_router_says(policy, rollout):
    others = np.where(rollout.routes >= 0, (rollout.routes + 1) % CONFIG.n_routed_experts, -1).astype(np.int16)
    moved = dataclasses.replace(rollout, routes=others)
    replayed, free = policy.score(moved), policy.score(moved, replay=False)
    assert replayed.measures["route_flips"] == 0
    assert free.measures["route_flips"] > 0.9
    assert replayed.measures["mismatch_max"] > 0.01  # other experts say other things
    assert free.measures["mismatch_max"] <= MISMATCH


def test_samples_do_not_depend_on_how_many_are_drawn_beside_them(lm):
    with Policy(lm, reproducible=True) as policy:
        many = policy.sample(["hi", "ho"], 3, max_tokens=4, seed=7)
        few = policy.sample(["hi"], 3, max_tokens=4, seed=7)
    for name in ("tokens", "logprobs", "routes"):
        np.testing.assert_array_equal(getattr(many[:3], name), getattr(few, name))


def f() -> str:
    return "rain"


def test_temperature_filters_and_a_grammar_are_in_the_log_probabilities(lm):
    """They are those of what was drawn from, of sampler and scorer alike."""
    policy = policy_of(lm)
    settings = {"thinking": "disabled", "temperature": 0.7, "top_p": 0.9, "tool_choice": "required", "max_tokens": 12}
    drawn = policy.sample([Problem("hi", tools=[f])], 2, **settings)
    assert policy.score(drawn).measures["mismatch_max"] <= MISMATCH
    assert (drawn.logprobs[drawn.mask] == 0).any()  # where the grammar lets one token pass alone


def test_other_models_are_scored_over_what_the_sampler_left(lm):
    """Whose own likeliest tokens are others, those that were drawn often not among them."""
    policy = policy_of(lm)
    drawn = policy.sample(["hi"], 2, thinking="disabled", top_k=2, max_tokens=4)
    told = np.asarray(allowed(jnp.asarray(drawn.allowed[drawn.mask]), CONFIG.vocab_size))
    np.testing.assert_array_equal(told.sum(1), 2)
    assert told[np.arange(len(told)), drawn.tokens[drawn.mask]].all()
    other = dataclasses.replace(CONFIG, num_hidden_layers=1, first_k_dense_replace=0)
    theirs = policy.score(drawn, model=GLM(other, rngs=nnx.Rngs(1)))
    assert policy.score(drawn).measures["mismatch_max"] <= MISMATCH
    assert MISMATCH < theirs.measures["mismatch_max"] < 100
    assert (theirs.entropy[drawn.mask] > 0).all()
    assert (theirs.entropy[drawn.mask] <= np.log(2) + MISMATCH).all()  # over two tokens
    with pytest.raises(DataError, match="does not tell what these left"):
        policy.score(dataclasses.replace(drawn, allowed=None))


@pytest.fixture(scope="module")
def updated(lm, rollout):
    policy = policy_of(lm)
    return policy, policy.update(rollout, LOSS, SGD, norm=per_sequence)


def test_an_update_is_reported_token_by_token(updated, rollout, lm):
    policy, update = updated
    assert policy.version == 1
    np.testing.assert_allclose(update.logprobs, rollout.logprobs, atol=MISMATCH)
    metrics = update.metrics
    assert metrics["reward"] == pytest.approx(4 / 6)
    assert metrics["groups_equal"] == 0
    assert metrics["routes_held"] == 0  # the router would have gone the same way
    assert metrics["clip_low"] == metrics["clip_high"] == 0
    assert metrics["router_drift"] > 0
    assert metrics["bias_drift"] == 0
    assert {"entropy", "entropy/think", "load_max", "gradient_norm", "mismatch_mean"} <= metrics.keys()
    here = rollout.mask[:, 1:] & (rollout.routes[:, :-1] >= 0).all((2, 3))
    total = np.abs(rollout.per_token())[:, 1:][here].sum()
    np.testing.assert_allclose(update.advantage_mass.sum(1), total, rtol=1e-6)  # float64 sums
    assert policy.reference is lm
    np.testing.assert_array_equal(lm.model.embed[...], one_layer().embed[...])


def test_any_split_into_micro_batches_gives_the_same_update(lm, rollout, updated):
    apart = policy_of(lm, micro_rows=4)
    apart.update(rollout, LOSS, SGD, norm=per_sequence)
    before, whole = jax.tree.leaves(lm.model), jax.tree.leaves(updated[0].model)
    for start, ours, theirs in zip(before, jax.tree.leaves(apart.model), whole, strict=True):
        # Of the largest change, which is the gradient; parameters themselves are rounded to 2**-23 of their size.
        rounded = 2**-23 * np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.abs(theirs - start).max() + rounded)


def test_what_does_not_learn_by_default(updated, lm):
    """Correction biases stay, and the prediction layer; router weights do learn, through replayed routes."""
    after = updated[0].model
    for old, new in zip(*(jax.tree.leaves(nnx.state(m, Buffer)) for m in (lm.model, after)), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.abs(after.blocks[0].mlp.router.kernel[...] - lm.model.blocks[0].mlp.router.kernel[...]).max() > 0


def test_a_second_update_is_off_the_policy_that_sampled(updated, rollout):
    policy, _ = updated
    again = policy.with_old(rollout)
    assert policy.score(rollout).measures["mismatch_max"] > 10 * MISMATCH
    both = mixed(rollout, demonstrations([{"text": "shown"}], tokenizer()), 0.5, per_sequence)
    shown = policy.with_old(both).old[~both.drawn_rows]
    assert (shown[both.mask[~both.drawn_rows]] < 0).all()  # what was not drawn has the scorer's
    np.testing.assert_array_equal(again.old, rollout.logprobs)  # the ratio is to what sampled, not to what it is now
    with pytest.raises(DataError, match=r"version 0 of the policy sampled this rollout, and it is at version 1.*PPO"):
        policy.update(rollout, LOSS, SGD, norm=per_sequence)


@pytest.mark.parametrize(
    ("loss", "needs"),
    [(PPO(), True), (GSPO(), True), (CISPO(), True), (Reinforce(), True), (Corrected(DPO()), True),
     (0.5 * PPO() + Entropy(), True), (KL(corrected=True), True), (Entropy() + KL(), False),
     (Reinforce(ratio=False), False), (DPO(), False)],
    ids=repr,
)  # fmt: skip
def test_which_losses_take_a_ratio_to_the_policy_that_sampled(loss, needs):
    assert loss.needs_ratio == needs


def test_an_interrupted_update_leaves_no_new_weights_under_the_old_version(lm, rollout, monkeypatch):
    policy = policy_of(lm)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(policy, "_told", interrupted)
    with pytest.raises(KeyboardInterrupt):
        policy.update(rollout, LOSS, SGD, norm=per_sequence)
    assert policy.version == 1


def test_the_prediction_layer_is_trained_beside_the_policy_and_moves_nothing_else(rollout):
    lm = LM(small_model(mtp=True), tokenizer(), max_len=600)
    bare = dataclasses.replace(rollout, routes=None)  # which are another model's
    alone, beside, apart = policy_of(lm), policy_of(lm, mtp_weight=0.1), policy_of(lm, mtp_weight=0.1, micro_rows=4)
    updates = [policy.update(bare, LOSS, SGD, norm=per_sequence) for policy in (alone, beside, apart)]
    assert "mtp_loss" not in updates[0].metrics
    assert updates[1].metrics["mtp_loss"] > 0
    assert updates[1].metrics["mtp_loss"] == pytest.approx(updates[2].metrics["mtp_loss"], rel=1e-5)
    states = [dict(nnx.to_flat_state(nnx.state(policy.model))) for policy in (alone, beside)]
    moved = {
        path[0] for path in states[0] if np.abs(states[0][path][...] - states[1][path][...]).max() > 1e-4
    }  # two programs in float32

    assert moved == {"mtp"}
    with pytest.raises(ConfigError, match=r"mtp_weight is 0\.1"):
        Policy(LM(small_model(), tokenizer(), max_len=600), mtp_weight=0.1)


def test_the_divergence_is_measured_where_there_is_a_reference(lm, rollout):
    known = rollout.with_reference(rollout.logprobs - np.log(2) * rollout.mask)
    found = policy_of(lm).update(known, LOSS, SGD, norm=per_sequence).metrics
    assert found["kl"] == pytest.approx(np.log(2) - 0.5, abs=MISMATCH)


def test_a_snapshot_is_no_part_of_what_updates_consume(lm, rollout):
    policy = policy_of(lm)
    snapshot = policy.snapshot()
    policy.update(rollout, LOSS, SGD, norm=per_sequence)
    for ours, theirs in zip(jax.tree.leaves(snapshot.model), jax.tree.leaves(lm.model), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_is_not_finite_changes_nothing_and_is_kept(lm, rollout):
    policy = policy_of(lm)
    bad = dataclasses.replace(rollout, advantages=np.full(6, np.inf))
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(policy.model)]
    with pytest.raises(TrainingError, match=r"not applied: loss (nan|-?inf).*policy\.last_bad"):
        policy.update(bad, LOSS, SGD, norm=per_sequence)
    assert policy.last_bad is bad
    assert policy.version == 0
    for old, new in zip(before, jax.tree.leaves(policy.model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_splits_agree_to_the_last_bits_in_float64():
    with jax.enable_x64(True):
        model = one_layer("float64")
        rng = np.random.default_rng(0)
        rollout = _made_up(rng)
        mesh = model.embed[...].sharding.mesh
        parts = [micro_batches(rollout, rows, mesh, per_sequence, np.float64) for rows in (6, 2)]
        one, other = (
            jax.tree.leaves(jax.jit(lambda m, b: gradient(LOSS, Plan(), m, b)[0])(model, part)) for part in parts
        )
    scale = max(float(np.abs(leaf).max()) for leaf in one)
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * scale)  # sums of some thousand roundings of 2e-16


def _made_up(rng):
    """Six rows of different lengths, routed at random."""
    length = np.array([16, 9, 12, 7, 16, 11])
    places = np.arange(16)
    mask = (places >= 4) & (places < length[:, None])
    chosen = rng.permuted(np.tile(np.arange(8), (6, 16, 1, 1)), axis=-1)[..., :2]
    return Rollout(
        tokens=rng.integers(0, 256, (6, 16)).astype(np.int32),
        length=length,
        spans=np.where(places < length[:, None], 2, -1),
        mask=mask,
        logprobs=np.where(mask, -1.0, 0.0),
        sample=np.arange(6),
        group=np.arange(6) // 2,
        routes=np.where((places < length[:, None])[..., None, None], chosen, -1),
        advantages=rng.standard_normal(6),
    )


def test_the_states_that_a_critic_reads_are_those_that_tokens_are_predicted_from(policy, rollout):
    hidden = hidden_before(policy, rollout)
    logits = np.asarray(policy.model.logits(hidden))
    logprobs = np.take_along_axis(jax.nn.log_softmax(logits), rollout.tokens[..., None], axis=-1)[..., 0]
    found = policy.score(rollout).logprobs
    np.testing.assert_allclose(logprobs[rollout.mask], found[rollout.mask], atol=MISMATCH)


@pytest.mark.parametrize("router", ["freeze", "bias"])
def test_router_modes(lm, rollout, router):
    policy = policy_of(lm, router=router)
    policy.update(rollout, LOSS, SGD, norm=per_sequence)
    (before, after) = (network.blocks[0].mlp for network in (lm.model, policy.model))
    np.testing.assert_array_equal(after.router.kernel[...], before.router.kernel[...])
    moved = np.abs(after.router.bias[...] - before.router.bias[...])
    assert moved.max() == pytest.approx(policy.plan.bias_rate, rel=1e-4)  # float32 biases of order 0.1
    assert (moved.max() > 0) == (router == "bias")
    assert (after.gate_up[...] != before.gate_up[...]).any()


def test_the_router_of_a_prediction_layer_that_learns_is_one_of_the_routers(rollout):
    lm = LM(small_model(mtp=True), tokenizer(), max_len=600)
    policy = policy_of(lm, router="freeze", mtp_weight=0.1)
    policy.update(dataclasses.replace(rollout, routes=None), LOSS, SGD, norm=per_sequence)
    (before, after) = (network.mtp.block.mlp for network in (lm.model, policy.model))
    np.testing.assert_array_equal(after.router.kernel[...], before.router.kernel[...])
    assert (after.gate_up[...] != before.gate_up[...]).any()


def test_what_is_frozen_keeps_its_biases(lm, rollout):
    policy = policy_of(lm, router="bias", freeze="blocks.*.mlp.router.bias")
    policy.update(rollout, LOSS, SGD, norm=per_sequence)
    bias = policy.model.blocks[0].mlp.router.bias[...]
    np.testing.assert_array_equal(bias, lm.model.blocks[0].mlp.router.bias[...])


def test_a_teacher_is_scored_by_its_own_experts(policy, rollout):
    teacher = LM(jax.tree.map(lambda leaf: leaf, one_layer()), tokenizer(), max_len=600)
    teacher.model.blocks[0].mlp.router.kernel[...] *= -1
    scores = policy.score(rollout, model=teacher)
    own = np.asarray(teacher.logprobs(rollout.tokens))
    here = rollout.mask[:, 1:]
    np.testing.assert_allclose(scores.logprobs[:, 1:][here], own[here], atol=MISMATCH)
    assert scores.measures["route_flips"] > 0.5
    assert np.abs(policy.score(rollout, model=teacher, replay=True).logprobs - scores.logprobs).max() > 0.1
    with pytest.raises(DataError, match=r"routes through 1 MoE layers.*replay=False"):
        policy.score(rollout, model=several_layers(), replay=True)


def test_a_model_with_adapters_trains_those(lm, rollout):
    adapted = add_lora(lm.model, 2, targets=["experts", "q_proj"], rngs=nnx.Rngs(0))
    given = LM(adapted, tokenizer(), generation=GenerationConfig(eos_token_id=ENDS), max_len=600)
    with pytest.raises(ConfigError, match="router is 'bias', but adapters"):
        policy_of(given, router="bias")
    policy = policy_of(given)
    trained = nnx.state(policy.model, policy.plan.trainable)
    kinds = {type(leaf) for leaf in jax.tree.leaves(trained, is_leaf=is_variable)}
    assert kinds == {LoRAParam}
    assert policy.model.embed[...] is lm.model.embed[...]  # what stays is shared
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(trained)]
    policy.update(rollout, LOSS, SGD, norm=per_sequence)
    after = jax.tree.leaves(nnx.state(policy.model, policy.plan.trainable))
    assert any((old != new).any() for old, new in zip(before, after, strict=True))
    assert policy.model.embed[...] is lm.model.embed[...]


def test_what_cannot_be_sampled_or_learned_from(lm, policy, rollout):
    with pytest.raises(DataError, match="the batch is empty"):
        policy.sample([])
    with pytest.raises(ConfigError, match="router is 'thaw'"):
        Policy(lm, router="thaw")
    with lm.using(ablate(layer=0, expert=0)), pytest.raises(ConfigError, match="is in use"):
        Policy(lm)
    with pytest.raises(DataError, match="no advantages yet"):
        policy.update(dataclasses.replace(rollout, advantages=None), LOSS, SGD)
    greedy = dataclasses.replace(rollout, sampling=Sampling(temperature=0.0))
    with pytest.raises(DataError, match="temperature 0"):
        policy.score(greedy)
