"""The state of a training dashboard as Python: the run as it was set up, and what is picked."""

import dataclasses
from typing import Any

from glmkit.rl.steps import Run as RLRun
from glmkit.train import Fit, LoggedRun
from glmkit.train.step import FINE_TUNING
from glmkit.widgets.code import load_call

__all__ = ["training_code"]

_UNNAMED = "..."


def training_code(run: Any, selection: Any) -> str:
    """Load and train as `run` does, from data that are named in words, open the dashboard, and pick the same."""
    lines = ["import glmkit as gk", ""]
    if isinstance(run, LoggedRun):
        lines.append(f"dashboard = gk.widgets.TrainingDashboard({str(run.folder)!r})")
    else:
        lines += _run_lines(run)
        lines += ["dashboard = gk.widgets.TrainingDashboard(run)", "dashboard.wait()"]
    picked = {name: value for name, value in dataclasses.asdict(selection).items() if value is not None}
    if picked:
        lines.append(f"dashboard.select({', '.join(f'{name}={value!r}' for name, value in picked.items())})")
        if "step" in picked:
            lines.append(f"print(dashboard.record.at({picked['step']}))")
    return "\n".join([*lines, 'steps, loss = dashboard.record.curve("loss")'])


def _run_lines(run: Any) -> list[str]:
    match run:
        case Fit():
            return _fit_lines(run)
        case RLRun():
            return _rl_lines(run)
    return [f"run = {_UNNAMED}  # {type(run).__name__}"]


def _rl_lines(run: RLRun) -> list[str]:
    return [
        f"policy = gk.rl.Policy({_source(run)}, router={run.policy.router!r})",
        f"task = {_UNNAMED}  # {run.data}",
        f"loss = {_UNNAMED}  # {run.loss!r}",
        f"run = gk.rl.train(policy, task, loss=loss, {_arguments(run)})",
    ]


def _source(run: Fit | RLRun) -> str:
    return _UNNAMED if run.loaded is None else load_call(run.loaded)


def _arguments(run: Fit | RLRun, *more: str) -> str:
    """The settings that are not their defaults, `more`, and the folder."""
    values = ((field, getattr(run.settings, field.name)) for field in dataclasses.fields(run.settings))
    given = [f"{field.name}={value!r}" for field, value in values if value != field.default]
    folder = [] if run.folder is None else [f"out={str(run.folder)!r}"]
    return ", ".join([*given, *more, *folder, "progress=False"])


def _fit_lines(run: Fit) -> list[str]:
    data = "".join(f"\n# {line}" for line in run.data.splitlines())
    shown = []
    objective = {
        name: value
        for name in ("mtp_weight", "bias_rate", "balance_weight")
        if (value := getattr(run.objective, name)) != getattr(FINE_TUNING, name)
    }
    if objective:
        weights = {name: getattr(run.objective, name) for name in ("mtp_weight", "bias_rate", "balance_weight")}
        said = (f"{name}={_weight(value)}" for name, value in weights.items())
        shown.append(f"objective=gk.train.Objective({', '.join(said)})")
    return [
        f"lm = {_source(run)}",
        f"data = {_UNNAMED}{data}",
        f"run = gk.train.fit(lm, data, {_arguments(run, *shown)})",
    ]


def _weight(value: Any) -> str:
    return f"gk.train.{value!r}" if isinstance(value, tuple) else repr(value)
