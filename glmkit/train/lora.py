"""LoRA (arXiv 2106.09685): small updates beside a model's weights, to be trained alone, and merged when done.

What an adapter is and how it computes is in `glmkit.model.adapter`; its files are `glmkit.weights.peft`'s.
"""

import functools
import math
import string
from collections.abc import Collection

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer
from jaxtyping import Array, Float

from glmkit.checks import check_integer, check_number
from glmkit.errors import ConfigError
from glmkit.model import GLM
from glmkit.model.adapter import (
    Adapted,
    LoRAParam,
    Place,
    adapted_places,
    low_rank,
    places,
    shallow_copy,
)
from glmkit.model.params import born

__all__ = ["LoRAParam", "add_lora", "merge_lora"]

ROUTER = "router"
_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "experts", ROUTER)


def add_lora(
    model: GLM,
    rank: int = 8,
    alpha: float = 16.0,
    targets: Collection[str] | None = None,
    *,
    rngs: nnx.Rngs,
    mtp: bool = False,
) -> GLM:
    """A model that shares the arrays of `model` and computes the same, with an adapter on each of `targets`.

    Targets are named as PEFT names modules: `q_proj`, `k_proj`, `v_proj`, `o_proj` for attention; `gate_proj`,
    `up_proj`, `down_proj` for the dense layers and the shared expert; `experts` for the routed ones, each with factors
    of its own; `router`. By default all the model has but the router. With `mtp` the multi-token-prediction layer too.

    Updates are scaled by `alpha / rank`; A begins uniform in +-1/sqrt(inputs) and B with zeros, as in PEFT. Select the
    factors for training by `LoRAParam`: `nnx.split(model, LoRAParam, ...)`. Raises `ConfigError` naming a target that
    the model does not have, or a model that already has an adapter.
    """
    check_integer("rank", rank, 1)
    check_number("alpha", alpha, positive=True, expected="a positive number, often twice the rank")
    if adapted_places(model):
        raise ConfigError("this model has an adapter already; merge_lora(model) before adding another")
    model = shallow_copy(model)
    offered = [place for place in places(model) if mtp or not place.in_mtp]
    chosen = _checked_targets(targets, {name for place in offered for name in _target_names(place)})
    for place in offered:
        if chosen.issuperset(_target_names(place)):
            a, b = _initialised(*low_rank(place.base, rank), rngs)
            place.put(Adapted(place.base, a, b, alpha / rank))
    return model


def merge_lora(model: GLM) -> GLM:
    """The model with its adapters added into its weights, in float32 at least, each then of its own dtype again.

    A model without adapters is given back as it is.
    """
    merged = shallow_copy(model)
    for place in adapted_places(merged):
        place.put(_merged(place.parameter))
    return merged


def _target_names(place: Place) -> tuple[str, ...]:
    """The names that, together, stand for a linear map: two for gate and up, which are one parameter."""
    module = place.base.hf.name.removesuffix(".weight")
    if ".experts." in module:
        return ("experts",)
    if module == "mlp.gate":
        return (ROUTER,)
    last = module.rpartition(".")[2]
    return ("gate_proj", "up_proj") if last == "{gate_up}" else (last,)


def _checked_targets(targets: Collection[str] | None, present: Collection[str]) -> set[str]:
    valid = [name for name in _MODULES if name in present]
    if targets is None:
        return set(valid) - {ROUTER}
    chosen = {targets} if isinstance(targets, str) else set(targets)
    unknown = sorted(chosen - set(valid))
    if unknown or not chosen:
        raise ConfigError(f"targets: {', '.join(unknown) or 'none'}; expected some of {', '.join(valid)}")
    if ("gate_proj" in chosen) != ("up_proj" in chosen):
        raise ConfigError("targets: gate_proj and up_proj are one parameter in glmkit; name both or neither")
    return chosen


def _initialised(a: LoRAParam, b: LoRAParam, rngs: nnx.Rngs) -> tuple[LoRAParam, LoRAParam]:
    inputs = [size for size, axis in zip(a.shape, a.axes, strict=True) if not a.hf.spreads(axis)][: a.hf.contract]
    return _born(a, _uniform(1 / math.sqrt(math.prod(inputs))), rngs), _born(b, jax.nn.initializers.zeros, rngs)


def _born(factor: LoRAParam, init: Initializer, rngs: nnx.Rngs) -> LoRAParam:
    struct = factor.get_value()
    return factor.replace(born(init, struct.shape, struct.dtype, struct.sharding)(rngs.params()))


@functools.lru_cache  # one function, and so one program, for all factors of one shape
def _uniform(bound: float) -> Initializer:
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def _merged(adapted: Adapted) -> nnx.Param:
    """The weight alone, the update added."""
    base, a, b = adapted.base, adapted.a, adapted.b
    letter = dict(zip(dict.fromkeys((*base.axes, *a.axes)), string.ascii_letters, strict=False))
    spelled = ["".join(letter[axis] for axis in variable.axes) for variable in (a, b, base)]
    product = f"{spelled[0]},{spelled[1]}->{spelled[2]}"
    return base.replace(_add_update(base[...], a[...], b[...], adapted.scale, product))


@functools.partial(jax.jit, static_argnames="product")
def _add_update(
    w: Float[Array, "*Weight"], a: Float[Array, "*A"], b: Float[Array, "*B"], scale: float, product: str
) -> Float[Array, "*Weight"]:
    wide = jnp.promote_types(w.dtype, jnp.float32)
    update = jnp.einsum(
        product,
        a.astype(wide),
        b.astype(wide),
        precision=jax.lax.Precision.HIGHEST,
        out_sharding=jax.typeof(w).sharding,
    )
    return (w.astype(wide) + scale * update).astype(w.dtype)
