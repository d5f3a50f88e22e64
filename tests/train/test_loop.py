"""`fit`: a run in hand, that learns, stops cleanly, and goes on to the same bits."""

import errno
import json
import os
import shutil
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import glmkit as gk
from fitting import RECORDS, SETTINGS, leaves, same
from glmkit import LM, heap
from glmkit.errors import ConfigError, DataError, RequestError, TrainingError
from glmkit.train.checkpoint import Checkpoints
from glmkit.train.data import TokenDataset
from glmkit.train.log import JsonLog
from glmkit.train.loop import _programs, fit
from glmkit.train.lora import add_lora
from interrupting import interrupt_in, press
from tiny import model as several_layers, small_model as model, tokenizer


@pytest.fixture(scope="module")
def data() -> TokenDataset:
    return TokenDataset.encode(RECORDS, tokenizer(), 32)


def test_it_learns_and_the_result_chats_while_the_given_lm_stays_what_it_was(data):
    before = leaves(model())
    lm = LM(model(), tokenizer(), max_len=64)
    steps = list(fit(lm, data, steps=6, eval_data=data, eval_every=6, **SETTINGS))
    assert [step.number for step in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[-1].loss < steps[0].loss
    assert steps[-1].metrics["eval_loss"] < steps[0].loss
    trained = steps[-1].lm
    assert trained.chat("a", max_tokens=3, temperature=0).prompt.endswith("<|assistant|>")
    assert (trained.logprobs([[1, 2, 3]]) != lm.logprobs([[1, 2, 3]])).all()
    assert not same(steps[-1].model, model())
    assert all((a == b).all() for a, b in zip(before, leaves(lm.model), strict=True))


def test_the_model_that_is_trained_is_the_one_with_the_interventions_in_use(data, tmp_path):
    lm = LM(model(), tokenizer(), max_len=64)
    plan = gk.bias(layer=1, expert=3, by=9.0) + gk.scale_shared(-1.0, tokens=slice(2, 9)) + gk.force(layer=1, expert=0)
    idle = gk.scale_shared(0.0, tokens="tool")
    few = TokenDataset.encode(RECORDS[:1], tokenizer(), 32)
    given = {"shuffle": False, "accumulate": 2, "eval_data": few, "eval_every": 1} | SETTINGS
    with lm.using(plan):
        run = fit(lm, few, interventions=idle, out=tmp_path, **given)
        ids, learned = (few[0][name] for name in ("tokens", "learned"))
        expected = -lm.logprobs([ids.tolist()])[0][learned[1:]].mean()
    with pytest.warns(UserWarning, match="tokens=tool.* never held for any token"):
        (first,) = run
    np.testing.assert_allclose(first.loss, expected, rtol=1e-5)  # float32 sums in another order
    trained = first.lm
    with trained.using(plan):
        after = -trained.logprobs([ids.tolist()])[0][learned[1:]].mean()
    np.testing.assert_allclose(first.metrics["eval_loss"], after, rtol=1e-5)
    assert (first.load[0, [0, 3]] == first.metrics["tokens"]).all()
    again = fit(lm, few, interventions=plan + idle, out=tmp_path, **given)
    assert again.number == 1
    with pytest.raises(TrainingError, match=r"another settings: interventions .*bias\(layer=1"):
        fit(lm, few, out=tmp_path, **given)
    with pytest.raises(RequestError, match="no layer 9"):
        fit(lm, few, interventions=gk.scale_shared(0.0, layer=9), **given)


@pytest.mark.parametrize(
    ("stacked", "remat", "advice"),
    [
        (False, "none", 'set remat="block" on model.stacked(), or lower length'),
        (True, "none", 'set remat="block", or lower length'),
        (True, "block", "by as much, or lower length"),
    ],
)
def test_a_device_without_room_is_told_with_what_to_change(data, monkeypatch, stacked, remat, advice):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 2048 bytes.")

    network = model().stacked() if stacked else model()
    monkeypatch.setattr("glmkit.train.loop.compiled_step", lambda *_: full)
    monkeypatch.setattr("glmkit.train.loop._programs", _programs.__wrapped__)
    with pytest.raises(TrainingError, match=r"batch_size=2, length=32.*lower batch_size") as raised:
        next(iter(fit(network, data, steps=1, remat=remat, **SETTINGS)))
    assert str(raised.value).endswith(advice)


def test_what_the_steps_computed_in_is_given_back_when_the_iteration_ends(data, monkeypatch):
    given_back = []
    monkeypatch.setattr(heap, "give_back", lambda: given_back.append(1))
    for step in fit(model(), data, steps=4, **SETTINGS):
        assert not given_back
        if step.number == 2:
            break
    assert given_back


def test_without_steps_an_epoch_is_taken_and_every_record_is_in_it(data):
    seen = sum(step.metrics["learned_tokens"] for step in fit(model(), data, **SETTINGS))
    assert seen == data.report.learned_tokens


def test_the_batch_grows_in_the_first_steps_and_an_epoch_is_still_one(data):
    metrics = [step.metrics for step in fit(model(), data, **SETTINGS, accumulate=4, batch_warmup=2)]
    assert sum(m["learned_tokens"] for m in metrics) == data.report.learned_tokens
    row = 32
    # 1, then 1 + 3 * 1 // 2, then 4 micro-batches of two rows, which examples fill to more than a half
    for m, micro_batches in zip(metrics, (1, 2, 4), strict=False):
        assert micro_batches * row < m["tokens"] <= micro_batches * 2 * row


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(data, tmp_path):
    whole = fit(model(), data, steps=6, accumulate=2, **SETTINGS).run()
    first = fit(model(), data, steps=6, accumulate=2, out=tmp_path / "run", save_every=2, **SETTINGS)
    for step in first:
        if step.number == 3:  # killed here, step 2 is the last that was saved
            shutil.copytree(tmp_path / "run", tmp_path / "killed")
            break
    resumed = fit(model(), data, steps=6, accumulate=2, out=tmp_path / "killed", save_every=2, **SETTINGS)
    assert resumed.number == 2
    assert [step.number for step in resumed] == [3, 4, 5, 6]
    assert resumed.number == 6
    assert same(resumed.model, whole.model)
    lines = [json.loads(line) for line in (tmp_path / "killed" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "step" in line] == [1, 2, 3, 3, 4, 5, 6]


@pytest.mark.parametrize("where", ["Fit._update", "Checkpoints.save", "evaluate", "JsonLog.write", "body"])
def test_ctrl_c_waits_for_the_step_which_is_logged_and_saved(data, tmp_path, monkeypatch, where):
    if where != "body":
        interrupt_in(monkeypatch, f"glmkit.train.loop.{where}")

    def interrupted() -> None:
        settings = SETTINGS | {"save_every": 2, "eval_data": data, "eval_every": 1}
        for _ in fit(model(), data, steps=6, out=tmp_path, **settings):
            if where == "body":
                press()

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "eval_loss" in line] == ([1, 2] if where == "Checkpoints.save" else [1])
    assert Checkpoints(tmp_path / "checkpoints").latest == len(lines) - 2


def test_a_second_ctrl_c_does_not_wait_for_the_evaluation(data, tmp_path, monkeypatch):
    interrupt_in(monkeypatch, "glmkit.train.loop.evaluate", times=2)
    with pytest.raises(KeyboardInterrupt):
        fit(model(), data, steps=6, out=tmp_path, eval_data=data, eval_every=1, **SETTINGS).run()
    _, step, _ = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert step["step"] == 1
    assert "eval_loss" not in step
    assert Checkpoints(tmp_path / "checkpoints").latest == 1


def test_whatever_ends_the_iteration_the_steps_that_were_taken_are_saved(data, tmp_path):
    class Failing:
        def begin(self, about): ...

        def write(self, step, values):
            if step == 2:
                raise OSError("no room")

        def end(self, outcome): ...

    def left(how):
        folder = tmp_path / how
        for step in fit(model(), data, steps=6, out=folder, logs=[Failing()] if how == "log" else [], **SETTINGS):
            if step.number == 2 and how == "break":
                break
            if step.number == 2 and how == "body":
                raise OSError("the user's")

    left("break")
    for how in ("log", "body"):
        with pytest.raises(OSError, match=r"no room|the user's"):
            left(how)
    assert {Checkpoints(tmp_path / how / "checkpoints").latest for how in ("break", "log", "body")} == {2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "muon"}, "another optimizer"),
        ({"learning_rate": 1e-5}, "another settings: learning_rate 0.003 there, 1e-05 here"),
        ({"data": RECORDS[:10]}, "another data"),
        ({"model": 2.0}, "another initial"),
    ],
)
def test_another_run_does_not_go_on_from_this_one(data, tmp_path, change, message):
    next(iter(fit(model(), data, steps=6, out=tmp_path, save_every=1, **SETTINGS)))
    if "data" in change:
        data, change = TokenDataset.encode(change["data"], tokenizer(), 32), {}
    other = jax.tree.map(lambda leaf: leaf, model())
    other.norm.scale[...] *= change.pop("model", 1.0)
    with pytest.raises(TrainingError, match=message):
        fit(other, data, steps=6, out=tmp_path, **(SETTINGS | change))


