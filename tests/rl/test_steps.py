"""The loop: what a step tells, hooks, and what is kept when something fails."""

import dataclasses
import json
import time

import jax
import numpy as np
import optax
import pytest

from glmkit.errors import ConfigError, DataError, RequestError, RewardError, TrainingError
from glmkit.lm import LM
from glmkit.rl import (
    DPO,
    KL,
    PPO,
    Critic,
    Policy,
    Problem,
    Rollout,
    advantage,
    demonstrations,
    distilled,
    hooks,
    mixed,
    per_sequence,
    per_token,
    preferred,
    rewards,
    train,
)
from glmkit.train.checkpoint import Checkpoints
from glmkit.train.optimizer import MasterState
from interrupting import interrupt_in, press
from policies import SETTINGS, high, task, weights
from tiny import one_layer, tokenizer


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM(one_layer(), tokenizer(), max_len=600)


@pytest.mark.parametrize(("at", "step"), [(3, 1), (0, 0)], ids=["sampling", "evaluating step 0"])
def test_a_reward_that_fails_keeps_the_rollout_and_leaves_the_policy_alone(lm, tmp_path, at, step):
    def nan(sample):
        return np.nan if sample.index == at else 0.0

    settings = SETTINGS | {"eval_count": 1 - step}
    with Policy(lm) as policy:
        with pytest.raises(RewardError, match=rf"step {step}: the reward of sample {at} .* is nan") as caught:
            train(policy, task(reward=nan), steps=1, out=tmp_path, **settings).run()
        assert policy.version == 0
    kept = Rollout.load(tmp_path / "failed_rollout.safetensors")
    np.testing.assert_array_equal(kept.tokens, caught.value.rollout.tokens)
    assert kept.samples == caught.value.rollout.samples


def test_whatever_a_step_fails_on_is_kept_and_the_steps_before_are_saved(lm, tmp_path, monkeypatch):
    def nothing_at_step_2(rollout):
        return rollout.where(np.full(len(rollout), rollout.version == 0))

    def divide_at_step_1(step):
        return 1 / (1 - step.number)

    whole = Policy.update

    def update_but_one(policy, *args, **options):
        if policy.version == 1:
            raise TrainingError("no second update")
        return whole(policy, *args, **options)

    def failed(folder, error, message, **options) -> int | None:
        """The step that was saved."""
        with Policy(lm) as policy, pytest.raises(error) as caught:
            train(policy, task(), steps=3, out=tmp_path / folder, **{**SETTINGS, "save_every": 100, **options}).run()
        assert message in "".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
        assert len(Rollout.load(tmp_path / folder / "failed_rollout.safetensors")) == 6
        return Checkpoints(tmp_path / folder / "checkpoints").latest

    assert failed("shape", DataError, "step 2: this rollout has no samples left", shape=[nothing_at_step_2]) == 1
    assert failed("hook", ZeroDivisionError, "step 1: the rollout is in", hooks=[divide_at_step_1]) == 1
    monkeypatch.setattr(Policy, "update", update_but_one)
    assert failed("torn", TrainingError, "step 1: no second update", updates=2) is None


EVALUATED = SETTINGS | {"eval_count": 1, "eval_every": 1}


@pytest.mark.parametrize("where", ["policy.Policy.update", "evaluation.accuracy"])
def test_ctrl_c_waits_for_a_step_that_learns_which_is_measured_heard_and_saved(lm, tmp_path, monkeypatch, where):
    heard = []
    with Policy(lm) as policy:
        run = iter(train(policy, task(), steps=3, out=tmp_path, hooks=[heard.append], **EVALUATED))
        next(run)
        interrupt_in(monkeypatch, f"glmkit.rl.{where}")
        with pytest.raises(KeyboardInterrupt):
            next(run)
    assert [step.number for step in heard] == [0, 1]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "held_out/greedy" in line] == [0, 1]
    assert Checkpoints(tmp_path / "checkpoints").latest == 1


def test_ctrl_c_breaks_sampling_and_rewards_off_and_the_step_is_taken_again(lm):
    asked, taken = [], []

    def hanging(sample) -> float:
        asked.append(sample)
        if len(asked) in (1, 4):  # in step 0, which has two answers, and in step 1
            press()
            time.sleep(60)
        return high(sample)

    with Policy(lm) as policy:
        run = train(policy, task(reward=hanging), steps=1, **EVALUATED)
        for already in ([], [0]):
            with pytest.raises(KeyboardInterrupt):
                taken.extend(step.number for step in run)
            assert (taken, policy.version) == (already, 0)
        assert [step.number for step in run] == [1]


