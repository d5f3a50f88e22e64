"""One step: the split into micro-batches does not matter, what must not move does not, and load is balanced."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings, strategies as st

from glmkit.errors import ConfigError
from glmkit.model import GLM
from glmkit.model.params import Buffer
from glmkit.train.balance import imbalance, move_biases
from glmkit.train.data import Batch
from glmkit.train.loss import loss_sums
from glmkit.train.step import Change, Objective, TrainState, compiled_step
from tiny import CONFIG, small_model


def model(dtype: str = "float32"):
    return small_model(mtp=True, dtype=dtype)


def copy(dtype: str = "float32"):
    return jax.tree.map(lambda leaf: leaf.copy(), model(dtype))


def batch(steps: int, rows: int, length: int = 16, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    total = steps * rows
    segments = np.zeros((total, length), np.int32)
    segments[::3, length // 2 :] = -1  # rows differ in length, hence micro-batches in tokens
    parts = rng.integers(0, 256, (total, length)).astype(np.int32), rng.random((total, length)) < 0.6, segments
    return Batch(*(part.reshape(steps, rows, length) for part in parts))


SGD = optax.GradientTransformation(  # the change of a parameter is its gradient, which the state is too
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda gradients, state, params=None: (jax.tree.map(jnp.negative, gradients), gradients),
)
compiled = functools.cache(functools.partial(compiled_step, optimizer=SGD))


def stepped(objective: Objective, data: Batch, done: int = 0, dtype: str = "float32"):
    state = TrainState.start(copy(dtype), SGD, objective.trainable)
    return compiled(objective)(dataclasses.replace(state, step=jnp.asarray(done)), data)


@pytest.fixture(scope="module")
def whole():
    return stepped(Objective(), batch(1, 6))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_split_into_micro_batches_gives_the_same_gradient(seed):
    """To the last bits of float64: those of float32 differ by 1e-6 of the gradient, whatever the split."""
    with jax.enable_x64(True):
        split, whole = (stepped(Objective(), batch(*parts, seed=seed), dtype="float64") for parts in ((3, 2), (1, 6)))
        (ours, metrics), (theirs, expected) = split, whole
        for name, one, other in zip(metrics._fields, metrics, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, err_msg=name)
        apart = jax.tree.map(jnp.subtract, ours.opt_state, theirs.opt_state)
        assert optax.tree.norm(apart) <= 1e-12 * optax.tree.norm(theirs.opt_state)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_empty_micro_batches_change_nothing(whole, place):
    part = batch(1, 6)
    padding = Batch(np.zeros_like(part.tokens), np.zeros_like(part.learned), np.full_like(part.segment_ids, -1))
    order = [padding, padding]
    order.insert(place, part)
    grown = Batch(*(np.concatenate(parts) for parts in zip(*order, strict=True)))
    state, metrics = stepped(Objective(), grown)
    for ours, theirs in zip(
        jax.tree.leaves((state.model, metrics)), jax.tree.leaves((whole[0].model, whole[1])), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)  # another program, whose float32 sums round anew


def test_the_correction_biases_move_by_sign_and_only_they_among_buffers(whole):
    for before, after in zip(buffers(model()), buffers(whole[0].model), strict=True):
        moved = np.asarray(after) - np.asarray(before)
        assert set(np.round(np.abs(moved) / 1e-3, 2).ravel()) <= {0.0, 1.0}
        assert np.abs(moved).max() > 0


def buffers(network) -> list[jax.Array]:
    return jax.tree.leaves(nnx.state(network, Buffer))


def test_a_rate_of_zero_leaves_the_biases():
    state, _ = stepped(Objective(bias_rate=0.0, mtp_weight=0.0), batch(1, 6))
    for before, after in zip(buffers(model()), buffers(state.model), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_weight_of_the_second_token_changes_at_the_step_that_is_said():
    changing = Objective(mtp_weight=Change(0.3, 1, 0.1))
    for done, weight in ((0, 0.3), (1, 0.1)):
        ours, theirs = (stepped(o, batch(1, 6), done)[0].model for o in (changing, Objective(mtp_weight=weight)))
        for got, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)  # another program rounds anew


def test_a_weight_may_change_after_a_share_of_a_run():
    changing = Objective(mtp_weight=Change(0.3, 2 / 3, 0.1))
    assert changing.of_run(9).mtp_weight == Change(0.3, 6, 0.1)
    assert Objective(mtp_weight=Change(0.3, 2, 0.1)).of_run(9).mtp_weight.steps == 2
    assert Objective().of_run(9) == Objective()
    with pytest.raises(ConfigError, match="of_run"):
        stepped(changing, batch(1, 6))
    with pytest.raises(ConfigError, match="from 0 to 1"):
        Objective(mtp_weight=Change(0.3, 1.5, 0.1)).of_run(9)


def test_a_step_that_is_not_finite_changes_nothing_and_says_so():
    network = copy()
    network.norm.scale[...] = network.norm.scale[...] * jnp.inf
    start = jax.tree.map(lambda leaf: leaf.copy(), network)
    optimizer = optax.adamw(0.1)
    state = TrainState.start(network, optimizer)
    after, metrics = compiled_step(Objective(), optimizer)(state, batch(1, 6))
    assert not metrics.finite
    for ours, theirs in zip(jax.tree.leaves(after.model), jax.tree.leaves(start), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after.opt_state))


def test_moving_the_biases_equalises_a_skewed_router():
    """Scores that favour some experts by far: selection by score plus bias ends near equal shares."""
    network = copy()
    moe = network.blocks[1].mlp
    rng = np.random.default_rng(0)
    scores = rng.random((4096, 8)) + np.linspace(0, 0.9, 8)
    rows = jnp.zeros((2, 8))

    def load() -> np.ndarray:
        chosen = np.argsort(-(scores + np.asarray(moe.router.bias[...])), axis=1)[:, :2]
        return np.bincount(chosen.ravel(), minlength=8)

    moe.router.bias[...] = jnp.zeros(8)
    skewed = float(imbalance(jnp.asarray(load()[None], jnp.float32)))
    for _ in range(1200):
        move_biases(network, rows.at[0].set(load()), 1e-3)
    balanced = float(imbalance(jnp.asarray(load()[None], jnp.float32)))
    assert skewed > 2.5
    assert balanced < 1.05


def test_rematerialised_blocks_give_the_same_gradients_in_less_memory():
    """Of a stack of blocks: of a list of them, the compiler for CPU computes all again before the first is needed."""
    config = dataclasses.replace(CONFIG, num_hidden_layers=8)
    deep = GLM(config, rngs=nnx.Rngs(0), stacked=True, mtp=None)
    graph, params, rest = nnx.split(deep, nnx.Param, ...)
    micro = Batch(*(part[0] for part in batch(1, 4, 128)))

    def loss(params: nnx.State, remat: str) -> jax.Array:
        return loss_sums(nnx.merge(graph, params, rest), micro, second=False, remat=remat).next_token

    programs = [jax.jit(jax.grad(loss), static_argnums=1).lower(params, remat).compile() for remat in ("none", "block")]
    needed, needed_again = (program.memory_analysis().temp_size_in_bytes for program in programs)
    assert needed_again < 0.5 * needed  # measured: 0.27
    for ours, theirs in zip(*(jax.tree.leaves(program(params)) for program in programs), strict=True):
        # The same float32 operations, which the compiler fuses otherwise: some ulps of the largest gradient.
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1, np.abs(theirs).max()))
