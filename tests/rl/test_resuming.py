"""Runs that go on: to the same bits, with what shapes and hooks remember, and with nothing else changed."""

import json
import time

import jax
import numpy as np
import pytest

from glmkit.errors import ConfigError, TrainingError
from glmkit.lm import LM
from glmkit.rl import Policy, Reinforce, Settings, WithCritic, hooks, train
from glmkit.rl.identity import RLIdentity
from interrupting import press
from policies import SETTINGS, task, weights
from tiny import one_layer, small_model, tokenizer


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM(one_layer(), tokenizer(), max_len=600)


@pytest.fixture(scope="module")
def whole(lm, tmp_path_factory):
    """Four steps without a stop."""
    with Policy(lm, reproducible=True) as policy:
        folder = tmp_path_factory.mktemp("whole")
        steps = list(train(policy, task(), steps=4, out=folder, **SETTINGS))
        yield weights(policy), [step.metrics for step in steps], folder


@pytest.mark.parametrize("steps", [4, 2], ids=["stopped", "over"])
def test_a_run_goes_on_to_the_same_bits(lm, whole, tmp_path, steps):
    """One that was left in the middle, or was over after fewer steps, and is evaluated from now on."""
    with Policy(lm, reproducible=True) as policy:
        for step in train(policy, task(), steps=steps, out=tmp_path, **SETTINGS):
            if step.number == 2 < steps:
                break
    with Policy(lm, reproducible=True) as policy:
        run = train(policy, task(), steps=4, out=tmp_path, **SETTINGS | {"eval_count": 1, "eval_every": 9})
        assert run.number == policy.version == 2
        rest = list(run)
        for ours, theirs in zip(weights(policy), whole[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for step, theirs in zip(rest, whole[1][2:], strict=True):
        timed = {name for name in theirs if name.endswith("seconds")}
        assert {n: v for n, v in step.metrics.items() if n in theirs.keys() - timed} == {
            n: v for n, v in theirs.items() if n not in timed
        }
    assert "held_out/greedy" in rest[-1].metrics


def test_a_critic_goes_on_as_it_was(lm, tmp_path):
    def trained(policy, steps, out):
        critic = WithCritic(policy)
        train(policy, task(), steps=steps, shape=[critic], out=out, **SETTINGS).run()
        return critic.state(), weights(policy)

    with Policy(lm, reproducible=True) as policy:
        wanted, moved = trained(policy, 2, None)
    with Policy(lm, reproducible=True) as policy:
        first, _ = trained(policy, 1, tmp_path)
    with Policy(lm, reproducible=True) as policy:
        found, there = trained(policy, 2, tmp_path)
    assert any(first["weight"])
    assert found == wanted != first
    for ours, theirs in zip(there, moved, strict=True):
        np.testing.assert_array_equal(ours, theirs)


class Counting:
    """How often it was called, as a shape or as a hook."""

    def __init__(self):
        self.calls = 0

    def __call__(self, given):
        self.calls += 1
        return given

    def state(self):
        return self.calls

    def restore(self, state, run):
        self.calls = state


class Forgetful:
    def __call__(self, step):
        pass

    def state(self):
        return 0


def test_what_shapes_and_hooks_remember_is_saved_as_it_is_after_a_step(lm, tmp_path):
    """A hook that saves is not the last to hear the step; a shape forgets a step that was broken off."""
    pressed = []

    def interrupted(rollout):
        if not pressed:
            pressed.append(True)
            press()
            time.sleep(60)
        return rollout

    def counted():
        shape, hook = Counting(), Counting()
        run = train(
            policy,
            task(),
            steps=1,
            shape=[shape, interrupted],
            hooks=[lambda step: step.run.save(), hook],
            out=tmp_path,
            **SETTINGS,
        )
        return run, lambda: (shape.calls, hook.calls)

    with Policy(lm) as policy:
        run, calls = counted()
        with pytest.raises(KeyboardInterrupt):
            run.run()
        assert calls() == (0, 0)
        assert run.run().number == 1
        assert calls() == (1, 1)
        again, calls = counted()
        assert (again.number, *calls()) == (1, 1, 1)


def test_a_run_that_a_metric_stopped_stays_stopped(lm, tmp_path):
    def run():
        stop = hooks.StopAt("reward", -1.0)  # any reward is above
        return train(policy, task(), steps=np.int64(3), hooks=[stop], out=tmp_path, **SETTINGS).run()

    with Policy(lm) as policy:
        assert [run().number for _ in range(2)] == [1, 1]


def test_a_state_that_cannot_be_kept_is_refused(lm, tmp_path):
    def refused(message, **functions):
        with Policy(lm) as policy, pytest.raises(ConfigError, match=message):
            train(policy, task(), steps=1, out=tmp_path, **functions, **SETTINGS)

    array = Counting()
    array.calls = np.zeros(2)
    refused(r"what shape\[0\] gives as its state\(\) is kept as JSON", shape=[array])
    refused(r"hooks\[1\] has state\(\) and no restore", hooks=[Counting(), Forgetful()])


def test_weights_move_and_the_log_tells_of_every_step(lm, whole):
    assert any(
        (ours != np.asarray(theirs)).any() for ours, theirs in zip(whole[0], jax.tree.leaves(lm.model), strict=True)
    )
    lines = [json.loads(line) for line in (whole[2] / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "step" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert lines[-1] == {"end": "finished"}
    assert {"reward", "entropy", "mismatch_max", "route_flips", "router_drift"} <= steps[0].keys()
    assert max(line["mismatch_max"] for line in steps) <= 1e-5  # two programs in float32


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"task": task(reward=lambda sample: 1.0)}, "another task"),
        ({"loss": Reinforce()}, "another loss: loss 'PPO.* there, 'Reinforce"),
        ({"hooks": [hooks.DynamicTemperature(by=0.2)]}, "another loss"),
        ({"learning_rate": 3e-4}, "another settings: learning_rate 0.01 there, 0.0003 here"),
        ({"lm": LM(small_model(), tokenizer(), max_len=600)}, "another model"),
    ],
)
def test_a_run_with_another_task_loss_or_model_is_refused(lm, whole, other, message):
    given = {"lm": lm, "task": task(), "steps": 4, "out": whole[2], **SETTINGS, **other}
    with Policy(given.pop("lm")) as policy, pytest.raises(TrainingError, match=message):
        train(policy, given.pop("task"), **given)


def test_the_step_of_the_biases_is_part_of_the_model_that_a_run_has(lm):
    def model(rate):
        with Policy(lm, router="bias", bias_rate=rate) as policy:
            return RLIdentity.of(policy, task(), Settings(), {}, [], []).model

    assert model(1e-3) == model(1e-3) != model(1e-2)
