"""Which optimiser moves which parameter, and Muon's update against one written out in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from glmkit.errors import ConfigError
from glmkit.model.params import Buffer
from glmkit.train.optimizer import (
    MasterState,
    apply_optimizer,
    batch_warmup,
    clip_by_gradient_norm,
    cosine,
    make_optimizer,
    muon,
    with_master_weights,
)
from tiny import model

RATE, DECAY = 0.01, 0.1


def numpy_muon(weight: np.ndarray, *gradients: np.ndarray) -> np.ndarray:
    """Keller Jordan's Muon: Nesterov momentum, five Newton-Schulz steps, root mean square 0.2; a step a gradient."""
    momentum = np.zeros_like(weight, np.float64)
    for step, gradient in enumerate(gradients, 1):
        momentum = 0.95 * momentum + 0.05 * gradient
        # Both parts are averages, whose bias optax corrects as Adam's is, the momentum's by the step to come.
        ahead = 0.95 * momentum / (1 - 0.95 ** (step + 1)) + 0.05 * gradient / (1 - 0.95**step)
        weight = weight - RATE * (0.2 * np.sqrt(max(weight.shape)) * orthogonal(ahead) + DECAY * weight)
    return weight


def orthogonal(x: np.ndarray) -> np.ndarray:
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (np.linalg.norm(x) + 1e-8)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


def drawn_like(params, seed: int):
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    drawn = [jax.device_put(rng.standard_normal(leaf.shape).astype(leaf.dtype), leaf.sharding) for leaf in leaves]
    return jax.tree.unflatten(structure, drawn)


@pytest.fixture(scope="module")
def steps():
    """Parameters before and after each of three steps of Muon, and the gradients."""
    params = nnx.state(model(), nnx.Param)
    optimizer = muon(RATE, weight_decay=DECAY)
    state = jax.jit(optimizer.init)(params)
    step = jax.jit(functools.partial(apply_optimizer, optimizer))
    passed, gradients = [params], [drawn_like(params, seed) for seed in range(3)]
    for gradient in gradients:
        params, state = step(gradient, params, state, optax.tree.norm(gradient))
        passed.append(params)
    return passed, gradients


@pytest.fixture(scope="module")
def moved(steps):
    """Parameters before and after one step of Muon, and the gradient."""
    (before, after, *_), (gradient, *_) = steps
    return before, gradient, after


def at(tree, *path):
    for name in path:
        tree = tree[name]
    return np.asarray(tree[...])


def test_each_experts_matrices_are_orthogonalised_alone(moved):
    before, gradient, after = (at(tree, "blocks", 1, "mlp", "gate_up") for tree in moved)  # [E, D, 2, F]
    for expert in (0, 5):
        for half in (0, 1):
            expected = numpy_muon(before[expert, :, half], gradient[expert, :, half])
            np.testing.assert_allclose(after[expert, :, half], expected, atol=2e-5)  # float32 against float64


def test_a_projections_heads_are_one_matrix(moved):
    before, gradient, after = (at(tree, "blocks", 0, "attention", "q") for tree in moved)
    flat = before.reshape(before.shape[0], -1), gradient.reshape(before.shape[0], -1)
    np.testing.assert_allclose(after.reshape(flat[0].shape), numpy_muon(*flat), atol=2e-5)


def test_momentum_goes_on_over_the_steps(steps):
    (before, *_, after), gradients = steps
    before, after, *gradients = (at(tree, "blocks", 1, "mlp", "down")[3] for tree in (before, after, *gradients))
    np.testing.assert_allclose(after, numpy_muon(before, *gradients), atol=6e-5)  # three steps, each as above


@pytest.mark.parametrize(
    ("path", "decay"),
    [(("embed",), DECAY), (("head",), DECAY), (("norm", "scale"), 0), (("blocks", 0, "attention", "q_bias"), 0)],
)
def test_adamw_moves_embeddings_head_biases_and_norms_and_decays_no_vector(moved, path, decay):
    before, gradient, after = (at(tree, *path) for tree in moved)
    expected = before - RATE * (gradient / (np.abs(gradient) + 1e-8) + decay * before)
    np.testing.assert_allclose(after, expected, atol=1e-6)


def test_the_correction_bias_belongs_to_no_optimiser():
    network = model()
    assert any(isinstance(v, Buffer) for _, v in nnx.iter_graph(network))
    assert not any(isinstance(v, Buffer) for v in jax.tree.leaves(nnx.state(network, nnx.Param)))


