"""The engine: turns requests into tokens with one compiled step, over a preallocated cache."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int

from glmkit.engine.programs import Programs
from glmkit.engine.request import Request
from glmkit.engine.sampling import Sampling, SamplingBatch, sample
from glmkit.errors import RequestError
from glmkit.model import GLM, KVCache
from glmkit.sharding import mesh_of, partition_spec

PREFILL_CHUNKS = (32, 128, 512, 1024)  # token counts a prefill step is compiled for
MAX_ROWS = 32


class Engine:
    """Generates for batches of requests. Not thread-safe: one owner drives it.

    A step is compiled once per row count and chunk length, never per prompt or length of context. The cache of a row
    count is kept between calls.
    """

    def __init__(self, model: GLM, max_len: int):
        if max_len < 1:
            raise RequestError(f"max_len is {max_len}; expected at least 1 token")
        self.max_len = max_len
        self._model = model
        self._caches: dict[int, KVCache] = {}
        self._compiled_for: object = None
        self._weights()

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, int]]:
        """Yield `(index of the request, token)` as tokens come, until every request has a `finish_reason`.

        The caller may call `Request.finish` between tokens. At most `MAX_ROWS` requests run at a time. Raises
        `RequestError` when a prompt and its `max_tokens` do not fit the context.
        """
        for request in requests:
            self.check_fits(request)
        for first in range(0, len(requests), MAX_ROWS):
            for row, token in self._generate_wave(requests[first : first + MAX_ROWS]):
                yield first + row, token

    def release(self) -> None:
        """Give the memory of the caches back; they are allocated again when needed."""
        self._caches.clear()

    @property
    def compiled_steps(self) -> int:
        """How many programs have been made."""
        return self._steps.count + self._forwards.count + self._draws.count

    def check_fits(self, request: Request) -> None:
        """Raise `RequestError` when the request does not fit the context, saying by how much."""
        prompt, wanted = len(request.prompt), request.max_tokens
        if prompt == 0:
            raise RequestError("the prompt is empty; expected at least one token")
        if prompt + wanted > self.max_len:
            raise RequestError(
                f"{prompt} prompt tokens and max_tokens={wanted} exceed the context of {self.max_len} tokens by "
                f"{prompt + wanted - self.max_len}; shorten the prompt, lower max_tokens, or load with a larger max_len"
            )

    def _generate_wave(self, requests: Sequence[Request]) -> Iterator[tuple[int, int]]:
        rows = self._row_count(len(requests))
        idle = Request((), Sampling(temperature=0.0), 0, frozenset(), finish_reason="stop")
        batch = [*requests, *[idle] * (rows - len(requests))]
        wave = self._wave(batch)
        try:
            drawn = _prefill(wave, batch)
            while True:
                fed = np.zeros((rows, 1), np.int32)
                live = np.full((rows, 1), -1, np.int32)
                for row, request in enumerate(requests):
                    if request.finish_reason is None:
                        token = request.accept(*drawn[row])
                        if token is not None:
                            fed[row] = token
                            yield row, token
                        live[row] = 0 if request.finish_reason is None else -1
                if (live < 0).all():
                    return
                drawn = wave.step(batch, fed, live)
        finally:
            # A step that was interrupted has consumed the cache it was given; the next call then makes a new one.
            if not wave.cache.length.is_deleted():
                self._caches[rows] = wave.cache

    def _weights(self) -> list[jax.Array]:
        """The model's arrays as they are now: whoever edits the model in place is heard at the next request."""
        leaves, structure = jax.tree.flatten(self._model)
        compiled_for = structure, [(leaf.shape, leaf.dtype, leaf.sharding) for leaf in leaves]
        if compiled_for != self._compiled_for:

            def step(leaves, cache, tokens, segment_ids, settings, seen):
                return _step(jax.tree.unflatten(structure, leaves), cache, tokens, segment_ids, settings, seen)

            def forward(leaves, cache, tokens, segment_ids, seen):
                return _forward(jax.tree.unflatten(structure, leaves), cache, tokens, segment_ids, seen)

            # Flattening the model once outside costs less than having every call walk its modules.
            self._compiled_for = compiled_for
            self._steps = Programs(jax.jit(step, donate_argnums=1), self._model)
            self._forwards = Programs(jax.jit(forward, donate_argnums=1), self._model)
            self._draws = Programs(jax.jit(_draw), self._model)
        return leaves

    def _wave(self, batch: Sequence[Request]) -> "_Wave":
        """What a batch needs to run: the programs, the cache and the settings."""
        by_row = NamedSharding(self._mesh, partition_spec(("batch",)))
        settings = SamplingBatch.of([request.sampling for request in batch])
        seen = None
        if any(request.sampling.repetition_penalty != 1 for request in batch):
            seen = np.zeros((len(batch), self._model.config.vocab_size), bool)
        settings, seen = jax.device_put((settings, seen), by_row)
        leaves, cache = self._weights(), self._take_cache(len(batch))
        longest = max(len(request.prompt) for request in batch)
        sizes = {*_chunks(longest), 1} if any(request.max_tokens > 1 for request in batch) else {*_chunks(longest)}
        ids = {size: np.zeros((len(batch), size), np.int32) for size in sizes}
        shape = len(batch), seen is None
        if all(request.grammar is None for request in batch):
            steps = self._steps.prepared(
                {(size, *shape): (leaves, cache, ids[size], ids[size], settings, seen) for size in sizes}
            )
            return _Wave({size: program for (size, *_), program in steps.items()}, leaves, cache, settings, seen)
        forwards = self._forwards.prepared(
            {(size, *shape): (leaves, cache, ids[size], ids[size], seen) for size in sizes}
        )
        masks = np.full((len(batch), -(-self._model.config.vocab_size // 32)), -1, np.int32)
        logits = np.zeros((len(batch), self._model.config.vocab_size), np.float32)
        call = jax.device_put(logits, by_row), settings, cache.length, seen, masks
        return _Wave(
            {size: program for (size, *_), program in forwards.items()}, leaves, cache, settings, seen,
            draw=self._draws.prepared({shape: call})[shape], masks=masks,
        )  # fmt: skip

    def _row_count(self, requests: int) -> int:
        """The next power of two that the mesh's data axis divides."""
        data = self._mesh.shape["data"]
        rows = 1 << (requests - 1).bit_length()
        return -(-rows // data) * data

    def _take_cache(self, rows: int) -> KVCache:
        """The cache for this row count, emptied. It is the caller's until it puts it back: steps consume it."""
        cache = self._caches.pop(rows, None)
        if cache is None:
            return self._model.empty_cache(rows, self.max_len)
        return cache.emptied()

    @property
    def _mesh(self) -> Mesh:
        return self._model.embed[...].sharding.mesh


@dataclasses.dataclass
class _Wave:
    """A batch on its way: each step appends tokens to its rows, consumes its cache and puts the new one in its place.

    `seen` tells the tokens each row holds, kept only if a row has a repetition penalty. With `masks`, of the rows'
    grammars, a step is two programs, so that masks are made while the model runs.
    """

    programs: dict[int, jax.stages.Compiled]  # by the number of tokens a step takes
    leaves: list[jax.Array]
    cache: KVCache
    settings: SamplingBatch
    seen: Bool[Array, "B V"] | None
    draw: jax.stages.Compiled | None = None
    masks: Int[np.ndarray, "B W"] | None = None

    def step(
        self, batch: Sequence[Request], tokens: Int[np.ndarray, "B T"], segment_ids: Int[np.ndarray, "B T"]
    ) -> list[tuple[int, float]]:
        """Each row's next token and its log-probability."""
        program = self.programs[tokens.shape[1]]
        if self.draw is None:
            drawn, logprobs, self.cache, self.seen = program(
                self.leaves, self.cache, tokens, segment_ids, self.settings, self.seen
            )
        else:
            logits, self.cache, self.seen = program(self.leaves, self.cache, tokens, segment_ids, self.seen)
            for row, request in enumerate(batch):
                if request.grammar is not None and request.finish_reason is None:
                    request.grammar.fill(self.masks[row])
            drawn, logprobs = self.draw(logits, self.settings, self.cache.length, self.seen, self.masks)
        return list(zip(np.asarray(drawn).tolist(), np.asarray(logprobs).tolist(), strict=True))


def _prefill(wave: _Wave, batch: Sequence[Request]) -> list[tuple[int, float]]:
    """Run every prompt through the model in chunks; what each row draws first comes from its last chunk."""
    drawn = [(0, 0.0)] * len(batch)
    start = 0
    for size in _chunks(max(len(request.prompt) for request in batch)):
        tokens = np.zeros((len(batch), size), np.int32)
        segments = np.full((len(batch), size), -1, np.int32)
        for row, request in enumerate(batch):
            piece = request.prompt[start : start + size]
            tokens[row, : len(piece)] = piece
            segments[row, : len(piece)] = 0
        results = wave.step(batch, tokens, segments)
        for row, request in enumerate(batch):
            if start < len(request.prompt) <= start + size:
                drawn[row] = results[row]
        start += size
    return drawn


def _chunks(length: int) -> list[int]:
    """The sizes of the chunks a prompt is taken in: each the largest that what remains fills by two thirds."""
    sizes = []
    while length > 0:
        sizes.append(max((c for c in PREFILL_CHUNKS if 3 * length >= 2 * c), default=PREFILL_CHUNKS[0]))
        length -= sizes[-1]
    return sizes


def _step(
    model: GLM,
    cache: KVCache,
    tokens: Int[Array, "B T"],
    segment_ids: Int[Array, "B T"],
    settings: SamplingBatch,
    seen: Bool[Array, "B V"] | None,
) -> tuple[Int[Array, " B"], Float[Array, " B"], KVCache, Bool[Array, "B V"] | None]:
    """Append tokens to their rows and draw the next one of each: its id, its raw log-probability, the new cache."""
    logits, cache, seen = _forward(model, cache, tokens, segment_ids, seen)
    drawn, logprobs = _draw(logits, settings, cache.length, seen, None)
    return drawn, logprobs, cache, seen


def _forward(
    model: GLM,
    cache: KVCache,
    tokens: Int[Array, "B T"],
    segment_ids: Int[Array, "B T"],
    seen: Bool[Array, "B V"] | None,
) -> tuple[Float[Array, "B V"], KVCache, Bool[Array, "B V"] | None]:
    """Append tokens to their rows: the logits after the last of each, the new cache, `seen` with the tokens added."""
    out = model(tokens, segment_ids=segment_ids, cache=cache)
    last = jnp.maximum((_by_row(segment_ids, out.hidden) >= 0).sum(axis=1) - 1, 0)
    hidden = jnp.take_along_axis(out.hidden, last[:, None, None], axis=1)
    logits = _by_row(model.logits(hidden), out.hidden)[:, 0]
    if seen is not None:

        def add(seen, tokens, segment_ids):
            rows = jnp.arange(tokens.shape[0])[:, None]
            return seen.at[rows, jnp.where(segment_ids >= 0, tokens, seen.shape[1])].set(True, mode="drop")

        seen = _rowwise(add, out.hidden)(*(_by_row(x, out.hidden) for x in (seen, tokens, segment_ids)))
    return logits, out.cache, seen


def _draw(
    logits: Float[Array, "B V"],
    settings: SamplingBatch,
    positions: Int[Array, " B"],
    seen: Bool[Array, "B V"] | None,
    masks: Int[Array, "B W"] | None,
) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """The drawn token of each row and its raw log-probability."""

    def draw(logits, settings, positions, seen, masks):
        drawn = sample(logits, settings, positions, seen, masks)
        return drawn, jnp.take_along_axis(jax.nn.log_softmax(logits), drawn[:, None], axis=1)[:, 0]

    given = logits, settings, positions, seen, masks
    return _rowwise(draw, logits)(*jax.tree.map(lambda x: _by_row(x, logits), given))


def _by_row(x: Array, like: Array) -> Array:
    """`x` with its rows spread as a batch is on the mesh of `like`."""
    return jax.sharding.reshard(x, NamedSharding(mesh_of(like), partition_spec(("batch",))))


def _rowwise(function: Callable, like: Array) -> Callable:
    """`function` of rows, each device's its own, on the mesh of `like`."""
    batch = partition_spec(("batch",))
    return jax.shard_map(function, mesh=mesh_of(like), in_specs=batch, out_specs=batch)
