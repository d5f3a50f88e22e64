"""Rollouts on the disk, and several as one."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from glmkit.engine.sampling import Sampling
from glmkit.errors import DataError
from glmkit.rl.rollout import BY_ROW, BY_SAMPLE, Rollout
from glmkit.rl.sample import Sample, Turn
from glmkit.rl.task import Problem
from glmkit.runs.run import read_arrays
from glmkit.weights.arrays import write_arrays

__all__ = ["join", "read", "write"]

_FORMAT = "glmkit.rollout.1"
_FILLING = {"spans": -1, "routes": -1, "allowed": -1}  # of padding; 0 elsewhere
_OPTIONAL = ("routes", "allowed", "demonstrated")  # where some do not have them, the others still do


def write(rollout: Rollout, path: str | os.PathLike[str]) -> None:
    """A safetensors file that appears under its name when it is whole."""
    arrays = {name: value for name in (*BY_ROW, *BY_SAMPLE) if (value := getattr(rollout, name)) is not None}
    arrays |= {f"parts.{name}": values for name, values in rollout.parts.items()}
    problems = list({id(sample.problem): sample.problem for sample in rollout.samples}.values())
    number = {id(problem): index for index, problem in enumerate(problems)}
    about = {
        "format": _FORMAT,
        "version": str(rollout.version),
        "sampling": json.dumps(dataclasses.asdict(rollout.sampling)),
        "problems": json.dumps([dataclasses.asdict(problem) for problem in problems]),
        "samples": json.dumps([_record(sample, number) for sample in rollout.samples]),
    }
    write_arrays(path, arrays, about)


def read(path: str | os.PathLike[str]) -> Rollout:
    """What `write` wrote. Raises `CheckpointError` naming a file that is something else."""
    arrays, about = read_arrays(path, _FORMAT)
    problems = [Problem(**record) for record in json.loads(about["problems"])]
    samples = tuple(_sample(record, problems) for record in json.loads(about["samples"]))
    return Rollout(
        **{name: arrays[name] for name in (*BY_ROW, *BY_SAMPLE) if name in arrays},
        samples=samples,
        parts={name.removeprefix("parts."): value for name, value in arrays.items() if name.startswith("parts.")},
        sampling=Sampling(**json.loads(about["sampling"])),
        version=int(about["version"]),
    )


def join(rollouts: Sequence[Rollout]) -> Rollout:
    """One rollout of all samples, whatever their seeds; it tells the first one's.

    Raises `DataError` for rollouts of other weights or settings.
    """
    if not rollouts:
        raise DataError("there are no rollouts to join")
    if any(rollout.token_advantages is not None for rollout in rollouts):
        rollouts = [_by_token(rollout) for rollout in rollouts]
    if len({rollout.token_weights is None for rollout in rollouts}) > 1:
        raise DataError(
            "rollouts with weights of their tokens and without do not join: it is not known what these weigh"
        )
    first = rollouts[0]
    for other in rollouts[1:]:
        if other.version != first.version:
            raise DataError(f"rollouts of version {first.version} and {other.version} do not join")
        if dataclasses.replace(other.sampling, seed=first.sampling.seed) != first.sampling:
            raise DataError(f"rollouts of sampling {first.sampling} and {other.sampling} do not join")
    samples = np.cumsum([0, *map(len, rollouts)])
    tagged = [(index, group) for index, rollout in enumerate(rollouts) for group in rollout.group.tolist()]
    number = {tag: place for place, tag in enumerate(dict.fromkeys(tagged))}
    width = max(rollout.tokens.shape[1] for rollout in rollouts)
    changes: dict[str, Any] = {name: _stacked(name, rollouts, width) for name in (*BY_ROW, *BY_SAMPLE)}
    changes["sample"] = np.concatenate([r.sample + at for r, at in zip(rollouts, samples, strict=False)])
    changes["group"] = np.array([number[tag] for tag in tagged], first.group.dtype)
    every = [sample for rollout in rollouts for sample in rollout.samples]
    changes["samples"] = tuple(
        dataclasses.replace(sample, index=index, group=int(group))
        for index, (sample, group) in enumerate(zip(every, changes["group"], strict=False))
    )
    names = set.intersection(*(set(rollout.parts) for rollout in rollouts))
    changes["parts"] = {name: np.concatenate([r.parts[name] for r in rollouts]) for name in sorted(names)}
    return dataclasses.replace(first, **changes)


def _by_token(rollout: Rollout) -> Rollout:
    """With its advantages token by token, if it has some."""
    return dataclasses.replace(rollout, token_advantages=rollout.per_token()) if rollout.has_advantages else rollout


def _stacked(name: str, rollouts: Sequence[Rollout], width: int) -> np.ndarray | None:
    """One array of all; None where some do not have it. Routes and masks that are not there are said to be free."""
    parts = [getattr(rollout, name) for rollout in rollouts]
    known = next((part for part in parts if part is not None), None)
    filling = _FILLING.get(name, 0)
    if name in _OPTIONAL and known is not None:
        sizes = [rollout.tokens.shape if name in BY_ROW else (len(rollout),) for rollout in rollouts]
        free = [np.full((*size, *known.shape[len(size) :]), filling, known.dtype) for size in sizes]
        parts = [other if part is None else part for part, other in zip(parts, free, strict=True)]
    if any(part is None for part in parts):
        return None
    if name in BY_ROW and parts[0].ndim > 1:
        parts = [
            np.pad(p, [(0, 0), (0, width - p.shape[1]), *[(0, 0)] * (p.ndim - 2)], constant_values=filling)
            for p in parts
        ]
    return np.concatenate(parts)


def _record(sample: Sample, number: Mapping[int, int]) -> dict[str, Any]:
    turns = [dataclasses.asdict(turn) for turn in sample.turns]
    known = {"index": sample.index, "group": sample.group, "returned": _jsonable(sample.returned)}
    return known | {"problem": number[id(sample.problem)], "turns": turns}


def _jsonable(value: Any) -> Any:
    """As JSON holds it: NumPy's numbers and arrays as Python's; what has no JSON is its `repr`."""
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def _sample(record: Mapping[str, Any], problems: Sequence[Problem]) -> Sample:
    turns = tuple(Turn.from_record(turn) for turn in record["turns"])
    return Sample(record["index"], record["group"], problems[record["problem"]], turns, record["returned"])
