"""The training dashboard without a browser: runs that go on, stop, end and fail, and what its views are told."""

import json
import math
import threading
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field

import numpy as np
import pytest

import glmkit as gk
from glmkit.errors import RequestError, TrainingError
from glmkit.rl import PPO, Policy, Problem, Task
from glmkit.train import LoggedRun, TokenDataset, fit
from glmkit.widgets.training_dashboard import TrainingSelection
from glmkit.widgets.training_panels import panels
from glmkit.widgets.training_picture import training_picture
from glmkit.widgets.training_record import TrainingRecord
from tiny import one_layer, small_model, tokenizer
from widgets.views import heard, told

SETTINGS = {"steps": 8, "batch_size": 2, "length": 32, "learning_rate": 3e-3, "progress": False}
RECORDS = [
    {"messages": [{"role": "user", "content": "ab"[n % 2]}, {"role": "assistant", "content": "ba"[n % 2]}]}
    for n in range(24)
]


@dataclass
class Told:
    """A step as another trainer may tell it, with a curve of its own."""

    number: int
    metrics: dict = field(default_factory=dict)
    load: np.ndarray | None = None


def steps(count, first=1, load=True):
    rng = np.random.default_rng(0)
    for number in range(first, first + count):
        metrics = {"loss": 1 / number, "reward": math.sin(number)}
        yield Told(number, metrics, rng.integers(0, 50, (3, 8)).astype(np.float32) if load else None)


@pytest.fixture(scope="module")
def data():
    return TokenDataset.encode(RECORDS, tokenizer(), 32)


class Presses:
    """A log that presses Stop in the third step."""

    def begin(self, about):
        pass

    def write(self, step, values):
        if step == 3:
            self.dashboard._receive(None, {"kind": "stop"}, [])

    def end(self, outcome):
        pass


def views(dashboard):
    """The curves and loads of a view that hears all that is sent."""
    curves, frames = {}, []
    for content in told(dashboard, "steps"):
        if content["whole"]:
            curves, frames = {}, []
        for about, buffer in zip(content["arrays"], content["buffers"], strict=True):
            values = np.frombuffer(buffer, about["dtype"]).reshape(about["shape"])
            if about["name"] == "loads":
                for number, (step, index) in enumerate(content["frames"]):
                    if frames and frames[-1][1] % content["stride"]:
                        frames.pop()
                    frames.append((step, index, values[number] * about["scale"]))
            else:
                curves.setdefault(about["name"], []).extend(values.tolist())
        frames = [f for at, f in enumerate(frames) if f[1] % content["stride"] == 0 or at == len(frames) - 1]
    return curves, frames


def test_a_run_is_told_as_it_goes_on_and_its_state_is_for_the_next_cell(data):
    run = fit(small_model(), data, **SETTINGS)
    dashboard = heard(gk.widgets.TrainingDashboard(run, start=False))
    assert dashboard.outcome == "ready"
    assert str(dashboard.interventions) == ""
    dashboard.snapshot()
    dashboard.start()
    dashboard.wait()
    assert dashboard.outcome == "finished"
    taken, loss = dashboard.record.curve("loss")
    assert taken.tolist() == list(range(1, 9))
    assert loss[-1] < loss[0]
    curves, frames = views(dashboard)
    np.testing.assert_array_equal(curves["x loss"], taken)
    np.testing.assert_allclose(curves["y loss"], loss, rtol=1e-6)
    assert {"y mtp_loss", "y imbalance", "y tokens_per_s", "y gradient_norm"} <= curves.keys()
    assert [step for step, _, _ in frames] == taken.tolist()
    for frame, (_, _, share) in zip(dashboard.record.loads, frames, strict=True):
        np.testing.assert_allclose(share, frame.share, atol=frame.share.max() / 255)
        np.testing.assert_allclose(frame.share.sum(1), 1, rtol=1e-6)
    dashboard.select(step=3, layer=1, expert=5)
    assert dashboard.selection == TrainingSelection(3, 1, 5)
    assert dashboard.record.at(3)["loss"] == loss[2]
    with pytest.raises(RequestError, match="has finished"):
        dashboard.start()
    again = gk.widgets.TrainingDashboard(run)  # of a run that is over
    assert (again.outcome, again.record.last) == ("finished", None)


