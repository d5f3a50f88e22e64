"""Grouped-query attention with optional bias and q/k-norm, half-split partial RoPE, with and without a cache."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from glmkit.model.adapter import project
from glmkit.model.cache import LAYER_AXES, LayerCache
from glmkit.model.layers import RMSNorm, Rope, rotate
from glmkit.model.ops.attention import attention, attention_blocked
from glmkit.model.params import Init, weight
from glmkit.sharding import mesh_of, partition_spec

_TOKENS = partition_spec(("batch", None))
_QUERIES = partition_spec(("batch", None, "kv_heads", None, None))
_KEYS = partition_spec(("batch", None, "kv_heads", None))
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
    ) -> tuple[Float[Array, "B T D"], LayerCache | None]:
        """Without a cache, tokens see earlier ones of their segment; with one, all that their row holds up to them."""
        q = self._project(x, self.q, self.q_bias, self.q_norm)
        k = self._project(x, self.k, self.k_bias, self.k_norm)
        v = self._project(x, self.v, self.v_bias, None)
        q, k = rotate(q, rope, self.rotary_dim), rotate(k, rope, self.rotary_dim)
        if cache is None:
            heads = _attend(q, k, v, segment_ids)
        else:
            heads, cache = _attend_cached(q, k, v, slots, cache, table)
        return project(heads, self.o), cache

    def _project(self, x, matrix, bias, norm) -> Array:
        y = project(x, matrix)
        if bias is not None:
            y = y + weight(bias, like=x)
        return y if norm is None else norm(y)


def _attend(q: Array, k: Array, v: Array, segment_ids: Array) -> Array:
    specs = (_QUERIES, _KEYS, _KEYS, _TOKENS)
    return jax.shard_map(attention, mesh=mesh_of(q), in_specs=specs, out_specs=_QUERIES)(q, k, v, segment_ids)


def _attend_cached(
    q: Array, k: Array, v: Array, slots: Array, cache: LayerCache, table: Array
) -> tuple[Array, LayerCache]:
    @functools.partial(
        jax.shard_map,
        mesh=mesh_of(q),
        in_specs=(_QUERIES, _KEYS, _KEYS, _TOKENS, _CACHE, _CACHE, _TOKENS),
        out_specs=(_QUERIES, _CACHE, _CACHE),
    )
    def local(q, k, v, slots, cache_k, cache_v, table):
        size = cache_k.shape[2]
        # Padding, whose slot is -1, and what is beyond a row's pages go past the last page, where a write is dropped.
        held = (slots >= 0) & (slots < table.shape[1] * size)
        page = jnp.take_along_axis(table, jnp.where(held, slots, 0) // size, axis=1)
        page, place = jnp.where(held, page, cache_k.shape[0]), slots % size
        cache_k = cache_k.at[page, :, place].set(k.astype(cache_k.dtype), mode="drop")
        cache_v = cache_v.at[page, :, place].set(v.astype(cache_v.dtype), mode="drop")
        return attention_blocked(q, cache_k, cache_v, table, slots), cache_k, cache_v

    heads, cache_k, cache_v = local(q, k, v, slots, cache.k, cache.v, table)
    return heads, LayerCache(cache_k, cache_v)
