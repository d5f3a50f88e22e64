"""An adapted model computes what the model with its updates merged computes, in every form, and so do its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tiny
from glmkit import GLM
from glmkit.errors import ConfigError
from glmkit.model.adapter import Adapted, LoRAParam, adapted_places, low_rank, places
from glmkit.model.params import hf_tensors
from glmkit.parallel.planner import bytes_per_device
from glmkit.train.lora import add_lora, merge_lora

TOKENS = np.random.default_rng(0).integers(0, 256, (2, 12), np.int32)
# (x A) B summed before it is added to x W, where merging adds A B to W: float32, relative to the largest value.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def adapted():
    return tiny.with_updates(add_lora(tiny.two_layers(), 4, targets=tiny.ADAPTABLE, rngs=nnx.Rngs(0), mtp=True))


def logits(model):
    return model.logits(model(TOKENS).hidden)


def second_logits(model):
    hidden = model(TOKENS).hidden
    return model.mtp_logits(model.predict_second(hidden, TOKENS).hidden)


def cached_logits(model):
    """Of a chunk of one row, then of one token at a time: the products that decoding takes."""
    cache, out = model.empty_cache(1, 16), []
    for piece in np.split(TOKENS[:1], [9, 10, 11], axis=1):
        step = model(piece, cache=cache)
        cache = step.cache
        out.append(model.logits(step.hidden))
    return jnp.concatenate(out, axis=1)


def distance(one, other):
    return float(jnp.abs(one - other).max() / jnp.abs(other).max())


@pytest.mark.parametrize(
    ("compute", "form"), [(logits, "list"), (logits, "stacked"), (second_logits, "list"), (cached_logits, "list")]
)
def test_it_computes_what_the_merged_model_computes(adapted, compute, form):
    result = compute(adapted.stacked() if form == "stacked" else adapted)
    assert distance(result, compute(merge_lora(adapted))) < TOLERANCE
    assert distance(result, compute(tiny.two_layers())) > 0.1


def test_a_model_says_that_it_is_adapted(adapted):
    assert f"a LoRA adapter on {len(adapted_places(adapted))} parameters" in repr(adapted)
    assert "LoRA" not in repr(tiny.two_layers())


def test_its_gradients_are_those_through_merged_weights():
    model = add_lora(tiny.two_layers(), 4, targets=tiny.ADAPTABLE, rngs=nnx.Rngs(0))
    graph, factors, rest = nnx.split(tiny.with_updates(model), LoRAParam, ...)

    def loss(factors, form):
        return (logits(form(nnx.merge(graph, factors, rest))) ** 2).mean()

    ours = jax.jit(jax.grad(lambda f: loss(f, lambda model: model)))(factors)
    expected = jax.jit(jax.grad(lambda f: loss(f, merge_lora)))(factors)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert float(jnp.abs(other).max()) > 0
        assert distance(one, other) < 1e-4  # float32 through two layers, forward and back


def test_stacking_and_back_gives_the_same_factors(adapted):
    there_and_back = adapted.stacked().unstacked()
    assert jax.tree.structure(there_and_back) == jax.tree.structure(adapted)
    for one, other in zip(jax.tree.leaves(there_and_back), jax.tree.leaves(adapted), strict=True):
        np.testing.assert_array_equal(one, other)


def test_factors_of_a_bfloat16_model_are_float32_and_its_activations_are_not_widened():
    model = GLM(tiny.CONFIG, rngs=None, dtype=jnp.bfloat16)
    for place in places(model):
        place.put(Adapted(place.base, *low_rank(place.base, 4), scale=2.0))
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model, LoRAParam))} == {jnp.dtype(jnp.float32)}
    assert jax.eval_shape(lambda model: model(TOKENS).hidden, model).dtype == jnp.bfloat16


def test_the_scale_is_part_of_the_structure_that_compiled_programs_are_kept_by():
    one, other = (add_lora(tiny.two_layers(), 2, alpha, ["q_proj"], rngs=nnx.Rngs(0)) for alpha in (16, 17))
    assert str(jax.tree.structure(one)) != str(jax.tree.structure(other))


def test_factors_of_an_abstract_model_are_shapes_that_the_planner_counts():
    model = GLM(tiny.CONFIG, rngs=None)
    before = bytes_per_device(model)
    place = next(place for place in places(model) if place.attribute == "o")
    a, b = low_rank(place.base, 4)
    assert (a.shape, b.shape) == ((2, 2, 16, 4), (4, 32))
    place.put(add_lora(tiny.two_layers(), 4, targets="o_proj", rngs=nnx.Rngs(0)).blocks[0].attention.o)
    assert bytes_per_device(model) == before + 4 * (64 + 32) * 4


def test_factors_are_named_and_shaped_as_the_reference_stores_them(adapted):
    layer = {
        tensor.name.removeprefix("model.layers.1."): tensor.shape
        for place in adapted_places(adapted)
        if place.layer_numbers == (1,)
        for factor in (place.parameter.a, place.parameter.b)
        for tensor in hf_tensors(factor, place.prefix, place.layer_numbers)
    }
    assert layer["self_attn.q_proj.lora_A.weight"] == (4, 32)
    assert layer["self_attn.q_proj.lora_B.weight"] == (64, 4)
    assert layer["self_attn.o_proj.lora_A.weight"] == (4, 64)
    assert layer["mlp.shared_experts.up_proj.lora_B.weight"] == (16, 4)
    assert layer["mlp.experts.7.gate_up_proj.lora_A.weight"] == (4, 32)
    assert layer["mlp.experts.7.gate_up_proj.lora_B.weight"] == (32, 4)
    assert layer["mlp.gate.lora_B.weight"] == (8, 4)


def test_layers_that_are_adapted_differently_are_no_stack():
    model = add_lora(tiny.model(), 4, targets=["q_proj"], rngs=nnx.Rngs(0))
    last = adapted_places(model)[-1]
    last.put(last.base)
    with pytest.raises(ConfigError, match=r"adapters that differ.*merge_lora"):
        model.stacked()
