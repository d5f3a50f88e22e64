"""What is changed inside a forward pass happens, where it is said and nowhere else, without compiling again."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit.model import ExpertTables, Interventions, Keep, Output, Patches, Steering, Substitutes
from glmkit.model.intervene import RESIDUAL_SITES
from tiny import CONFIG, model

ROWS, LENGTH, LAYERS, EXPERTS, TOP_K, WIDTH = 2, 9, 2, 8, 2, 32
TOKENS = np.random.default_rng(0).integers(0, 320, (ROWS, LENGTH), np.int32)
KEEP = Keep(
    resid_pre=jnp.arange(3), resid_mid=jnp.arange(3), resid_post=jnp.arange(3), expert_out=jnp.array([1, 2]),
    router_scores=jnp.array([1, 2]), routes=("ids", "weights"), effects=True, logits=True,
)  # fmt: skip
# Roundings of float32 in a sum in another order, of the largest value.
TOLERANCE = 1e-5
FORMS = {"list": lambda: model(), "stacked": lambda: model().stacked()}


def tables(parts: int = 1, **set_to) -> ExpertTables:
    """Tables that change nothing, with some values `{(part, layer, expert): value}` set."""
    shape = (parts, LAYERS, EXPERTS)
    arrays = {"select_bias": np.zeros(shape), "logit_bias": np.zeros(shape), "weight_scale": np.ones(shape)}
    arrays |= {"shared_scale": np.ones(shape[:2]), "tokens": np.ones((parts, ROWS, LENGTH), bool)}
    for name, values in set_to.items():
        if name == "tokens":
            arrays[name] = values
        else:
            for place, value in values.items():
                arrays[name][place] = value
    return ExpertTables(
        **{name: jnp.asarray(array, bool if name == "tokens" else jnp.float32) for name, array in arrays.items()}
    )


def run(changes: Interventions | None, form: str = "list", **options) -> Output:
    return FORMS[form]()(TOKENS, interventions=changes, keep=KEEP, **options)


def assert_close(got, expected) -> None:
    expected = np.asarray(expected)
    np.testing.assert_allclose(got, expected, atol=TOLERANCE * np.abs(expected).max(), rtol=0)


def mixture(layer: int, x: np.ndarray, ids: np.ndarray, weights: np.ndarray, shared: float = 1.0) -> np.ndarray:
    """The MLP's output of an MoE block for chosen experts and weights, from its parameters."""
    mlp = model().blocks[layer].mlp
    normed = np.asarray(model().blocks[layer].mlp_norm(jnp.asarray(x)))
    gate_up, down = np.asarray(mlp.gate_up[...]), np.asarray(mlp.down[...])
    h = np.einsum("btd,edgf->btegf", normed, gate_up)
    h = h[..., 0, :] / (1 + np.exp(-h[..., 0, :])) * h[..., 1, :]
    out = np.take_along_axis(np.einsum("btef,efd->bted", h, down), ids[..., None].astype(int), axis=2)
    return (out * weights[..., None]).sum(2) + shared * np.asarray(mlp.shared(jnp.asarray(normed)))


@pytest.mark.parametrize("form", FORMS)
def test_an_expert_that_is_ruled_out_is_never_chosen_and_the_rest_are_weighed_anew(form):
    before = run(None, form).kept
    expert = int(np.bincount(np.asarray(before.ids[0]).ravel()).argmax())
    kept = run(Interventions(tables(select_bias={(0, 0, expert): -np.inf})), form).kept
    ids, weights = np.asarray(kept.ids[0]), np.asarray(kept.weights[0])
    assert expert not in ids
    assert (ids[..., 0] != ids[..., 1]).all()
    assert_close(weights.sum(-1), np.full((ROWS, LENGTH), CONFIG.routed_scaling_factor))
    scores = np.take_along_axis(np.asarray(kept.router_scores[0]), ids.astype(int), axis=-1)
    assert_close(weights, 2.5 * scores / (scores.sum(-1, keepdims=True) + 1e-20))
    untouched = ~(np.asarray(before.ids[0]) == expert).any(-1)
    np.testing.assert_array_equal(ids[untouched], np.asarray(before.ids[0])[untouched])
    assert kept.effects[0, expert] == (~untouched).sum()


@pytest.mark.parametrize("form", FORMS)
def test_a_weight_of_zero_takes_out_what_an_expert_contributes_and_no_more(form):
    before = run(None, form).kept
    expert = int(before.ids[0, 0, 0, 0])
    kept = run(Interventions(tables(weight_scale={(0, 0, expert): 0.0})), form).kept
    np.testing.assert_array_equal(kept.ids[0], before.ids[0])
    chosen = np.asarray(before.ids[0]) == expert
    np.testing.assert_array_equal(kept.weights[0], np.where(chosen, 0, before.weights[0]))
    gone = (np.asarray(before.expert_out[0]) * np.where(chosen, before.weights[0], 0)[..., None]).sum(2)
    assert_close(kept.resid_post[1], np.asarray(before.resid_post[1]) - gone)
    assert kept.effects[0, expert] == chosen.sum()
    assert kept.effects[0].sum() == chosen.sum()