def test_step_zero_is_the_policy_as_it_was_given_and_hooks_hear_all(lm):
    heard, shaped = [], []

    def shape(rollout):
        shaped.append(len(rollout))
        return hooks.drop_equal_groups(rollout)

    settings = SETTINGS | {"eval_count": 1, "eval_every": 1}
    with Policy(lm) as policy:
        stop = hooks.StopAt("reward", -1.0)
        run = train(policy, task(), steps=3, shape=[shape], hooks=[heard.append, stop], **settings)
        steps = list(run)
    assert [step.number for step in steps] == [0, 1]  # any reward is above -1
    assert heard == steps
    assert shaped == [6]
    for step in steps:
        assert {"held_out/greedy", "held_out/sampled"} <= step.metrics.keys()
    assert steps[0].rollout is None
    assert steps[1].rollout.advantages is not None


def test_advantages_that_a_shape_gives_are_learned_from(lm):
    """A critic's, a teacher's beside the rewards', and those of demonstrations, which no measure of rewards counts."""
    record = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "B"}]}
    shown, seen = demonstrations([record], tokenizer()), []
    with Policy(lm) as policy:
        critic = Critic.of(policy)

        def taught(rollout):
            rollout = rollout.with_advantage(advantage.dr_grpo)
            return distilled(rollout, policy.score(rollout).logprobs, rollout.logprobs - 1)

        def with_shown(rollout):
            return mixed(rollout.with_advantage(advantage.dr_grpo), shown, 0.3, per_token)

        for shape in (lambda rollout: critic.advantages(policy, rollout)[0], taught, with_shown):
            shapes = [lambda rollout, shape=shape: seen.append(shape(rollout)) or seen[-1]]
            (step,) = train(policy, task(), steps=1, shape=shapes, **SETTINGS)
            assert step.rollout.token_advantages is seen[-1].token_advantages
    rewards = seen[-1].rewards[:6]
    assert (len(step.rollout), step.metrics["samples"], step.metrics["groups"]) == (7, 6, 2)
    assert (step.metrics["shaped/samples"], step.metrics["shaped/groups"]) == (7, 2)
    assert step.metrics["reward_std"] == step.metrics["shaped/reward_std"] == pytest.approx(rewards.std())
    assert step.updates[0].metrics["reward"] == pytest.approx(rewards.mean())
    assert step.metrics["mismatch_max"] <= 1e-5


def test_groups_are_counted_before_some_are_dropped(lm):
    def first_alone(rollout):
        return rollout.where(rollout.group == 0)

    with Policy(lm) as policy:
        (step,) = train(policy, task(), steps=1, shape=[first_alone], **SETTINGS)
    assert len(step.rollout) == 3
    assert (step.metrics["groups"], step.metrics["samples"]) == (2, 6)
    assert (step.metrics["shaped/groups"], step.metrics["shaped/samples"]) == (1, 3)
    assert step.metrics["shaped/reward"] == pytest.approx(step.rollout.rewards.mean())


def test_kl_is_measured_from_the_lm_given_or_from_the_reference_that_a_shape_sets(lm):
    def halved(rollout):
        return rollout.with_reference(rollout.logprobs - np.log(2) * rollout.mask)

    def divergence(**options):
        with Policy(lm) as policy:
            (step,) = train(policy, task(), steps=1, **options, **SETTINGS)
            return step.metrics.get("kl")

    # Float32 roundings; k3 of a difference of log 2 is log 2 - 1/2.
    assert divergence() == pytest.approx(0, abs=1e-5)
    assert divergence(shape=[halved], loss=KL()) == pytest.approx(np.log(2) - 0.5, abs=1e-5)
    assert divergence(measure_kl=False) is None


