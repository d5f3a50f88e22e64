"""What a forward pass keeps: the numbers of an independent one, in every form of the model; nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmkit import load_hf
from glmkit.model import Keep, Output
from golden import numpy_reference
from golden.cases import CASES, write_checkpoint
from tiny import CONFIG, model

# A few dozen roundings of float32, of the largest value of each array; the reference is in float64.
TOLERANCE = 2e-5
LAYERS = jnp.array([1, 0, 2])
ROUTED = jnp.array([2, 1])
EVERYTHING = Keep(
    resid_pre=LAYERS, resid_mid=LAYERS, resid_post=LAYERS, attention=LAYERS,
    router_logits=ROUTED, router_scores=ROUTED, expert_out=ROUTED,
    routes=("ids", "weights", "margins"), logits=True,
)  # fmt: skip


def assert_close(got, expected) -> None:
    expected = np.asarray(expected)
    np.testing.assert_allclose(got, expected, atol=TOLERANCE * np.abs(expected).max(), rtol=0)


def tokens(rows: int = 2, length: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, CONFIG.vocab_size, (rows, length), np.int32)


@pytest.mark.parametrize("form", ["list", "stacked"])
@pytest.mark.parametrize("name", ["full", "two_groups"])
def test_captures_are_what_an_independent_computation_gives(form, name, tmp_path):
    case = CASES[name]
    layers = numpy_reference.inside(case.config, write_checkpoint(tmp_path, case), case.inputs)
    network, inputs, valid = load_hf(tmp_path, stacked=form == "stacked"), case.inputs, case.inputs.valid
    routed = [number for number, layer in enumerate(layers) if layer.chosen is not None]
    every, some = jnp.arange(len(layers)), jnp.array(routed[::-1])
    keep = Keep(every, every, every, every, some, some, some, ("ids", "weights", "margins"))
    out = network(inputs.tokens, positions=inputs.positions, segment_ids=inputs.segment_ids, keep=keep)
    for number, layer in enumerate(layers):
        for site in ("resid_pre", "resid_mid", "resid_post"):
            assert_close(np.asarray(getattr(out.kept, site)[number])[valid], getattr(layer, site)[valid])
        pattern = np.asarray(out.kept.attention[number])
        pattern = pattern.reshape(layer.attention.shape).swapaxes(1, 2)  # [B, T, H, T]
        assert_close(pattern[valid], layer.attention.swapaxes(1, 2)[valid])
    for place, number in enumerate(routed):
        layer, slot, flat = layers[number], len(routed) - 1 - place, valid.reshape(-1)
        ids = np.asarray(out.kept.ids[place]).reshape(layer.chosen.shape)
        np.testing.assert_array_equal(ids[flat], layer.chosen[flat])
        assert_close(np.asarray(out.kept.weights[place]).reshape(layer.weights.shape)[flat], layer.weights[flat])
        scores = np.asarray(out.kept.router_scores[slot]).reshape(layer.scores.shape)
        assert_close(scores[flat], layer.scores[flat])
        logits = np.asarray(out.kept.router_logits[slot]).reshape(layer.scores.shape)
        assert_close(1 / (1 + np.exp(-logits[flat])), layer.scores[flat])
        expert_out = np.asarray(out.kept.expert_out[slot]).reshape(layer.expert_out.shape)
        assert_close(expert_out[flat], layer.expert_out[flat])


def test_margins_are_the_gap_between_the_last_chosen_and_the_next():
    out = model()(tokens(), keep=Keep(router_scores=jnp.array([1, 2]), routes=("margins", "ids")))
    for place in range(2):
        bias = np.asarray(model().blocks[place + 1].mlp.router.bias[...])
        choice = np.asarray(out.kept.router_scores[place]) + bias
        # Of the groups that may be chosen from, one here: that of the chosen experts.
        group = np.asarray(out.kept.ids[place])[..., 0] // 4
        allowed = np.sort(np.take_along_axis(choice.reshape(2, 7, 2, 4), group[..., None, None], 2)[:, :, 0], -1)
        np.testing.assert_array_equal(out.kept.margins[place], allowed[..., -2] - allowed[..., -3])


@pytest.mark.parametrize("form", ["list", "stacked"])
@pytest.mark.parametrize("cached", [False, True])
def test_every_form_of_the_model_keeps_the_same_and_computes_the_same(form, cached):
    network = model() if form == "list" else model().stacked()
    expected = model()(tokens(), keep=EVERYTHING)
    cache = network.empty_cache(2, 20) if cached else None
    out = network(tokens(), cache=cache, keep=EVERYTHING)
    assert_close(out.hidden, expected.hidden)
    # A cache has room for more keys than there are tokens, to which nobody attends.
    pattern = np.asarray(out.kept.attention)
    assert not pattern[..., 7:].any()
    assert_close(pattern[..., :7], expected.kept.attention)
    for name in ("resid_pre", "resid_mid", "resid_post", "router_logits", "router_scores", "expert_out", "logits"):
        assert_close(getattr(out.kept, name), getattr(expected.kept, name))
    np.testing.assert_array_equal(out.kept.ids, expected.kept.ids)
    assert_close(out.kept.weights, expected.kept.weights)
    assert_close(out.hidden, network(tokens()).hidden)


def test_only_what_is_named_is_there():
    kept = model()(tokens(), keep=Keep(resid_post=jnp.array([2]), routes=("ids",))).kept
    assert {name for name, value in vars(kept).items() if value is not None} == {"resid_post", "ids"}
    assert kept.resid_post.shape == (1, 2, 7, 32)
    assert (kept.ids.shape, kept.ids.dtype) == ((2, 2, 7, 2), np.uint8)
    assert model()(tokens()).kept is None


def test_naming_nothing_compiles_what_was_compiled_before():
    def text(**named) -> str:
        return type(model()).__call__.lower(model(), tokens(), **named).as_text()

    assert text(keep=None, interventions=None) == text()


@pytest.mark.parametrize("form", ["list", "stacked"])
def test_another_layer_does_not_compile_again(form):
    network, traces = model() if form == "list" else model().stacked(), []

    @jax.jit
    def forward(keep: Keep) -> Output:
        traces.append(keep)
        return network(tokens(), keep=keep)

    outs = {layer: forward(Keep(resid_post=jnp.array([layer]))) for layer in range(3)}
    assert len(traces) == 1
    every = forward(Keep(resid_post=jnp.arange(3)))
    for layer, out in outs.items():
        assert_close(out.kept.resid_post[0], every.kept.resid_post[layer])


def test_a_gradient_goes_through_what_is_kept():
    def loss(network):
        return (network(tokens(), keep=Keep(resid_mid=jnp.array([1])), remat="block").kept.resid_mid ** 2).sum()

    gradient = jax.jit(jax.grad(loss))(model())
    assert np.any(np.asarray(gradient.blocks[0].attention.q[...]))
    assert not np.any(np.asarray(gradient.blocks[2].attention.q[...]))
