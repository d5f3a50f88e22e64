"""Known tokens through the model once, in chunks of bounded memory, with what is kept of them brought to the host."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from glmkit.errors import MemoryPlanError
from glmkit.model import GLM, Interventions, Keep, Kept, KVCache
from glmkit.model.capture import LAYER_SITES, on_host
from glmkit.model.intervene import leading_axes
from glmkit.parallel.planner import free_bytes

__all__ = ["CHUNK", "Piece", "Rows", "bytes_kept", "require_room", "score", "token_logprobs"]

CHUNK = 512  # tokens of a row in one step
_LEAST = 32
_HEAD = 128  # positions whose logits are held at once
_SHARE = 0.8  # of what is free


class Rows(NamedTuple):
    """Rows of tokens that are scored side by side: `tokens` padded to one length, and how many of each are there."""

    tokens: Int[np.ndarray, "B T"]
    lengths: Int[np.ndarray, " B"]


class Piece(NamedTuple):
    """What came of `count` tokens of every row from `start` on, those beyond a row's length included.

    `kept` holds NumPy arrays, `[..., B, count, ...]`. `logprobs` is that of the next token, NaN where there is none;
    `likeliest` whether no other is likelier.
    """

    start: int
    count: int
    kept: Kept
    logprobs: Float[np.ndarray, "B count"]
    likeliest: Bool[np.ndarray, "B count"]


def score(
    model: GLM,
    rows: Rows,
    keep: Keep,
    interventions: Callable[[int, int], Interventions | None] | None = None,
) -> Iterator[Piece]:
    """Run rows chunk by chunk; `interventions(start, count)` says what changes in the `count` tokens from `start` on.

    The programs depend on the number of rows, on what is kept and changed, and on lengths in steps of powers of two.
    """
    count, length = rows.tokens.shape
    data = model.embed[...].sharding.mesh.shape["data"]
    height = -(-count // data) * data
    cache = model.empty_cache(height, capacity(length))
    for start in range(0, length, CHUNK):
        size = min(CHUNK, length - start)
        width = min(CHUNK, max(_LEAST, 1 << (size - 1).bit_length()))
        tokens, segments = np.zeros((height, width), np.int32), np.full((height, width), -1, np.int32)
        tokens[:count, :size] = rows.tokens[:, start : start + size]
        segments[:count, :size] = np.where(np.arange(start, start + size) < rows.lengths[:, None], 0, -1)
        targets = np.zeros((height, width), np.int32)
        after = rows.tokens[:, start + 1 : start + 1 + size]
        targets[:count, : after.shape[1]] = after
        changes = None if interventions is None else interventions(start, width)
        if changes is not None:
            changes = _padded(changes, height)
        cache, kept, *found = _step(model, cache, tokens, segments, targets, keep, changes)
        known = np.arange(start, start + size) < rows.lengths[:, None] - 1
        logprobs, likeliest = (np.asarray(x)[:count, :size] for x in found)
        logprobs = np.where(known, logprobs, np.nan)
        yield Piece(start, size, Kept(**on_host(kept, slice(count), size)), logprobs, known & likeliest)


@functools.partial(jax.jit, donate_argnums=1)
def _step(
    model: GLM,
    cache: KVCache,
    tokens: Int[Array, "B T"],
    segment_ids: Int[Array, "B T"],
    targets: Int[Array, "B T"],
    keep: Keep,
    changes: Interventions | None,
) -> tuple[KVCache, Kept, Float[Array, "B T"], Bool[Array, "B T"]]:
    out = model(tokens, segment_ids=segment_ids, cache=cache, keep=keep, interventions=changes)
    pieces = [
        _judged(model.logits(out.hidden[:, at : at + _HEAD]), targets[:, at : at + _HEAD])
        for at in range(0, tokens.shape[1], _HEAD)
    ]
    return out.cache, out.kept, *(jnp.concatenate(parts, axis=1) for parts in zip(*pieces, strict=True))


def token_logprobs(model: GLM, hidden: Float[Array, "B T D"], targets: Int[Array, "B T"]) -> Float[Array, "B T"]:
    """Log-probability of each target after the state at its place."""
    return _judged(model.logits(hidden), targets)[0]


def _judged(
    logits: Float[Array, "B T V"], targets: Int[Array, "B T"]
) -> tuple[Float[Array, "B T"], Bool[Array, "B T"]]:
    """The log-probability of each target, and whether it is the likeliest token."""
    logprobs = jax.nn.log_softmax(logits)
    chosen = jnp.arange(logprobs.shape[-1]) == targets[..., None]
    return jnp.where(chosen, logprobs, 0).sum(-1), logits.argmax(-1) == targets


def require_room(model: GLM, keep: Keep, tokens: int, step: tuple[int, int] | None = None) -> None:
    """Raise MemoryPlanError, saying how much and what to drop, for more than the memory holds.

    `step` is how many tokens the largest step has, those of padding too, and over how many places each attends, by
    default as `score` takes them. It has to fit on the device, and on the host beside all that is kept.
    """
    sizes, padded, mesh = bytes_kept(model, keep, tokens, tokens), capacity(tokens), model.embed[...].sharding.mesh
    device = mesh.devices.flat[0]
    chunk = sum(bytes_kept(model, keep, *(step or (min(padded, CHUNK), padded)), computed=True).values())
    room = int(_SHARE * free_bytes(device))
    total = sum(sizes.values()) + chunk * mesh.shape["data"]  # each part of the mesh computes as many
    free = int(_SHARE * free_bytes(jax.devices("cpu")[0]))
    if total <= free and chunk <= room:
        return
    largest = sorted(sizes, key=sizes.get, reverse=True)
    listed = ", ".join(f"{site} {_size(sizes[site])}" for site in largest)
    needed, where, there = (total, "the host", free) if total > free else (chunk, str(device), room)
    raise MemoryPlanError(
        f"keeping {tokens} tokens takes {_size(needed)}, and {where} has room for {_size(there)}: {listed}; "
        f"drop {largest[0]}, name fewer of its layers, or take fewer tokens"
    )


def capacity(tokens: int) -> int:
    """Tokens that there is room for in a row of a cache for so many: a power of two, so that lengths share programs."""
    return 1 << (max(tokens, _LEAST) - 1).bit_length()


def bytes_kept(model: GLM, keep: Keep, tokens: int, keys: int, *, computed: bool = False) -> dict[str, int]:
    """Bytes of each site for so many tokens, each attending over `keys` places.

    While they are `computed` there are the buffers too, of a slot more, from which what is kept is taken.
    """
    c, wide = model.config, 4
    narrow = model.embed[...].dtype.itemsize
    chosen, routed = c.num_experts_per_tok, sum(c.is_moe(number) for number in model.layer_numbers)
    each = {
        **dict.fromkeys(("resid_pre", "resid_mid", "resid_post"), c.hidden_size * narrow),
        "attention": c.num_attention_heads * keys * wide,
        **dict.fromkeys(("router_logits", "router_scores"), c.n_routed_experts * wide),
        "expert_out": chosen * c.hidden_size * narrow,
    }
    routes = {"ids": chosen * (1 if c.n_routed_experts <= 256 else 2), "weights": chosen * wide, "margins": wide}
    slots = {s: keep.layers(s).shape[0] for s in LAYER_SITES if keep.layers(s) is not None}
    sizes = {s: tokens * each[s] * (2 * count + 1 if computed else count) for s, count in slots.items()}
    sizes |= {f"router_{name}": tokens * routes[name] * routed for name in keep.routes}
    return sizes | ({"logits": tokens * c.vocab_size * wide} if keep.logits else {})


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _padded(changes: Interventions, height: int) -> Interventions:
    """With rows that nothing is said of, up to `height`, as the mesh may need."""

    def pad(path, leaf):
        axis = len(leading_axes(path)) - 1
        if axis < 0 or leaf.shape[axis] == height:
            return leaf
        width = [(0, height - leaf.shape[axis] if at == axis else 0) for at in range(leaf.ndim)]
        return np.pad(leaf, width, constant_values=-1 if path[-1].name == "forced" else 0)

    return jax.tree_util.tree_map_with_path(pad, changes)
