"""Grouped-query attention with optional bias and q/k-norm, half-split partial RoPE, with and without a cache."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from glmkit.model.adapter import project
from glmkit.model.cache import LAYER_AXES, LayerCache, cleared
from glmkit.model.layers import RMSNorm, Rope, rotate
from glmkit.model.ops.attention import attention, attention_cached, attention_weights, kernels
from glmkit.model.ops.vary import vary_like
from glmkit.model.params import Init, weight
from glmkit.sharding import mesh_of, partition_spec, platform_of

_TOKENS = partition_spec(("batch", None))
_QUERIES = partition_spec(("batch", None, "kv_heads", None, None))
_KEYS = partition_spec(("batch", None, "kv_heads", None))
_PATTERN = partition_spec(("batch", "kv_heads", None, None, None))
_EVERYWHERE = partition_spec(())
_CACHE = partition_spec(LAYER_AXES)


class Attention(nnx.Module):
    """Query heads are held as `[kv_heads, group]`, so that tensor sharding never splits a group of query heads."""

    def __init__(self, init: Init):
        c = init.config
        embed, kv, group, channels = c.hidden_size, c.num_key_value_heads, c.q_per_kv, c.head_dim
        heads = ("kv_heads", "group", "head_dim")
        self.q = init.matrix("self_attn.q_proj.weight", (embed, kv, group, channels), ("embed", *heads))
        self.k = init.matrix("self_attn.k_proj.weight", (embed, kv, channels), ("embed", "kv_heads", "head_dim"))
        self.v = init.matrix("self_attn.v_proj.weight", (embed, kv, channels), ("embed", "kv_heads", "head_dim"))
        self.o = init.matrix("self_attn.o_proj.weight", (kv, group, channels, embed), (*heads, "embed"), contract=3)
        self.rotary_dim = c.rotary_dim
        bias, norm = c.attention_bias, c.use_qk_norm
        self.q_bias = init.zeros("self_attn.q_proj.bias", (kv, group, channels), heads) if bias else None
        self.k_bias = init.zeros("self_attn.k_proj.bias", (kv, channels), ("kv_heads", "head_dim")) if bias else None
        self.v_bias = init.zeros("self_attn.v_proj.bias", (kv, channels), ("kv_heads", "head_dim")) if bias else None
        self.q_norm = RMSNorm("self_attn.q_norm.weight", channels, "head_dim", init) if norm else None
        self.k_norm = RMSNorm("self_attn.k_norm.weight", channels, "head_dim", init) if norm else None

    def __call__(
        self,
        x: Float[Array, "B T D"],
        rope: Rope,
        slots: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        cache: LayerCache | None,
        table: Int[Array, "B N"] | None,
        wanted: Bool[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B T D"], LayerCache | None, Float[Array, "B KV G T S"] | None]:
        """Without a cache, tokens see earlier ones of their segment; with one, all that their row holds up to them.

        If `wanted` is given, also how much each token attends to each, zeros where it is False.
        """
        q = self._project(x, self.q, self.q_bias, self.q_norm)
        k = self._project(x, self.k, self.k_bias, self.k_norm)
        v = self._project(x, self.v, self.v_bias, None)
        q, k = rotate(q, rope, self.rotary_dim), rotate(k, rope, self.rotary_dim)
        platform = platform_of(q)
        if wanted is not None and platform != "cpu":
            platform = None  # as the pattern says: kernels of accelerators form no weights to keep
        if cache is None:
            heads = _attend(q, k, v, segment_ids, platform)
        else:
            heads, cache = _attend_cached(q, k, v, slots, cache, table, platform)
        pattern = None
        if wanted is not None and cache is None:
            pattern = _pattern(wanted, q, k, segment_ids)
        elif wanted is not None:
            pattern = _pattern_cached(wanted, q, cache, slots, table)
        return project(heads, self.o), cache, pattern

    def _project(self, x, matrix, bias, norm) -> Array:
        y = project(x, matrix)
        if bias is not None:
            y = y + weight(bias, like=x)
        return y if norm is None else norm(y)


def _attend(q: Array, k: Array, v: Array, segment_ids: Array, platform: str | None) -> Array:
    @functools.partial(
        jax.shard_map,
        mesh=mesh_of(q),
        in_specs=(_QUERIES, _KEYS, _KEYS, _TOKENS),
        out_specs=_QUERIES,
        check_vma=not kernels(platform),  # JAX's own do not say over which axes their results vary
    )
    def local(q, k, v, segment_ids):
        return attention(q, k, v, segment_ids, platform)

    return local(q, k, v, segment_ids)


def _written(
    cache: Float[Array, "P KV S C"], page: Int[Array, "B T"], place: Int[Array, "B T"], new: Float[Array, "B T KV C"]
) -> Float[Array, "P KV S C"]:
    """With the keys or values of new tokens; those beyond the last page are dropped.

    A single token has one beside it that is dropped. On CPU, XLA makes another operation of a single write, fuses it
    into what reads it, and then copies the whole cache before each.
    """
    if page.size == 1:
        page = jnp.concatenate([page, jnp.full_like(page, cache.shape[0])], axis=1)
        place, new = jnp.repeat(place, 2, axis=1), jnp.repeat(new, 2, axis=1)
    return cache.at[page, :, place].set(new.astype(cache.dtype), mode="drop")


def _attend_cached(
    q: Array, k: Array, v: Array, slots: Array, cache: LayerCache, table: Array, platform: str | None
) -> tuple[Array, LayerCache]:
    reads_whole_pages = platform_of(q) == "tpu"

    @functools.partial(
        jax.shard_map,
        mesh=mesh_of(q),
        in_specs=(_QUERIES, _KEYS, _KEYS, _TOKENS, _CACHE, _CACHE, _TOKENS),
        out_specs=(_QUERIES, _CACHE, _CACHE),
        check_vma=not kernels(platform),
    )
    def local(q, k, v, slots, cache_k, cache_v, table):
        size = cache_k.shape[2]
        if reads_whole_pages:
            cache_k, cache_v = cleared(cache_k, table, slots), cleared(cache_v, table, slots)
        # Padding, whose slot is -1, and what is beyond a row's pages go past the last page, where a write is dropped.
        held = (slots >= 0) & (slots < table.shape[1] * size)
        page = jnp.take_along_axis(table, jnp.where(held, slots, 0) // size, axis=1)
        page, place = jnp.where(held, page, cache_k.shape[0]), slots % size
        cache_k, cache_v = (_written(x, page, place, new) for x, new in ((cache_k, k), (cache_v, v)))
        return attention_cached(q, cache_k, cache_v, table, slots, platform), cache_k, cache_v

    heads, cache_k, cache_v = local(q, k, v, slots, cache.k, cache.v, table)
    return heads, LayerCache(cache_k, cache_v)


def _pattern(wanted: Array, q: Array, k: Array, segment_ids: Array) -> Float[Array, "B KV G T T"]:
    @functools.partial(
        jax.shard_map, mesh=mesh_of(q), in_specs=(_EVERYWHERE, _QUERIES, _KEYS, _TOKENS), out_specs=_PATTERN
    )
    def local(wanted, q, k, segment_ids):
        steps = jnp.arange(q.shape[1])
        same = segment_ids[:, :, None] == segment_ids[:, None, :]
        return _if_wanted(wanted, q, k, same & (steps[:, None] >= steps))

    return local(wanted, q, k, segment_ids)


def _pattern_cached(
    wanted: Array, q: Array, cache: LayerCache, slots: Array, table: Array
) -> Float[Array, "B KV G T S"]:
    @functools.partial(
        jax.shard_map,
        mesh=mesh_of(q),
        in_specs=(_EVERYWHERE, _QUERIES, _CACHE, _TOKENS, _TOKENS),
        out_specs=_PATTERN,
    )
    def local(wanted, q, cache_k, slots, table):
        pages = cache_k[table].swapaxes(2, 3)  # [B, N, PAGE, KV, C]
        keys = pages.reshape(pages.shape[0], -1, *pages.shape[3:])
        return _if_wanted(wanted, q, keys, jnp.arange(keys.shape[1]) <= slots[..., None])

    return local(wanted, q, cache.k, slots, table)


def _if_wanted(wanted: Array, q: Array, k: Array, visible: Array) -> Array:
    """The weights of attention, 0 at all that is not visible; not computed where nobody keeps them."""
    rows, steps, kv, group, _ = q.shape
    zeros = jnp.zeros((rows, kv, group, steps, k.shape[1]), jnp.promote_types(q.dtype, jnp.float32))

    def weights():
        return jnp.where(visible[:, None, None], attention_weights(q, k, visible), 0)

    return jax.lax.cond(wanted, weights, lambda: vary_like(zeros, q, k, visible))
