"""Where a run writes its numbers: anything with three methods; JSON lines always, TensorBoard if asked."""

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from glmkit.errors import TrainingError

__all__ = ["JsonLog", "Log", "TensorBoardLog", "ending"]


class Log(Protocol):
    """What `fit` writes to. Values are numbers by name, such as `{"loss": 2.1, "tokens_per_s": 5000}`."""

    def begin(self, about: Mapping[str, Any]) -> None:
        """Once, before the first step or when a run goes on: what the run is."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """After a step."""

    def end(self, outcome: str) -> None:
        """When the iteration ends: "finished", "stopped", or "failed: ..." and why. A stopped run may go on."""


@contextlib.contextmanager
def ending(logs: Sequence[Log], finished: Callable[[], bool]) -> Iterator[None]:
    """Tell the logs how the block ended; `finished` is asked when nothing was raised and nobody left early."""
    outcome, raised = "stopped", False
    try:
        yield
        if finished():
            outcome = "finished"
    except BaseException as error:
        raised = True
        if isinstance(error, Exception):
            outcome = f"failed: {error}"
        raise
    finally:
        for log in logs:
            with contextlib.suppress(Exception) if raised else contextlib.nullcontext():  # what was raised is told
                log.end(outcome)


class JsonLog:
    """One JSON object per line, each in the file before the next step: `{"step": 3, "loss": 2.1, ...}`.

    A line `{"begin": ...}` goes before the first, `{"end": outcome}` behind the last. A line that a full disk broke off
    is taken away, at once or, where the process was killed, when the run goes on. Raises `TrainingError` naming the
    file where a line cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def begin(self, about: Mapping[str, Any]) -> None:
        if self._path.exists():
            os.truncate(self._path, self._path.read_bytes().rfind(b"\n") + 1)
        self._line({"begin": dict(about)})

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._line({"step": step, **values})

    def end(self, outcome: str) -> None:
        self._line({"end": outcome})

    def _line(self, content: Mapping[str, Any]) -> None:
        size = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(content) + "\n")
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self._path, size)
            raise TrainingError(f"{self._path}: the log was not written: {error.strerror}") from error


class TensorBoardLog:
    """Scalars for TensorBoard, through the tensorboardX package (`pip install glmkit[tensorboard]`)."""

    def __init__(self, folder: str | os.PathLike[str]):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise TrainingError("TensorBoardLog needs tensorboardX: pip install 'glmkit[tensorboard]'") from error
        self._opened = (SummaryWriter(os.fspath(folder), filename_suffix=f".{number}") for number in itertools.count())

    def begin(self, about: Mapping[str, Any]) -> None:
        self._writer = next(self._opened)  # each in a file of its own: their names tell seconds
        self._writer.add_text("run", f"```\n{json.dumps(dict(about), indent=2)}\n```")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def end(self, outcome: str) -> None:
        self._writer.add_text("end", outcome)
        self._writer.close()  # its flush leaves what is still in its queue
