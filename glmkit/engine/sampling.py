"""From logits to a token: one function turns logits into the sampling distribution, one draws from it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from glmkit.checks import is_integer, is_number
from glmkit.errors import RequestError
from glmkit.sharding import zeros_like

MOST_TOP = 20  # likeliest tokens that a request may ask for
NEVER = -1e30  # the logit of a token that must not be drawn; finite, so that arithmetic on it stays finite


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How one request is sampled. `temperature=0` is greedy; `top_k=0`, `top_p=1`, `min_p=0` switch a filter off.

    `top_logprobs` is how many of the likeliest tokens are told beside each that is drawn. With `drawn_logprobs` the
    log-probability told of a token is that of the distribution it was drawn from, and not the raw one; what could be
    drawn in its place is told too, where filters or a grammar narrow it.
    Raises `RequestError` naming the setting that is out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0
    top_logprobs: int = 0
    drawn_logprobs: bool = False

    def __post_init__(self):
        checks: dict[str, tuple[Callable[[Any], bool], Callable[[Any], bool], str]] = {
            "temperature": (is_number, lambda x: x == 0 or 1e-6 <= x <= 1e6, "0, or a number from 1e-6 to 1e6"),
            "top_p": (is_number, lambda x: 0 < x <= 1, "a number above 0 and at most 1"),
            "top_k": (is_integer, lambda x: 0 <= x < 2**31, "an integer of 0 to 2147483647 (0: no limit)"),
            "min_p": (is_number, lambda x: 0 <= x <= 1, "a number from 0 to 1"),
            "repetition_penalty": (is_number, lambda x: 1e-6 <= x <= 1e6, "a number from 1e-6 to 1e6 (1: none)"),
            "seed": (is_integer, lambda x: 0 <= x < 2**32, "an integer of 32 bits, 0 to 4294967295"),
            "top_logprobs": (is_integer, lambda x: 0 <= x <= MOST_TOP, f"an integer of 0 to {MOST_TOP}"),
        }
        for name, (kind, holds, expected) in checks.items():
            value = getattr(self, name)
            if not kind(value) or not holds(value):
                raise RequestError(f"{name} is {value!r}; expected {expected}")

    @property
    def filters(self) -> bool:
        """Whether it cuts off what is unlikely."""
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SamplingBatch:
    """The settings of a batch of rows as arrays, so that changing one never recompiles."""

    temperature: jax.Array  # [B], float32 as the others
    top_p: jax.Array
    top_k: jax.Array  # [B], int32
    min_p: jax.Array
    repetition_penalty: jax.Array
    seed: jax.Array  # [B], uint32
    top_logprobs: jax.Array | None = None  # [B], int32; None where no row asks
    drawn_logprobs: jax.Array | None = None  # [B], bool; None where no row asks

    @classmethod
    def of(cls, rows: Sequence[Sampling], top: bool = False, drawn: bool = False) -> "SamplingBatch":
        """The settings of `rows`, in their order, on the host.

        `top` says whether any asks for likeliest tokens, `drawn` whether any for `drawn_logprobs`.
        """
        asked = {"top_logprobs": top, "drawn_logprobs": drawn}
        names = [f.name for f in dataclasses.fields(Sampling) if asked.get(f.name, True)]
        column = {name: [getattr(row, name) for row in rows] for name in names}
        dtypes = {"top_k": np.int32, "seed": np.uint32, "top_logprobs": np.int32, "drawn_logprobs": np.bool_}
        return cls(**{name: np.array(v, dtypes.get(name, np.float32)) for name, v in column.items()})


def allowed(mask: Int[Array, "B W"], vocab_size: int) -> Bool[Array, "B V"]:
    """The tokens that a grammar's mask lets pass: bit `i % 32` of word `i // 32` is token `i`."""
    bits = (mask[:, :, None] >> jnp.arange(32)) & 1
    return bits.reshape(mask.shape[0], -1)[:, :vocab_size] == 1


def passed(logits: Float[Array, "B V"]) -> Int[Array, "B W"]:
    """The mask, as `allowed` reads it, of the tokens that `sampling_logits` left."""
    left = logits > NEVER * 1e-8  # which the highest temperature does not reach
    words = jnp.pad(left, ((0, 0), (0, -left.shape[1] % 32))).reshape(left.shape[0], -1, 32)
    return (words.astype(jnp.int32) << jnp.arange(32, dtype=jnp.int32)).sum(-1, dtype=jnp.int32)