def test_of_several_updates_the_first_tells_how_the_sampler_and_the_scorer_agree(lm):
    with Policy(lm) as policy:
        (step,) = train(policy, task(), steps=1, updates=2, **SETTINGS)
    first, last = (update.metrics for update in step.updates)
    assert step.metrics["mismatch_max"] <= 1e-5 < step.metrics["last/mismatch_max"]  # two programs in float32
    for name in ("mismatch_max", "mismatch_mean", "route_flips", "entropy", "entropy/answer"):
        assert (step.metrics[name], step.metrics[f"last/{name}"]) == (first[name], last[name])
    assert step.metrics["loss"] == last["loss"]


def test_a_step_with_nothing_to_prefer_makes_no_update_and_says_so(lm):
    with Policy(lm) as policy:
        before = weights(policy)
        shared = {"steps": 1, "loss": DPO(), "norm": per_sequence, "shape": [preferred], **SETTINGS}
        with pytest.warns(UserWarning, match="step 1 makes no update: no group has samples of different rewards"):
            (step,) = train(policy, task(reward=lambda sample: 1.0), **shared)
        assert (step.run.number, step.updates, step.load) == (1, (), None)
        assert (step.metrics["reward"], step.metrics["groups_equal"]) == (1, 1)
        for ours, theirs in zip(weights(policy), before, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        (step,) = train(policy, task(), **shared)
        assert step.metrics["gradient_norm"] > 0


def test_each_mode_of_thinking_is_evaluated(lm):
    with Policy(lm) as policy:
        modes = SETTINGS | {"thinking": ("disabled", "forced"), "eval_count": 1}
        found = train(policy, task(), steps=1, **modes)._held_out()
    assert {"held_out/disabled/greedy", "held_out/disabled/sampled", "held_out/forced/greedy"} <= found.keys()
    assert "held_out/greedy" not in found


def _heard(hook, rewards):
    """The runs that a hook hears so many rewards in."""

    @dataclasses.dataclass
    class Run:
        task: str = "own"
        temperature: float = 1.0

    @dataclasses.dataclass
    class Step:
        number: int
        reward: float
        run: Run

    run, seen = Run(), []
    for number, reward in enumerate(rewards, 1):
        hook(Step(number, reward, run))
        seen.append((run.task, run.temperature))
    return run, seen


def test_a_curriculum_goes_on_when_rewards_are_high_and_is_restored():
    harder = task(name="harder", held_out=())
    hook = hooks.Curriculum([harder], reward=0.5, patience=2)
    run, seen = _heard(hook, [0.6, 0.2, 0.4, 0.6, 0.9])
    assert [task for task, _ in seen] == ["own", "own", "own", harder, harder]
    again = hooks.Curriculum([harder], reward=0.5, patience=2)
    again.restore(json.loads(json.dumps(hook.state())), fresh := dataclasses.replace(run, task="own"))
    assert (fresh.task, again.state()) == (harder, hook.state())
    with pytest.raises(DataError, match="no answer, which its reward"):
        hooks.Curriculum([task(problems=lambda rng, split: Problem("a"), held_out=(), reward=rewards.Exact())], 0.5)


def test_held_out_problems_stay_those_of_the_first_task(lm):
    harder = task(name="harder", held_out=())
    with Policy(lm) as policy:
        hook = hooks.Curriculum([harder], reward=-1.0, patience=1)
        run = train(policy, task(), steps=1, hooks=[hook], **SETTINGS | {"eval_count": 1})
        run.task = harder
        assert run._held_out()["held_out/count"] == 1


def test_the_temperature_rises_where_rewards_do_not():
    hook = hooks.DynamicTemperature(by=0.1, most=1.15, patience=2)
    _, seen = _heard(hook, [0.1, 0.2, 0.2, 0.1, 0.3, 0.3, 0.3, 0.3, 0.3])
    np.testing.assert_allclose([t for _, t in seen], [1, 1, 1, 1.1, 1.1, 1.1, 1.15, 1.15, 1.15])
    _, seen = _heard(hooks.DynamicTemperature(most=0.9, patience=1), [0.1, 0.1, 0.1])
    assert {t for _, t in seen} == {1}  # which is above the most already


def test_narrow_weights_are_optimised_in_float32():
    narrow = jax.tree.map(lambda leaf: leaf.astype(jax.numpy.bfloat16), one_layer())
    with Policy(LM(narrow, tokenizer(), max_len=600)) as policy:
        for master_weights in (True, False):
            run = train(policy, task(), steps=1, master_weights=master_weights, **SETTINGS)
            _, opt_state = policy.state(run._optimizer)
            assert isinstance(opt_state, MasterState) == master_weights


def test_a_run_begins_with_an_optimiser_that_has_seen_nothing(lm):
    def counts(policy) -> list[int]:
        train(policy, task(), steps=1, **SETTINGS).run()
        leaves = jax.tree.leaves(policy._opt_state)
        return [int(leaf) for leaf in leaves if leaf.ndim == 0 and leaf.dtype == np.int32]

    with Policy(lm) as policy:
        assert counts(policy) == counts(policy)


def test_an_episode_that_fails_keeps_what_was_said(lm, tmp_path):
    def failing(problem):
        yield problem.messages
        raise TimeoutError("no judge")

    with Policy(lm) as policy:
        with pytest.raises(DataError, match=r"step 1: the episode of sample 0 raised TimeoutError.*failed_rollout"):
            train(policy, task(episode=failing), steps=1, out=tmp_path, **SETTINGS).run()
        kept = Rollout.load(tmp_path / "failed_rollout.safetensors")
        assert len(kept) == SETTINGS["prompts"] * SETTINGS["n"]
        assert kept.mask.any()


def test_a_failed_step_keeps_its_own_rollout_whatever_was_refused_before(lm, tmp_path):
    class Full:
        def begin(self, about): ...

        def end(self, outcome): ...

        def write(self, step, metrics):
            raise TrainingError("no room")

    with Policy(lm) as policy:
        refused = policy.sample(["zz"], n=2, max_tokens=4, thinking="disabled").rewarded(high)
        with pytest.raises(TrainingError, match="not applied"):
            policy.update(refused.with_advantage(lambda rewards: rewards * np.nan), PPO(), optax.sgd(0.1))
        with pytest.raises(TrainingError, match="step 1: no room"):
            train(policy, task(), steps=1, out=tmp_path, logs=[Full()], **SETTINGS).run()
    kept = Rollout.load(tmp_path / "failed_rollout.safetensors")
    assert "zz" not in {sample.problem.messages[0]["content"] for sample in kept.samples}


def test_every_hook_hears_a_step_that_one_of_them_fails_on(lm):
    heard = []

    def failing(step):
        raise ZeroDivisionError

    with Policy(lm) as policy, pytest.raises(ZeroDivisionError):
        train(policy, task(), steps=1, hooks=[failing, heard.append], **SETTINGS).run()
    assert [step.number for step in heard] == [1]


def test_what_is_held_out_is_drawn_as_the_run_draws(lm, monkeypatch):
    asked = []
    monkeypatch.setattr("glmkit.rl.steps.held_out", lambda *_, **options: asked.append(options) or {})
    with Policy(lm) as policy:
        train(policy, task(), steps=1, temperature=0.5, top_p=0.9, **EVALUATED).run()
    assert [(each["temperature"], each["top_p"]) for each in asked] == [(0.5, 0.9)] * 2


def test_the_first_step_of_a_warmup_learns(lm):
    with Policy(lm) as policy:
        before = weights(policy)
        train(policy, task(), steps=1, warmup=3, **SETTINGS).run()
        assert any((old != new).any() for old, new in zip(before, weights(policy), strict=True))


def test_settings_that_cannot_be_right(lm):
    with Policy(lm) as policy:
        for name, value in (
            *(("clip", -1.0), ("clip", np.inf), ("weight_decay", np.nan), ("top_p", 0.0), ("thinking", "maybe")),
            *(("thinking", ()), ("budget", 8)),  # the task is asked without a thought
        ):
            with pytest.raises((ConfigError, RequestError), match=f"{name}\\b"):
                train(policy, task(), **SETTINGS | {name: value})
        with pytest.raises(ConfigError, match=r"shape\[0\] returned None"):
            train(policy, task(), shape=[lambda rollout: None], **SETTINGS | {"steps": 1}).run()
        with pytest.raises(ConfigError, match="sample n of at least 2"):
            train(policy, task(), advantage=advantage.rloo, n=1)
        with pytest.raises(ConfigError, match="temperature is 0"):
            train(policy, task(), temperature=0.0)
        with pytest.raises(ValueError, match="n is 0"):
            train(policy, task(), n=0)
    assert PPO() == PPO()