def test_master_weights_keep_updates_that_bfloat16_would_lose():
    optimizer = with_master_weights(optax.sgd(1.0))
    params, gradient = {"w": jnp.ones(3, jnp.bfloat16)}, {"w": jnp.full(3, 2.0**-10, jnp.bfloat16)}
    state = optimizer.init(params)
    for _ in range(8):  # together 2**-7, one step of bfloat16 below 1
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    assert params["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(params["w"], np.float32), np.float32(1 - 2.0**-7))
    lost = optax.apply_updates({"w": jnp.ones(3, jnp.bfloat16)}, {"w": jnp.full(3, -(2.0**-10), jnp.bfloat16)})
    assert (lost["w"] == 1).all()


def test_adamw_of_bfloat16_parameters_with_master_weights_follows_float32():
    rng = np.random.default_rng(0)
    start = jnp.asarray(rng.standard_normal(64), jnp.bfloat16)
    wide, narrow = {"w": start.astype(jnp.float32)}, {"w": start}
    plain = optax.adamw(1e-3)
    master = with_master_weights(plain)
    states = plain.init(wide), master.init(narrow)
    for _ in range(5):
        gradient = {"w": jnp.asarray(rng.standard_normal(64), jnp.bfloat16)}
        one, first = plain.update({"w": gradient["w"].astype(jnp.float32)}, states[0], wide)
        two, second = master.update(gradient, states[1], narrow)
        wide, narrow, states = optax.apply_updates(wide, one), optax.apply_updates(narrow, two), (first, second)
    np.testing.assert_array_equal(narrow["w"], wide["w"].astype(jnp.bfloat16))


@pytest.mark.parametrize("master_weights", [True, False])
def test_by_default_small_steps_move_bfloat16_and_float32_has_no_copies(master_weights):
    optimizer = make_optimizer("adamw", 1e-5, weight_decay=0, **({} if master_weights else {"master_weights": False}))
    network = model()
    wide = nnx.state(network, nnx.Param)
    narrow = start = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), wide)
    assert not isinstance(optimizer.init(wide), MasterState)
    state = optimizer.init(narrow)
    update = jax.jit(lambda state, params: optimizer.update(jax.tree.map(jnp.ones_like, params), state, params))
    for _ in range(100):
        updates, state = update(state, narrow)
        narrow = optax.apply_updates(narrow, updates)
    now, before = (x.blocks[0].attention.q[...] for x in (narrow, start))
    # Together the steps are 1e-3, about the rounding of a weight of 0.3; each is lost on all but the smallest.
    assert (now != before).mean() > 0.8 if master_weights else (now == before).mean() > 0.8


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_gradients_that_are_wider_change_no_dtype(name):
    """Those of several micro-batches are added up in float32."""
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), nnx.state(model(), nnx.Param))
    gradients = jax.tree.map(lambda leaf: jnp.ones_like(leaf, jnp.float32), params)
    optimizer = make_optimizer(name, RATE, master_weights=False)
    state = jax.jit(optimizer.init)(params)
    after = jax.eval_shape(
        lambda *given: apply_optimizer(optimizer, *given, optax.tree.norm(given[0])), gradients, params, state
    )
    assert [leaf.dtype for leaf in jax.tree.leaves(after)] == [leaf.dtype for leaf in jax.tree.leaves((params, state))]


@pytest.mark.parametrize("size", [0.01, 1.0])
@pytest.mark.parametrize("told", [False, True])
def test_gradients_are_clipped_by_their_global_norm(size, told):
    rng = np.random.default_rng(0)
    gradients = {
        "a": jnp.asarray(size * rng.standard_normal((3, 4)), jnp.float32),
        "b": jnp.full(5, size, jnp.bfloat16),
    }
    extra = {"gradient_norm": optax.tree.norm(gradients)} if told else {}
    ours, _ = clip_by_gradient_norm(1.0).update(gradients, optax.EmptyState(), **extra)
    theirs, _ = optax.clip_by_global_norm(1.0).update(gradients, optax.EmptyState())
    for name, tolerance in (("a", 1e-6), ("b", 2.0**-7)):  # multiplied by a quotient, where optax divides twice
        assert ours[name].dtype == gradients[name].dtype
        np.testing.assert_allclose(*(np.asarray(x[name], np.float32) for x in (ours, theirs)), rtol=tolerance)


def test_an_unknown_optimiser_is_named():
    with pytest.raises(ConfigError, match=r"'sgd'.*adamw, muon"):
        make_optimizer("sgd", 0.1)


def test_schedules():
    rate = cosine(1.0, 100, warmup=10)
    assert [round(float(rate(step)), 3) for step in (0, 5, 10, 55, 100, 200)] == [0, 0.5, 1, 0.55, 0.1, 0.1]
    grown = batch_warmup(1, 5, 100)
    assert [grown(step) for step in (0, 24, 25, 99, 100, 1000)] == [1, 1, 2, 4, 5, 5]