def test_stop_leaves_a_checkpoint_from_which_the_run_goes_on_to_the_same_bits(data, tmp_path):
    whole = fit(small_model(), data, **SETTINGS).run()
    out = {"out": tmp_path / "run", "save_every": 1000}
    presses = Presses()
    run = fit(small_model(), data, logs=[presses], **out, **SETTINGS)
    presses.dashboard = dashboard = heard(gk.widgets.TrainingDashboard(run, start=False))
    dashboard.start()
    dashboard.wait()
    assert (dashboard.outcome, run.number) == ("stopped", 3)
    assert f"a checkpoint is in {tmp_path / 'run'}" in told(dashboard, "run")[-1]["note"]
    resumed = fit(small_model(), data, **out, **SETTINGS)  # in another process, say
    assert resumed.number == 3
    seen = heard(gk.widgets.TrainingDashboard(resumed, start=False))
    assert seen.record.last == 3  # what the log has of the steps before
    seen.start()
    seen.wait()
    assert seen.record.curve("loss")[0].tolist() == list(range(1, 9))
    expected, found = whole.model, resumed.model
    np.testing.assert_array_equal(np.asarray(expected.embed[...]), np.asarray(found.embed[...]))
    dashboard.start()  # and here, as if nothing had been
    dashboard.wait()
    assert dashboard.record.curve("loss")[1].tolist() == seen.record.curve("loss")[1].tolist()


def test_a_folder_is_read_and_says_how_its_run_ended(data, tmp_path):
    fit(small_model(), data, out=tmp_path, **SETTINGS).run()
    dashboard = heard(gk.widgets.TrainingDashboard(tmp_path))
    assert (dashboard.outcome, dashboard.record.last, dashboard.record.loads) == ("finished", 8, ())
    log = tmp_path / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:4]))  # killed after the third step
    dashboard = heard(gk.widgets.TrainingDashboard(log))
    assert dashboard.outcome == "open"
    assert "was killed" in dashboard._words()
    with log.open("a") as file:  # it went on from step 2, and is writing
        file.write(lines[0] + lines[2] + '{"step": 3, "loss": 7.0}\n{"step": 4, "lo')
    dashboard.start()
    dashboard.wait()
    assert dashboard.record.curve("loss")[0].tolist() == [1, 2, 3]
    assert dashboard.record.curve("loss")[1][-1] == 7
    curves, _ = views(dashboard)
    assert curves["x loss"] == [1, 2, 3]
    with log.open("a") as file:
        file.write('ss": 6.0}\n{"end": "failed: step 5: loss nan"}\n')
    dashboard.start()
    dashboard.wait()
    assert dashboard.outcome == "failed"
    assert "step 5: loss nan" in told(dashboard, "run")[-1]["note"]
    names = {}
    exec(dashboard._code, names)
    assert names["loss"].tolist() == dashboard.record.curve("loss")[1].tolist()
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(TrainingError, match="not a line of a training log"):
        gk.widgets.TrainingDashboard(tmp_path / "other.jsonl")
    with pytest.raises(TrainingError, match="there is no log"):
        gk.widgets.TrainingDashboard(tmp_path / "nowhere")


def test_a_run_that_fails_is_shown_as_such_and_what_came_stays():
    def failing():
        yield from steps(3)
        raise TrainingError("step 4: loss nan")

    dashboard = heard(gk.widgets.TrainingDashboard(failing(), start=False))
    dashboard.start()
    with pytest.raises(TrainingError, match="loss nan"):
        dashboard.wait()
    assert dashboard.outcome == "failed"
    assert told(dashboard, "run")[-1]["note"] == "Failed after step 3: step 4: loss nan"
    assert "TrainingError" in told(dashboard, "state")[-1]["error"]
    assert dashboard.record.last == 3
    dashboard._receive(None, {"kind": "start"}, [])
    assert "has failed" in told(dashboard, "state")[-1]["error"]


def test_any_run_has_its_curves_and_is_told_at_most_30_times_a_second():
    def quick():
        for step in steps(3000, load=False):
            if step.number % 100 == 0:
                time.sleep(0.02)
            yield step

    dashboard = heard(gk.widgets.TrainingDashboard(quick(), start=False))
    began = time.monotonic()
    dashboard.start()
    dashboard.wait()
    seconds = time.monotonic() - began
    curves, _ = views(dashboard)
    assert curves["x reward"] == list(range(1, 3001))
    assert len(told(dashboard, "steps")) <= 30 * seconds + 2
    assert [content["number"] for content in dashboard.sent] == list(range(1, len(dashboard.sent) + 1))


def capitals(sample) -> dict[str, float]:
    return {"capital": float(sum(letter.isupper() for letter in sample.content)), "place": 0.01 * sample.index}


def letters() -> Task:
    return Task("letters", [Problem("a"), Problem("bc")], reward=capitals, held_out=[Problem("d")])


