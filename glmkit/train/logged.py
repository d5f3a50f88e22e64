"""A run as its log tells it, `JsonLog`'s: for whoever looks at one that is over, or goes on in another process."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from glmkit.errors import TrainingError

__all__ = ["LoggedRun", "LoggedStep"]


class LoggedStep(NamedTuple):
    """What was written of a step."""

    number: int
    metrics: Mapping[str, float]


class LoggedRun:
    """The steps in `log.jsonl`, or in a folder's, the `out` of a run. Iterating again reads what came since.

    `outcome` is "finished", "stopped" or "failed: ...", and empty while the last line is a step's: then the run goes
    on, or its process was killed. A run that went on from a checkpoint tells the steps after it again; the later hold.
    Raises `TrainingError` where there is no such file, and while iterating for a line that is not one of a log.
    """

    def __init__(self, path: str | os.PathLike[str]):
        path = Path(path)
        self.path = path / "log.jsonl" if path.is_dir() else path
        if not self.path.is_file():
            raise TrainingError(f"{path}: there is no log; expected a folder that a run had as out=, or a log.jsonl")
        self.folder = self.path.parent
        self.outcome, self.name, self.data = "", "", ""
        self.steps: int | None = None
        self.number = 0
        self._read = 0  # bytes

    def __iter__(self) -> Iterator[LoggedStep]:
        with self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):  # which is being written
                    return
                self._read += len(line)
                values = self._values(line)
                if (step := self._step(values)) is not None:
                    self.number = step.number
                    yield step

    def _values(self, line: bytes) -> dict[str, Any]:
        try:
            values = json.loads(line)
        except ValueError:
            values = None
        if not isinstance(values, dict) or not values.keys() & {"begin", "step", "end"}:
            raise TrainingError(f"{self.path}: not a line of a training log: {line[:80]!r}")
        return values

    def _step(self, values: dict[str, Any]) -> LoggedStep | None:
        """The step of a line, or None for one that says how a run began or ended."""
        self.outcome = values.get("end", "")
        if "begin" in values:
            about = values["begin"]
            self.steps, self.name, self.data = about.get("steps"), about.get("model", ""), about.get("data", "")
        if "step" not in values:
            return None
        return LoggedStep(values.pop("step"), values)
