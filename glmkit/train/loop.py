"""`fit`: training as an iterator of steps that is held in hand, with checkpoints, logs and a progress bar."""

import dataclasses
import functools
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Float
from tqdm.auto import tqdm

from glmkit import heap
from glmkit.checks import check_integer
from glmkit.errors import CheckpointError, ConfigError, TrainingError
from glmkit.lm import LM
from glmkit.model import GLM, Buffer, Interventions
from glmkit.model.intervene import leading_axes
from glmkit.runs import Layers
from glmkit.runs.plans import Plan
from glmkit.sharding import partition_spec
from glmkit.train.changes import Changes
from glmkit.train.checkpoint import Checkpoints, leaving
from glmkit.train.data import Batch, ReadAhead, Source, batches
from glmkit.train.evaluation import evaluate
from glmkit.train.freezing import copied, trained_objective
from glmkit.train.identity import RunIdentity, card_of, origin_of
from glmkit.train.interrupts import unbroken
from glmkit.train.log import JsonLog, Log, ending
from glmkit.train.memory import to_start, to_step, told_of_memory
from glmkit.train.optimizer import MasterState, cosine, make_optimizer
from glmkit.train.settings import Settings, check_data
from glmkit.train.step import FINE_TUNING, Objective, TrainState, compiled_step
from glmkit.weights.atomic import atomic_file

__all__ = ["Fit", "Step", "fit"]


@dataclasses.dataclass(frozen=True)
class Step:
    """What came of one step. `model` and `lm` are copies of the weights as they are now, whole and usable.

    `load` counts the tokens that chose each expert, in a row for each of the run's `moe_layers`.
    """

    number: int
    metrics: Mapping[str, float]
    load: Float[np.ndarray, "moe_layer E"] = dataclasses.field(repr=False)
    _run: "Fit" = dataclasses.field(repr=False)

    @property
    def loss(self) -> float:
        """Of the next token, in nats."""
        return self.metrics["loss"]

    @property
    def model(self) -> GLM:
        return self._run.model

    @property
    def lm(self) -> LM:
        return self._run.lm


def fit(
    lm_or_model: LM | GLM,
    data: Source,
    *,
    objective: Objective = FINE_TUNING,
    interventions: Plan | None = None,
    out: str | Path | None = None,
    eval_data: Source | None = None,
    eval_every: int = 100,
    save_every: int = 100,
    keep_best: int = 0,
    logs: Sequence[Log] = (),
    progress: bool = True,
    donate: bool = False,
    **settings: Any,
) -> "Fit":
    """Train a model, or an LM, whose result then chats at once: `for step in fit(lm, data): step.loss, step.lm`.

    A model with adapters (`add_lora`) trains those alone. With `interventions`, after what the LM's `using` says when
    `fit` is called, all losses are of the model so changed; `step.lm` has the weights alone. `settings` are those of
    `Settings`. With `out`, the run is checkpointed there every `save_every` steps and when its iteration ends, by
    whatever, logs to `out/log.jsonl`, and goes on from there when it is started again with the same arguments, to the
    same bits. Ctrl-C waits for the step that is being taken; a second does not wait for its evaluation. `eval_data` is
    measured every `eval_every` steps as `eval_loss`; of the checkpoints, with each of which it is then measured too,
    the `keep_best` by it are kept, see `Fit.saved`. The model given stays what it was unless `donate`. Raises
    `ConfigError`, `DataError`, `RequestError` or `TrainingError` before anything is computed. Warns, at the end, of
    interventions that held for no token.
    """
    return Fit(
        lm_or_model, data, Settings(**settings), objective=objective, interventions=interventions, out=out,
        eval_data=eval_data, eval_every=eval_every, save_every=save_every, keep_best=keep_best, logs=logs,
        progress=progress, donate=donate,
    )  # fmt: skip