def test_a_run_of_rl_is_shown_and_copied_like_any_other(monkeypatch, tmp_path):
    lm = gk.LM(one_layer(), tokenizer(), max_len=64, name="tiny", loaded={"name": "tiny"})
    settings = {"steps": 2, "prompts": 2, "n": 2, "max_tokens": 3, "thinking": "disabled", "eval_count": 1}
    with Policy(lm) as policy:
        run = gk.rl.train(policy, letters(), out=tmp_path, progress=False, **settings)
        dashboard = heard(gk.widgets.TrainingDashboard(run))
        dashboard.wait()
        assert dashboard.outcome == "finished"
        assert dashboard.record.curve("reward")[0].tolist() == [1, 2]
        assert dashboard.record.curve("held_out/greedy")[0].tolist() == [0, 2]
        assert [frame.step for frame in dashboard.record.loads] == [1, 2]
        shown = {panel["title"]: panel for panel in told(dashboard, "steps")[-1]["panels"]}
        assert shown["Reward"]["names"] == ("reward", "reward/capital", "reward/place")
        assert not shown["Reward"]["quiet"]
        assert shown["Sample seconds"]["quiet"]
        log = gk.widgets.TrainingDashboard(tmp_path)
        assert log.outcome == "finished"
        assert log.record.curve("reward")[1].tolist() == dashboard.record.curve("reward")[1].tolist()
        dashboard.select(step=2, layer=run.moe_layers[0], expert=1)
        code = dashboard._code
        assert f"# {run.data}" in code
        monkeypatch.setattr(gk, "load", lambda name: {"tiny": lm}[name])
        names = {"task": letters(), "loss": PPO()}
        exec(code.replace("task = ...", "").replace("loss = ...", "").partition("dashboard =")[0], names)
        with names["policy"]:
            assert names["run"].settings == run.settings
            assert names["run"].number == 2


def test_samples_of_an_rl_run_are_looked_into_token_by_token():
    lm = gk.LM(one_layer(), tokenizer(), max_len=64)
    settings = {"steps": 2, "prompts": 2, "n": 4, "max_tokens": 3, "eval_count": 0, "progress": False}
    with Policy(lm) as policy:
        seen = []
        run = gk.rl.train(policy, letters(), hooks=[lambda step: seen.append(step)], **settings)
        dashboard = heard(gk.widgets.TrainingDashboard(run))
        dashboard.wait()
        assert str(dashboard.interventions) == ""
        plan = gk.ablate(layer=0, expert=1)
        with pytest.warns(UserWarning, match="never held"), policy.lm.using(plan):
            assert str(dashboard.interventions) == str(plan)
        rollout, update = seen[-1].rollout, seen[-1].updates[0]
        kept = dashboard.samples
        rewards = [sample.reward for sample in kept]
        assert rewards == sorted(rewards, reverse=True)
        assert len(kept) == 6  # of 8: the three best, the three worst
        assert {rewards[0], rewards[-1]} == {rollout.rewards.max(), rollout.rewards.min()}
        dashboard.select(step=2, sample=kept[1].sample)
        dashboard._receive(None, {"kind": "samples", "step": 2, "sample": kept[1].sample}, [])
        message = told(dashboard, "samples")[-1]
        assert [one["sample"] for one in message["samples"]] == [sample.sample for sample in kept]
        row = int(np.flatnonzero(rollout.sample == kept[1].sample)[0])
        size = int(rollout.length[row])
        assert "".join(message["text"]) == tokenizer().decode(rollout.tokens[row, :size].tolist())
        np.testing.assert_array_equal(kept[1].scored, update.logprobs[row, :size])
        np.testing.assert_array_equal(kept[1].advantages, rollout.per_token()[row, :size])
        np.testing.assert_array_equal(kept[1].routes, rollout.routes[row, :size])
        with pytest.raises(RequestError, match=r"sample 99 of this step is not kept; samples that are: \d"):
            dashboard.select(step=2, sample=99)


def test_a_run_of_rl_that_a_hook_ends_was_stopped():
    with Policy(gk.LM(one_layer(), tokenizer(), max_len=64)) as policy:
        settings = {"steps": 9, "prompts": 1, "n": 2, "max_tokens": 2, "eval_count": 0, "progress": False}
        run = gk.rl.train(policy, letters(), hooks=[lambda step: step.stop()], **settings)
        dashboard = gk.widgets.TrainingDashboard(run)
        dashboard.wait()
        assert (dashboard.outcome, dashboard.record.last) == ("stopped", 1)


def test_curves_stand_together_by_what_they_measure():
    found = panels(["loss", "odd/one", "seconds", "entropy/think", "eval_loss", "entropy"])
    assert [(panel.title, panel.names, panel.quiet) for panel in found] == [
        ("Loss", ("loss", "eval_loss"), False),
        ("Entropy, nats", ("entropy", "entropy/think"), False),
        ("Odd: one", ("odd/one",), False),
        ("Seconds", ("seconds",), True),
    ]
    assert panels([]) == []


