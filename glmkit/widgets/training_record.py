"""What a training run has told: curves by name over its steps, and which experts its tokens chose."""

import bisect
import math
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from glmkit.errors import RequestError
from glmkit.runs.frames import data_frame

__all__ = ["LoadFrame", "StepLike", "TrainingRecord"]

_LOADS = 256  # steps whose loads are kept


class StepLike(Protocol):
    """A step of a run: its number, ascending, and any values by name, each a curve.

    A step may also have `load`, `[moe_layer, E]`: how many tokens chose each expert.
    """

    number: int
    metrics: Mapping[str, float]


class LoadFrame:
    """The loads of one step as shares of their layer, `[moe_layer, E]`, each row of which sums to 1."""

    def __init__(self, step: int, index: int, load: Float[np.ndarray, "moe_layer E"]):
        self.step, self.index = step, index
        self.share = (load / np.maximum(load.sum(axis=1, keepdims=True), 1e-9)).astype(np.float32)


class TrainingRecord:
    """Curves and loads as they come; any thread may add and read.

    Loads are kept of every first, then every second, fourth, ... step, so that there are at most 256, and of the last.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._curves: dict[str, tuple[list[int], list[float]]] = {}
        self._loads: list[LoadFrame] = []
        self._stride, self._added = 1, 0
        self.last: int | None = None
        """The number of the last step."""

    def add(self, step: StepLike) -> bool:
        """Take a step. Whether it takes back others: those with its number or a later one, which it follows again."""
        number = int(step.number)
        with self._lock:
            back = self.last is not None and number <= self.last
            if back:
                self._take_back(number)
            for name, value in step.metrics.items():
                steps, values = self._curves.setdefault(name, ([], []))
                steps.append(number)
                values.append(float(value))
            if (load := getattr(step, "load", None)) is not None:
                self._keep(LoadFrame(number, self._added, np.asarray(load, np.float32)))
                self._added += 1
            self.last = number
        return back

    @property
    def names(self) -> tuple[str, ...]:
        """Of the curves, in the order in which they first came."""
        return tuple(self._curves)

    @property
    def told(self) -> tuple[str, ...]:
        """Of the curves that say something: a run without a prediction layer has nothing but zeros for its loss."""
        with self._lock:
            return tuple(name for name, (_, values) in self._curves.items() if name != "mtp_loss" or any(values))

    def curve(self, name: str, start: int = 0) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """The steps that told a value, and the values, from the `start`-th on. Raises RequestError for another name."""
        with self._lock:
            if name not in self._curves:
                raise RequestError(f"there is no curve {name!r}; there are {', '.join(self._curves) or 'none yet'}")
            return self._part(name, start)

    def curves(
        self, starts: Mapping[str, int] = MappingProxyType({})
    ) -> dict[str, tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]]:
        """All as `curve` gives them, as they are at one time; each from its start on, which by default is the first."""
        with self._lock:
            return {name: self._part(name, starts.get(name, 0)) for name in self._curves}

    def at(self, step: int) -> dict[str, float]:
        """The values of a step by name."""
        found = {}
        with self._lock:
            for name, (steps, values) in self._curves.items():
                place = bisect.bisect_left(steps, step)
                if place < len(steps) and steps[place] == step:
                    found[name] = values[place]
        return found

    @property
    def loads(self) -> tuple[LoadFrame, ...]:
        """Those that are kept, by step."""
        with self._lock:
            return tuple(self._loads)

    @property
    def stride(self) -> int:
        """Loads are kept of steps whose `index` is a multiple of it, and of the last."""
        return self._stride

    def to_pandas(self):
        """A data frame with a row for each step and a column for each curve."""
        with self._lock:
            every = sorted({step for steps, _ in self._curves.values() for step in steps})
            rows = {step: row for row, step in enumerate(every)}
            columns = {"step": np.asarray(every, np.int64)}
            for name, (steps, values) in self._curves.items():
                columns[name] = np.full(len(every), math.nan)
                columns[name][[rows[step] for step in steps]] = values
        return data_frame(columns)

    def _keep(self, frame: LoadFrame) -> None:
        if self._loads and self._loads[-1].index % self._stride:
            self._loads.pop()  # it was there as the last
        self._loads.append(frame)
        if len(self._loads) > _LOADS:
            self._stride *= 2
            self._loads = [kept for kept in self._loads if kept.index % self._stride == 0 or kept is frame]

    def _part(self, name: str, start: int) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        steps, values = self._curves[name]
        return np.asarray(steps[start:], np.int64), np.asarray(values[start:], np.float64)

    def _take_back(self, number: int) -> None:
        for steps, values in self._curves.values():
            place = bisect.bisect_left(steps, number)
            del steps[place:], values[place:]
        self._curves = {name: curve for name, curve in self._curves.items() if curve[0]}
        self._loads = [frame for frame in self._loads if frame.step < number]
        self._added = self._loads[-1].index + 1 if self._loads else 0