class Fit:
    """A run in hand; see `fit`. Iterating again goes on where the iteration was left.

    It may go on in a thread while others read `model` and `lm`, which wait for the step that is being taken.
    """

    def __init__(
        self,
        lm_or_model: LM | GLM,
        data: Source,
        settings: Settings,
        *,
        objective: Objective,
        interventions: Plan | None,
        out: str | Path | None,
        eval_data: Source | None,
        eval_every: int,
        save_every: int,
        keep_best: int,
        logs: Sequence[Log],
        progress: bool,
        donate: bool,
    ):
        self._source = lm_or_model
        model, tokenizer = lm_or_model, None
        if isinstance(lm_or_model, LM):
            model, tokenizer = lm_or_model.model, lm_or_model._tokenizer
            interventions = lm_or_model._planned(interventions)
        self._changes = None if interventions is None else Changes(interventions, model, tokenizer)
        if jax.process_count() > 1:
            raise TrainingError(f"fit runs in one process, of however many devices; here are {jax.process_count()}")
        for each in (data,) if eval_data is None else (data, eval_data):
            check_data(each, model, tokenizer, settings)
        self.settings, self._data, self._eval_data = settings, data, eval_data
        check_integer("eval_every", eval_every, 1)
        self._save_every = check_integer("save_every", save_every, 1)
        if check_integer("keep_best", keep_best, 0) and eval_data is None:
            raise ConfigError("keep_best keeps the checkpoints with the least eval_loss; give eval_data= to measure it")
        self._evaluates_every = (eval_every, save_every) if keep_best else (eval_every,)
        self._progress = progress
        moved = trained_objective(objective, model, settings.freeze)
        self.steps = settings.steps or self._count_steps()
        self.objective = moved.of_run(self.steps)
        self._optimizer, self._step = _programs(self.objective, settings, self.steps)
        self._batches = ReadAhead(self._stream())
        self._position = self._batches.get_state()  # behind the last step, however far the stream was read
        self._moving = nnx.Any(self.objective.trainable, Buffer)
        with told_of_memory(to_start):
            model = model if donate else copied(model, self._moving)
            self._state = TrainState.start(model, self._optimizer, self.objective.trainable)
        self._number, self._lock = 0, threading.RLock()  # held while the state is consumed or copied
        self._last_metrics: dict[str, float] = {}
        self._logs = list(logs)
        self._checkpoints = None
        if out is not None:
            self._logs.append(JsonLog(Path(out) / "log.jsonl"))
            self._checkpoints = Checkpoints(Path(out) / "checkpoints", keep_best=keep_best)
            self._identity = self._identify()
            self._go_on()
        for log in self._logs:
            about = {"model": self.name, "settings": dataclasses.asdict(settings), "steps": self.steps}
            log.begin(about | {"data": self.data})

    @property
    def number(self) -> int:
        """How many steps are done, those before the run was started again among them."""
        return self._number

    @property
    def loaded(self) -> Mapping[str, Any] | None:
        """What `glmkit.load` was given for the LM that is trained; None for weights that it does not give."""
        return self._source.loaded if isinstance(self._source, LM) else None

    @property
    def name(self) -> str:
        """Of the LM that is trained; empty for a model without one."""
        return self._source.name if isinstance(self._source, LM) else ""

    @property
    def folder(self) -> Path | None:
        """Where its log and its checkpoints are: `out`."""
        return None if self._checkpoints is None else self._checkpoints.folder.parent

    @property
    def data(self) -> str:
        """What it learns from, in words."""
        return str(self._data.report)

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Numbers of the layers that `Step.load` has a row for; the prediction layer's is last, if it is trained."""
        model = self._state.model
        own = Layers.of(model).moe
        return (*own, model.config.num_hidden_layers) if self.objective.mtp_weight else own

    @property
    def model(self) -> GLM:
        """A copy of the model as it is now."""
        with self._lock:
            return copied(self._state.model, self._moving)

    @property
    def lm(self) -> LM:
        """An LM of the model as it is now. Raises `TrainingError` if `fit` was given a model without a tokenizer."""
        if not isinstance(self._source, LM):
            raise TrainingError("fit was given a model; give it an LM to chat with the result")
        card = card_of(self._source, self._number, self._data)
        return self._source.with_model(self.model, about={**self._source.about, "README.md": card})

    @property
    def origin(self) -> dict[str, Any]:
        """What a card tells of the result: `save_adapter(run.model, folder, **run.origin)`. The card of `lm` does."""
        return origin_of(self._source, self._number, self._data)

    def __iter__(self) -> Iterator[Step]:
        bar = tqdm(total=self.steps, initial=self._number, desc="training", disable=not self._progress)
        kept = leaving(self.save, lambda: self._state)
        with heap.given_back(), ending(self._logs, lambda: self._number == self.steps), bar, kept:
            while self._number < self.steps:
                step = self._advance()
                bar.set_postfix(_shown(step.metrics), refresh=False)
                bar.update()
                yield step
        if self._changes is not None:
            self._changes.warn_of_idle()

    def saved(self, step: int | None = None) -> GLM:
        """The model of a checkpoint: after `step`, by default of that with the least `eval_loss` of those kept.

        Raises `TrainingError` where there is none.
        """
        step = self._checkpoints and self._checkpoints.best if step is None else step
        if self._checkpoints is None or step not in self._checkpoints.steps:
            what = "the best" if step is None else f"step {step}"
            raise TrainingError(f"there is no checkpoint of {what}; fit keeps some with out= and keep_best=")
        with self._lock:
            (moved, *_), _ = self._checkpoints.restore(self._saved(), self._identity, step)
            return self._with_moved(moved)

    def run(self) -> "Fit":
        """Take all the steps that are left."""
        for _ in self:
            pass
        return self

    def save(self) -> None:
        """Write a checkpoint now, if the run has a folder for them, took a step, and there is none of the last."""
        with unbroken(), self._lock:
            if self._checkpoints is not None and self._number and self._checkpoints.latest != self._number:
                self._checkpoints.save(self._number, self._saved(), self._identity, self._position, self._last_metrics)

    def _advance(self) -> Step:
        with unbroken(but_twice=True):
            began = time.monotonic()
            try:
                batch, changes = self._next_batch()
                values, load = self._update(batch, changes)
            except BaseException:
                self._batches.set_state(self._position)  # or the next step would go on behind the batch
                raise
            seconds = time.monotonic() - began
            values |= {"tokens_per_s": values["tokens"] / seconds, "seconds": seconds}
            try:
                values |= self._evaluated()
            finally:  # the update was made
                self._last_metrics = {name: value for name, value in values.items() if name.endswith("loss")}
                for log in self._logs:
                    log.write(self._number, values)
            if self._number % self._save_every == 0:
                self.save()
            return Step(self._number, values, load, self)

    def _update(self, batch: Batch, changes: Interventions | None) -> tuple[dict[str, float], np.ndarray]:
        """Its metrics, and the experts' loads. Raises `TrainingError`, and counts no step, where it was not applied."""
        with unbroken(), self._lock:
            with told_of_memory(lambda: to_step(self.settings, self._state.model)):
                self._state, metrics = self._step(self._state, batch, changes)
                if self._number + 1 < self.steps:
                    self._batches.read(self.settings.micro_batches(self._number + 1))  # while the step computes
                metrics = jax.device_get(metrics)  # waits for it
                named = metrics._asdict().items()
                values = {name: float(value) for name, value in named if name not in ("finite", "load")}
            if not metrics.finite:
                self._refuse(batch, values)
            self._number += 1
            self._position = self._batches.get_state()
        return values, metrics.load

    def _evaluated(self) -> dict[str, float]:
        """The loss on what is held out, after steps that measure it."""
        due = self._number == self.steps or any(self._number % each == 0 for each in self._evaluates_every)
        if self._eval_data is None or not due:
            return {}
        s = self.settings
        with told_of_memory(lambda: to_step(s, self._state.model)):
            return {"eval_loss": evaluate(self._state.model, self._eval_data, s.batch_size, s.length, self._changes)}

    def _next_batch(self) -> tuple[Batch, Interventions | None]:
        """The micro-batches of the next step and what changes in them, on their devices; what there is not, at an
        epoch's end, is padding."""
        rows = [next(self._batches, None) for _ in range(self.settings.micro_batches(self._number))]
        rows += [None] * (self.settings.accumulate - len(rows))
        empty = Batch(rows[0].tokens, np.zeros_like(rows[0].learned), np.full_like(rows[0].segment_ids, -1))
        rows = [empty if row is None else row for row in rows]
        mesh = self._state.step.sharding.mesh
        batch = _on_mesh(rows, mesh, lambda _: ("batch",))
        return batch, None if self._changes is None else _on_mesh(map(self._changes, rows), mesh, leading_axes)

    def _stream(self):
        s = self.settings
        epochs = s.epochs if s.steps is None else None
        return batches(
            self._data, length=s.length, batch_size=s.batch_size, seed=s.seed, epochs=epochs, shuffle=s.shuffle,
            workers=s.workers,
        )  # fmt: skip

    def _count_steps(self) -> int:
        left, steps = sum(1 for _ in self._stream()), 0
        while left > 0:
            left -= self.settings.micro_batches(steps)
            steps += 1
        return steps

    def _identify(self) -> RunIdentity:
        """Of the run as it begins, before anything has moved."""
        wider = isinstance(self._state.opt_state, MasterState)  # float32 has no need of them
        more = {"steps": self.steps, "master_weights": wider}
        if self._changes is not None:
            more["interventions"] = self._changes.identity
        return RunIdentity.of(
            self._state.model, self._moving, self.settings, self.objective, more,
            data=self._data.digest, eval_data=self._eval_data.digest if self._checkpoints.keeps_best else "",
        )  # fmt: skip

    def _saved(self) -> tuple[nnx.State, Any, jax.Array]:
        """What training moves: frozen weights are not written again with each checkpoint."""
        return nnx.state(self._state.model, self._moving), self._state.opt_state, self._state.step

    def _with_moved(self, moved: nnx.State) -> GLM:
        """The model with these values of what training moves."""
        graph, _, shared = nnx.split(self._state.model, self._moving, ...)
        return nnx.merge(graph, moved, shared)

    def _go_on(self) -> None:
        if self._checkpoints.latest is not None:
            (moved, opt_state, step), position = self._checkpoints.restore(self._saved(), self._identity)
            self._state = TrainState(self._with_moved(moved), opt_state, step)
            self._number = int(self._state.step)
            self._batches.set_state(dict(position))
            self._position = self._batches.get_state()

    def _refuse(self, batch: Batch, values: Mapping[str, float]) -> None:
        """Keep the batch and stop: the update was not applied."""
        number = self._number + 1
        path = (self.folder or Path(tempfile.mkdtemp())) / f"not_finite_step_{number}.npz"
        try:
            with atomic_file(path) as partial, partial.open("wb") as file:
                np.savez(file, **{name: np.asarray(part) for name, part in batch._asdict().items()})
            kept = f"the batch is kept in {path}. Look at it"
        except (OSError, CheckpointError) as error:
            kept = f"the batch could not be kept ({error}). Make room"
        raise TrainingError(
            f"step {number}: loss {values['loss']}, gradient norm {values['gradient_norm']}; the update was not "
            f"applied and {kept}, or begin another run, in a folder of its own, from this one's `model` with a lower "
            "learning_rate"
        )