def test_the_best_checkpoints_are_of_one_measure(data, tmp_path):
    other = TokenDataset.encode(RECORDS[:10], tokenizer(), 32)
    next(iter(fit(model(), data, steps=6, out=tmp_path, save_every=1, keep_best=1, eval_data=data, **SETTINGS)))
    assert fit(model(), data, steps=6, out=tmp_path, **SETTINGS).number == 1  # nothing is chosen by it
    with pytest.raises(TrainingError, match="another eval_data"):
        fit(model(), data, steps=6, out=tmp_path, keep_best=1, eval_data=other, **SETTINGS)


def test_adapters_do_not_go_on_beside_other_weights_or_with_another_alpha(data, tmp_path):
    def run(base, alpha: float):
        return fit(add_lora(base, 2, alpha, rngs=nnx.Rngs(0)), data, steps=2, out=tmp_path, **SETTINGS)

    next(iter(run(model(), 16.0)))
    other = jax.tree.map(lambda leaf: leaf, model())
    other.norm.scale[...] = other.norm.scale[...] * 2
    with pytest.raises(TrainingError, match="another frozen"):
        run(other, 16.0)
    with pytest.raises(TrainingError, match=r"another lora_scales: \[8.0\] there, \[4.0\] here"):
        run(model(), 8.0)
    assert run(model(), 16.0).number == 1


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_batch(data, tmp_path):
    network = jax.tree.map(lambda leaf: leaf, model())
    network.norm.scale[...] = network.norm.scale[...] * np.nan
    with pytest.raises(TrainingError, match=r"step 1: loss nan.*not_finite_step_1\.npz"):
        fit(network, data, steps=6, out=tmp_path, **SETTINGS).run()
    assert np.load(tmp_path / "not_finite_step_1.npz")["tokens"].shape == (1, 2, 32)
    assert Checkpoints(tmp_path / "checkpoints").latest is None  # no step was taken


