"""GLM: the whole network. Training, prefill, decode and scoring all call `GLM.__call__`."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Literal, Self, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AbstractMesh, Mesh
from jaxtyping import Array, DTypeLike, Float, Int

from glmkit.config import GLMConfig
from glmkit.errors import ConfigError, MeshError
from glmkit.model.adapter import adapted_places
from glmkit.model.block import Block, Context
from glmkit.model.cache import KVCache, LayerCache
from glmkit.model.capture import Keep, Kept, Tap, collected, empty_buffers
from glmkit.model.defaults import default_dtype, floating_dtype, single_device_mesh
from glmkit.model.intervene import Interventions
from glmkit.model.layers import RMSNorm, rope_angles
from glmkit.model.moe import Load
from glmkit.model.mtp import MTP, MTPTables
from glmkit.model.ops.embedding import embedding
from glmkit.model.ops.linear import linear
from glmkit.model.ops.zero_gradient import zero_gradient
from glmkit.model.params import Buffer, Init, is_variable, stack, unstack, weight
from glmkit.sharding import COMPUTE_RULES, FSDP_RULES, constrain, handed_out, named_sharding

Ids = Int[Array | np.ndarray, "B T"]
Remat = Literal["none", "block"]  # what a gradient computes again instead of keeping it


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Output:
    """`hidden` after the final norm; the cache after these tokens; how many valid tokens chose each expert.

    `kept` is what `keep` named. `sequence_loss`, if asked for, is each MoE layer's sum over segments of
    `glmkit.model.moe.sequence_loss`.
    """

    hidden: jax.Array  # [B, T, D]
    cache: KVCache | None
    kept: Kept | None
    load: jax.Array  # [moe_layer, E], float32
    sequence_loss: jax.Array | None = None  # [moe_layer], float32


class GLM(nnx.Module):
    """GLM-4.5: attention over grouped queries, sigmoid-routed experts, and the multi-token-prediction layer.

    Blocks are a list with one module per layer, or two stacks (`stacked=True`: the dense layers and the others) that
    run under `jax.lax.scan`. Parameters are born on `mesh` (default: one device), placed by the rules of
    `glmkit.sharding`; `fsdp=True` also splits them over the data axis. `layer_numbers` keeps only some of the
    config's layers, for study. `rngs=None` makes an abstract model of shapes and shardings. `mtp` names where the
    prediction layer's embedding and head come from; None leaves it out.

    Its methods are compiled on their own, so that calling them in a notebook is quick; inside another `jax.jit` they
    become part of that program.
    """

    def __init__(
        self,
        config: GLMConfig,
        *,
        rngs: nnx.Rngs | None,
        dtype: DTypeLike = jnp.float32,
        mesh: Mesh | None = None,
        fsdp: bool = False,
        stacked: bool = False,
        layer_numbers: tuple[int, ...] | None = None,
        mtp: MTPTables | None = "shared",
    ):
        mesh = single_device_mesh() if mesh is None else mesh
        if not isinstance(mesh, Mesh | AbstractMesh):
            raise MeshError(f"mesh is {mesh!r}; expected what glmkit.mesh makes, or None for one device")
        init = Init(config, rngs, floating_dtype(dtype), mesh, FSDP_RULES if fsdp else COMPUTE_RULES)
        table, shape = ("vocab", "embed"), (config.vocab_size, config.hidden_size)
        self.config = config
        self.layer_numbers = tuple(range(config.num_hidden_layers)) if layer_numbers is None else layer_numbers
        self.embed = init.matrix("model.embed_tokens.weight", shape, table, contract=None)
        blocks = [Block(number, init) for number in self.layer_numbers]
        self.blocks = nnx.List(blocks)
        self.norm = RMSNorm("model.norm.weight", config.hidden_size, "embed", init)
        self.head = None if config.tie_word_embeddings else init.matrix("lm_head.weight", shape[::-1], table[::-1])
        self.mtp = MTP(mtp, init) if mtp and config.num_nextn_predict_layers else None
        self.layer_counts: tuple[int | None, ...] = (None,) * len(blocks)
        # (tensor, dtype) of what the checkpoint it came from stores otherwise than its config says; "" names the rest.
        self.stored_dtypes: tuple[tuple[str, str], ...] = ()
        if stacked:
            self._stack()

    @classmethod
    def abstract(
        cls,
        config: GLMConfig,
        *,
        mesh: Mesh | None = None,
        dtype: DTypeLike | None = None,
        fsdp: bool = False,
        stacked: bool = False,
        layers: slice | None = None,
        mtp: MTPTables | None = "shared",
    ) -> Self:
        """Shapes, dtypes and shardings of a model to be loaded, without memory.

        `dtype` defaults to `default_dtype()`. `layers` keeps only these, and then leaves out multi-token prediction.
        """
        numbers = _kept_layers(config, layers)
        return cls(
            config,
            rngs=None,
            dtype=default_dtype(mesh) if dtype is None else dtype,
            mesh=mesh,
            fsdp=fsdp,
            stacked=stacked,
            layer_numbers=numbers,
            mtp=mtp if len(numbers) == config.num_hidden_layers else None,
        )

    @functools.partial(jax.jit, static_argnames=("sequence_loss", "remat"))
    def __call__(
        self,
        tokens: Ids,
        *,
        positions: Ids | None = None,
        segment_ids: Ids | None = None,
        cache: KVCache | None = None,
        interventions: Interventions | None = None,
        keep: Keep | None = None,
        sequence_loss: bool = False,
        remat: Remat = "none",
    ) -> Output:
        """One forward pass over `tokens`, with `interventions`, and with what `keep` names in `Output.kept`.

        A negative segment id is padding. Without a cache, tokens see earlier tokens of their own segment, and
        positions count from the start of the segment. With one, tokens are appended to their row (padding is not
        stored), see all that the row holds, and positions go on from it. With `remat="block"` a gradient keeps only
        what goes into each block and computes the block again: less memory for one more forward pass. On CPU that
        saves memory in a stacked model only.
        """
        context = self._context(tokens, positions, segment_ids, cache, sequence_loss)
        x = self._embed(self.embed, tokens)
        tap = self._tap(x, cache, interventions, keep)
        x, layers, load, kept = self._run_blocks(x, context, cache, remat, tap)
        if cache is not None:
            cache = KVCache(layers, cache.table, cache.length + context.valid.sum(axis=1, dtype=jnp.int32))
        hidden = handed_out(zero_gradient(self.norm(x), self._outside_the_loss()))
        if keep is not None and keep.logits:
            kept = dataclasses.replace(kept, logits=self.logits(hidden))
        return Output(hidden, cache, jax.tree.map(handed_out, kept), *load)

    @jax.jit
    def logits(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Next-token logits in float32, from hidden states after the final norm."""
        return self._logits(hidden, self.head)

    @functools.partial(jax.jit, static_argnames="sequence_loss")
    def predict_second(
        self,
        hidden: Float[Array, "B T D"],
        next_tokens: Ids,
        *,
        positions: Ids | None = None,
        segment_ids: Ids | None = None,
        cache: KVCache | None = None,
        sequence_loss: bool = False,
    ) -> Output:
        """The multi-token-prediction layer: states whose `mtp_logits` predict the token after `next_tokens`.

        `hidden` is `Output.hidden` at the same positions. Raises `ValueError` when the model has no such layer.
        """
        if self.mtp is None:
            raise ValueError("this model has no multi-token-prediction layer (its checkpoint holds none)")
        context = self._context(next_tokens, positions, segment_ids, cache, sequence_loss)
        embedded = self._embed(self.embed if self.mtp.embed is None else self.mtp.embed, next_tokens)
        layer = None if cache is None else cache.layers[0]
        hidden = constrain(hidden, "batch", None, None, like=self.embed[...])
        x, layer, load = self.mtp(embedded, hidden, context, layer)
        if cache is not None:
            cache = KVCache((layer,), cache.table, cache.length + context.valid.sum(axis=1, dtype=jnp.int32))
        return Output(handed_out(x), cache, None, *jax.tree.map(lambda leaf: leaf[None], load))

    @jax.jit
    def mtp_logits(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Logits from the states of `predict_second`, by the layer's own head or the model's."""
        return self._logits(hidden, self.head if self.mtp is None or self.mtp.head is None else self.mtp.head)

    def empty_cache(self, rows: int, capacity: int, *, mtp: bool = False) -> KVCache:
        """A cache for `rows` sequences of up to `capacity` tokens, in the model's dtype and on its mesh.

        With `mtp` its last layer is that of multi-token prediction.
        """
        embed = self.embed[...]
        counts = (*self.layer_counts, None) if mtp else self.layer_counts
        return KVCache.abstract(self.config, counts, rows, capacity, embed.dtype, embed.sharding.mesh).allocated()

    @property
    def num_parameters(self) -> int:
        """Numbers this model holds, correction biases and multi-token prediction among them."""
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self))

    @property
    def truncated(self) -> bool:
        """Whether some of the checkpoint's layers were left out; such a model is for study and cannot be exported."""
        return self.layer_numbers != tuple(range(self.config.num_hidden_layers))

    def stacked(self) -> Self:
        """The same model with its blocks as stacks."""
        model = self.unstacked()
        model._stack()
        return model

    def unstacked(self) -> Self:
        """The same model with one module per layer."""
        model = jax.tree.map(lambda leaf: leaf, self)
        blocks = zip(self.blocks, self.layer_counts, strict=True)
        model.blocks = nnx.List(
            [one for block, count in blocks for one in ([block] if count is None else unstack(block))]
        )
        model.layer_counts = (None,) * len(model.blocks)
        return model

    def checkpoint_parts(self) -> Iterator[tuple[nnx.Module | nnx.Variable, str, tuple[int, ...]]]:
        """Each part of the model with its name prefix in the checkpoint and, for a block, the numbers of its layers."""
        yield self.embed, "", ()
        first = 0
        for block, count in zip(self.blocks, self.layer_counts, strict=True):
            numbers = self.layer_numbers[first : first + (count or 1)]
            yield block, "model.layers.{layers}.", numbers
            first += count or 1
        yield self.norm, "", ()
        if self.head is not None:
            yield self.head, "", ()
        if self.mtp is not None:
            yield self.mtp, f"model.layers.{self.config.num_hidden_layers}.", ()

    def __repr__(self) -> str:
        embed = self.embed.get_value()
        kept = f"only layers {list(self.layer_numbers)} of " if self.truncated else ""
        mtp = "with" if self.mtp is not None else "without"
        adapted = len(adapted_places(self))
        adapter = f", a LoRA adapter on {adapted} parameters" if adapted else ""
        axes = ", ".join(f"{axis}={size}" for axis, size in embed.sharding.mesh.shape.items() if size > 1)
        return (
            f"GLM({self.num_parameters:,} parameters in {embed.dtype}, {kept}{self.config.num_hidden_layers} layers, "
            f"{mtp} multi-token prediction{adapter}, on {axes or 'one device'})"
        )

    __str__ = __repr__

    def _stack(self) -> None:
        dense = [b for b, n in zip(self.blocks, self.layer_numbers, strict=True) if not self.config.is_moe(n)]
        groups = [group for group in (dense, list(self.blocks)[len(dense) :]) if group]
        self.blocks = nnx.List([stack(group) for group in groups])
        self.layer_counts = tuple(len(group) for group in groups)

    def _context(self, tokens, positions, segment_ids, cache, sequence_loss: bool) -> Context:
        tokens_like = named_sharding(self.embed[...], "batch", None)
        if segment_ids is None:
            segment_ids = jnp.zeros(tokens.shape, jnp.int32)
        segment_ids = jax.sharding.reshard(segment_ids, tokens_like)
        valid = segment_ids >= 0
        places = _count_within_segments(segment_ids) if cache is None or sequence_loss else None
        slots = places if cache is None else cache.slots(valid)
        starts = jnp.arange(tokens.shape[1]) - places if sequence_loss else None
        if positions is None:
            positions = jnp.maximum(slots, 0)
        c, positions = self.config, jax.sharding.reshard(positions, tokens_like)
        rope = rope_angles(positions, c.rotary_dim, c.head_dim, c.rope_theta)
        return Context(rope, slots, None if cache is None else cache.table, segment_ids, valid, starts)

    def _embed(self, table: nnx.Param, tokens: Ids) -> Float[Array, "B T D"]:
        like = self.embed[...]
        tokens = jax.sharding.reshard(tokens, named_sharding(like, "batch", None))
        return embedding(weight(table, like=like), tokens, named_sharding(like, "batch", None, None))

    def _outside_the_loss(self) -> list[jax.Array]:
        """What a loss may do without: the head, multi-token prediction, and the buffers that no loss depends on."""
        blocks = jax.tree.leaves(self.blocks, is_leaf=is_variable)
        buffers = [variable for variable in blocks if isinstance(variable, Buffer)]
        return jax.tree.leaves((self.head, self.mtp, buffers))

    def _logits(self, hidden: Array, head: nnx.Param | None) -> Array:
        """By a head, or where the model has none by its embedding."""
        hidden = constrain(hidden, "batch", None, None, like=self.embed[...])
        table = weight(self.embed if head is None else head, like=hidden)
        return handed_out(token_logits(hidden, table, tied=head is None))

    def _tap(
        self, x: Array, cache: KVCache | None, interventions: Interventions | None, keep: Keep | None
    ) -> Tap | None:
        """What every block keeps and changes, before the first; None if nothing is."""
        if interventions is None and keep is None:
            return None
        keys = x.shape[1] if cache is None else cache.capacity
        buffers = None if keep is None else empty_buffers(keep, self.config, x, keys)
        changes = None if interventions is None else interventions.placed(x)
        zero = jnp.int32(0)
        return Tap(zero, zero, keep, buffers, changes)

    def _run_blocks(
        self, x: Array, context: Context, cache: KVCache | None, remat: Remat, tap: Tap | None
    ) -> tuple[Array, tuple[LayerCache, ...] | None, Load, Kept | None]:
        """Every block in turn; the loads and routes of the MoE layers are stacked in layer order."""
        layers, loads, routes, first = [], [], [], 0
        caches = [None] * len(self.blocks) if cache is None else cache.layers
        dense = sum(not self.config.is_moe(number) for number in self.layer_numbers)
        carry = (x, None if tap is None else tap.buffers)
        for block, count, layer in zip(self.blocks, self.layer_counts, caches, strict=True):
            numbers = None if tap is None else jnp.arange(first, first + (count or 1), dtype=jnp.int32)
            run = functools.partial(_run_block, context=context, tap=tap, dense=dense)
            if count is None:
                number = None if tap is None else numbers[0]
                carry, (layer, *seen) = _runner(run, remat)(carry, (block, layer, number))
                seen = jax.tree.map(lambda leaf: leaf[None], seen)
            else:
                carry, (layer, *seen) = jax.lax.scan(_runner(run, remat, scanned=True), carry, (block, layer, numbers))
            layers.append(layer)
            loads += [] if seen[0] is None else [seen[0]]
            routes += [] if seen[1] is None else [seen[1]]
            first += count or 1
        if not loads:
            nothing = jnp.zeros((0, self.config.n_routed_experts), jnp.float32)
            loads = [Load(nothing, None if context.starts is None else nothing.sum(-1))]
        load, *routes = (
            jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *each) for each in (loads, routes) if each
        )
        x, buffers = carry
        kept = None if buffers is None else collected(buffers, *routes, config=self.config)
        return x, None if cache is None else tuple(layers), load, kept


