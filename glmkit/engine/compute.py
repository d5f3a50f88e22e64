"""What a step computes on the devices: the forward pass over pages, what is drawn of it, and what is drafted next.

Speculative decoding drafts with the multi-token-prediction layer and verifies in the next step. A draft is drawn with
the very noise that will draw the token itself (`fold_in(seed, position)`), and taken where it is that token: so what is
drawn is what would be drawn without drafts, at any temperature, and the closer the layer's distribution is to the
model's, the more often they agree (the Gumbel-max coupling of two distributions).
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, Int

from glmkit.engine.sampling import MOST_TOP, SamplingBatch, passed, sample, sample_draft, sampling_logits
from glmkit.model import GLM, Interventions, Keep, Kept, KVCache, LayerCache
from glmkit.model.params import weight
from glmkit.sharding import mesh_of, partition_spec

__all__ = ["DraftHidden", "Drafting", "Found", "Given", "Probed", "draw_step", "forward_step", "whole_step"]

Pages = tuple[LayerCache, ...]
DraftHidden = Literal["normed", "raw"]


class Drafting(NamedTuple):
    """How many tokens are drafted, and which reading of the hidden state the layer is given.

    "normed" is the state after the final norm, as in vLLM, SGLang and glmkit's training; "raw" the one before it.
    """

    tokens: int = 0
    hidden: DraftHidden = "normed"


class Given(NamedTuple):
    """What a step is told of its rows. `following` is the token of the prompt after a chunk, -1 where there is none;
    None where nothing is drafted."""

    table: Int[Array, "B N"]
    length: Int[Array, " B"]
    tokens: Int[Array, "B T"]
    segment_ids: Int[Array, "B T"]
    following: Int[Array, " B"] | None


class Probed(NamedTuple):
    """What a step keeps of the model, and changes in it."""

    keep: Keep | None = None
    changes: Interventions | None = None


class Found(NamedTuple):
    """What was drawn at the places of each row, its log-probabilities (raw, or of what it was drawn from where a row
    asks for these), the likeliest tokens and their raw ones where a row asks for them, which tokens could be drawn, as
    a mask, where a row asks for what it drew from, and what was drafted."""

    tokens: Int[Array, "B R"]
    logprobs: Float[Array, "B R"]
    top: tuple[Float[Array, "B R K"], Int[Array, "B R K"]] | None
    passed: Int[Array, "B R W"] | None
    drafts: Int[Array, "B A"] | None


def whole_step(
    drafting: Drafting,
    model: GLM,
    layers: Pages,
    given: Given,
    probed: Probed,
    settings: SamplingBatch,
    seen: Array | None,
) -> tuple[Found, Pages, Kept | None]:
    """Append tokens to their rows, draw what comes after them, and draft."""
    logits, hidden, layers, kept = forward_step(drafting, model, layers, given, probed)
    return *draw_step(drafting, model, layers, given, logits, hidden, settings, seen, None), kept


def forward_step(
    drafting: Drafting, model: GLM, layers: Pages, given: Given, probed: Probed
) -> tuple[Float[Array, "B R V"], Float[Array, "B T D"] | None, Pages, Kept | None]:
    """Append tokens to their rows: logits, the hidden states if there is to be a draft, the pages, and what was kept.

    A step of `1 + drafts` tokens has logits after each of them, any other after the last of each row.
    """
    table, length, tokens, segment_ids = (_by_row(x, model.embed[...]) for x in given[:4])
    depth = len(model.layer_counts)
    cache = KVCache(layers[:depth], table, length)
    out = model(tokens, segment_ids=segment_ids, cache=cache, keep=probed.keep, interventions=probed.changes)
    hidden = out.hidden
    if tokens.shape[1] != 1 + drafting.tokens:
        hidden = _at(hidden, _last(segment_ids))
    logits = _by_row(model.logits(hidden), out.hidden)
    return logits, out.hidden if drafting.tokens else None, (*out.cache.layers, *layers[depth:]), out.kept


def draw_step(
    drafting: Drafting,
    model: GLM | None,
    layers: Pages | None,
    given: Given,
    logits: Float[Array, "B R V"],
    hidden: Float[Array, "B T D"] | None,
    settings: SamplingBatch,
    seen: Bool[Array, "B V"] | None,
    masks: Int[Array, "B R W"] | None,
) -> tuple[Found, Pages | None]:
    """Draw the token at each place of each row, and draft. Without drafts neither model nor pages are needed."""
    given = Given(*(None if x is None else _by_row(x, logits) for x in given))
    settings, seen, masks = jax.tree.map(lambda x: _by_row(x, logits), (settings, seen, masks))
    batch = partition_spec(("batch",))

    spread = jax.shard_map(_draw, mesh=mesh_of(logits), in_specs=batch, out_specs=batch)
    found = spread(logits, given, settings, seen, masks)
    drafts = None
    if drafting.tokens:
        drafts, layers = _draft(drafting, model, layers, given, hidden, settings, found[0])
    return Found(*found, drafts), layers


def _draw(
    logits: Float[Array, "B R V"],
    given: Given,
    settings: SamplingBatch,
    seen: Bool[Array, "B V"] | None,
    masks: Int[Array, "B R W"] | None,
) -> tuple:
    """Tokens, log-probabilities, the likeliest and what could be drawn of each place; the places of a row are rows of
    the sampler."""
    rows, places, vocab_size = logits.shape
    first = _last(given.segment_ids) if places == 1 else jnp.zeros(rows, jnp.int32)
    positions = (given.length + first + 1)[:, None] + jnp.arange(places)
    if seen is not None:
        seen = jnp.repeat(seen[:, None], places, axis=1)
        for place in range(1, places):  # which holds the drafts before it too
            drafts = given.tokens[:, 1 : place + 1]
            seen = seen.at[jnp.arange(rows)[:, None], place, drafts].set(True)

    def flat(x):
        return x.reshape(rows * places, *x.shape[2:])

    logits = flat(logits)
    each = jax.tree.map(lambda x: jnp.repeat(x, places, axis=0), settings)
    seen, masks = (None if x is None else flat(x) for x in (seen, masks))
    drawn = sample(logits, each, flat(positions), seen, masks)
    told = logprobs = jax.nn.log_softmax(logits)
    could = None
    if each.drawn_logprobs is not None:
        drawn_from = sampling_logits(logits, each, seen, masks)
        told = jnp.where(each.drawn_logprobs[:, None], jax.nn.log_softmax(drawn_from), logprobs)
        told = jnp.where(jnp.isnan(logprobs[:, :1]), jnp.nan, told)  # which filters would hide
        could = passed(drawn_from).reshape(rows, places, -1)
    chosen = jnp.take_along_axis(told, drawn[:, None], axis=1)
    top = None
    if settings.top_logprobs is not None:
        top = jax.lax.top_k(logprobs, min(MOST_TOP, vocab_size))
        top = top[0].reshape(rows, places, -1), top[1].reshape(rows, places, -1)
    return drawn.reshape(rows, places), chosen.reshape(rows, places), top, could


def _draft(
    drafting: Drafting,
    model: GLM,
    layers: Pages,
    given: Given,
    hidden: Float[Array, "B T D"],
    settings: SamplingBatch,
    drawn: Int[Array, "B R"],
) -> tuple[Int[Array, "B A"], Pages]:
    """Run the prediction layer over what the step has found to be so, then over its own drafts."""
    table, length, tokens, segment_ids, following = given
    place = jnp.arange(tokens.shape[1])
    shifted = tokens[:, (place + 1) % place.size]  # not rolled: JAX 0.12 forgets the layout of what is cut to one token
    if drawn.shape[1] > 1:  # drafts were verified: the row goes on to the first that is not what was drawn
        agrees = (drawn[:, :-1] == tokens[:, 1:]) & (segment_ids[:, 1:] >= 0)
        last = jnp.cumprod(agrees, axis=1, dtype=jnp.int32).sum(axis=1)
        next_tokens = drawn
    else:
        last = _last(segment_ids)
        end = jnp.where(following >= 0, following, drawn[:, 0])[:, None]
        next_tokens = jnp.where(place == last[:, None], end, shifted)
    is_so = jnp.where(place <= last[:, None], segment_ids, -1)
    runs = segment_ids[:, :1]
    state = _reading(drafting, hidden, model.norm)
    out = model.predict_second(state, next_tokens, segment_ids=is_so, cache=KVCache(layers[-1:], table, length))
    drafts, state, length = [], _at(out.hidden, last), length + last + 1
    while True:
        logits = _by_row(model.mtp_logits(state), state)[:, 0]
        batch = partition_spec(("batch",))
        draw = jax.shard_map(sample_draft, mesh=mesh_of(logits), in_specs=batch, out_specs=batch)
        drafts.append(draw(logits, settings, _by_row(length + 1, logits)))
        if len(drafts) == drafting.tokens:
            return jnp.stack(drafts, axis=1), (*layers[:-1], out.cache.layers[0])
        cache = KVCache(out.cache.layers, table, length)
        state = _reading(drafting, state, model.mtp.norm)
        out = model.predict_second(state, drafts[-1][:, None], segment_ids=runs, cache=cache)
        state, length = out.hidden, length + 1


def _reading(drafting: Drafting, hidden: Array, norm) -> Array:
    """The state as the layer is to read it. Its own norm removes any scale, so that "raw" is the normed state without
    the norm's weights."""
    return hidden if drafting.hidden == "normed" else hidden / weight(norm.scale, like=hidden)


def _last(segment_ids: Int[Array, "B T"]) -> Int[Array, " B"]:
    """Where the last token of each row is; 0 for a row without any."""
    return jnp.maximum((segment_ids >= 0).sum(axis=1, dtype=jnp.int32) - 1, 0)


def _at(x: Float[Array, "B T D"], place: Int[Array, " B"]) -> Float[Array, "B 1 D"]:
    return jnp.take_along_axis(x, place[:, None, None], axis=1)


def _by_row(x: Array, like: Array) -> Array:
    """`x` with its rows spread as a batch is on the mesh of `like`."""
    return jax.sharding.reshard(x, NamedSharding(mesh_of(like), partition_spec(("batch",))))