def _on_mesh(parts: Iterable[Any], mesh: Mesh, leading: Callable[[tuple], tuple[str | None, ...]]) -> Any:
    """Pytrees, one for each micro-batch, as one whose arrays have an axis for these first; `leading` gives, by path,
    the logical axes that an array began with."""

    def place(path, *leaves: np.ndarray) -> jax.Array:
        layout = NamedSharding(mesh, partition_spec((None, *leading(path))))
        return jax.make_array_from_process_local_data(layout, np.stack(leaves))

    return jax.tree_util.tree_map_with_path(place, *parts)


@functools.lru_cache(maxsize=8)
def _programs(objective: Objective, settings: Settings, steps: int):
    """The optimiser and the compiled step, shared by runs of the same settings: a cell run again does not recompile."""
    s = settings
    schedule = cosine(s.learning_rate, steps, warmup=int(s.warmup * steps))
    optimizer = make_optimizer(
        s.optimizer, schedule, weight_decay=s.weight_decay, clip=s.clip, master_weights=s.master_weights
    )
    return optimizer, compiled_step(objective, optimizer, s.remat)


def _shown(metrics: Mapping[str, float]) -> dict[str, str]:
    return {
        "loss": f"{metrics['loss']:.3f}",
        "tokens/s": f"{metrics['tokens_per_s']:,.0f}",
        "imbalance": f"{metrics['imbalance']:.2f}",
    }
