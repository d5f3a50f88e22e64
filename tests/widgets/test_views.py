"""One widget with several views: in several cells, opened while it works, each asking for something of its own."""

import time

import numpy as np

import glmkit as gk
from glmkit.text import IncrementalDecoder
from made import big_run
from widgets.test_routing_probe import SETTINGS
from widgets.views import heard, kept, told


def test_an_answer_is_told_as_it_comes_and_all_of_it_to_a_view_that_comes_meanwhile(lm, endless):
    probe = heard(gk.widgets.RoutingProbe(lm, "hi", **SETTINGS))
    send, opened = probe.send, []

    def sent(content, buffers=None):
        send(content, buffers)
        if content["kind"] == "stream" and not opened:
            opened.append(True)
            probe._receive(None, {"kind": "hello"}, [])

    probe.send = sent
    probe.ask("go on", max_tokens=60)
    probe.wait()
    first, whole, *rest = told(probe, "stream")
    assert (first["at"], first["text"], first["count"]) == (0, whole["text"], whole["count"])
    ends = [content["count"] for content in (whole, *rest)]
    assert [content["at"] for content in (whole, *rest)] == [0, *ends[:-1]]
    assert ends[-1] == 60
    decoder = IncrementalDecoder(lm.tokenizer)
    shown = "".join(content["text"] for content in (whole, *rest))
    assert shown == "".join(map(decoder.feed, probe.run.completion.tokens))
    probe.sent.clear()
    probe._receive(None, {"kind": "hello"}, [])
    assert not told(probe, "stream")  # nothing is being written any more


def test_what_one_view_asks_for_is_told_to_that_view(tmp_path):
    history = tmp_path / "routing_history.npz"
    load = np.zeros((2, 1, 3, 8), np.float16)
    np.savez(history, load=load, steps=np.arange(2), families=np.array(["a"]), layers=np.arange(3))
    probe = heard(gk.widgets.RoutingProbe(run=big_run(9, 3, 8, 2), history=history))
    for ask, kind in (("film", "film"), ("export", "page")):
        probe._receive(None, {"kind": ask, "view": "one"}, [])
        (content,) = told(probe, kind)
        assert content["view"] == "one"
        assert content["buffers"]
    assert not any("view" in content for content in told(probe, "state"))


def test_every_cell_that_shows_it_keeps_what_there_is_to_see_last(monkeypatch):
    probe = gk.widgets.RoutingProbe(run=big_run(9, 3, 8, 2))
    cells = [kept(probe, monkeypatch) for _ in range(2)]
    probe.select(tokens=slice(0, 4))
    deadline = time.monotonic() + 30
    while not all("Routing of 4 of 9 tokens" in drawn[-1] for drawn in cells):
        assert time.monotonic() < deadline
        time.sleep(0.01)
