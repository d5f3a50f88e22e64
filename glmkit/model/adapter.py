"""Low-rank adapters (LoRA, arXiv 2106.09685): the weight of a linear map with a small update beside it.

Holds what an adapter is, where in a model one may stand, and how it computes; `glmkit.train.lora` makes and merges
them, `glmkit.weights.peft` keeps them in files.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from glmkit.model.ops.linear import linear
from glmkit.model.params import HFLayout, weight

if TYPE_CHECKING:
    from glmkit.model.transformer import GLM

RANK = "rank"  # the axis between the factors, never split
_EXPERT, _GATE_UP = "expert", "gate_up"


class LoRAParam(nnx.Variable):
    """A factor of a low-rank update, in float32 at least.

    No subclass of `nnx.Param`, so that the two filters divide a model: `nnx.Param` is the weights, `LoRAParam` what was
    put beside them.
    """


class Adapted(nnx.Module):
    """Stands in the place of a weight W: `x W + scale (x A) B`. The sum of the weights themselves is never formed."""

    def __init__(self, base: nnx.Param, a: LoRAParam, b: LoRAParam, scale: float):
        self.base, self.a, self.b, self.scale = base, a, b, scale

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""
        return self.base.shape

    @property
    def rank(self) -> int:
        """Width of the update."""
        return self.a.shape[-1]

    def __call__(self, x: Float[Array, "*In"]) -> Float[Array, "*Out"]:
        """`project` of rows `x`."""
        contract = self.base.hf.contract
        low = linear(x, weight(self.a, like=x).astype(x.dtype), contract)
        b = weight(self.b, like=x).astype(x.dtype)
        pair = _GATE_UP in self.a.axes  # the gate and the up projection each have an A and a B
        update = jnp.einsum("...gr,grm->...gm", low, b) if pair else linear(low, b)
        return linear(x, weight(self.base, like=x), contract) + self.scale * update


def project(x: Float[Array, "*In"], parameter: nnx.Variable | Adapted) -> Float[Array, "*Out"]:
    """The linear map `parameter`, `[*in, *out]`, of rows `x`, `[*rows, *in]`, to `[*rows, *out]`, adapter included."""
    if isinstance(parameter, Adapted):
        return parameter(x)
    return linear(x, weight(parameter, like=x), parameter.hf.contract)


def apply_product(product: Callable[[Array, Array], Array], x: Array, w: Array | Adapted) -> Array:
    """`product(x, w)` for a weight laid out by the caller: an array, or an `Adapted` that holds arrays."""
    if not isinstance(w, Adapted):
        return product(x, w)
    low = product(x, w.a.astype(x.dtype))
    return product(x, w.base) + w.scale * product(low, w.b.astype(x.dtype))


def low_rank(base: nnx.Param, rank: int) -> tuple[LoRAParam, LoRAParam]:
    """The factors A and B for a weight, declared: shapes, dtypes, shardings and names, without values.

    Parts of the weight that are linear maps of their own (experts, stacked layers, gate and up) have factors of their
    own, but for a routed expert's gate and up: they share an A, as the reference holds them in one matrix.
    """
    value, axes, layout = base.get_value(), base.axes, base.hf
    routed = layout.spreads(_EXPERT)
    separate = [axis for axis in axes if layout.spreads(axis) and not (routed and axis == _GATE_UP)]
    inputs = [axis for axis in axes if not layout.spreads(axis)][: layout.contract]
    outputs = [axis for axis in axes if axis not in (*separate, *inputs)]
    size = dict(zip(axes, value.shape, strict=True)) | {RANK: rank}
    split = dict(itertools.zip_longest(axes, value.sharding.spec))
    module = layout.name.removesuffix(".weight")
    if routed:
        module = module.replace(f"{{{_GATE_UP}}}", "gate_up_proj")

    def factor(letter: str, axes: tuple[str, ...], contract: int) -> LoRAParam:
        sharding = NamedSharding(value.sharding.mesh, PartitionSpec(*(split.get(axis) for axis in axes)))
        dtype = jnp.promote_types(value.dtype, jnp.float32)
        struct = jax.ShapeDtypeStruct(tuple(size[axis] for axis in axes), dtype, sharding=sharding)
        return LoRAParam(struct, axes=axes, hf=HFLayout(f"{module}.lora_{letter}.weight", contract))

    a_axes = (*(axis for axis in axes if axis not in outputs), RANK)
    return factor("A", a_axes, layout.contract), factor("B", (*separate, RANK, *outputs), 1)


@dataclass(frozen=True)
class Place:
    """A linear map of a block (or of a stack of them): the module and attribute that hold it, and its checkpoint name.

    `prefix` and `layer_numbers` are as for `glmkit.model.params.hf_tensors`.
    """

    owner: nnx.Module
    attribute: str
    prefix: str
    layer_numbers: tuple[int, ...]
    in_mtp: bool

    @property
    def parameter(self) -> nnx.Param | Adapted:
        """What is there."""
        return getattr(self.owner, self.attribute)

    @property
    def base(self) -> nnx.Param:
        """The weight, with an adapter or without."""
        return self.parameter.base if isinstance(self.parameter, Adapted) else self.parameter

    def put(self, parameter: nnx.Param | Adapted) -> None:
        """Replace what is there."""
        setattr(self.owner, self.attribute, parameter)


def places(model: "GLM") -> Iterator[Place]:
    """Every linear map in the blocks of a model, those of the multi-token-prediction layer's last."""
    for part, prefix, numbers in model.checkpoint_parts():
        if numbers:
            yield from _in_module(part, prefix, numbers, in_mtp=False)
    if model.mtp is not None:
        yield from _in_module(model.mtp.block, prefix, (), in_mtp=True)  # the last part is this layer


def adapted_places(model: "GLM") -> list[Place]:
    """The places with an adapter."""
    return [place for place in places(model) if isinstance(place.parameter, Adapted)]


def shallow_copy(model: "GLM") -> "GLM":
    """A model of its own modules that shares the arrays."""
    return jax.tree.map(lambda leaf: leaf, model)


def _in_module(module: nnx.Module, prefix: str, numbers: tuple[int, ...], in_mtp: bool) -> Iterator[Place]:
    for name, value in sorted(vars(module).items()):
        if isinstance(value, Adapted) or (isinstance(value, nnx.Param) and value.hf.contract):
            yield Place(module, name, prefix, numbers, in_mtp)
        elif isinstance(value, nnx.Module):
            yield from _in_module(value, prefix, numbers, in_mtp)