def token_logits(
    hidden: Float[Array, "B T D"], table: Float[Array, "..."], tied: bool, dtype: DTypeLike = jnp.float32
) -> Float[Array, "B T V"]:
    """Logits, by default in float32, by a head, `[D, V]`, or with `tied` by an embedding, `[V, D]`."""
    if not tied:
        return linear(hidden, table, dtype=dtype)
    return jnp.einsum("btd,vd->btv", hidden, table, preferred_element_type=dtype)


def _run_block(carry, block_cache_number, context: Context, tap: Tap | None, dense: int):
    (x, buffers), (block, layer, number) = carry, block_cache_number
    if tap is not None:
        tap = dataclasses.replace(tap, layer=number, moe_layer=number - dense, buffers=buffers)
    out = block(x, context, layer, tap)
    return (out.x, out.buffers), (out.cache, out.load, out.routes)


def _runner(run: Callable, remat: Remat, scanned: bool = False) -> Callable:
    """`run` for one block, computed again for a gradient if `remat` says so."""
    match remat:
        case "none":
            return run
        case "block":  # in a scan nothing could merge the second computation with the first
            return jax.checkpoint(run, prevent_cse=not scanned)
    raise ConfigError(f"remat is {remat!r}; expected {' or '.join(map(repr, get_args(Remat)))}")


def _kept_layers(config: GLMConfig, layers: slice | None) -> tuple[int, ...]:
    every = tuple(range(config.num_hidden_layers))
    try:
        kept = every if layers is None else every[layers]
    except (TypeError, ValueError):  # bounds that are no integers, a step of 0
        kept = ()
    if not isinstance(kept, tuple) or not kept or kept != tuple(sorted(kept)):
        raise ConfigError(
            f"layers is {layers!r}; expected a slice that names some of the {len(every)} layers, in their order"
        )
    return kept


def _count_within_segments(segment_ids: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Each token's place within its run of equal segment ids, from 0."""
    steps = jnp.arange(segment_ids.shape[1])
    before = jnp.pad(segment_ids[:, :-1], ((0, 0), (1, 0)), constant_values=-2)  # which no segment has
    first = segment_ids != before
    places = steps - jax.lax.cummax(jnp.where(first, steps, 0), axis=1)
    return jax.sharding.reshard(places, jax.typeof(segment_ids).sharding)  # which JAX 0.12 forgets