def test_a_bias_at_the_logit_weighs_and_one_at_selection_does_not():
    before = run(None).kept
    at_logit = run(Interventions(tables(logit_bias={(0, 0, 3): 2.0}))).kept
    logits = np.log(np.asarray(before.router_scores[0]) / (1 - np.asarray(before.router_scores[0])))
    logits[..., 3] += 2.0
    assert_close(at_logit.router_scores[0], 1 / (1 + np.exp(-logits)))
    at_selection = run(Interventions(tables(select_bias={(0, 0, 3): 9.0}))).kept
    np.testing.assert_array_equal(at_selection.router_scores[0], before.router_scores[0])
    assert (np.asarray(at_selection.ids[0]) == 3).any(-1).all()


@pytest.mark.parametrize("form", FORMS)
def test_forced_experts_are_chosen_and_weighed_by_their_scores(form):
    rng = np.random.default_rng(1)
    forced = rng.permuted(np.tile(np.arange(EXPERTS), (ROWS, LENGTH, LAYERS, 1)), axis=-1)[..., :TOP_K]
    kept = run(Interventions(forced=jnp.asarray(forced, jnp.int32)), form).kept
    for layer in range(LAYERS):
        ids, scores = np.asarray(kept.ids[layer]).astype(int), np.asarray(kept.router_scores[layer])
        np.testing.assert_array_equal(np.sort(ids, -1), np.sort(forced[:, :, layer], -1))
        chosen = np.take_along_axis(scores, ids, axis=-1)
        assert_close(kept.weights[layer], 2.5 * chosen / (chosen.sum(-1, keepdims=True) + 1e-20))
        mlp = mixture(layer + 1, np.asarray(kept.resid_mid[layer + 1]), ids, np.asarray(kept.weights[layer]))
        assert_close(kept.resid_post[layer + 1], np.asarray(kept.resid_mid[layer + 1]) + mlp)


def test_where_fewer_are_forced_the_router_chooses_the_rest():
    before = np.asarray(run(None).kept.ids[0])
    forced = np.full((ROWS, LENGTH, LAYERS, TOP_K), -1, np.int32)
    forced[:, :5, 0, 1] = 6
    ids = np.asarray(run(Interventions(forced=jnp.asarray(forced))).kept.ids[0])
    np.testing.assert_array_equal(ids[:, 5:], before[:, 5:])
    for row, step in np.ndindex(ROWS, 5):
        own = [expert for expert in before[row, step] if expert != 6]
        assert list(ids[row, step]) == [6, own[0]]


