"""`train`: RL as an iterator of steps that is held in hand, with checkpoints, logs and held-out accuracy."""

import dataclasses
import functools
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec
from tqdm.auto import tqdm

from glmkit import heap
from glmkit.checks import check_integer
from glmkit.errors import ConfigError, GLMKitError, TrainingError
from glmkit.lm import LM
from glmkit.rl import measures
from glmkit.rl.advantage import dr_grpo
from glmkit.rl.dpo import NothingToPrefer
from glmkit.rl.evaluation import held_out
from glmkit.rl.identity import RLIdentity
from glmkit.rl.loss import PPO, LossFunction
from glmkit.rl.normalise import per_token
from glmkit.rl.policy import Policy, Update
from glmkit.rl.rollout import Rollout
from glmkit.rl.settings import Settings
from glmkit.rl.states import restore, states
from glmkit.rl.step import Step
from glmkit.rl.task import Task, modes_of
from glmkit.runs import Layers
from glmkit.text import thinking_mode
from glmkit.train.checkpoint import Checkpoints, leaving
from glmkit.train.interrupts import unbroken
from glmkit.train.log import JsonLog, Log, ending
from glmkit.train.optimizer import make_optimizer

__all__ = ["Run", "Step", "train"]

Advantage = Callable[[np.ndarray], np.ndarray]
Shape = Callable[[Rollout], Rollout]
Hook = Callable[[Step], Any]


def train(
    policy: Policy,
    task: Task,
    *,
    loss: LossFunction | None = None,
    advantage: Advantage = dr_grpo,
    norm: Callable[..., np.ndarray] = per_token,
    shape: Sequence[Shape] = (),
    hooks: Sequence[Hook] = (),
    out: str | Path | None = None,
    save_every: int = 25,
    logs: Sequence[Log] = (),
    progress: bool = True,
    **settings: Any,
) -> "Run":
    """Train a policy on a task: `for step in train(policy, task, steps=100): step.metrics, step.rollout`.

    `loss` is by default `PPO()`, `advantage` a function of rewards `[G, n]`, `norm` a normalisation. Each of `shape` is
    given the rollout with its rewards and returns the one that is learned from: shaped, filtered by whole groups, or
    with advantages, in the place of those by `advantage`: a critic's, a teacher's, or with demonstrations mixed in;
    each of `hooks` hears the finished step, and may stop the run or change `step.run`'s sampling. What either remembers
    is saved where it says so, see `glmkit.rl.hooks`. `settings` are those of `Settings`. With `out` the run is
    checkpointed there every `save_every` steps and when its iteration ends, by whatever, logs to `out/log.jsonl`, and
    goes on from there when it is started again with the LM it began from and the same arguments, or for other `steps`
    or evaluation, to the same bits if the policy is `reproducible`. Ctrl-C breaks sampling off, and waits for a
    step's update, evaluation and hooks; a second waits for the update alone. What a step failed on is kept in
    `out/failed_rollout.safetensors`. Raises `ConfigError`, `DataError`, `RewardError` or `TrainingError`.
    """
    return Run(
        policy, task, Settings(**settings), loss=PPO() if loss is None else loss, advantage=advantage, norm=norm,
        shape=shape, hooks=hooks, out=out, save_every=save_every, logs=logs, progress=progress,
    )  # fmt: skip