def sampling_logits(
    logits: Float[Array, "B V"],
    settings: SamplingBatch,
    seen: Bool[Array, "B V"] | None = None,
    mask: Int[Array, "B W"] | None = None,
) -> Float[Array, "B V"]:
    """Log-probabilities, up to a constant, of the distribution that is sampled.

    A grammar's mask, as `allowed` reads it, penalty, temperature, top-k, top-p and min-p apply in this order, which is
    the reference library's. Rows of temperature 0 keep only their largest logit.
    """
    logits = masked_logits(logits, mask)
    if seen is not None:
        penalty = settings.repetition_penalty[:, None]
        logits = jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)
    greedy = settings.temperature == 0
    scaled = logits / jnp.where(greedy, 1, settings.temperature)[:, None]
    top_k = jnp.where(greedy, 1, jnp.where(settings.top_k == 0, logits.shape[1], settings.top_k))
    filtered = (top_k < logits.shape[1]) | (settings.top_p < 1) | (settings.min_p > 0)
    return jax.lax.cond(  # the filters sort, which takes longer than all else
        filtered.any(),
        lambda: jnp.where(_kept(scaled, top_k, settings.top_p, settings.min_p), scaled, NEVER),
        lambda: scaled,
    )


def masked_logits(logits: Float[Array, "B V"], mask: Int[Array, "B W"] | None) -> Float[Array, "B V"]:
    """Without what a grammar's mask, as `allowed` reads it, rules out."""
    return logits if mask is None else jnp.where(allowed(mask, logits.shape[1]), logits, NEVER)


def _kept(logits: Array, top_k: Array, top_p: Array, min_p: Array) -> Bool[Array, "B V"]:
    """Which tokens survive: the top-k, of those the smallest set with mass `top_p`, of those all near the best."""
    order = jnp.argsort(-logits, axis=-1, stable=True)
    ranked = jnp.take_along_axis(logits, order, axis=-1)
    rank = jnp.arange(logits.shape[1])
    in_k = rank < top_k[:, None]
    mass = jax.nn.softmax(jnp.where(in_k, ranked, NEVER), axis=-1)
    before = jnp.cumsum(mass, axis=-1) - mass
    in_p = (before < top_p[:, None]) | (top_p[:, None] >= 1) | (rank == 0)
    near = mass >= min_p[:, None] * mass[:, :1]
    kept = in_k & in_p & near
    return jnp.take_along_axis(kept, jnp.argsort(order, axis=-1), axis=-1)


def sample(
    logits: Float[Array, "B V"],
    settings: SamplingBatch,
    positions: Int[Array, " B"],
    seen: Bool[Array, "B V"] | None = None,
    mask: Int[Array, "B W"] | None = None,
) -> Int[Array, " B"]:
    """One token for each row. A row's randomness is `fold_in(seed, position)`, whatever the other rows hold.

    What `mask` rules out, as `allowed` reads it, is out before everything else.
    """
    logits = masked_logits(logits, mask)

    def draw() -> Int[Array, " B"]:
        return jnp.argmax(sampling_logits(logits, settings, seen) + _noise(settings, positions, logits), axis=-1)

    def best() -> Int[Array, " B"]:
        return jnp.argmax(logits, axis=-1)

    plain = jnp.all((settings.temperature == 0) & (settings.repetition_penalty == 1))
    return jax.lax.cond(plain, best, draw).astype(jnp.int32)


def sample_draft(logits: Float[Array, "B V"], settings: SamplingBatch, positions: Int[Array, " B"]) -> Int[Array, " B"]:
    """A guess at what `sample` will draw from like logits: by the same noise, and without its filters."""
    scaled = logits / jnp.where(settings.temperature == 0, 1, settings.temperature)[:, None]
    noise = jax.lax.cond(
        (settings.temperature == 0).all(),
        lambda: zeros_like(logits),
        lambda: jnp.where(settings.temperature[:, None] == 0, 0, _noise(settings, positions, logits)),
    )
    return jnp.argmax(scaled + noise, axis=-1).astype(jnp.int32)


def _noise(settings: SamplingBatch, positions: Int[Array, " B"], logits: Float[Array, "B V"]) -> Float[Array, "B V"]:
    """Gumbel noise, of which the largest sum with the logits is a draw from their distribution."""

    def of_row(seed, position):
        return jax.random.gumbel(jax.random.fold_in(jax.random.key(seed), position), logits.shape[1:])

    return jax.vmap(of_row)(settings.seed, positions)