@pytest.mark.parametrize("form", FORMS)
def test_replayed_routes_give_the_same_bits(form):
    """One program, float32 on CPU: forcing what it would choose anyway changes no bit, order of sums included."""
    free = run(Interventions(forced=jnp.full((ROWS, LENGTH, LAYERS, TOP_K), -1, jnp.int32)), form)
    forced = jnp.asarray(np.moveaxis(np.asarray(free.kept.ids), 0, 2), jnp.int32)
    for order in (forced, forced[..., ::-1]):
        replayed = run(Interventions(forced=order), form)
        for one, other in zip(jax.tree.leaves(free.kept), jax.tree.leaves(replayed.kept), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_forced_expert_that_is_ruled_out_is_replaced_by_the_routers_choice():
    before = np.asarray(run(None).kept.ids)
    expert = before[0, 0, 0, 0]
    ruled_out = tables(select_bias={(0, 0, expert): -np.inf})
    replay = jnp.asarray(np.moveaxis(before, 0, 2), jnp.int32)
    ids = np.asarray(run(Interventions(ruled_out, forced=replay)).kept.ids)
    assert expert not in ids[0]
    np.testing.assert_array_equal(np.sort(ids[1], -1), np.sort(before[1], -1))  # the layer after it is held
    for row, step in np.ndindex(ROWS, LENGTH):
        assert set(before[0, row, step]) - {expert} <= set(ids[0, row, step])


def test_parts_hold_for_their_own_tokens_and_add_up():
    first, second = np.zeros((2, 1, ROWS, LENGTH), bool)
    first[:, :, :4], second[:, :, 2:6] = True, True
    both = tables(
        2, tokens=np.concatenate([first, second]), weight_scale={(0, 0, 1): 0.5, (1, 0, 1): 0.5},
        select_bias={(0, 0, 1): 5.0},
    )  # fmt: skip
    before, kept = run(None).kept, run(Interventions(both)).kept
    assert (np.asarray(kept.ids[0][:, :4]) == 1).any(-1).all()
    np.testing.assert_array_equal(kept.ids[0][:, 4:], before.ids[0][:, 4:])
    scores = np.take_along_axis(np.asarray(kept.router_scores[0]), np.asarray(kept.ids[0]).astype(int), -1)
    scale = np.asarray(kept.weights[0]) / (2.5 * scores / scores.sum(-1, keepdims=True))
    expected = np.repeat([0.5, 0.25, 0.5, 1], [2, 2, 2, 3])
    chosen = np.asarray(kept.ids[0]) == 1
    assert_close(scale, np.where(chosen, expected[:, None], 1))


def test_shared_experts_are_scaled():
    kept = run(Interventions(tables(shared_scale={(0, 1): 0.25}))).kept
    mid = np.asarray(kept.resid_mid[2])
    mlp = mixture(2, mid, np.asarray(kept.ids[1]).astype(int), np.asarray(kept.weights[1]), shared=0.25)
    assert_close(kept.resid_post[2], mid + mlp)


@pytest.mark.parametrize("form", FORMS)
def test_a_substitute_takes_the_place_of_an_experts_output(form):
    before = run(None, form).kept
    expert, vector = int(before.ids[0, 0, 0, 0]), np.random.default_rng(2).standard_normal(WIDTH).astype(np.float32)
    where = np.zeros((2, ROWS, LENGTH), bool)
    where[0, :, :5] = True  # the second slot is free
    changes = Substitutes(jnp.asarray(where), jnp.array([0, -1]), jnp.array([expert, 0]), jnp.asarray([vector, vector]))
    kept = run(Interventions(substitutes=changes), form).kept
    share = np.where((np.asarray(before.ids[0]) == expert) & where[0, ..., None], before.weights[0], 0)
    difference = share[..., None] * (vector - np.asarray(before.expert_out[0]))
    assert_close(kept.resid_post[1], np.asarray(before.resid_post[1]) + difference.sum(2))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("site", RESIDUAL_SITES)
def test_steering_adds_to_the_residual_stream(form, site):
    vector = np.random.default_rng(3).standard_normal((2, WIDTH)).astype(np.float32)
    scale = np.zeros((2, ROWS, LENGTH), np.float32)
    scale[0, :, 3:], scale[1] = 2.0, 5.0  # the second slot is free
    place = jnp.full(2, RESIDUAL_SITES.index(site))
    steering = Steering(jnp.array([1, -1]), place, jnp.asarray(vector), jnp.asarray(scale))
    before, kept = run(None, form).kept, run(Interventions(steering=steering), form).kept
    moved = np.asarray(getattr(before, site)[1]) + 2.0 * (np.arange(LENGTH) >= 3)[:, None] * vector[0]
    assert_close(getattr(kept, site)[1], moved)
    assert_close(kept.resid_post[0], before.resid_post[0])
    assert_close(kept.logits[:, :3], before.logits[:, :3])
    assert np.abs(np.asarray(kept.logits - before.logits))[:, 3:].max() > 0.01


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("site", RESIDUAL_SITES)
def test_a_patch_is_the_other_runs_activation(form, site):
    """Patched everywhere after layer 1 with what another text gave, the rest of the network goes on as that text."""
    other = FORMS[form]()(TOKENS[::-1], keep=KEEP)
    values, where = getattr(other.kept, site)[1], np.ones((1, ROWS, LENGTH), bool)
    place = jnp.array([RESIDUAL_SITES.index(site)])
    patches = Patches(jnp.array([1]), place, values[None], jnp.asarray(where))
    kept = run(Interventions(patches=patches), form).kept
    assert_close(getattr(kept, site)[1], values)
    assert_close(kept.logits, other.kept.logits)
    where[:, :, 4:] = False  # of the tokens before, nobody hears
    kept = run(Interventions(patches=dataclasses.replace(patches, tokens=jnp.asarray(where))), form).kept
    assert_close(getattr(kept, site)[1][:, :4], values[:, :4])
    assert_close(kept.resid_pre[1][:, 4:], run(None, form).kept.resid_pre[1][:, 4:])


@pytest.mark.parametrize("form", FORMS)
def test_values_do_not_compile_again(form):
    network, traces = FORMS[form](), []

    @jax.jit
    def forward(changes: Interventions) -> Output:
        traces.append(changes)
        return network(TOKENS, interventions=changes, keep=KEEP)

    def changes(layer: int, expert: int) -> Interventions:
        steering = Steering(jnp.array([layer + 1]), jnp.array([0]), jnp.ones((1, WIDTH)), jnp.ones((1, ROWS, LENGTH)))
        return Interventions(tables(weight_scale={(0, layer, expert): 0.0}), steering=steering)

    outs = [forward(changes(layer, expert)).kept.logits for layer, expert in ((0, 1), (1, 5), (0, 3))]
    assert len(traces) == 1
    assert all(np.abs(np.asarray(outs[0] - out)).max() > 0 for out in outs[1:])


def test_a_gradient_goes_through_an_intervention():
    """By how much the logits change with the strength of steering, against a difference of two runs."""

    def logit(scale):
        full = jnp.full((1, ROWS, LENGTH), scale)
        steering = Steering(jnp.array([1]), jnp.array([2]), jnp.ones((1, WIDTH)), full)
        return model()(TOKENS, interventions=Interventions(steering=steering)).hidden[0, -1, 0]

    slope = jax.grad(logit)(0.1)
    step = 1e-2
    # A central difference is off by the square of the step, and by float32 over the step.
    np.testing.assert_allclose(slope, (logit(0.1 + step) - logit(0.1 - step)) / (2 * step), rtol=2e-2, atol=1e-3)
