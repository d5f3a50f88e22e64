"""The engine: turns requests into tokens with one compiled step, over pages that requests share and leave behind."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int

from glmkit.engine.pool import Pool
from glmkit.engine.prefix import OutOfPages
from glmkit.engine.programs import Programs
from glmkit.engine.request import Request
from glmkit.engine.sampling import Sampling, SamplingBatch, sample
from glmkit.errors import RequestError
from glmkit.model import GLM, KVCache
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.sharding import mesh_of, partition_spec

_Program = jax.stages.Compiled
_AHEAD = 64  # tokens of an answer that there is room for from the start
_IDLE = Sampling(temperature=0.0)  # of rows without a request
PREFILL_CHUNKS = (32, 128, 512, 1024)  # token counts a prefill step is compiled for
MAX_ROWS = 32


class Engine:
    """Generates for batches of requests. Not thread-safe: one owner drives it.

    A step is compiled once per row count, chunk length and size of the pool of pages, never per prompt or length of
    context. What a request left in its pages is there for the next that begins alike; `kv_memory` is how many bytes of
    each device the pages may take, by default half of what is free.
    """

    def __init__(self, model: GLM, max_len: int, kv_memory: int | None = None):
        if max_len < 1:
            raise RequestError(f"max_len is {max_len}; expected at least 1 token")
        self.max_len = max_len
        self._model = model
        self._pool = Pool(model, max_len, kv_memory)
        self._compiled_for: object = None
        self._leaves: list[weakref.ref] = []
        self._weights()

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, int]]:
        """Yield `(index of the request, token)` as tokens come, until every request has a `finish_reason`.

        The caller may call `Request.finish` between tokens. At most `MAX_ROWS` requests run at a time. Raises
        `RequestError` when a prompt and its `max_tokens` do not fit the context.
        """
        for request in requests:
            self.check_fits(request)
        numbers = {id(request): number for number, request in enumerate(requests)}
        waiting = list(requests)
        while waiting:
            running, waiting = waiting[:MAX_ROWS], waiting[MAX_ROWS:]
            for request, token in self._generate_wave(running):
                yield numbers[id(request)], token
            waiting = [request for request in running if request.finish_reason is None] + waiting

    def release(self) -> None:
        """Give the memory of the pages back; they are allocated again when needed."""
        self._pool.release()

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

    def _generate_wave(self, requests: Sequence[Request]) -> Iterator[tuple[Request, int]]:
        """Run requests until each has ended, or has to wait for pages that the others have."""
        wave = self._wave(requests)
        try:
            drawn = wave.prefill()
            while True:
                fed, live = wave.empty_step(1)
                for row, request in enumerate(requests):
                    if wave.runs(row):
                        token = request.accept(*drawn[row])
                        if token is not None:
                            fed[row] = token
                            yield request, token
                        if request.finish_reason is None:
                            live[row] = 0
                        else:
                            wave.leave(row)
                if (live < 0).all():
                    return
                drawn = wave.step(fed, live)
        finally:
            wave.end()

    def _weights(self) -> list[jax.Array]:
        """The model's arrays as they are now: whoever edits the model in place is heard at the next request."""
        leaves, structure = jax.tree.flatten(self._model)
        if len(leaves) != len(self._leaves) or any(
            r() is not leaf for r, leaf in zip(self._leaves, leaves, strict=True)
        ):
            self._pool.forget()
            self._leaves = [weakref.ref(leaf) for leaf in leaves]
        compiled_for = structure, [(leaf.shape, leaf.dtype, leaf.sharding) for leaf in leaves]
        if compiled_for != self._compiled_for:

            def step(leaves, cache, tokens, segment_ids, settings, seen):
                return _step(jax.tree.unflatten(structure, leaves), cache, tokens, segment_ids, settings, seen)

            def forward(leaves, cache, tokens, segment_ids, seen):
                return _forward(jax.tree.unflatten(structure, leaves), cache, tokens, segment_ids, seen)

            # Flattening the model once outside costs less than having every call walk its modules.
            self._pool.forget()
            self._compiled_for = compiled_for
            self._steps = Programs(jax.jit(step, donate_argnums=1), self._model)
            self._forwards = Programs(jax.jit(forward, donate_argnums=1), self._model)
            self._draws = Programs(jax.jit(_draw), self._model)
        return leaves

    def _wave(self, requests: Sequence[Request]) -> "_Wave":
        """What a batch needs to run: the programs, its pages and the settings."""
        rows = self._row_count(len(requests))
        settings = SamplingBatch.of([request.sampling for request in requests] + [_IDLE] * (rows - len(requests)))
        leaves = self._weights()
        pages = [-(-min(len(_fed(request)) + _AHEAD, self.max_len) // PAGE) for request in requests]
        each = rows // self._mesh.shape["data"]  # rows of a part, one after the other
        self._pool.prepare(max(sum(pages[first : first + each]) for first in range(0, rows, each)))
        return _Wave(self, requests, rows, leaves, jax.device_put(settings, self._by_row))

    def _programs(self, wave: "_Wave", sizes: Iterable[int]) -> "dict[int, tuple[_Program, _Program | None]]":
        """What runs a wave's steps of so many tokens: one program each, or two where masks come between."""
        cache, name = wave.cache, (wave.rows, wave.cache.layers[0].k.shape, wave.seen is None)
        calls = {}
        for size in sizes:
            ids = np.zeros((wave.rows, size), np.int32)
            settings = () if wave.masked else (wave.settings,)
            calls[size, *name] = (wave.leaves, cache, ids, ids, *settings, wave.seen)
        if not wave.masked:
            return {size: (program, None) for (size, *_), program in self._steps.prepared(calls).items()}
        logits = jax.device_put(np.zeros((wave.rows, self._model.config.vocab_size), np.float32), self._by_row)
        drawing = {name: (logits, wave.settings, cache.length, wave.seen, wave.masks)}
        draw = self._draws.prepared(drawing)[name]
        return {size: (program, draw) for (size, *_), program in self._forwards.prepared(calls).items()}

    def _row_count(self, requests: int) -> int:
        """The next power of two that the mesh's data axis divides."""
        data = self._mesh.shape["data"]
        rows = 1 << (requests - 1).bit_length()
        return -(-rows // data) * data

    @property
    def _mesh(self) -> Mesh:
        return self._model.embed[...].sharding.mesh

    @property
    def _by_row(self) -> NamedSharding:
        return NamedSharding(self._mesh, partition_spec(("batch",)))


class _Wave:
    """A batch on its way: each step appends tokens to its rows, in pages that they take as they need them.

    `seen` tells the tokens each row holds, kept only if a row has a repetition penalty. With `masks`, of the rows'
    grammars, a step is two programs, so that masks are made while the model runs.
    """

    def __init__(
        self, engine: Engine, requests: Sequence[Request], rows: int, leaves: list[jax.Array], settings: SamplingBatch
    ):
        self.rows, self.leaves, self.settings = rows, leaves, settings
        self._engine, self._pool, self._requests = engine, engine._pool, requests
        vocab_size, by_row = engine._model.config.vocab_size, engine._by_row
        self._leases = {row: self._pool.lease(row, rows, _fed(request)) for row, request in enumerate(requests)}
        self._held = np.zeros(rows, np.int32)
        self._table = np.zeros((rows, -(-engine.max_len // PAGE)), np.int32)
        for row, (_, lease) in self._leases.items():
            self._held[row] = len(lease.pages) * PAGE
            self._table[row, : len(lease.pages)] = lease.pages
            if requests[row].cached_tokens is None:  # not one that waited for pages and finds its own
                requests[row].cached_tokens = int(self._held[row])
        self.seen = None
        if any(request.sampling.repetition_penalty != 1 for request in requests):
            seen = np.zeros((rows, vocab_size), bool)
            for row, request in enumerate(requests):
                seen[row, list(_fed(request)[: self._held[row]])] = True
            self.seen = jax.device_put(seen, by_row)
        self._length = jax.device_put(self._held.copy(), by_row)
        self._placed: jax.Array | None = None
        self._trees = self._pool.trees
        self._waiting = {row: _fed(request)[self._held[row] :] for row, request in enumerate(requests)}
        self._sizes = {*_chunks(max(map(len, self._waiting.values())))}
        self._sizes |= {1} if any(request.max_tokens > 1 for request in requests) else set()
        self._ready: dict[int, tuple[_Program, _Program | None]] = {}
        self._ready_for = 0  # pages
        self.masked = any(request.grammar is not None for request in requests)
        self.masks = np.full((rows, -(-vocab_size // 32)), -1, np.int32)

    @property
    def cache(self) -> KVCache:
        if self._placed is None:
            self._placed = jax.device_put(self._table.copy(), self._engine._by_row)
        return KVCache(self._pool.layers, self._placed, self._length)

    def empty_step(self, size: int) -> tuple[Int[np.ndarray, "B T"], Int[np.ndarray, "B T"]]:
        """Tokens and segments of a step that appends nothing to any row."""
        return np.zeros((self.rows, size), np.int32), np.full((self.rows, size), -1, np.int32)

    def runs(self, row: int) -> bool:
        return row in self._leases and self._requests[row].finish_reason is None

    def prefill(self) -> list[tuple[int, float]]:
        """Run what is not yet known of every prompt in chunks; what a row draws first comes from its last chunk."""
        drawn = [(0, 0.0)] * self.rows
        start = 0
        for size in _chunks(max(map(len, self._waiting.values()))):
            tokens, segments = self.empty_step(size)
            for row, ids in self._waiting.items():
                if self.runs(row):
                    piece = ids[start : start + size]
                    tokens[row, : len(piece)] = piece
                    segments[row, : len(piece)] = 0
            results = self.step(tokens, segments)
            for row, ids in self._waiting.items():
                if start < len(ids) <= start + size:
                    drawn[row] = results[row]
            start += size
        return drawn

    def step(self, tokens: Int[np.ndarray, "B T"], segment_ids: Int[np.ndarray, "B T"]) -> list[tuple[int, float]]:
        """Each row's next token and its log-probability."""
        if self._pool.trees is not self._trees:
            raise RequestError("the engine gave its memory back while this answer was on its way; ask again")
        self._take_pages(segment_ids)
        program, draw = self._program(tokens.shape[1])
        if draw is None:
            drawn, logprobs, cache, self.seen = program(
                self.leaves, self.cache, tokens, segment_ids, self.settings, self.seen
            )
            self._have(cache, segment_ids)
        else:
            logits, cache, self.seen = program(self.leaves, self.cache, tokens, segment_ids, self.seen)
            self._have(cache, segment_ids)
            for row, request in enumerate(self._requests):
                if request.grammar is not None and self.runs(row):
                    request.grammar.fill(self.masks[row])
            drawn, logprobs = draw(logits, self.settings, cache.length, self.seen, self.masks)
        return list(zip(np.asarray(drawn).tolist(), np.asarray(logprobs).tolist(), strict=True))

    def _program(self, size: int) -> "tuple[_Program, _Program | None]":
        if self._ready_for != self._pool.count:
            self._ready, self._ready_for = self._engine._programs(self, self._sizes), self._pool.count
        return self._ready[size]

    def leave(self, row: int) -> None:
        """A row is done, or has to wait: its full pages stay known, the others are free."""
        tree, lease = self._leases.pop(row)
        tree.end(lease, _fed(self._requests[row])[: self._held[row]])

    def end(self) -> None:
        """All rows leave, whatever they were doing. A step that was interrupted has consumed the pages' memory."""
        if self._pool.lost:
            self._pool.release()
            self._leases.clear()
        for row in list(self._leases):
            self.leave(row)

    def _have(self, cache: KVCache, segment_ids: Int[np.ndarray, "B T"]) -> None:
        self._pool.layers, self._placed, self._length = cache.layers, cache.table, cache.length
        self._held += (segment_ids >= 0).sum(1, dtype=np.int32)

    def _take_pages(self, segment_ids: Int[np.ndarray, "B T"]) -> None:
        """Pages for a step's tokens. Where there are none left, the last of the rows waits, and its pages are free."""
        for row in list(self._leases):
            wanted = -(-(int(self._held[row]) + int((segment_ids[row] >= 0).sum())) // PAGE)
            while row in self._leases and len(self._leases[row][1].pages) < wanted:
                tree, lease = self._leases[row]
                try:
                    page = self._pool.extend(tree, lease)
                except OutOfPages:
                    last = max(other for other, (its, _) in self._leases.items() if its is tree)
                    segment_ids[last] = -1
                    self.leave(last)
                    continue
                self._table[row, len(lease.pages) - 1] = page
                self._placed = None


def _fed(request: Request) -> tuple[int, ...]:
    """What a request's row is to hold before its next token."""
    return (*request.prompt, *request.tokens)


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
