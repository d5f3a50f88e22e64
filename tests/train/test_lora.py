"""Adding LoRA adapters to a model, choosing what they are on, training them alone, and merging them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tiny
from glmkit import GLM, GLMConfig
from glmkit.errors import ConfigError, RequestError
from glmkit.model.adapter import LoRAParam, adapted_places
from glmkit.train.lora import add_lora, merge_lora

TOKENS = np.random.default_rng(0).integers(0, 256, (2, 8), np.int32)


def on(model):
    """What is adapted, by the names of the weights."""
    return {place.base.hf.name.removesuffix(".weight") for place in adapted_places(model)}


def add(targets=None, model=None, **options):
    return add_lora(model or tiny.model(), 4, 8, targets, rngs=nnx.Rngs(0), **options)


def test_a_new_adapter_changes_nothing_and_shares_the_weights():
    base = tiny.two_layers()
    model = add(tiny.ADAPTABLE, model=base)
    assert not any(place.parameter.b[...].any() for place in adapted_places(model))
    # Zeros are added, in programs that round other places of the sums: some ulps of the largest value.
    np.testing.assert_allclose(model(TOKENS).hidden, base(TOKENS).hidden, atol=2e-6)
    assert model.embed[...] is base.embed[...]
    assert model.blocks[1].mlp.gate_up.base[...] is base.blocks[1].mlp.gate_up[...]
    assert adapted_places(base) == []


def test_by_default_all_is_adapted_but_the_router_and_the_prediction_layer():
    attention = {f"self_attn.{name}_proj" for name in "qkvo"}
    mlps = {f"mlp.{part}{{gate_up}}" for part in ("", "shared_experts.", "experts.{expert}.")}
    downs = {name.replace("{gate_up}", "down_proj") for name in mlps}
    model = add()
    assert on(model) == attention | mlps | downs
    assert not any(place.in_mtp for place in adapted_places(model))


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("q_proj", {"self_attn.q_proj"}),
        (["down_proj"], {"mlp.down_proj", "mlp.shared_experts.down_proj"}),
        (["experts"], {"mlp.experts.{expert}.{gate_up}", "mlp.experts.{expert}.down_proj"}),
        (["router"], {"mlp.gate"}),
    ],
)
def test_targets_choose(targets, expected):
    assert on(add(targets)) == expected


def test_the_prediction_layer_is_adapted_where_asked():
    assert {place.prefix for place in adapted_places(add("q_proj", mtp=True)) if place.in_mtp} == {"model.layers.3."}


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["q_proj", "query"], "targets: query; expected some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "),
        ([], "targets: none; expected"),
        (["gate_proj"], "gate_proj and up_proj are one parameter in glmkit; name both"),
    ],
)
def test_other_targets_are_refused_by_name(targets, message):
    with pytest.raises(ConfigError, match=message):
        add(targets)


def test_a_model_without_routed_experts_has_none_to_adapt():
    dense = GLM(GLMConfig(**{**vars_of(tiny.CONFIG), "first_k_dense_replace": 3}), rngs=nnx.Rngs(0), mtp=None)
    assert "experts" not in "".join(on(add(model=dense)))
    with pytest.raises(ConfigError, match=r"targets: experts; expected some of q_proj.*down_proj$"):
        add(["experts"], model=dense)


def vars_of(config):
    return {name: getattr(config, name) for name in config.__dataclass_fields__ if name not in ("extra", "source")}


def test_settings_that_cannot_be_right_are_refused():
    with pytest.raises(RequestError, match="rank is 0; expected an integer of at least 1"):
        add_lora(tiny.model(), 0, rngs=nnx.Rngs(0))
    for alpha in (0, -1, math.inf, math.nan, "16"):
        with pytest.raises(ConfigError, match=r"alpha is .*; expected a positive number"):
            add_lora(tiny.model(), 4, alpha, rngs=nnx.Rngs(0))
    with pytest.raises(ConfigError, match="has an adapter already"):
        add(model=add("q_proj"))


def test_a_begins_uniform_as_a_linear_module_does_and_b_with_zeros():
    adapter = add("o_proj").blocks[0].attention.o
    bound = 1 / math.sqrt(64)
    a = np.asarray(adapter.a[...])
    assert np.abs(a).max() <= bound
    assert a.std() == pytest.approx(bound / math.sqrt(3), rel=0.15)  # of 256 draws
    assert not np.asarray(adapter.b[...]).any()
    assert adapter.scale == 2


def test_the_filters_divide_a_model_into_weights_and_factors():
    base = tiny.two_layers()
    model = add(["q_proj", "experts"], model=base)
    graph, factors, weights, buffers = nnx.split(model, LoRAParam, nnx.Param, ...)
    assert len(jax.tree.leaves(factors)) == 2 * (2 + 2)
    assert len(jax.tree.leaves(weights)) + len(jax.tree.leaves(buffers)) == len(jax.tree.leaves(base))

    def loss(factors):
        one = nnx.merge(graph, factors, weights, buffers)
        return (one.logits(one(TOKENS).hidden) ** 2).mean()

    gradient = jax.eval_shape(jax.grad(loss), factors)
    assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, factors)


def test_merging_adds_in_float32_and_rounds_once():
    base = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tiny.two_layers())
    model = tiny.with_updates(add(["down_proj", "experts"], model=base))
    merged = merge_lora(model)
    assert adapted_places(merged) == []
    assert jax.tree.structure(merged) == jax.tree.structure(base)
    adapter = model.blocks[1].mlp.gate_up
    a, b, w = (np.asarray(v[...], np.float64) for v in (adapter.a, adapter.b, adapter.base))
    exact = w + 2 * np.einsum("edr,ergf->edgf", a, b)
    result = merged.blocks[1].mlp.gate_up[...]
    assert result.dtype == jnp.bfloat16
    ulp = np.abs(exact) * 2.0**-8  # half the distance of neighbours, at most
    assert (np.abs(np.asarray(result, np.float64) - exact) <= ulp * 1.001).all()


def test_merging_a_model_without_an_adapter_gives_its_weights():
    for one, other in zip(jax.tree.leaves(merge_lora(tiny.model())), jax.tree.leaves(tiny.model()), strict=True):
        assert one is other
