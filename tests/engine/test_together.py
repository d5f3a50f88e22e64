"""Requests that come and go while others run: each gets what it gets alone, and what goes wrong is its own."""

import functools
import threading
import time

import jax
import numpy as np
import pytest

from glmkit.engine import Engine, Request, Sampling, engine as engine_module
from glmkit.engine.ladder import Ladder
from glmkit.engine.pool import Pool
from glmkit.engine.steps import Steps
from glmkit.errors import RequestError
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.parallel.planner import cache_bytes_per_device
from interrupting import press
from tiny import one_layer as model

RNG = np.random.default_rng(1)
LONG = [int(token) for token in RNG.integers(0, 256, 540)]
SHORT = [5, 6, 7, 8]
THREE_PAGES = 3 * cache_bytes_per_device(model(), PAGE)  # of which LONG takes all


def ask(prompt, tokens: int = 6, **settings) -> Request:
    settings.setdefault("temperature", 0.0)
    return Request(tuple(prompt), Sampling(**settings), tokens, frozenset())


def run(engine: Engine, *requests: Request) -> list[list[int]]:
    for ticket in [engine.submit(request) for request in requests]:
        assert ticket.wait(600)
    return [request.tokens for request in requests]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(model(), max_len=600)


def nothing_is_lost(engine: Engine) -> bool:
    (tree,) = engine._pool.trees
    return tree.free + tree.cached == tree.count == tree.available


def test_a_request_that_joins_another_gets_what_it_gets_alone(engine, steps):
    first, second = ask(SHORT, tokens=30), ask([9, *SHORT])
    alone = [run(engine, ask(request.prompt, tokens=request.max_tokens))[0] for request in (first, second)]
    steps.clear()
    joined = []

    def join(token):
        if len(first.tokens) == 10:
            joined.append(engine.submit(second))

    engine.submit(first, join).wait()
    joined[0].wait()
    assert [first.tokens, second.tokens] == alone
    assert (2, 1) in steps  # they did run together
    assert nothing_is_lost(engine)


def test_an_answer_goes_on_between_the_chunks_of_a_long_prompt(engine, steps):
    engine.cache.clear()
    answer, prompt = ask(SHORT, tokens=40), ask(LONG)
    joined = []

    def join(token):
        if len(answer.tokens) == 5:
            joined.append(engine.submit(prompt))

    engine.submit(answer, join).wait()
    joined[0].wait()
    chunks = [number for number, (_, size) in enumerate(steps) if size > 1][1:]  # without that of the first prompt
    assert len(chunks) == 2
    assert steps[chunks[0] + 1 : chunks[1]] == [(1, 1)]