def test_after_a_step_that_failed_its_batch_comes_again(data, monkeypatch):
    seen, run = [], fit(model(), data, steps=3, **SETTINGS)
    step = run._step

    def failing(state, batch, changes):
        seen.append(np.asarray(batch.tokens))
        if len(seen) == 2:
            raise RuntimeError("once")
        return step(state, batch, changes)

    monkeypatch.setattr(run, "_step", failing)
    with pytest.raises(RuntimeError, match="once"):
        run.run()
    run.run()
    np.testing.assert_array_equal(seen[1], seen[2])
    assert (run.number, len(seen)) == (3, 4)


def test_a_line_of_the_log_that_broke_off_is_taken_away(data, tmp_path):
    fit(model(), data, steps=1, out=tmp_path, **SETTINGS).run()
    path = tmp_path / "log.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"step": 2, "lo')
    fit(model(), data, steps=1, out=tmp_path, **SETTINGS)
    assert path.read_text().startswith(whole + '{"begin": ')


def test_a_line_that_a_full_disk_broke_off_is_taken_away_at_once(tmp_path, monkeypatch):
    log = JsonLog(tmp_path / "log.jsonl")
    log.write(1, {"loss": 1.0})
    whole = (tmp_path / "log.jsonl").read_text()

    def half(path, *args, **kwargs):
        os.write(fd := os.open(path, os.O_WRONLY | os.O_APPEND), b'{"step": 2')
        os.close(fd)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", half)
        with pytest.raises(TrainingError, match="the log was not written"):
            log.write(2, {"loss": 1.0})
    assert (tmp_path / "log.jsonl").read_text() == whole