class Run:
    """A run in hand; see `train`. Iterating again goes on where the iteration was left."""

    def __init__(
        self,
        policy: Policy,
        task: Task,
        settings: Settings,
        *,
        loss: LossFunction,
        advantage: Advantage,
        norm: Callable[..., np.ndarray],
        shape: Sequence[Shape],
        hooks: Sequence[Hook],
        out: str | Path | None,
        save_every: int,
        logs: Sequence[Log],
        progress: bool,
    ):
        self.policy, self.task, self.settings = policy, task, settings
        self.loss, self.advantage, self.norm = loss, advantage, norm
        self.temperature = settings.temperature  # of the next step; hooks may change it
        self._measured = task  # whatever a curriculum goes on to
        self._shape, self._hooks, self._progress = tuple(shape), tuple(hooks), progress
        self._save_every = check_integer("save_every", save_every, 1)
        s = settings
        self._optimizer = _optimizer(s.optimizer, s.learning_rate, s.warmup, s.weight_decay, s.clip, s.master_weights)
        self._number, self._started, self._stopped, self._torn = 0, False, False, False
        self._within, self._asked = False, False  # a step; to save when it ends
        self._folder = None if out is None else Path(out)
        self._checkpoints, self._logs = None, list(logs)
        if settings.budget is not None and {"disabled"} == set(map(thinking_mode, modes_of(self._thinking))):
            raise ConfigError(f"budget is {settings.budget!r}, and there is no thought to end: thinking is 'disabled'")
        task.batch(1, "check")  # what is wrong with the task is told before anything is computed
        with np.errstate(all="ignore"):
            advantage(np.zeros((1, settings.n)))
        if settings.eval_count:
            task.batch(1, settings.seed, "held_out")
        if self._folder is not None:
            self._checkpoints = Checkpoints(self._folder / "checkpoints")
            self._go_on()  # also notes what the run is, before hooks change its task
            self._logs.append(JsonLog(self._folder / "log.jsonl"))
        about = {"model": self.name, "settings": dataclasses.asdict(settings), "steps": self.steps}
        about |= {"data": self.data, "loss": repr(loss)}
        for log in self._logs:
            log.begin(about)

    @property
    def number(self) -> int:
        """How many steps are done, those before the run was started again among them."""
        return self._number

    @property
    def steps(self) -> int:
        """How many steps there are in all, unless a hook stops it before."""
        return self.settings.steps

    @property
    def loaded(self) -> Mapping[str, Any] | None:
        """What `glmkit.load` was given for the LM that the policy began as; None for weights that it does not give."""
        return self.policy.reference.loaded

    @property
    def name(self) -> str:
        """Of the LM that the policy began as."""
        return self.policy.reference.name

    @property
    def data(self) -> str:
        """The task, in words."""
        return repr(self.task)

    @property
    def folder(self) -> Path | None:
        """Where its log and its checkpoints are: `out`."""
        return self._folder

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Numbers of the layers that `Step.load` has a row for."""
        return Layers.of(self.policy.model).moe

    @property
    def lm(self) -> LM:
        """An LM of a copy of the weights as they are now, which may be read while the run goes on in a thread."""
        return self.policy.snapshot()

    def __iter__(self) -> Iterator[Step]:
        bar = tqdm(total=self.settings.steps, initial=self._number, desc="reinforcing", disable=not self._progress)
        kept = leaving(self.save, lambda: self.policy.model)
        with heap.given_back(), ending(self._logs, lambda: self._number == self.settings.steps), bar, kept:
            if self._number == 0 and not self._started and self.settings.eval_count:
                yield self._begin()
            while self._number < self.settings.steps and not self._stopped:
                step = self._advance()
                bar.set_postfix(_shown(step.metrics), refresh=False)
                bar.update()
                yield step

    def run(self) -> "Run":
        """Take all the steps that are left."""
        for _ in self:
            pass
        return self

    def stop(self) -> None:
        """Take no further step."""
        self._stopped = True

    def save(self) -> None:
        """Write a checkpoint now, if the run has a folder for them, took a step, and there is none of the last.

        Within a step, such as from a hook, it is written when all hooks have heard the step. None either when a step
        broke off between its updates: the weights are then of no step.
        """
        if self._within:
            self._asked = True
            return
        with unbroken():
            self._asked = False
            if self._checkpoints is None or not self._number or self._torn or self._checkpoints.latest == self._number:
                return
            position = {"step": self._number, "version": self.policy.version, "temperature": self.temperature}
            self._checkpoints.save(self._number, self._state(), self._identity, position | self._remembered())

    def sample(self) -> Rollout:
        """The rollout of the next step, with its rewards. The same each time it is asked for."""
        s = self.settings
        problems = self.task.batch(s.prompts, f"{s.seed}/{self._number}")
        rollout = self.policy.sample(
            problems,
            s.n,
            thinking=self._thinking,
            budget=s.budget,
            max_tokens=s.max_tokens,
            temperature=self.temperature,
            top_p=s.top_p,
            episode=self.task.episode,
            seed=(s.seed * 1_000_003 + self._number) % 2**32,
        )
        return rollout.rewarded(self.task.reward)

    def learn(self, rollout: Rollout) -> tuple[Rollout, tuple[Update, ...]]:
        """Give a rollout with rewards its advantages, unless it has some, and update the policy with it."""
        if not rollout.has_advantages:
            rollout = rollout.with_advantage(self.advantage)
        wanted = self.settings.measure_kl or getattr(self.loss, "needs_reference", False)
        if wanted and rollout.reference is None:  # a shape may have set another
            rollout = self.policy.with_reference(rollout, replay=self.settings.replay)
        if self.settings.updates > 1:
            rollout = self.policy.with_old(rollout, replay=self.settings.replay)
        options = {"norm": self.norm, "replay": self.settings.replay}
        updates = [
            self.policy.update(rollout, self.loss, self._optimizer, **options) for _ in range(self.settings.updates)
        ]
        return rollout, tuple(updates)

    @property
    def _thinking(self) -> str | Sequence[str]:
        return self.task.thinking if self.settings.thinking is None else self.settings.thinking

    def _begin(self) -> Step:
        """Step 0. Measuring changes nothing: interrupted, it is taken again."""
        try:
            measured = self._held_out()
            with unbroken(but_twice=True):
                self._started = True
                step = Step(0, measured, None, (), self)
                self._log(step.number, step.metrics)
                self._tell(step)
        except Exception as error:
            self._keep(0, None, error)
            raise
        return step

    def _advance(self) -> Step:
        """The next step. Ctrl-C breaks sampling off, which changes nothing; what comes after is finished first."""
        if not self._number:
            self.policy.restart(self._optimizer)  # which may be that of a run before
        number, began, rollout, before = self._number + 1, time.monotonic(), None, states("shape", self._shape)
        try:
            self._within = True
            rollout = self.sample()
            sampled = time.monotonic() - began
            shaped, teaches = self._shaped(rollout)
            with unbroken(but_twice=True):
                learned, updates = self._learned(shaped, teaches)
                told = [update.metrics for update in updates]
                metrics = measures.of_step(rollout, learned if self._shape else None, told)
                metrics |= {"temperature": rollout.sampling.temperature, "sample_seconds": sampled}
                try:
                    metrics |= self._evaluated()
                finally:  # the updates were made
                    metrics["seconds"] = time.monotonic() - began
                    self._log(number, metrics)
                step = Step(number, metrics, learned, updates, self)
                self._tell(step)
        except BaseException as error:
            if self._number < number:  # the step is taken again, and shapes hear of it anew
                restore(self._shape, before, self)
            if isinstance(error, Exception):
                self._keep(number, rollout, error)
            raise
        finally:
            self._within = False
        if self._asked or number % self._save_every == 0:
            self.save()
        return step

    def _shaped(self, rollout: Rollout) -> tuple[Rollout, bool]:
        """What is to be learned from, and whether there is anything to learn from it."""
        try:
            for at, function in enumerate(self._shape):
                rollout = function(rollout)
                if not isinstance(rollout, Rollout):
                    raise ConfigError(f"shape[{at}] returned {rollout!r}; expected the rollout to learn from")
        except NothingToPrefer as error:
            warnings.warn(f"step {self._number + 1} makes no update: {error}", stacklevel=2)
            return rollout, False
        return rollout, True

    def _learned(self, rollout: Rollout, teaches: bool) -> tuple[Rollout, tuple[Update, ...]]:
        """`learn`, which is a step done or not done; or torn, if a later one of several updates fails."""
        version = self.policy.version
        with unbroken():
            try:
                learned = self.learn(rollout) if teaches else (rollout, ())
            except BaseException:
                self._torn = self.policy.version != version
                raise
            self._torn = False
            self._number += 1
        return learned

    def _log(self, number: int, metrics: Mapping[str, float]) -> None:
        for log in self._logs:
            log.write(number, metrics)

    def _tell(self, step: Step) -> None:
        """Every hook hears the step, even after one that fails: what they remember is saved with the step."""
        failed = []
        for hook in self._hooks:
            try:
                hook(step)
            except Exception as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _evaluated(self) -> dict[str, float]:
        """Held-out accuracy, after steps that measure it."""
        s = self.settings
        due = self._number == s.steps or self._number % s.eval_every == 0
        return self._held_out() if s.eval_count and due else {}

    def _held_out(self) -> dict[str, float]:
        s = self.settings
        modes = self._measured.thinking if s.thinking is None else s.thinking
        options = {"seed": s.seed, "budget": s.budget, "max_tokens": s.max_tokens}
        options |= {"temperature": s.temperature, "top_p": s.top_p}
        return held_out(self.policy, self._measured, s.eval_count, modes, **options)

    def _keep(self, number: int, rollout: Rollout | None, error: Exception) -> None:
        """Write what a step failed on, if it was sampled, and have the error say where."""
        if isinstance(getattr(error, "rollout", None), Rollout):  # of a reward or an episode that failed
            rollout = error.rollout
        elif isinstance(error, TrainingError) and self.policy.last_bad is not None:
            rollout = self.policy.last_bad
        if rollout is None:
            return
        path = (self._folder or Path(tempfile.mkdtemp())) / "failed_rollout.safetensors"
        try:
            rollout.save(path)
            kept = f"the rollout is in {path}"
        except Exception as failed:  # which is not to hide the error
            kept = f"the rollout could not be kept: {failed}"
        if isinstance(error, GLMKitError):
            error.args = (f"step {number}: {error} ({kept})",)
        else:
            error.add_note(f"step {number}: {kept}")

    @functools.cached_property
    def _identity(self) -> RLIdentity:
        functions = {"loss": self.loss, "advantage": self.advantage, "norm": self.norm}
        return RLIdentity.of(self.policy, self.task, self.settings, functions, self._shape, self._hooks)

    def _state(self) -> Any:
        step = jnp.asarray(self._number, jnp.int32)
        mesh = self.policy.model.embed[...].sharding.mesh
        return *self.policy.state(self._optimizer), jax.device_put(step, NamedSharding(mesh, PartitionSpec()))

    def _remembered(self) -> dict[str, Any]:
        """What shapes and hooks with a state have of the steps so far."""
        return {"shape": states("shape", self._shape), "hooks": states("hooks", self._hooks)}

    def _go_on(self) -> None:
        known = self._identity
        self._remembered()  # what cannot be saved is told now
        if self._checkpoints.latest is None:
            return
        (*state, _), position = self._checkpoints.restore(self._state(), known)
        self.policy.restore(tuple(state), self._optimizer, int(position["version"]))
        self._number, self.temperature = int(position["step"]), float(position["temperature"])
        restore(self._shape, position["shape"], self)
        restore(self._hooks, position["hooks"], self)


@functools.lru_cache(maxsize=8)
def _optimizer(
    name: str, rate: float, warmup: int, weight_decay: float, clip: float, master_weights: bool
) -> optax.GradientTransformation:
    """One for runs that take the same steps: a cell run again does not compile again."""
    schedule = optax.linear_schedule(rate / warmup, rate, warmup - 1) if warmup else rate  # no step teaches nothing
    return make_optimizer(name, schedule, weight_decay=weight_decay, clip=clip, master_weights=master_weights)


def _shown(metrics: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{metrics[name]:.3f}" for name in ("reward", "entropy") if name in metrics}
