"""Runs and routing histories as messages for a browser: a few words, and arrays of small integers."""

import os
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Num

from glmkit.errors import CheckpointError
from glmkit.runs import PHASES, Run
from glmkit.text.phases import numbered

__all__ = ["Message", "pack_history", "pack_run"]


class Message(NamedTuple):
    """`content` says what the buffers are: `arrays` is the name, dtype, shape and scale of each."""

    content: dict[str, Any]
    buffers: list[bytes]


def pack_run(run: Run, *, weights: bool = True, tokens: int | None = None) -> Message:
    """Tokens and routes; weights and margins are rounded to 1/255 and 1/65535 of the largest.

    `tokens` keeps only the first so many. Raises RequestError for a run that did not keep its routes.
    """
    routing, count = run.routing, len(run) if tokens is None else tokens
    arrays: dict[str, np.ndarray] = {"ids": routing.ids[:count]}
    scales: dict[str, float] = {}
    if weights and routing.weights is not None:
        arrays["weights"], scales["weights"] = _rounded(routing.weights[:count], np.uint8)
    if routing.margin is not None:
        arrays["margins"], scales["margins"] = _rounded(routing.margin[:count], np.uint16)
    arrays["logprobs"] = run.tokens.logprob[:count].astype(np.float32)
    about = {
        "model": run.model,
        "text": list(run.tokens.text[:count]),
        "phase": numbered(run.tokens.phase[:count]),
        "phases": list(PHASES),
        "layers": list(routing.layers),
        "experts": routing.experts,
        "finish": "" if run.completion is None else run.completion.finish_reason,
    }
    return packed(about, arrays, scales)


def pack_history(path: str | os.PathLike[str]) -> Message:
    """A `routing_history.npz`, as the recipe of glm-nano writes it. Raises CheckpointError for another file."""
    try:
        with np.load(path) as saved:
            load, steps = saved["load"].astype(np.float32), saved["steps"].tolist()
            families, layers = saved["families"].tolist(), saved["layers"].tolist()
        if load.ndim != 4:
            raise ValueError(f"load is {list(load.shape)}; expected [step, family, layer, expert]")
    except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path} is no routing_history.npz: {error}") from error
    rounded, scale = _rounded(load, np.uint8)
    about = {"steps": steps, "families": families, "layers": layers, "experts": load.shape[-1]}
    return packed(about, {"load": rounded}, {"load": scale})


def packed(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray], scales: Mapping[str, float]) -> Message:
    """With arrays in the order of their names in `arrays`."""
    described = [
        {"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "scale": scales.get(name, 1.0)}
        for name, array in arrays.items()
    ]
    return Message({**about, "arrays": described}, [np.ascontiguousarray(a).tobytes() for a in arrays.values()])


def _rounded(values: Float[np.ndarray, "..."], dtype: type[np.integer]) -> tuple[Num[np.ndarray, "..."], float]:
    """As integers, and what one of them stands for."""
    most = np.iinfo(dtype).max
    largest = float(values.max(initial=0, where=np.isfinite(values)))
    scale = largest / most or 1.0
    return np.round(np.nan_to_num(values, posinf=largest).clip(0, largest) / scale).astype(dtype), scale