def test_a_batch_that_finds_no_room_does_not_hide_why_the_run_stopped(data, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    network = jax.tree.map(lambda leaf: leaf, model())
    network.norm.scale[...] = network.norm.scale[...] * np.nan
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(TrainingError, match=r"step 1: loss nan.*could not be kept \(.*No space left"):
        fit(network, data, steps=6, out=tmp_path, **SETTINGS).run()
    assert not list(tmp_path.glob("*not_finite*"))


def test_the_best_checkpoint_can_be_had(data, tmp_path):
    run = fit(model(), data, steps=4, out=tmp_path, eval_data=data, eval_every=4, save_every=1, keep_best=1, **SETTINGS)
    seen = {step.number: (step.metrics["eval_loss"], step.model) for step in run}  # with every checkpoint
    best = min(seen, key=lambda number: seen[number][0])
    assert same(run.saved(), seen[best][1])
    assert same(run.saved(4), run.model)
    with pytest.raises(TrainingError, match="no checkpoint of step 9"):
        run.saved(9)
    with pytest.raises(TrainingError, match="no checkpoint of the best"):
        fit(model(), data, steps=1, **SETTINGS).saved()


def test_the_log_says_how_a_run_ended(data, tmp_path):
    network = jax.tree.map(lambda leaf: leaf, model())
    network.norm.scale[...] = network.norm.scale[...] * np.nan
    run = fit(model(), data, steps=2, out=tmp_path / "good", **SETTINGS)
    next(iter(run))
    run.run()
    with pytest.raises(TrainingError):
        fit(network, data, steps=2, out=tmp_path / "bad", **SETTINGS).run()
    good, bad = (
        [json.loads(line).get("end") for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("good", "bad")
    )
    assert good == [None, None, "stopped", None, "finished"]
    assert bad[-1].startswith("failed: step 1: loss nan")


def test_every_step_tells_the_experts_loads(data):
    network = model(True)
    run = fit(network, data, steps=2, **SETTINGS)
    assert run.moe_layers == (1, 2)  # of the model, and the prediction layer
    for step in run:
        assert step.load.shape == (2, 8)
        assert step.load[0].sum() == step.metrics["tokens"] * network.config.num_experts_per_tok
        assert (step.load.max(1) / step.load.mean(1)).max() == pytest.approx(step.metrics["imbalance"], rel=1e-6)
    assert fit(model(), data, steps=2, **SETTINGS).moe_layers == (1,)


def test_the_model_can_be_read_while_a_thread_trains(data):
    run = fit(model(), data, steps=40, **SETTINGS)
    thread = threading.Thread(target=run.run)
    thread.start()
    while thread.is_alive():
        assert all(np.isfinite(leaf).all() for leaf in leaves(run.model))
    thread.join()
    assert run.number == 40


def test_the_result_says_where_it_came_from(data, tmp_path):
    lm = LM(model(), tokenizer(), name="base", about={"README.md": b"---\nlicense: mit\n---\n", "LICENSE": b"MIT"})
    run = fit(lm, data, steps=2, **SETTINGS).run()
    run.lm.save(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for line in ('license: "mit"', "| base model | base |", "| steps | 2 |", f"| data SHA-256 | {data.digest} |"):
        assert line in card
    assert (tmp_path / "out" / "LICENSE").read_text() == "MIT"
    assert run.origin["licence"] == "mit"
    assert fit(model(), data, steps=2, **SETTINGS).origin["base_model"] is None


def test_what_cannot_be_trained_on_is_refused_before_anything_is_computed(data):
    with pytest.raises(DataError, match="examples of 13 tokens"):
        fit(model(), data, **(SETTINGS | {"length": 12}))
    for name, value in (
        *(("warmup", 100), ("optimizer", "sgd"), ("remat", "blocks"), ("learning_rate", -1.0), ("clip", -1.0)),
        *(("learning_rate", np.nan), ("weight_decay", -5), ("seed", -1), ("clip", np.inf)),
    ):
        with pytest.raises((ConfigError, RequestError), match=f"{name} is {value!r}; expected"):
            fit(model(), data, **(SETTINGS | {name: value}))
    data.vocabulary, known = "another", data.vocabulary
    with pytest.raises(DataError, match="encoded with another tokenizer than the model's"):
        fit(LM(model(), tokenizer(), max_len=64), data, **SETTINGS)
    data.vocabulary = known
    with pytest.raises(ConfigError, match="context is 600"):
        fit(model(), data, **(SETTINGS | {"length": 1000}))
    with pytest.raises(DataError, match="the data is a list; expected a TokenDataset"):
        fit(model(), RECORDS, **SETTINGS)
    with pytest.raises(RequestError, match="length is 0"):
        TokenDataset.encode(RECORDS, tokenizer(), 0)
    with pytest.raises(ConfigError, match=r"'blocks\.1' names a stack of several layers"):
        fit(several_layers().stacked(), data, freeze="blocks.1", **SETTINGS)
    with pytest.raises(ValueError, match="batch_size is 0"):
        fit(model(), data, **(SETTINGS | {"batch_size": 0}))
    with pytest.raises(ConfigError, match=r"keep_best .* give eval_data="):
        fit(model(), data, keep_best=2, **SETTINGS)
    with pytest.raises(TrainingError, match="give it an LM"):
        _ = fit(model(), data, steps=6, **SETTINGS).lm
