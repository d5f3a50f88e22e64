"""The training dashboard: a run's curves and its experts' loads as it goes on, and Stop, which leaves a checkpoint."""

import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from traitlets import Dict, Unicode

from glmkit.checks import check_integer
from glmkit.errors import RequestError
from glmkit.probe import Plan
from glmkit.rl.steps import Run as RLRun
from glmkit.train import Fit, LoggedRun
from glmkit.widgets.base import Widget, assets
from glmkit.widgets.pace import Paced
from glmkit.widgets.packing import packed
from glmkit.widgets.rollouts import KeptSample, RolloutShelf, pack_samples
from glmkit.widgets.training_code import training_code
from glmkit.widgets.training_panels import panels
from glmkit.widgets.training_picture import training_picture
from glmkit.widgets.training_record import StepLike, TrainingRecord

__all__ = ["TrainingDashboard", "TrainingSelection"]

ESM = ("base.js", "map.js", "line_chart.js", "load_film.js", "tokens.js", "samples.js", "training_dashboard.js")


@dataclass(frozen=True)
class TrainingSelection:
    """What is picked: a step, a layer by the checkpoint's number, an expert of it, and a sample by its place in the
    step's rollout; None where nothing is."""

    step: int | None = None
    layer: int | None = None
    expert: int | None = None
    sample: int | None = None


