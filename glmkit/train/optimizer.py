"""Optimisers as `optax` transformations that read a parameter's role off its declaration, and GLM-4.5's schedules."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float
from optax.contrib import MuonDimensionNumbers

from glmkit.errors import ConfigError
from glmkit.model.params import is_variable
from glmkit.sharding import mesh_of

__all__ = ["adamw", "apply_optimizer", "batch_warmup", "cosine", "make_optimizer", "muon", "with_master_weights"]

Rate = float | optax.Schedule
Optimizer = Literal["adamw", "muon"]


def make_optimizer(
    name: Optimizer,
    learning_rate: Rate,
    *,
    weight_decay: float = 0.1,
    clip: float | None = 1.0,
    master_weights: bool = True,
) -> optax.GradientTransformation:
    """Clipping by the global norm, then Muon or AdamW; with `master_weights` as `with_master_weights` has it.

    Raises `ConfigError` for another name.
    """
    makers = {"adamw": adamw, "muon": muon}
    if name not in makers:
        raise ConfigError(f"optimizer is {name!r}; expected one of {', '.join(makers)}")
    parts = [] if clip is None else [clip_by_gradient_norm(clip)]
    optimizer = optax.chain(*parts, makers[name](learning_rate, weight_decay=weight_decay))
    return with_master_weights(optimizer) if master_weights else optimizer


def clip_by_gradient_norm(largest: float) -> optax.GradientTransformationExtraArgs:
    """Scale gradients down whose global norm is larger. A caller that knows the norm tells it as `gradient_norm`.

    `optax.clip_by_global_norm` always takes the norm, and divides each number, which XLA does not fuse with what
    follows: two more passes over memory.
    """

    def update(gradients, state, params=None, *, gradient_norm=None, **_):
        norm = optax.tree.norm(gradients) if gradient_norm is None else gradient_norm
        scale = largest / jnp.maximum(norm, largest)
        return jax.tree.map(lambda g: g * scale.astype(g.dtype), gradients), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def muon(learning_rate: Rate, *, weight_decay: float = 0.1, adam_b2: float = 0.95) -> optax.GradientTransformation:
    """Muon for every matrix, AdamW for embeddings, heads, biases and norms, as GLM-4.5 was trained (arXiv 2508.06471).

    Five Newton-Schulz steps, Nesterov momentum 0.95, updates scaled to a root mean square of 0.2. Matrices that a
    parameter holds side by side (experts, gate and up, stacked layers) are orthogonalised each on its own.
    """
    matrices = optax.contrib.muon(
        learning_rate,
        ns_steps=5,
        beta=0.95,
        nesterov=True,
        consistent_rms=0.2,
        weight_decay=weight_decay,
        muon_weight_dimension_numbers=matrix_axes,
    )
    others = adamw(learning_rate, weight_decay=weight_decay, b2=adam_b2)

    def label(variable: nnx.Variable) -> str:
        return "adamw" if _matrix_axes(variable) is None else "muon"

    return optax.partition({"muon": matrices, "adamw": others}, functools.partial(_map_declared, label))


def adamw(
    learning_rate: Rate, *, weight_decay: float = 0.1, b1: float = 0.9, b2: float = 0.95, eps: float = 1e-8
) -> optax.GradientTransformation:
    """AdamW that decays matrices and embeddings, and leaves biases and norms alone."""
    return optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=_decayed)


def cosine(peak: float, steps: int, *, warmup: int = 0, end: float | None = None) -> optax.Schedule:
    """From 0 to `peak` in `warmup` steps, then by a cosine to `end` (a tenth of the peak) at step `steps`."""
    end = peak / 10 if end is None else end
    return optax.warmup_cosine_decay_schedule(0.0 if warmup else peak, peak, warmup, max(steps, warmup + 1), end)


def batch_warmup(first: int, last: int, steps: int) -> Callable[[int], int]:
    """Micro-batches at each step, from `first` to `last` over `steps` steps, as GLM-4.5 grew its batch."""
    return lambda step: last if step >= steps else first + (last - first) * step // steps


class MasterState(NamedTuple):
    """Float32 copies of the parameters, which are what is optimised."""

    master: optax.Params
    inner: optax.OptState


def with_master_weights(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Where parameters are narrower than float32, optimise copies that are not, which the parameters become the
    rounding of: small updates are not lost. Else the optimiser as it is."""
    optimizer = optax.with_extra_args_support(optimizer)

    def wide(params):
        return jax.tree.map(lambda p: p.astype(jnp.promote_types(p.dtype, jnp.float32)), params)

    def init(params):
        if all(leaf.dtype.itemsize >= 4 for leaf in jax.tree.leaves(params)):
            return optimizer.init(params)
        master = wide(params)
        return MasterState(master, optimizer.init(master))

    def update(gradients, state, params, **extra):
        if not isinstance(state, MasterState):
            return optimizer.update(gradients, state, params, **extra)
        updates, inner = optimizer.update(wide(gradients), state.inner, state.master, **extra)
        master = optax.apply_updates(state.master, updates)
        rounded = jax.tree.map(lambda m, p: m.astype(p.dtype), master, params)
        # In float32, so that adding it to the parameter and rounding gives the rounding of the copy.
        moved = jax.tree.map(jnp.subtract, wide(rounded), wide(params))
        return moved, MasterState(master, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def apply_optimizer(
    optimizer: optax.GradientTransformation,
    gradients: nnx.State,
    params: nnx.State,
    opt_state: optax.OptState,
    gradient_norm: Float[Array, ""],
) -> tuple[nnx.State, optax.OptState]:
    """The parameters and the optimiser's state after one update, in the dtypes that they had; gradients may be wider.

    The compiler is free to lay out what happens inside: Muon reshapes split axes.
    """
    update = optax.with_extra_args_support(optimizer).update

    def moved(gradients, params, opt_state, gradient_norm):
        updates, after = update(gradients, opt_state, params, gradient_norm=gradient_norm)
        return optax.apply_updates(params, updates), jax.tree.map(lambda x, old: x.astype(old.dtype), after, opt_state)

    mesh = mesh_of(jax.tree.leaves(params)[0])

    def layout(x: Array) -> NamedSharding:
        own = jax.typeof(x).sharding  # of none where JAX 0.12 made zeros
        return NamedSharding(mesh, PartitionSpec(*[None] * x.ndim)) if own.mesh.empty else own

    like = jax.tree.map(layout, (params, opt_state))
    return jax.sharding.auto_axes(moved, out_sharding=like)(gradients, params, opt_state, gradient_norm)


def matrix_axes(params: nnx.State) -> nnx.State:
    """For each parameter the axes that make up its matrix, as `optax.contrib.muon` asks; None leaves it to AdamW."""
    return _map_declared(_matrix_axes, params)


def _map_declared(function: Callable[[nnx.Variable], object], params: nnx.State) -> nnx.State:
    return jax.tree.map(function, params, is_leaf=is_variable)


def _matrix_axes(variable: nnx.Variable) -> MuonDimensionNumbers | None:
    """The axes that make up the parameter's matrix, the others being a batch of them; None leaves it to AdamW."""
    layout, axes = variable.hf, variable.axes
    if not layout.contract or "vocab" in axes:
        return None
    kept = [place for place, axis in enumerate(axes) if not layout.spreads(axis)]
    return MuonDimensionNumbers(tuple(kept[: layout.contract]), tuple(kept[layout.contract :]))


def _decayed(params: nnx.State) -> nnx.State:
    """Whether a parameter is decayed: linear maps and embeddings are, which `HFLayout` stores as more than a vector."""
    return _map_declared(lambda variable: variable.hf.contract != 0, params)
