"""An answer as it comes: its deltas, stop strings, and loops that are left, stopped or interrupted."""

import threading
from time import sleep

import pytest

import glmkit as gk
from glmkit.engine import Request, Sampling
from glmkit.engine.ticket import Reader
from glmkit.lm import LM
from tiny import model, tokenizer


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM(model(), tokenizer(), max_len=600)


def test_streamed_deltas_together_equal_the_completion(lm):
    stream = lm.chat("hi", max_tokens=40, seed=4, temperature=1.5, stream=True)
    deltas = list(stream)
    assert "".join(d.content for d in deltas) == stream.completion.content
    assert "".join(d.reasoning for d in deltas) == stream.completion.reasoning
    assert stream.completion.tokens == lm.chat("hi", max_tokens=40, seed=4, temperature=1.5).tokens


def test_a_stream_is_stopped_from_another_thread(lm):
    stream = lm.chat("hi", max_tokens=400, seed=4, temperature=0, thinking="disabled", stream=True)
    for read, _ in enumerate(stream, 1):
        if read == 3:
            threading.Thread(target=stream.stop).start()
    done = stream.completion
    assert done.finish_reason == "interrupted"
    assert 3 <= len(done.tokens) < 400
    never_begun = lm.chat("hi", max_tokens=400, stream=True)
    never_begun.stop()
    assert list(never_begun) == []
    assert never_begun.completion.finish_reason == "interrupted"


def test_an_interrupted_stream_has_all_that_came(lm, monkeypatch):
    taken, take = [], Reader.take

    def interrupted(reader):
        take(reader)
        taken.append(None)
        if len(taken) == 3:
            sleep(0.5)  # while the engine goes on
            raise KeyboardInterrupt

    monkeypatch.setattr(Reader, "take", interrupted)
    stream = lm.chat("hi", max_tokens=400, seed=4, temperature=0, thinking="disabled", stream=True)
    assert "".join(delta.content or "" for delta in stream) == stream.completion.content
    assert len(stream.completion.tokens) > 3


def test_a_stream_that_was_left_goes_on_where_it_stopped(lm):
    whole = lm.chat("hi", max_tokens=20, seed=4, temperature=1.5)
    stream = lm.chat("hi", max_tokens=20, seed=4, temperature=1.5, stream=True)
    for _ in stream:
        break
    for _ in stream:
        break
    assert stream.completion.tokens == whole.tokens
    assert stream.completion.finish_reason == whole.finish_reason


def test_a_stop_string_never_leaks_a_part_of_itself(lm):
    text = lm.complete("abc", max_tokens=30, temperature=0).content
    middle = text[len(text) // 2 : len(text) // 2 + 3]
    deltas = list(stream := lm.complete("abc", max_tokens=30, temperature=0, stop=middle, stream=True))
    assert "".join(d.content for d in deltas) == text[: text.index(middle)] == stream.completion.content
    assert stream.completion.finish_reason == "stop"


def test_a_stop_string_that_ends_with_the_last_token_allowed_is_a_stop(lm):
    text = lm.complete("abc", max_tokens=4, temperature=0).content
    done = lm.complete("abc", max_tokens=4, temperature=0, stop=text[-1:])
    assert done.finish_reason == "stop"
    assert done.content == text[: text.index(text[-1])]


def test_a_stream_has_what_is_in_use_when_it_is_asked_for(lm):
    asked = {"max_tokens": 8, "temperature": 0, "thinking": "disabled"}
    plan = gk.scale_shared(-3.0)
    plain = lm.chat("hello", **asked).tokens
    outside = lm.chat("hello", stream=True, **asked)
    with lm.using(plan):
        changed = lm.chat("hello", **asked).tokens
        inside = lm.chat("hello", stream=True, **asked)
        assert outside.completion.tokens == plain != changed
    assert inside.completion.tokens == changed


def test_what_hears_tokens_cannot_wait_for_others(lm):
    request = Request((1, 2, 3), Sampling(temperature=0.0), 4, frozenset())
    ticket = lm.engine.submit(request, lambda token: lm.chat("hello", max_tokens=2))
    assert ticket.wait(60)
    assert "inside a step" in str(request.error)
    assert lm.chat("hello", max_tokens=2).usage.completion_tokens