def test_callers_of_many_threads_are_served_at_once(engine):
    prompts = [[token, *SHORT] for token in range(6)]
    alone = [run(engine, ask(prompt))[0] for prompt in prompts]
    requests = [ask(prompt) for prompt in prompts]
    threads = [threading.Thread(target=run, args=(engine, request)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [request.tokens for request in requests] == alone


def test_samples_of_one_prompt_compute_it_once(engine, steps):
    engine.cache.clear()
    requests = [ask(LONG, temperature=1.0, seed=seed) for seed in range(3)]
    run(engine, *requests)
    assert [request.cached_tokens for request in requests] == [0, 2 * PAGE, 2 * PAGE]
    assert len({tuple(request.tokens) for request in requests}) == 3


def test_requests_of_one_part_of_a_mesh_keep_to_its_rows(empty_steps):
    engine, known = Engine(model(), max_len=600, reproducible=True), LONG[:PAGE]
    engine._pool.parts = 2
    run(engine, ask([*known, 9]))
    assert [tree.known([*known, 9]) for tree in engine._pool.trees] == [1, 0]
    empty_steps.clear()
    run(engine, *(ask([*known, 9, token]) for token in range(3)))
    assert [used for rows, used in empty_steps if rows == 2] == [[0]] * 3  # prompts, one by one
    assert all(max(used) < rows // 2 for rows, used in empty_steps)


def test_a_cancelled_request_ends_at_once_and_leaves_its_pages(engine):
    request, heard = ask(SHORT, tokens=500), threading.Event()
    ticket = engine.submit(request, lambda token: heard.set())
    heard.wait()
    ticket.cancel()
    said = len(request.tokens)
    assert ticket.wait(60)
    assert request.finish_reason == "interrupted"
    assert len(request.tokens) == said < 500
    assert nothing_is_lost(engine)


def test_a_request_runs_no_further_ahead_than_its_reader_allows(engine):
    request, reader = ask(SHORT, tokens=12), engine.reader(ahead=3)
    arrived = threading.Semaphore(0)
    ticket = engine.submit(request, lambda token: arrived.release(), reader=reader)
    for _ in range(4):
        arrived.acquire()
    assert not ticket.wait(0.3)
    assert len(request.tokens) == 4
    run(engine, ask(SHORT))  # which does not wait for that reader
    reader.take()
    arrived.acquire()
    assert not ticket.wait(0.3)
    assert len(request.tokens) == 5
    for _ in range(12):
        reader.take()
    assert ticket.wait(60)
    assert len(request.tokens) == 12


FILTERED = {"temperature": 1.0, "top_p": 0.9, "drawn_logprobs": True}


@pytest.mark.parametrize("settings", [{}, FILTERED], ids=["greedy", "filtered"])
def test_nan_fails_the_request_it_comes_of_and_is_not_known_to_others(settings):
    network = jax.tree.map(lambda leaf: leaf, model())
    table = np.array(network.embed[...])
    table[200] = np.nan
    network.embed[...] = jax.device_put(table, network.embed[...].sharding)
    engine = Engine(network, max_len=600)
    expected = run(engine, ask(SHORT, tokens=20))[0]
    sick, sound = ask([200] * 300, **settings), ask(SHORT, tokens=20)
    run(engine, sick, sound)
    assert sick.finish_reason == "error"
    with pytest.raises(RequestError, match="NaN"):
        raise sick.error
    assert sound.tokens == expected
    assert run(engine, ask(SHORT, tokens=20)) == [expected]  # over the pages that held NaN
    assert engine._pool.trees[0].known([200] * 300) == 0


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_an_error_of_who_hears_a_token_ends_that_request_alone(engine, error):
    def broken(token):
        raise error

    failing, sound = ask(SHORT), ask([3, *SHORT])
    tickets = [engine.submit(failing, broken), engine.submit(sound)]
    for ticket in tickets:
        ticket.wait()
    assert isinstance(failing.error, error)
    assert (sound.error, len(sound.tokens)) == (None, 6)


def test_a_step_that_fails_ends_what_ran_and_the_engine_goes_on(engine, monkeypatch):
    def fails(self, rows, pool, fill):
        jax.tree.map(lambda leaf: leaf.delete(), pool.layers)  # as a donated buffer is after an error
        raise MemoryError("the device is full")

    expected = run(engine, ask(SHORT))
    with monkeypatch.context() as patched:
        patched.setattr(Steps, "run", fails)
        request = ask(SHORT)
        run(engine, request)
    assert isinstance(request.error, MemoryError)
    assert run(engine, ask(SHORT)) == expected
    monkeypatch.setattr(Steps, "run", fails)
    with pytest.raises(MemoryError):
        list(engine.generate([ask(SHORT)]))


def test_after_a_change_of_weights_requests_wait_for_those_of_the_old():
    network = jax.tree.map(lambda leaf: leaf, model())
    engine, original = Engine(network, max_len=600), network.norm.scale[...]
    (old,) = run(engine, ask(SHORT, tokens=20))
    first, second, joined = ask(SHORT, tokens=20), ask(LONG), []

    def change(token):
        if len(first.tokens) == 5:
            network.norm.scale[...] = original[::-1]
            joined.append(engine.submit(second))

    engine.submit(first, change).wait()
    joined[0].wait()
    assert first.tokens == old
    assert second.tokens == run(Engine(network, max_len=600), ask(LONG))[0]


def test_an_answer_that_nobody_reads_does_not_hold_new_weights_up():
    network = jax.tree.map(lambda leaf: leaf, model())
    engine = Engine(network, max_len=600)
    unread, heard = ask(SHORT, tokens=20), threading.Event()
    engine.submit(unread, lambda token: heard.set(), reader=engine.reader(0))
    heard.wait()
    network.norm.scale[...] = network.norm.scale[...] * 2
    run(engine, ask(SHORT))
    with pytest.raises(RequestError, match="changed while nobody read"):
        raise unread.error


def test_new_weights_wait_for_an_answer_only_until_nobody_reads_it(empty_steps):
    network, joined = jax.tree.map(lambda leaf: leaf, model()), []
    engine, unread = Engine(network, max_len=600), ask(SHORT, tokens=20)

    def change(token):
        if len(unread.tokens) == 1:
            network.norm.scale[...] = network.norm.scale[...] * 2
            joined.append(engine.submit(ask(SHORT)))

    ticket = engine.submit(unread, change, reader=engine.reader(3))
    assert ticket.wait(20)
    assert joined[0].wait(20)
    assert len(unread.tokens) == 4
    with pytest.raises(RequestError, match="changed while nobody read"):
        raise unread.error


def test_an_answer_that_was_set_aside_does_not_go_on_with_new_weights(empty_steps):
    network = jax.tree.map(lambda leaf: leaf, model())
    engine = Engine(network, max_len=600, kv_memory=THREE_PAGES)
    first, second, heard, reader = (
        ask(LONG, tokens=4),
        ask([1, *LONG[1:]], tokens=4),
        threading.Event(),
        engine.reader(0),
    )
    ticket = engine.submit(first, lambda token: heard.set(), reader=reader)
    assert heard.wait(20)

    def change(token):
        if len(second.tokens) == 1:
            network.norm.scale[...] = network.norm.scale[...] * 2

    assert engine.submit(second, change).wait(20)
    reader.take()
    assert ticket.wait(20)
    assert (second.error, len(second.tokens)) == (None, 4)
    with pytest.raises(RequestError, match="changed before this answer could go on"):
        raise first.error


def test_a_prompt_that_another_begins_with_waits_only_until_that_one_is_read(empty_steps):
    engine, heard = Engine(model(), max_len=700), []
    first, second = ask(LONG, tokens=60), ask(LONG[: 2 * PAGE])
    tickets = engine.submit_all([(first, lambda token: None), (second, lambda token: heard.append(len(first.tokens)))])
    assert all(ticket.wait(20) for ticket in tickets)
    assert heard[0] < 60


def test_a_thread_that_cannot_start_is_tried_again(empty_steps, monkeypatch):
    def fails(thread):
        raise RuntimeError("can't start new thread")

    engine = Engine(model(), max_len=600)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fails)
        with pytest.raises(RuntimeError, match="can't start"):
            engine.submit(ask(SHORT))
    assert run(engine, ask(SHORT)) == [[5] * 6]


def test_answers_take_turns_over_pages_as_they_are_read(empty_steps):
    engine = Engine(model(), max_len=600, kv_memory=THREE_PAGES)
    requests = ask(LONG, tokens=4), ask([1, *LONG[1:]], tokens=4)
    readers = [engine.reader(0) for _ in requests]
    heard = [threading.Semaphore(0) for _ in requests]
    tickets = []
    for request, reader, given in zip(requests, readers, heard, strict=True):
        tickets.append(engine.submit(request, lambda token, given=given: given.release(), reader=reader))
        assert given.acquire(timeout=20)  # of the first, before the second comes; now it has not been read
    for _ in range(3):
        for reader, given in zip(readers, heard, strict=True):
            reader.take()
            assert given.acquire(timeout=20)
    assert all(ticket.wait(20) for ticket in tickets)
    assert nothing_is_lost(engine)


def test_who_waits_for_pages_is_not_passed_by_those_who_came_later(empty_steps):
    engine, begun, tickets = Engine(model(), max_len=600, kv_memory=THREE_PAGES), [], []
    first, long, late = ask(SHORT, tokens=30), ask(LONG), ask([9, *SHORT])

    def join(token):
        if len(first.tokens) == 1:
            tickets.extend(engine.submit(each, lambda token, each=each: begun.append(each)) for each in (long, late))

    assert engine.submit(first, join).wait(20)
    assert all(ticket.wait(20) for ticket in tickets)
    assert begun[0] is long


def test_memory_that_cannot_grow_is_asked_for_anew(empty_steps, monkeypatch):
    def fails(*_, **__):
        raise MemoryError

    monkeypatch.setattr("glmkit.engine.pool._FEWEST", 1)
    monkeypatch.setattr("glmkit.engine.pool._SPARE", 1)
    monkeypatch.setattr("glmkit.engine.scheduler.AHEAD", 0)
    monkeypatch.setattr("glmkit.engine.pool._longer", fails)
    monkeypatch.setattr(Pool, "_empty", lambda self, pages: (jax.numpy.zeros(pages),))
    engine = Engine(model(), max_len=600)
    long, beside = ask(LONG[:250], tokens=20), ask(SHORT, tokens=30)
    run(engine, long, beside)
    assert [(request.error, len(request.tokens)) for request in (long, beside)] == [(None, 20), (None, 30)]
    assert engine._pool.count == 2
    assert nothing_is_lost(engine)


def test_nothing_is_compiled_after_a_warm_up(monkeypatch):
    monkeypatch.setattr(engine_module, "Ladder", functools.partial(Ladder, chunks=(PAGE,)))
    engine = Engine(model(), max_len=10 * PAGE)
    engine.warm_up(rows=2, progress=False)
    before, pages = engine.compiled_steps, engine._pool.count
    run(engine, ask(LONG, tokens=3), ask(LONG[3:60]))
    run(engine, ask(SHORT))
    long = [ask([first, *LONG, *LONG, *LONG, *LONG], tokens=2) for first in (1, 2)]  # which begin together
    assert all(ticket.wait(600) for ticket in engine.submit_all([(request, lambda token: None) for request in long]))
    assert (engine.compiled_steps, engine._pool.count) == (before, pages)
    with pytest.raises(RequestError, match="rows is 33"):
        engine.warm_up(rows=33)


def test_a_warm_up_for_so_many_tokens_is_for_all_that_have_so_many_together(monkeypatch):
    """Whose last pages are each its own, with room for what comes next."""
    monkeypatch.setattr(engine_module, "Ladder", functools.partial(Ladder, chunks=(PAGE,)))
    engine, answer = Engine(model(), max_len=600), 4
    prompts = [[number] * (PAGE - answer) for number in (1, 2)]
    engine.warm_up(rows=2, tokens=2 * PAGE, progress=False)
    before, pages = engine.compiled_steps, engine._pool.count
    run(engine, *(ask(prompt, tokens=answer) for prompt in prompts))
    assert (engine.compiled_steps, engine._pool.count) == (before, pages)
    for wrong in ({"tokens": -5}, {"rows": 2.5}, {"rows": "2"}):
        with pytest.raises(RequestError, match=r"(tokens|rows) is "):
            engine.warm_up(**wrong)


def test_a_warm_up_that_is_interrupted_compiles_no_more(monkeypatch):
    engine, made = Engine(model(), max_len=600), []

    def prepare(kinds, pool):
        made.extend(kinds)
        press()
        time.sleep(0.5)  # in which the main thread hears it

    monkeypatch.setattr(engine._steps, "prepare", prepare)
    with pytest.raises(KeyboardInterrupt):
        engine.warm_up(progress=False)
    assert engine.cache.tokens == 0  # asked of the same thread
    assert len(made) == 1


def test_a_warm_up_has_the_steps_that_it_is_told_of_beside_the_plain_ones(engine):
    kinds = engine._scheduler.kinds([4], {"masked": False, "top": True, "penalised": True})
    decoding = {(kind.masked, kind.top, kind.penalised) for kind in kinds if (kind.rows, kind.size) == (4, 1)}
    assert decoding == {(False, top, penalised) for top in (False, True) for penalised in (False, True)}


def test_a_reproducible_engine_gives_the_same_bits_alone_among_others_and_from_its_cache():
    def engine() -> Engine:
        return Engine(model(), max_len=600, kv_memory=THREE_PAGES, reproducible=True)  # requests are set aside

    def bits(request: Request) -> tuple[list[int], bytes]:
        return request.tokens, np.asarray(request.logprobs).tobytes()

    settings = {"tokens": 30, "temperature": 1.0, "seed": 7}
    alone = ask(LONG, **settings)
    run(first := engine(), alone)
    again = ask(LONG, **settings)
    run(first, again)
    assert again.cached_tokens == 2 * PAGE
    among = ask(LONG, **settings)
    run(engine(), ask(SHORT, tokens=100), ask(LONG[7:300], tokens=50), among, ask(LONG[1:250], tokens=40))
    assert bits(alone) == bits(again) == bits(among)


def test_what_runs_when_an_engine_is_closed_ends_with_an_error(engine):
    engine = Engine(model(), max_len=600)
    request, heard = ask(SHORT, tokens=500), threading.Event()
    ticket = engine.submit(request, lambda token: heard.set())
    heard.wait()
    engine.close()
    assert ticket.wait(0)
    with pytest.raises(RequestError, match="closed while this answer was on its way"):
        raise request.error
    assert not [thread for thread in threading.enumerate() if thread is engine._thread]
    assert len(run(engine, ask(SHORT))[0]) == 6
