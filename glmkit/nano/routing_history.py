"""How the experts' load moves while glm-nano is trained: measured on fixed held-out tasks at some sixty steps."""

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from glmkit.model import GLM
from glmkit.nano.skills import FAMILIES, SKILLS
from glmkit.text import Tokenizer
from glmkit.train.data import Batch, TokenDataset, batches
from glmkit.train.loss import targets_ahead

__all__ = ["RoutingHistory", "measured_steps", "probe_rows"]

PROBE_LENGTH = 1024  # tokens for each family; what is longer, as long contexts are, is left out
TASKS = 64  # drawn for each family, enough to fill its row
MEASUREMENTS = 60


def measured_steps(last: int, count: int = MEASUREMENTS) -> frozenset[int]:
    """About `count` steps from 0 to `last`: half of them evenly spread, half the denser the earlier."""
    early = np.geomspace(1, max(1, last), count // 2)
    return frozenset({0, *map(round, early), *map(round, np.linspace(0, last, count // 2))} & {*range(last + 1)})


def probe_rows(tokenizer: Tokenizer) -> Batch:
    """A row of held-out tasks for each family, `[family, 1, PROBE_LENGTH]`."""
    rows = []
    for family in FAMILIES:
        tasks = TokenDataset.encode(_held_out(family), tokenizer, PROBE_LENGTH, too_long="drop")
        rows.append(next(batches(tasks, length=PROBE_LENGTH, batch_size=1)))
    return Batch(*(np.stack(parts) for parts in zip(*rows, strict=True)))


def _held_out(family: str) -> Iterator[Mapping[str, Any]]:
    rng, names = Random(f"glm-nano/probe/{family}"), FAMILIES[family]
    for number in range(TASKS):
        yield SKILLS[names[number % len(names)]](rng, "held_out").record


class RoutingHistory:
    """The measurements so far, kept in a file that a run which goes on takes them from.

    The file is an npz: `load` `[step, family, moe_layer, expert]` float16, each expert's share of the tokens' choices,
    the multi-token-prediction layer last; `steps`, the names of `families`, and the numbers of `layers`. `due` are the
    steps to measure at.
    """

    def __init__(self, path: Path, tokenizer: Tokenizer, last_step: int):
        self._path, self.due, self._rows = path, measured_steps(last_step), probe_rows(tokenizer)
        self._loads: dict[int, np.ndarray] = {}

    def go_on(self, step: int) -> None:
        """Take what an earlier process measured before `step`, which this one begins at."""
        if self._path.exists():
            with np.load(self._path) as saved:
                pairs = zip(saved["steps"].tolist(), saved["load"], strict=True)
                self._loads = {before: load for before, load in pairs if before < step}

    def record(self, step: int, model: GLM) -> None:
        """Measure the model as it is after `step` steps."""
        self._loads[step] = np.asarray(_loads(model, self._rows), np.float16)
        self._write(model)

    def _write(self, model: GLM) -> None:
        config, content = model.config, io.BytesIO()
        np.savez_compressed(
            content,
            load=np.stack(list(self._loads.values())),
            steps=np.array(list(self._loads), np.int32),
            families=np.array(list(FAMILIES)),
            layers=np.array([*config.moe_layers, config.num_hidden_layers], np.int32),
        )
        part = self._path.with_name(self._path.name + ".part")
        part.write_bytes(content.getvalue())
        os.replace(part, self._path)


@jax.jit
def _loads(model: GLM, rows: Batch) -> Float[Array, "family moe_layer E"]:
    """Each expert's share of its layer's load, the multi-token-prediction layer's last."""

    def of_family(row: Batch) -> Float[Array, "moe_layer E"]:
        out = model(row.tokens, segment_ids=row.segment_ids)
        second = model.predict_second(out.hidden, targets_ahead(row, 1).tokens, segment_ids=row.segment_ids)
        load = jnp.concatenate([out.load, second.load])
        return load / load.sum(axis=1, keepdims=True)

    return jax.lax.map(of_family, rows)
