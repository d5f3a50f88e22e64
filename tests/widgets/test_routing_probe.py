"""The routing probe without a browser: its state, what it tells its views, its page and its picture."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

import glmkit as gk
from glmkit.errors import CheckpointError, RequestError
from glmkit.widgets.effects import Change, _controls, measure
from glmkit.widgets.packing import pack_history, pack_run
from glmkit.widgets.picture import png
from made import big_run
from widgets.views import heard, kept, told

SETTINGS = {"max_tokens": 8, "thinking": "disabled", "seed": 3}


@pytest.fixture
def probe(lm):
    return heard(gk.widgets.RoutingProbe(lm, "hi", **SETTINGS))


def kinds(probe):
    return [content["kind"] for content in probe.sent]


def test_its_state_is_for_the_next_cell(probe, lm):
    assert probe.run.completion.usage.completion_tokens == 8
    assert probe.selection.steps == tuple(range(len(probe.run)))
    probe.select(tokens=slice(2, 6), phases=("prompt",), layer=2, expert=5, by="mass")
    assert probe.selection == gk.widgets.routing_probe.RoutingSelection((2, 3, 4, 5), 2, 5, "mass")
    probe.select(phases="answer")
    assert probe.selection.steps == tuple(np.flatnonzero(np.asarray(probe.run.tokens.phase) == "answer"))
    assert probe._selection["phases"] == ["answer"]  # as its views write it
    probe.change("ablate", 2, 5)
    probe.change("bias", 1, 0, by=0.5)
    probe.change("force", 2, 5)  # another change of the same expert takes the place of the first
    plan = gk.bias(layer=1, expert=0, by=0.5) + gk.force(layer=2, expert=5)
    assert str(probe.interventions) == str(plan)
    probe.clear()
    assert str(probe.interventions) == ""


def test_regenerating_is_what_lm_run_and_compare_say(probe, lm):
    expert = int(probe.run.routing.load()[1].argmax())
    probe.change("ablate", 2, expert)
    probe.regenerate()
    probe.wait()
    plan = gk.ablate(layer=2, expert=expert)
    settings = {**SETTINGS, "temperature": 0.0}
    assert probe.alternative.tokens.id.tolist() == lm.run("hi", interventions=plan, **settings).tokens.id.tolist()
    ids = probe.run.tokens.id.tolist()
    expected = gk.compare(lm.run(ids), lm.run(ids, interventions=plan))
    np.testing.assert_allclose(probe.effect.kl, expected.kl, atol=1e-5)
    assert probe.effect.changed_routes == expected.changed_routes > 0
    assert len(probe.effect.controls) == 4
    np.testing.assert_allclose(np.mean(probe.effect.controls), probe.effect.control.mean(), rtol=1e-6)
    assert kinds(probe)[-2:] == ["effect", "state"]
    assert expert not in probe.effect.read.routing.ids[:, 1]


def test_a_baseline_that_was_made_with_something_else_in_use_is_not_compared_with(lm):
    plan = gk.scale_shared(0.5)
    with lm.using(plan):
        probe = gk.widgets.RoutingProbe(lm, "hi", **SETTINGS)
        probe.change("ablate", 2, int(probe.run.routing.load()[1].argmax()))
        probe.regenerate()
        probe.wait()
    assert probe.effect.read.interventions == str(plan + probe.interventions)
    given = gk.widgets.RoutingProbe(lm, run=lm.run("hi", interventions=plan, **SETTINGS))  # which can be looked at
    given.change("ablate", 2, 1)
    for other in (probe, given):
        with pytest.raises(RequestError, match=r"made with scale_shared\(0.5, layer=all\), and in use is nothing"):
            other.regenerate()
    with pytest.raises(RequestError, match="in use is nothing"):
        measure(lm, given.run, given._changed, go_on=lambda: None)


SKILLS = {
    "sums": [f"{n} + 3 = {n + 3}" for n in range(8)],
    "tales": [*(f"once upon {n} times" for n in range(7)), {"text": "the end"}],
}


def test_one_call_takes_a_skills_experts_away_and_tests_all_skills(lm):
    probe = heard(gk.widgets.RoutingProbe(lm, "hi", skills=SKILLS, **SETTINGS))
    probe._receive(None, {"kind": "hello"}, [])
    assert next(content for content in probe.sent if content["kind"] == "about")["skills"] == ("sums", "tales")
    probe._receive(None, {"kind": "knock_out", "skill": "sums"}, [])
    probe.wait()

    found = probe.knockout
    assert set(found.whole.group) == {"sums", "tales"}
    assert len(found.whole) == 8  # of 16
    (experts,) = found.experts.values()
    assert len(experts) == 3
    assert len(found.controls["sums"]) == 4
    plan = sum((gk.ablate(layer=layer, expert=expert) for layer, expert in found.experts["sums"]), gk.probe.Plan())
    assert str(probe.interventions) == str(plan)
    content = told(probe, "knockout")[0]
    assert [row["name"] for row in content["rows"]] == ["sums", "tales"]
    assert content["excess"]["own"] == pytest.approx(found.excess("sums").own)
    assert "Without " in probe.picture()[0]
    assert '"kind": "knockout"' in probe._page()
    with pytest.raises(RequestError, match="no skill 'songs'"):
        probe.knock_out("songs")


def test_skills_that_cannot_be_told_apart_or_are_not_known(lm, probe):
    with pytest.raises(RequestError, match="two names or more"):
        gk.widgets.RoutingProbe(lm, skills={"sums": SKILLS["sums"]})
    with pytest.raises(RequestError, match=r"skills are \[1, 2\]; expected two names"):
        gk.widgets.RoutingProbe(lm, skills={1: SKILLS["sums"], 2: SKILLS["tales"]})
    with pytest.raises(RequestError, match="skill 'tales': expected 8 records"):
        gk.widgets.RoutingProbe(lm, skills={**SKILLS, "tales": ["one"]})
    with pytest.raises(RequestError, match="knows no skills"):
        probe.knock_out("sums")


def test_a_control_changes_as_many_other_experts_as_the_changes_do():
    run = big_run(50, 3, 16, 4)
    changes = [*(Change("ablate", 1, expert) for expert in range(4)), Change("force", 2, 7)]
    draws = _controls(run, changes, 200, 0)
    assert len(draws) == 200
    assert len({tuple(change.expert for change in draw) for draw in draws}) == 200
    for draw in draws:
        assert [(change.kind, change.layer) for change in draw] == [(change.kind, change.layer) for change in changes]
        assert len({change.expert for change in draw[:4]} - {0, 1, 2, 3}) == 4
        assert draw[4].expert != 7
    assert len(_controls(big_run(50, 1, 6, 2), [Change("ablate", 0, 1)], 9, 0)) == 5  # all that there are
    assert _controls(big_run(50, 1, 6, 2), [Change("ablate", 0, expert) for expert in range(4)], 9, 0) == []


def test_the_code_it_copies_gives_the_same_run(probe, lm, monkeypatch, capsys):
    expert = int(probe.run.routing.load()[0].argmax())
    probe.select(tokens=slice(2, 6))
    probe.change("ablate", 1, expert)
    monkeypatch.setattr(gk, "load", lambda name: {"tiny": lm}[name])
    names = {}
    exec(probe._code, names)
    assert names["run"].tokens.id.tolist() == probe.run.tokens.id.tolist()
    np.testing.assert_array_equal(names["brushed"], probe.run.routing.ids[2:6])
    probe.regenerate()
    probe.wait()
    assert names["alt"].tokens.id.tolist() == probe.alternative.tokens.id.tolist()


def test_a_view_is_told_everything_in_numbered_messages_with_binary_data(probe):
    probe._receive(None, {"kind": "hello"}, [])
    assert kinds(probe) == ["begin", "about", "run", "state"]
    numbers = [content["number"] for content in probe.sent]
    assert numbers == list(range(numbers[0], numbers[0] + 4))
    content = probe.sent[2]
    buffers = content["buffers"]
    arrays = {
        about["name"]: np.frombuffer(data, about["dtype"]).reshape(about["shape"]) * about["scale"]
        for about, data in zip(content["arrays"], buffers, strict=True)
    }
    routing = probe.run.routing
    np.testing.assert_array_equal(arrays["ids"], routing.ids)
    np.testing.assert_allclose(arrays["weights"], routing.weights, atol=routing.weights.max() / 255)
    np.testing.assert_allclose(arrays["margins"], routing.margin, atol=routing.margin.max() / 65535)
    assert "".join(content["text"]) == probe.run.text


def test_bulk_data_is_no_part_of_the_state_that_a_notebook_saves(lm):
    probe = gk.widgets.RoutingProbe(run=big_run(500, 92, 160, 8))
    saved = sum(len(str(value)) for value in probe.get_state().values())
    svg, picture = probe.picture()
    assert saved + len(svg) * 4 / 3 + len(picture) * 4 / 3 < 100_000


def test_what_fails_in_the_background_is_said_and_the_run_stays(probe, lm):
    before = probe.run
    probe.ask("x" * 700, max_tokens=3, seed=9)
    with pytest.raises(RequestError, match="context"):
        probe.wait()
    assert probe.run is before
    assert "RequestError" in probe.sent[-1]["error"]
    probe._receive(None, {"kind": "regenerate"}, [])  # nothing is changed yet
    assert "ablate, bias or force" in probe.sent[-1]["error"]
    probe.ask("hi")
    probe.wait()
    assert probe.sent[-1]["error"] == ""
    assert probe.run.tokens.id.tolist() == before.tokens.id.tolist()  # what failed has left no settings behind


def test_a_click_that_is_refused_is_answered_and_is_no_failure_of_the_work(probe):
    going = threading.Event()
    probe.begin("waiting", lambda: going.wait(60) and None)
    probe._receive(None, {"kind": "ask", "text": "hi", "thinking": "disabled", "max_tokens": 3}, [])
    probe._receive(None, {"kind": "ping"}, [])
    assert probe.sent[-1]["doing"] == "waiting"
    assert "still goes on" in probe.sent[-1]["error"]
    going.set()
    probe.wait()
    assert "still goes on" in probe.sent[-1]["error"]
    probe._receive(None, {"kind": "film"}, [])  # of which there is none
    assert probe.sent[-1] == {**probe.sent[-1], "kind": "state", "error": ""}


def test_stop_ends_an_answer_and_keeps_what_came(probe):
    begun = threading.Event()
    probe.send = lambda content, buffers=None: begun.set() if content["kind"] == "stream" else None
    probe.ask("go on", max_tokens=180)
    assert begun.wait(60)
    with pytest.raises(RequestError, match="still goes on"):
        probe.ask("something else")
    probe._receive(None, {"kind": "stop"}, [])
    assert probe.run.completion.finish_reason in ("interrupted", "stop")
    assert 0 < probe.run.completion.usage.completion_tokens < 180


def test_two_probes_on_one_model_at_once(lm):
    probes = [gk.widgets.RoutingProbe(lm, text, **SETTINGS) for text in ("a", "b")]
    alone = []
    for probe in probes:
        probe.change("ablate", 1, 3)
        probe.regenerate()
        probe.wait()
        alone.append(probe.alternative.tokens.id.tolist())
    for probe in probes:
        probe.regenerate()
    assert [probe.alternative.tokens.id.tolist() for probe in probes] == alone
    assert all(probe.error is None for probe in probes)


def test_a_run_that_there_is_can_be_looked_at_without_a_model(lm, tmp_path):
    run = lm.run("hi", **SETTINGS)
    run.save(tmp_path / "run.safetensors")
    probe = gk.widgets.RoutingProbe(run=gk.Run.load(tmp_path / "run.safetensors"))
    probe.select(layer=1, expert=2)
    probe.change("ablate", 1, 2)
    with pytest.raises(RequestError, match=r"RoutingProbe\(lm, run=run\)"):
        probe.regenerate()
    again = gk.widgets.RoutingProbe(lm, run=run)
    again.change("ablate", 1, int(run.routing.load()[0].argmax()))
    again.regenerate()
    assert again.alternative.tokens.phase.count("prompt") == run.tokens.phase.count("prompt")


def test_a_run_is_run_again_as_it_was_asked(lm, tmp_path, monkeypatch):
    messages = [{"role": "user", "content": "hi"}]
    run = lm.run(
        messages, max_tokens=12, thinking="forced", budget=4, stop="\0", seed=5
    )  # at the checkpoint's own heat
    run.save(tmp_path / "run.safetensors")
    monkeypatch.setattr(gk, "load", lambda name: {"tiny": lm}[name])
    for there in (run, gk.Run.load(tmp_path / "run.safetensors")):
        assert lm.run(**there.asked).tokens.id.tolist() == run.tokens.id.tolist()
        probe = gk.widgets.RoutingProbe(lm, run=there)
        assert probe._generate(probe._x, None, probe._settings).tokens.id.tolist() == run.tokens.id.tolist()
        names = {}
        exec(probe._code, names)
        assert names["run"].tokens.id.tolist() == run.tokens.id.tolist()
    ids = lm.run([5, 6, 7], max_tokens=4, seed=5)
    assert lm.run(**ids.asked).tokens.id.tolist() == ids.tokens.id.tolist()
    assert lm.run([5, 6, 7, 8], prompt=1).tokens.phase[:2] == ("prompt", "answer")


def test_what_cannot_be_is_refused(probe, lm, tmp_path):
    bad = [
        (lambda: probe.change("ablate", 0, 1), "layer 0 is dense"),
        (lambda: probe.change("ablate", 1, 8), "there is no expert 8"),
        (lambda: probe.change("mute", 1, 1), "there is no change 'mute'"),
        (lambda: probe.change("bias", 1, 1), "other than 0"),
        (lambda: probe.select(layer=1), "both or neither"),
        (lambda: probe.select(phases=("thinking",)), "there is no phase"),
        (gk.widgets.RoutingProbe, "expected a model"),
        (lambda: gk.widgets.RoutingProbe(run=lm.run("hi", keep=gk.keep("logits"))), "did not keep its routes"),
        (lambda: gk.widgets.RoutingProbe(lm, run=big_run(9, 3, 8, 2)), "of another model than tiny"),
        (lambda: gk.widgets.RoutingProbe(lm).export(tmp_path / "page.html"), "nothing was run yet"),
    ]
    for call, words in bad:
        with pytest.raises(RequestError, match=words):
            call()
    save_file({"load": np.zeros(1)}, tmp_path / "other.npz")
    with pytest.raises(CheckpointError, match=r"other\.npz is no routing_history\.npz"):
        gk.widgets.RoutingProbe(lm, history=tmp_path / "other.npz")


def test_the_film_of_training_is_that_of_the_history(tmp_path):
    load = np.random.default_rng(0).random((3, 2, 4, 5)).astype(np.float16)
    path = tmp_path / "routing_history.npz"
    np.savez(path, load=load, steps=np.array([0, 5, 9]), families=np.array(["a", "b"]), layers=np.arange(1, 5))
    content, (data,) = pack_history(path)
    assert (content["steps"], content["families"], content["layers"]) == ([0, 5, 9], ["a", "b"], [1, 2, 3, 4])
    shown = np.frombuffer(data, np.uint8).reshape(load.shape) * content["arrays"][0]["scale"]
    np.testing.assert_allclose(shown, load, atol=1 / 255)


def test_a_damaged_history_is_named(tmp_path):
    load, path = np.ones((2, 1, 3, 8), np.float16), tmp_path / "damaged.npz"
    np.savez(path, load=load, steps=np.arange(2), families=np.array(["a"]), layers=np.arange(3))
    whole = path.read_bytes()
    np.savez(tmp_path / "flat.npz", load=load[0, 0, 0], steps=0, families=0, layers=0)
    np.save(tmp_path / "array.npy", load)
    others = ((tmp_path / name).read_bytes() for name in ("flat.npz", "array.npy"))
    for content in (b"", whole[:100], whole[:-30], *others):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"damaged\.npz is no routing_history\.npz"):
            pack_history(path)


def test_margins_that_are_infinite_are_wide():
    run = big_run(4, 2, 6, 2)
    run.arrays["router_margins"][0, 0] = np.inf
    content, buffers = pack_run(run)
    number = [about["name"] for about in content["arrays"]].index("margins")
    assert np.frombuffer(buffers[number], np.uint16)[0] == 65535


def test_a_picture_is_a_png():
    image = png(np.array([[0, 15, 5], [1, 2, 3]], np.uint8))
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert image[16:24] == b"\0\0\0\3\0\0\0\2"  # width and height
    assert image.endswith(b"IEND\xaeB`\x82")


def test_a_notebook_keeps_what_there_is_to_see_last(lm, monkeypatch, caplog):
    probe = gk.widgets.RoutingProbe(lm)
    drawn = kept(probe, monkeypatch)
    assert drawn == ["RoutingProbe, without anything to see yet"]
    probe.ask("hi", **SETTINGS)
    probe.wait()
    count = len(probe.run)
    assert f"Routing of {count} of {count} tokens" in drawn[-1]
    for stop in range(1, 5):  # as a brush is drawn over tokens
        probe.select(tokens=slice(0, stop))
    deadline = time.monotonic() + 30
    while f"Routing of 4 of {count} tokens" not in drawn[-1]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(drawn) <= 5
    probe.change("ablate", 1, int(probe.run.routing.load()[0].argmax()))
    probe.regenerate()
    probe.wait()
    assert "With ablate(layer=1" in drawn[-1]
    assert "of routes changed" in drawn[-1]
    monkeypatch.setattr(probe, "picture", lambda: 1 / 0)
    probe.ask("ho")
    probe.wait()  # which a picture does not break
    assert "ZeroDivisionError" in caplog.text


def test_without_the_notebook_extra_the_error_names_the_command():
    code = """
import sys
sys.modules["anywidget"] = None
import glmkit as gk
try:
    gk.widgets.RoutingProbe
except gk.errors.GLMKitError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert 'pip install "glmkit[notebook]"' in done.stdout
