"""Pages under requests: what was computed before is not computed again, and nothing else changes."""

import jax
import numpy as np
import pytest

import glmkit as gk
from glmkit import loading
from glmkit.engine import Engine, Request, Sampling
from glmkit.engine.pool import Pool
from glmkit.errors import MemoryPlanError, RequestError
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.parallel.planner import cache_bytes_per_device
from tiny import one_layer as model

RNG = np.random.default_rng(0)
LONG = [int(token) for token in RNG.integers(0, 256, 540)]


def ask(prompt, tokens: int = 4, **settings) -> Request:
    settings.setdefault("temperature", 0.0)
    return Request(tuple(prompt), Sampling(**settings), tokens, frozenset())


def run(engine: Engine, *requests: Request) -> list[list[int]]:
    for _ in engine.generate(requests):
        pass
    return [request.tokens for request in requests]


def fresh(*requests: Request, **options) -> list[list[int]]:
    return run(Engine(model(), max_len=600, **options), *requests)


def nothing_is_lost(engine: Engine) -> bool:
    """Whether every page is free or known, with nobody at work."""
    (tree,) = engine._pool.trees
    return tree.free + tree.cached == tree.count


@pytest.fixture
def engine() -> Engine:
    return Engine(model(), max_len=600)


def test_a_conversation_that_goes_on_computes_what_is_new(engine):
    first = ask(LONG)
    (said,) = run(engine, first)
    longer = ask([*LONG, *said, 7, 8, 9])
    assert run(engine, longer) == fresh(ask(longer.prompt))
    assert longer.cached_tokens == 2 * PAGE
    assert first.cached_tokens == 0
    other = ask([1, *LONG])
    assert run(engine, other) == fresh(ask(other.prompt))
    assert other.cached_tokens == 0
    assert nothing_is_lost(engine)


def test_one_batch_mixes_what_is_known_and_what_is_not(engine):
    run(engine, ask(LONG))
    several = [LONG[:300], LONG[100:400], LONG[:9], [*LONG[:520], 3]]
    requests = [ask(prompt) for prompt in several]
    assert run(engine, *requests) == [fresh(ask(prompt))[0] for prompt in several]
    assert [request.cached_tokens for request in requests] == [PAGE, 0, 0, 2 * PAGE]


def test_a_penalty_counts_what_was_not_computed_again(engine):
    run(engine, ask(LONG))
    penalised = {"repetition_penalty": 5.0}
    assert run(engine, ask(LONG, **penalised)) == fresh(ask(LONG, **penalised))


def test_other_weights_never_meet_what_the_old_ones_left():
    network = jax.tree.map(lambda leaf: leaf, model())
    engine, original = Engine(network, max_len=600), network.norm.scale[...]
    before = run(engine, ask(LONG))
    network.blocks[0].attention_norm.scale[...] = network.blocks[0].attention_norm.scale[...] * 3
    changed = ask(LONG)
    run(engine, changed)
    assert changed.cached_tokens == 0
    assert changed.tokens == run(Engine(network, max_len=600), ask(LONG))[0]
    assert original is network.norm.scale[...]
    assert nothing_is_lost(engine)
    assert before


def test_requests_wait_for_pages_and_lose_nothing():
    """Six pages, for which five requests of three each ask: each gets what it gets alone."""
    page = cache_bytes_per_device(model(), PAGE)
    prompts = [[int(token) for token in RNG.integers(0, 256, 520)] for _ in range(5)]
    engine = Engine(model(), max_len=600, kv_memory=6 * page)
    requests = [ask(prompt, tokens=12) for prompt in prompts]
    assert run(engine, *requests) == [fresh(ask(prompt, tokens=12))[0] for prompt in prompts]
    assert [request.cached_tokens for request in requests] == [0] * 5  # what they find again is their own
    assert engine._pool.count == 6
    assert nothing_is_lost(engine)


def test_memory_grows_while_requests_run(monkeypatch):
    monkeypatch.setattr("glmkit.engine.pool._FEWEST", 1)
    monkeypatch.setattr("glmkit.engine.scheduler.AHEAD", 0)
    monkeypatch.setattr("glmkit.engine.pool._SPARE", 1)
    engine = Engine(model(), max_len=600)
    (prompt,) = [LONG[:250]]
    assert run(engine, ask(prompt, tokens=20)) == fresh(ask(prompt, tokens=20))
    assert engine._pool.count == 2


def test_two_generations_take_turns_over_the_same_pages(engine):
    one, two = ask(LONG[:260], tokens=6), ask(LONG[200:500], tokens=6)
    streams = [engine.generate([one]), engine.generate([two])]
    while streams:
        streams = [stream for stream in streams if next(stream, None) is not None]
    assert [one.tokens, two.tokens] == [fresh(ask(r.prompt, tokens=6))[0] for r in (one, two)]
    assert nothing_is_lost(engine)


def test_memory_given_back_ends_what_is_running_and_the_engine_goes_on(engine):
    request = ask(LONG, tokens=8)
    stream = engine.generate([request])
    next(stream)
    engine.release()
    assert len(list(stream)) < 7
    with pytest.raises(RequestError, match="gave its memory back"):
        raise request.error
    assert run(engine, ask(LONG)) == fresh(ask(LONG))


def test_abandoned_and_finished_requests_leave_no_page_behind(engine):
    for number in range(12):
        requests = [ask(LONG[number :: 1 + row], tokens=5) for row in range(3)]
        stream = engine.generate(requests)
        for row, _ in stream:
            if row == number % 3:
                requests[row].finish("stop")
            if number % 4 == 3:
                break
        stream.close()
        assert nothing_is_lost(engine)


def test_memory_that_is_not_there_ends_who_needs_it_and_the_engine_goes_on(engine, monkeypatch):
    def fails(*_):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Pool, "_empty", fails)
        with pytest.raises(MemoryPlanError, match=r"values of 8192 tokens.*about \d+ fit"):
            run(engine, ask(LONG))
    assert run(engine, ask(LONG)) == fresh(ask(LONG))


@pytest.mark.parametrize("wrong", ["2GB", 0, True, 1e9])
def test_memory_is_a_number_of_bytes(wrong):
    with pytest.raises(RequestError, match=r"kv_memory is .* expected a positive integer of bytes"):
        Engine(model(), max_len=600, kv_memory=wrong)


def test_what_an_engine_cannot_be_is_told_before_weights_are_read(monkeypatch):
    monkeypatch.setattr(loading, "load_hf", pytest.fail)
    with pytest.raises(RequestError, match="kv_memory is '2GB'"):
        gk.load("nano", kv_memory="2GB")
    with pytest.raises(RequestError, match="speculative_tokens is 9"):
        gk.load("nano", speculative_tokens=9)


def test_memory_holds_one_longest_context_or_is_refused():
    page = cache_bytes_per_device(model(), PAGE)
    Engine(model(), max_len=600, kv_memory=3 * page)
    with pytest.raises(RequestError, match=f"in which {2 * PAGE} tokens fit; expected at least {3 * page}, .* max_len"):
        Engine(model(), max_len=600, kv_memory=3 * page - 1)
