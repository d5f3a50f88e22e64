"""Answers that are asked for together, several of one prompt, with their likeliest tokens, and interrupted ones."""

import io
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from glmkit import LM
from glmkit.engine import Engine
from glmkit.engine.steps import Steps
from glmkit.engine.ticket import Reader
from glmkit.errors import RequestError
from glmkit.generation_config import GenerationConfig
from glmkit.runs.writing import written_run
from tiny import one_layer as model, tokenizer


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM(model(), tokenizer(), generation=GenerationConfig(eos_token_id=()), max_len=600)


@pytest.fixture
def interrupt(monkeypatch):
    """Sends this process the signal of Ctrl-C after so many steps; they are slow enough for it to be heard."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # processes in the background ignore it
    run, left = Steps.run, []

    def slow(self, *arguments):
        time.sleep(0.02)
        if left:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGINT)
        return run(self, *arguments)

    monkeypatch.setattr(Steps, "run", slow)
    yield left.append
    signal.signal(signal.SIGINT, previous)


def test_samples_of_one_prompt_are_those_of_seeds_that_follow(lm):
    several = lm.chat("hi", n=3, seed=5, max_tokens=8, temperature=1.0)
    assert [done.seed for done in several] == [5, 6, 7]
    alone = [lm.chat("hi", seed=seed, max_tokens=8, temperature=1.0) for seed in (5, 6, 7)]
    assert [done.tokens for done in several] == [done.tokens for done in alone]
    with pytest.raises(RequestError, match="n is 0"):
        lm.chat("hi", n=0)
    with pytest.raises(RequestError, match="only one answer can be streamed"):
        lm.chat("hi", n=2, stream=True)


def test_the_likeliest_tokens_are_told_beside_the_drawn_ones(lm):
    done = lm.chat("hi", max_tokens=5, temperature=0, top_logprobs=3)
    assert [len(place) for place in done.top_logprobs] == [3] * 5
    for token, logprob, place in zip(done.tokens, done.logprobs, done.top_logprobs, strict=True):
        assert place[0] == (token, logprob)  # greedy
        assert [each.logprob for each in place] == sorted((each.logprob for each in place), reverse=True)
    ids = [*lm.tokenizer.encode(done.prompt), *done.tokens]
    scored = np.asarray(lm.logprobs([[*ids[:-1], done.top_logprobs[-1][1].token]]))[0, -1]
    assert scored == pytest.approx(done.top_logprobs[-1][1].logprob, abs=1e-4)  # another program: last bits
    assert lm.chat("hi", max_tokens=2, temperature=0).top_logprobs == ()
    with pytest.raises(RequestError, match="top_logprobs is 21"):
        lm.chat("hi", top_logprobs=21)


def test_threads_may_ask_at_the_same_time(lm):
    expected = [lm.chat(text, max_tokens=10, temperature=0).tokens for text in "abc"]
    answers = {}
    threads = [
        threading.Thread(target=lambda text=text: answers.update({text: lm.chat(text, max_tokens=10, temperature=0)}))
        for text in "abc"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[text].tokens for text in "abc"] == expected


def test_an_interrupted_chat_is_what_came_so_far(lm, interrupt):
    interrupt(20)
    done = lm.chat("hi", max_tokens=400, temperature=0)
    assert done.finish_reason == "interrupted"
    assert 10 < len(done.tokens) < 40
    assert lm.chat("hi", max_tokens=12, temperature=0).tokens == done.tokens[:12]


def test_an_interrupted_batch_keeps_what_each_has(lm, interrupt):
    interrupt(20)
    long = lm.chat_batch(["b", "c"], max_tokens=400, temperature=0, progress=False)
    assert [done.finish_reason for done in long] == ["interrupted"] * 2
    assert all(10 < len(done.tokens) < 40 for done in long)


def test_an_interrupted_stream_ends_with_what_came(lm, interrupt):
    stream = lm.chat("hi", max_tokens=400, temperature=0, stream=True)
    interrupt(20)
    for _ in stream:  # which waits nearly all the time
        pass
    assert stream.completion.finish_reason == "interrupted"
    assert 10 < len(stream.completion.tokens) < 60


class Interrupting:
    """Does what `function` does, but for the time that Ctrl-C comes: before it, or once it is done."""

    def __init__(self, function, time: int, after: bool = False):
        self._function, self._left, self._after = function, time, after

    def __call__(self, *arguments, **options):
        self._left -= 1
        if not self._left and not self._after:
            raise KeyboardInterrupt
        done = self._function(*arguments, **options)
        if not self._left:
            raise KeyboardInterrupt
        return done


@pytest.mark.parametrize("place", ["the terminal", "the stream"])
def test_an_interrupt_loses_nothing_of_an_answer_that_is_shown_whatever_it_meets(lm, monkeypatch, place):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    owner, name = (out, "write") if place == "the terminal" else (Reader, "take")
    interrupting = Interrupting(getattr(owner, name), 5)
    monkeypatch.setattr(owner, name, lambda *arguments: interrupting(*arguments))
    done = lm.chat("hi", max_tokens=400, temperature=0, thinking="disabled", show=True)
    assert done.finish_reason == "interrupted"
    assert 4 <= len(done.tokens) < 40
    assert done.content.startswith(out.getvalue().strip())


def test_an_interrupt_while_requests_are_handed_in_ends_them_all(lm, monkeypatch):
    monkeypatch.setattr(Engine, "submit", Interrupting(lm.engine.submit, 2, after=True))
    asked = {"max_tokens": 400, "temperature": 0}
    assert [done.finish_reason for done in lm.chat_batch(["b", "c", "d"], **asked)] == ["interrupted"] * 3
    monkeypatch.setattr(Engine, "submit", Interrupting(lm.engine.submit, 2, after=True))
    streams = [lm.chat("hi", stream=True, **asked) for _ in range(2)]
    for stream in streams:
        next(iter(stream), None)
    streams[0].stop()
    assert [stream.completion.finish_reason for stream in streams] == ["interrupted"] * 2
    monkeypatch.undo()
    lm.chat("hi", max_tokens=1)
    assert not lm.engine.cache.tree().requests  # none goes on unheard


def test_a_run_that_is_interrupted_is_read_once_its_last_step_is_over(lm, interrupt, monkeypatch):
    kept = []

    def watched(model, request, *rest):
        kept.append(len(request.probe.pieces))
        time.sleep(0.1)
        run = written_run(model, request, *rest)
        kept.append(len(request.probe.pieces))
        return run

    monkeypatch.setattr("glmkit.runs.asking.written_run", watched)
    interrupt(20)
    run = lm.run("hi", max_tokens=400, temperature=0)
    assert run.completion.finish_reason == "interrupted"
    assert kept[0] == kept[1]