class TrainingDashboard(Widget):
    """The curves of a run, live: `gk.widgets.TrainingDashboard(gk.train.fit(lm, data, progress=False))`.

    `run` yields steps with a `number`, `metrics`, which are curves by name, and, if there is one, the experts' `load`
    (`gk.train.fit`, `gk.rl.train`, or anything of their shape: `steps`, `save`, `folder`, `moe_layers`, `name` and
    `data` are used where a run has them). It is iterated in a thread, at once unless `start=False`. Or it is the folder
    of a run that is over or goes on elsewhere, `out=`, whose log is read. `record` has what was told, `outcome` how it
    stands, `selection` what is picked. Raises TrainingError for a folder without a log.
    """

    _esm = assets(*ESM)
    _css = assets("style.css", "training_dashboard.css")
    _selection = Dict().tag(sync=True)
    _code = Unicode().tag(sync=True)
    draw_seconds = 20.0

    def __init__(self, run: Iterable[StepLike] | str | os.PathLike[str], *, start: bool = True):
        self.run: Iterable[StepLike] = LoggedRun(run) if isinstance(run, str | os.PathLike) else run
        """What was given, or the log of the folder that was given; a run of glmkit's has the weights in `lm`."""
        self.record = TrainingRecord()
        """The curves and the loads: `record.curve("loss")`, `record.loads`, `record.to_pandas()`."""
        self._told: dict[str, int] = {}
        self._told_loads, self._shelf = -1, RolloutShelf()
        self._telling = threading.RLock()
        self._outcome = "ready"
        super().__init__()
        self._read_before()
        self.observe(self._write_code, names=["_selection"])
        self._write_code()
        if start and self._outcome == "ready" and not self._logged:
            self.start()

    # What the next cell reads.

    @property
    def outcome(self) -> str:
        """How the run stands: "ready", "running", "stopped", "finished", "failed"; "open" for a log without an end."""
        return self._outcome

    @property
    def selection(self) -> TrainingSelection:
        """What is picked."""
        return TrainingSelection(**self._selection)

    @property
    def samples(self) -> tuple[KeptSample, ...]:
        """Of an RL run, the best and the worst samples of the step that is picked, or of the last that had any."""
        return self._samples_of(self._selection.get("step"))

    @property
    def interventions(self) -> Plan:
        """What `lm.using` has in use for the LM of an RL run; other runs train on nothing changed."""
        using = self.run.policy.lm.interventions if isinstance(self.run, RLRun) else None
        return Plan() if using is None else using

    def select(
        self,
        step: int | None = None,
        layer: int | None = None,
        expert: int | None = None,
        sample: int | None = None,
    ) -> None:
        """Pick a step, an expert of a layer, a sample of `samples`. Raises RequestError for what was not told."""
        if step is not None and not self.record.at(check_integer("step", step, 0)):
            last = "none was told yet" if self.record.last is None else f"the last one is {self.record.last}"
            raise RequestError(f"there is no step {step} in this run; {last}")
        layers, experts = self._shape()
        if layer is not None and layer not in layers:
            held = ", ".join(map(str, layers)) or "none"
            raise RequestError(f"there are no loads of layer {layer!r}; layers with loads: {held}")
        if expert is not None and (layer is None or not 0 <= check_integer("expert", expert, 0) < experts):
            raise RequestError(f"expert is {expert}; expected one of a layer, 0 to {experts - 1}, and layer=")
        there = {kept.sample for kept in self._samples_of(step)}
        if sample is not None and sample not in there:
            held = ", ".join(map(str, sorted(there))) or "none"
            raise RequestError(f"sample {sample!r} of this step is not kept; samples that are: {held}")
        self._selection = {"step": step, "layer": layer, "expert": expert, "sample": sample}

    # Doing.

    def start(self) -> None:
        """Begin, or go on after a stop, in the background; of a log, read what came since.

        Raises RequestError while it runs, and for a run that is over.
        """
        if self._outcome in ("finished", "failed"):
            raise RequestError(f"the run has {self._outcome}; make another to train on")
        self.begin("reading" if self._logged else "training", self._take_steps)

    def picture(self) -> tuple[str, bytes] | None:
        return training_picture(self._title(), self._words(), self.record, self._shape()[0])

    # Messages.

    def snapshot(self) -> None:
        with self._telling:
            data = getattr(self.run, "data", "")
            self.post("about", {"live": True, "model": self._title(), "data": data, "logged": self._logged})
            self._told, self._told_loads = {}, -1
            self._tell(whole=True)
            self._post_run()

    def on_start(self, _: Mapping[str, Any]) -> None:
        self.start()

    def on_samples(self, content: Mapping[str, Any]) -> None:
        """Asked for the samples of a step, and the tokens of one."""
        if (kept := self._shelf.at(content["step"])) is not None:
            message = pack_samples(self.run, *kept, content["sample"])
            self.post("samples", message.content, message.buffers)

    def _post_run(self) -> None:
        total = getattr(self.run, "steps", None)
        self.post("run", {"outcome": self._outcome, "note": self._words(), "steps": total})

    def _tell(self, whole: bool = False) -> None:
        """Post what views do not know yet of the record."""
        with self._telling:
            arrays: dict[str, np.ndarray] = {}
            scales: dict[str, float] = {}
            for name, (steps, values) in self.record.curves(self._told).items():
                if len(steps):
                    arrays[f"x {name}"], arrays[f"y {name}"] = steps.astype(np.float32), values.astype(np.float32)
                    self._told[name] = self._told.get(name, 0) + len(steps)
            frames = [frame for frame in self.record.loads if frame.index > self._told_loads]
            if frames:
                self._told_loads = frames[-1].index
                shares = np.stack([frame.share for frame in frames])
                scales["loads"] = float(shares.max()) / 255 or 1.0
                arrays["loads"] = np.round(shares / scales["loads"]).astype(np.uint8)
            layers, experts = self._shape()
            about = {"whole": whole, "layers": layers, "experts": experts, "stride": self.record.stride}
            about["frames"] = [[frame.step, frame.index] for frame in frames]
            about["sampled"] = self._shelf.last
            about["panels"] = [panel._asdict() for panel in panels(self.record.told)]
            message = packed(about, arrays, scales)
            self.post("steps", message.content, message.buffers)

    # Work.

    def _take_steps(self) -> None:
        self._outcome = "running"
        self._post_run()
        try:
            with Paced(self._say) as paced:
                for step in self.run:
                    if isinstance(self.run, RLRun):
                        self._shelf.add(step)
                    paced.add(self.record.add(step))
                    if self._stopping.is_set():
                        break
            if self._stopping.is_set() and hasattr(self.run, "save"):
                self.run.save()
            self._outcome = self._ended()
        except Exception as error:
            self._outcome, self.error = "failed", error
            raise
        finally:
            self._post_run()
            self._write_code()

    def _say(self, went_back: list[bool]) -> None:
        with self._telling:
            if whole := any(went_back):
                self._told, self._told_loads = {}, -1
            self._tell(whole)
        self.redraw()

    def _ended(self) -> str:
        """How it stands after its steps were taken."""
        if isinstance(self.run, LoggedRun):
            return self.run.outcome.split(":")[0] or "open"
        total = getattr(self.run, "steps", None)
        over = not self._stopping.is_set() if total is None else self.record.last == total
        return "finished" if over else "stopped"

    def _read_before(self) -> None:
        """What is known before the first step: of a log all, of a run that went on what its log has of it."""
        if isinstance(self.run, LoggedRun):
            for step in self.run:
                self.record.add(step)
            self._outcome = self._ended()
        elif isinstance(self.run, Fit | RLRun) and self.run.number:
            if self.run.folder is not None:
                for step in LoggedRun(self.run.folder):
                    if step.number <= self.run.number:
                        self.record.add(step)
            self._outcome = "finished" if self.run.number >= self.run.steps else "ready"

    # Small things.

    def _samples_of(self, step: int | None) -> tuple[KeptSample, ...]:
        kept = self._shelf.at(step)
        return kept[1] if kept else ()

    @property
    def _logged(self) -> bool:
        return isinstance(self.run, LoggedRun)

    def _shape(self) -> tuple[tuple[int, ...], int]:
        """The numbers of the layers with loads, and how many experts each has."""
        frames = self.record.loads
        if not frames:
            return (), 0
        rows, experts = frames[-1].share.shape
        return tuple(getattr(self.run, "moe_layers", range(rows))), experts

    def _title(self) -> str:
        name, folder = getattr(self.run, "name", ""), getattr(self.run, "folder", None)
        return ", ".join(filter(None, [name, "" if folder is None else Path(folder).name]))

    def _words(self) -> str:
        """How it stands, in a sentence."""
        total, folder = getattr(self.run, "steps", None), getattr(self.run, "folder", None)
        done = "no step yet" if self.record.last is None else f"step {self.record.last:,}"
        done += f" of {total:,}" if total and self.record.last is not None else ""
        kept = f"; a checkpoint is in {folder}" if folder is not None and not self._logged else ""
        weights = "; the weights are in dashboard.run.lm" if isinstance(self.run, Fit | RLRun) and self.run.name else ""
        if self._outcome == "failed":
            return f"Failed after {done}: {self.error or self.run.outcome.partition(': ')[2]}"
        if self._outcome == "open":
            return f"At {done}: its log has no end, so it goes on in another process, or was killed"
        if self._outcome in ("stopped", "finished"):
            return f"{self._outcome.capitalize()} at {done}{kept or weights}"
        return f"{'Runs' if self._outcome == 'running' else 'Not begun'}, {done}"

    def _write_code(self, _: Any = None) -> None:
        self._code = training_code(self.run, self.selection)
