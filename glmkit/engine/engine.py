"""The engine: one thread that turns requests into tokens, over pages that requests share and leave behind."""

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

from tqdm.auto import tqdm

from glmkit import heap
from glmkit.checks import check_integer
from glmkit.engine.compute import DraftHidden
from glmkit.engine.context import ContextCache
from glmkit.engine.ladder import MAX_ROWS, REPRODUCIBLE, Ladder
from glmkit.engine.pool import Pool, pages_for
from glmkit.engine.request import Request
from glmkit.engine.scheduler import AHEAD, Scheduler
from glmkit.engine.settings import Settings
from glmkit.engine.steps import Steps
from glmkit.engine.ticket import Reader, Ticket
from glmkit.errors import RequestError
from glmkit.model import GLM
from glmkit.model.ops.attention.blocked import PAGE

__all__ = ["Engine"]

_PATIENCE = 1.0  # seconds that the thread waits for more work before it ends
_Result = TypeVar("_Result")


class Engine:
    """Generates for requests of any thread: they join and leave between steps, and share what begins alike.

    `kv_memory` is how many bytes of each device the pages may take, by default half of what is free; they have to hold
    one longest context, else `RequestError` says how many tokens fit. With `reproducible=True` a request's tokens and
    log-probabilities have the same bits alone, among others and after a cache hit; prompts are then read one at a time,
    and every step of answers has the cost of `MAX_ROWS` rows. With `speculative_tokens` so many tokens are drafted by
    the multi-token-prediction layer and verified in the next step: what is drawn stays the same, in fewer steps;
    `draft_hidden` is the hidden state that the layer reads, see `compute.Drafting`. All computing is done on a thread
    of the engine's own, which a `with` block of JAX's settings around a caller does not reach.
    """

    def __init__(
        self,
        model: GLM,
        max_len: int,
        kv_memory: int | None = None,
        *,
        reproducible: bool = False,
        speculative_tokens: int = 0,
        draft_hidden: DraftHidden = "normed",
    ):
        settings = Settings(max_len, kv_memory, reproducible, speculative_tokens, draft_hidden)
        settings.check(model)
        drafting, most = settings.drafting, settings.longest
        self._model, self.max_len, self._row_pages = model, max_len, pages_for(most)
        self._pool = Pool(model, most, kv_memory, mtp=drafting.tokens > 0)
        self._steps = Steps(model, most, drafting)
        ladder = REPRODUCIBLE if reproducible else Ladder()
        self._scheduler = Scheduler(
            self._steps, self._pool, most, model.config.vocab_size, ladder, drafts=drafting.tokens
        )
        self._inbox: deque[Ticket] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ending = False
        atexit.register(_close_at_exit, weakref.ref(self))

    @property
    def cache(self) -> ContextCache:
        """What the pages hold of earlier prompts and answers."""

        def ask(job: Callable[[], _Result]) -> _Result:
            return self._ask(partial(self._on_current_weights, job))

        # Made anew each time: an engine that held one would hold itself, and its weights until Python looks for cycles.
        return ContextCache(self._model, self._pool, self._scheduler, ask)

    def submit(
        self,
        request: Request,
        feed: Callable[[int], None] | None = None,
        *,
        ended: Callable[[], None] | None = None,
        reader: Reader | None = None,
    ) -> Ticket:
        """Hand a request in. `feed` hears each of its tokens, and `ended` the end, on the engine's thread.

        With a `reader` the request runs no further ahead of it than it allows. The request's `finish_reason`, and its
        `error`, say how it ended. Raises `RequestError` when its prompt and `max_tokens` do not fit the context.
        """
        self.check_fits(request)
        ticket = Ticket(request, feed, ended, reader, _waker(self))
        self._inbox.append(ticket)
        self._wake()
        return ticket

    def submit_all(self, requests: Sequence[tuple[Request, Callable[[int], None]]]) -> list[Ticket]:
        """Hand several requests in, each with its `feed`, so that they begin together; otherwise as `submit`."""
        for request, _ in requests:
            self.check_fits(request)
        tickets = [Ticket(request, feed, wake=_waker(self)) for request, feed in requests]
        self._inbox.extend(tickets)  # at once, as far as the thread can see
        self._wake()
        return tickets

    def reader(self, ahead: int) -> Reader:
        """What requests may be submitted with that are to run at most `ahead` tokens before `Reader.take` is called."""
        return Reader(ahead, _waker(self))

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, int]]:
        """Yield `(index of the request, token)` as tokens come, until every request has a `finish_reason`.

        The caller may call `Request.finish` between tokens: no step is taken before it has seen all of the last.
        One that fails has the cause as its `error`, and the others go on. Raises `RequestError` when a prompt and its
        `max_tokens` do not fit the context, and whatever else went wrong than a request.
        """
        for request in requests:
            self.check_fits(request)
        arrived: SimpleQueue[tuple[int, int | None]] = SimpleQueue()
        reader = self.reader(0)
        tickets = [
            self.submit(
                request,
                lambda token, number=number: arrived.put((number, token)),
                ended=lambda number=number: arrived.put((number, None)),
                reader=reader,
            )
            for number, request in enumerate(requests)
        ]
        try:
            left = len(tickets)
            while left:
                number, token = arrived.get()
                if token is not None:
                    yield number, token
                    reader.take()
                else:
                    left -= 1
                    error = requests[number].error
                    if error is not None and not isinstance(error, RequestError):
                        raise error
        finally:
            for ticket in tickets:
                ticket.cancel()
            if threading.current_thread() is not self._thread:  # which may be collecting what was abandoned
                for ticket in tickets:
                    ticket.wait()

    def refuse_own_thread(self) -> None:
        """Raise `RequestError` on the thread that computes, where nothing can be waited for."""
        if threading.current_thread() is self._thread:
            raise RequestError("this cannot be asked of an engine by what hears its tokens: that runs inside a step")

    def fits(self, request: Request) -> bool:
        """Whether the context holds the request's prompt and its longest answer."""
        return len(request.prompt) + request.max_tokens <= self.max_len

    def check_fits(self, request: Request) -> None:
        """Raise `RequestError` when the request does not fit the context, saying by how much."""
        prompt, wanted = len(request.prompt), request.max_tokens
        if prompt == 0:
            raise RequestError("the prompt is empty; expected at least one token")
        if not self.fits(request):
            raise RequestError(
                f"{prompt} prompt tokens and max_tokens={wanted} exceed the context of {self.max_len} tokens by "
                f"{prompt + wanted - self.max_len}; shorten the prompt, lower max_tokens, or load with a larger max_len"
            )

    def largest_step(self, prompt: int) -> tuple[int, int]:
        """Of the steps that serve a request with a prompt of so many tokens, and no other: the most tokens on each part
        of the mesh, those of padding too, and over how many places each attends."""
        return self._scheduler.most_tokens(prompt), self._row_pages * PAGE

    def warm_up(
        self,
        rows: int = MAX_ROWS,
        tokens: int | None = None,
        *,
        grammars: bool = False,
        top_logprobs: bool = False,
        repetition_penalty: bool = False,
        progress: bool = True,
    ) -> None:
        """Compile all steps for up to `rows` requests at a time, so that none is compiled while they are served.

        There is memory for `tokens` of them together, by default of the longest context each as far as `kv_memory`
        allows; all of it is taken now, since steps are compiled for its size. With `grammars`, steps of requests with
        tools or a `response_format` are among them, with `top_logprobs` and `repetition_penalty` those of requests with
        these. What captures or changes something inside the model is compiled when it is first asked. Raises
        `RequestError` for more rows than there may be, or more tokens than memory holds.
        """
        if check_integer("rows", rows, 1, f"1 to {MAX_ROWS}") > MAX_ROWS:
            raise RequestError(f"rows is {rows}; expected 1 to {MAX_ROWS}")
        if tokens is not None:
            check_integer("tokens", tokens, 1)
        flags = {"masked": grammars, "top": top_logprobs, "penalised": repetition_penalty}
        given_up = threading.Event()
        job = partial(self._warm_up, rows, tokens, flags, progress, given_up)
        try:
            self._ask(partial(self._on_current_weights, job))
        finally:  # interrupted, what is being compiled is the last
            given_up.set()

    def release(self) -> None:
        """Give the memory of the pages back; they are allocated again when needed. What runs ends with an error."""
        self._ask(self._release)

    def close(self) -> None:
        """End what runs, with an error, and the thread; give the memory back. The next request begins anew."""
        with self._changed:
            self._ending, thread = True, self._thread
            if thread is None:
                self._end()
                self._ending = False
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():  # else it ends with the step that called
            thread.join()

    @property
    def compiled_steps(self) -> int:
        """How many programs have been made."""
        return self._steps.count

    # What the thread does.

    def _ask(self, job: Callable[[], _Result]) -> _Result:
        """Have the thread do something between two steps, and wait for what it gives or raises."""
        self.refuse_own_thread()
        result: Future[_Result] = Future()

        def do() -> None:
            try:
                result.set_result(job())
            except BaseException as error:
                result.set_exception(error)

        self._jobs.append(do)
        self._wake()
        return result.result()

    def _wake(self) -> None:
        with self._changed:
            if self._thread is None and self._has_work():
                thread = threading.Thread(target=self._drive, name="glmkit engine", daemon=True)
                thread.start()  # which may fail
                self._thread = thread
            self._changed.notify()

    def _has_work(self) -> bool:
        return bool(self._jobs or self._inbox) or self._scheduler.can_go_on

    def _drive(self) -> None:
        """Rounds for as long as there is work. Nobody but this thread touches the scheduler, the pool and the steps."""
        with self._changed:
            if self._thread is not threading.current_thread():  # who started it was interrupted
                return
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._ending or self._has_work(), _PATIENCE):
                    self._thread = None
                    return
            if self._ending:
                break
            try:
                while self._jobs:
                    self._jobs.popleft()()
                self._take_in()
                self._scheduler.round()
            except BaseException as error:  # the device's, such as memory that is not there: the engine goes on
                self._scheduler.fail(error)
            if self._scheduler.is_idle:
                self._steps.rest()
        self._end()
        with self._changed:
            self._thread, self._ending = None, False
        self._wake()  # for what came meanwhile

    def _take_in(self) -> None:
        while self._inbox:
            self._scheduler.add(self._inbox.popleft())

    def _on_current_weights(self, job: Callable[[], _Result]) -> _Result:
        """Do something that goes by the pages and by the weights: those that there are are of these."""
        if not self._scheduler.running:
            self._scheduler.renew()
        elif not self._steps.is_current():
            raise RequestError("the model was changed while requests run; ask again when they have ended")
        return job()

    def _warm_up(
        self, rows: int, tokens: int | None, flags: Mapping[str, bool], progress: bool, given_up: threading.Event
    ) -> None:
        most, pages = self._pool.most * self._pool.parts, rows * self._row_pages
        if tokens is not None:
            if pages_for(tokens) > most:
                raise RequestError(f"{tokens} tokens do not fit the memory of keys and values; {most * PAGE} do")
            pages = min(pages, pages_for(tokens + rows * AHEAD) + rows)  # each has a last page of its own
        self._pool.prepare(-(-min(most, pages) // self._pool.parts))
        counts = [1 << power for power in range(rows.bit_length())]
        kinds = self._scheduler.kinds([*counts, rows], flags)
        for kind in tqdm(kinds, desc="compiling steps", disable=not progress, leave=False):
            if given_up.is_set():
                return
            self._steps.prepare([kind], self._pool)

    def _release(self) -> None:
        lost = RequestError("the engine gave its memory back while this answer was on its way; ask again")
        self._pool.release()
        heap.give_back()
        for ticket in self._scheduler.running:
            ticket.lease = None
        self._scheduler.fail(lost)

    def _end(self) -> None:
        closed = RequestError("the engine was closed while this answer was on its way")
        self._take_in()
        for ticket in self._scheduler.waiting:
            ticket.request.fail(closed)
        self._scheduler.fail(closed)
        while self._jobs:
            self._jobs.popleft()()
        self._steps.rest()
        self._pool.release()


def _waker(engine: Engine) -> Callable[[], None]:
    """`Engine._wake` for whoever may outlive the engine, and is not to keep its weights alive."""
    known = weakref.ref(engine)

    def wake() -> None:
        if (engine := known()) is not None:
            engine._wake()

    return wake


def _close_at_exit(known: weakref.ref[Engine]) -> None:
    """A thread that computes while the interpreter goes away would take it down."""
    if (engine := known()) is not None:
        engine.close()