def test_a_view_that_comes_late_is_told_all_while_others_go_on():
    going = threading.Event()

    def waiting():
        yield from steps(700)
        going.wait(60)
        yield from steps(700, first=701)

    dashboard = heard(gk.widgets.TrainingDashboard(waiting(), start=False))
    dashboard.start()
    while dashboard.record.last != 700:
        time.sleep(0.01)
    dashboard._receive(None, {"kind": "hello"}, [])
    dashboard._receive(None, {"kind": "ping"}, [])
    assert [content["kind"] for content in dashboard.sent if content["kind"] in ("begin", "about")] == [
        "begin",
        "about",
    ]
    going.set()
    dashboard.wait()
    curves, frames = views(dashboard)
    assert curves["x loss"] == list(range(1, 1401))
    kept = dashboard.record.loads
    assert [step for step, _, _ in frames] == [frame.step for frame in kept]
    assert len(kept) <= 257
    assert kept[-1].step == 1400
    assert {frame.index % dashboard.record.stride for frame in kept[:-1]} == {0}


def test_a_record_takes_back_what_is_told_again():
    record = TrainingRecord()
    assert [record.add(step) for step in (*steps(5), *steps(2, first=3))] == [False] * 5 + [True, False]
    assert record.curve("loss")[0].tolist() == [1, 2, 3, 4]
    assert [frame.step for frame in record.loads] == [1, 2, 3, 4]
    record.add(Told(1, {"loss": 2.0}))  # from the beginning, and what else it told is yet to come
    assert record.names == record.told == ("loss",)
    assert [name for name, _ in record.curves({"loss": 1}).items()] == ["loss"]
    ElementTree.fromstring(training_picture("", "", record, ())[0])
    assert record.at(9) == {}
    with pytest.raises(RequestError, match=r"there is no curve 'los'; there are loss$"):
        record.curve("los")


def test_the_code_it_copies_sets_up_the_same_run(data, monkeypatch):
    lm = gk.LM(small_model(), tokenizer(), max_len=64, name="tiny", loaded={"name": "tiny"})
    objective = gk.train.Objective(mtp_weight=gk.train.Change(0.3, 10, 0.1), bias_rate=0.001)
    run = fit(lm, data, freeze=("embed",), objective=objective, **SETTINGS)
    code = gk.widgets.TrainingDashboard(run, start=False)._code
    assert "data = ...\n# 24 records, 24 examples" in code
    monkeypatch.setattr(gk, "load", lambda name: {"tiny": lm}[name])
    names = {"data": data}
    exec(code.replace("data = ...", "").partition("dashboard =")[0], names)
    assert names["run"].settings == run.settings
    assert names["run"].objective == run.objective
    assert names["run"].steps == run.steps


def test_what_cannot_be_is_refused():
    dashboard = heard(gk.widgets.TrainingDashboard(steps(4)))
    dashboard.wait()
    bad = [
        (lambda: dashboard.select(step=9), "there is no step 9 in this run; the last one is 4"),
        (lambda: dashboard.select(layer=7), "no loads of layer 7; layers with loads: 0, 1, 2"),
        (lambda: dashboard.select(layer=1, expert=8), "expert is 8"),
        (lambda: dashboard.select(expert=1), "expert is 1"),
        (gk.widgets.TrainingDashboard(steps(4), start=False).select, None),
    ]
    for call, words in bad:
        if words is None:
            call()
            continue
        with pytest.raises(RequestError, match=words):
            call()


def test_its_picture_is_whole_and_its_state_has_no_bulk():
    empty = gk.widgets.TrainingDashboard(steps(1), start=False)
    ElementTree.fromstring(empty.picture()[0])
    dashboard = heard(gk.widgets.TrainingDashboard(steps(5000)))
    dashboard.wait()
    svg, png = dashboard.picture()
    ElementTree.fromstring(svg)
    assert "Finished at step 5,000" in svg
    assert "Reward: " in svg
    assert png.startswith(b"\x89PNG")
    assert sum(len(str(value)) for value in dashboard.get_state().values()) + len(svg) * 4 / 3 < 100_000


def test_a_log_tells_what_its_run_is(data, tmp_path):
    lm = gk.LM(small_model(), tokenizer(), max_len=64, name="tiny")
    fit(lm, data, out=tmp_path, **SETTINGS).run()
    log = LoggedRun(tmp_path)
    step, *_ = log
    assert (log.name, log.steps, log.number, log.outcome) == ("tiny", 8, 8, "finished")
    assert log.data.startswith("24 records")
    assert step.metrics == {
        name: value for name, value in json.loads(log.path.read_text().splitlines()[1]).items() if name != "step"
    }
