"""Every expert taken out in turn: how much each matters to a text, beside random others of its layer."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glmkit.checks import check_integer
from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.model import GLM, ExpertTables, Interventions
from glmkit.probe.intervene import named_experts
from glmkit.probe.plan import Bound, Plan
from glmkit.runs import Layers
from glmkit.runs.frames import data_frame
from glmkit.runs.reading import interventions_at, warn_of_idle
from glmkit.text.phases import Phase, phases

__all__ = ["AblationSweep", "sweep"]

_HEAD = 32  # positions of all rows whose logits are held at once


@dataclass(frozen=True, eq=False)
class AblationSweep:
    """What taking out one expert does: `kl` is the mean over tokens of KL(whole || ablated), in nats.

    `control` is the mean of `kl` over random other experts of the same layer. Both are NaN for experts that were out
    already. Rows are `layers`, columns `experts`.
    """

    layers: tuple[int, ...]
    experts: tuple[int, ...]
    kl: Float[np.ndarray, "layer expert"]
    control: Float[np.ndarray, "layer expert"]

    @property
    def excess(self) -> Float[np.ndarray, "layer expert"]:
        """How much more an expert matters than random others of its layer."""
        return self.kl - self.control

    def top(self, count: int = 10) -> list[tuple[int, int, float, float]]:
        """(layer, expert, kl, control) of the experts that matter most, of those that were taken out."""
        order = np.argsort(-self.kl, axis=None)[: min(count, int(np.isfinite(self.kl).sum()))]  # NaN comes last
        rows, columns = np.unravel_index(order, self.kl.shape)
        return [
            (self.layers[row], self.experts[column], float(self.kl[row, column]), float(self.control[row, column]))
            for row, column in zip(rows, columns, strict=True)
        ]

    def to_pandas(self):
        """A data frame with a row for each layer and expert."""
        row, column = (axis.ravel() for axis in np.indices(self.kl.shape))
        columns = {"layer": np.asarray(self.layers)[row], "expert": np.asarray(self.experts)[column]}
        return data_frame(columns | {"kl": self.kl.ravel(), "control": self.control.ravel()})


def sweep(
    lm: LM,
    x: Any,
    *,
    layer: int | Sequence[int] | slice | None = None,
    expert: int | Sequence[int] | None = None,
    how: Literal["reroute", "drop"] = "drop",
    controls: int = 8,
    batch_size: int = 15,
    seed: int = 0,
    thinking: Any = "enabled",
) -> AblationSweep:
    """Ablate single experts, each by itself, `batch_size` of them in one pass of one compiled program.

    `x` as for `lm.run`; `layer` and `expert` default to all. The rows of a pass are the text whole and once for each
    ablation, all of them with what `lm.using` has in use. `controls` is how many others of the layer, drawn by `seed`,
    make up each control. Experts that what is in use takes out, for whatever tokens, are not taken out again, and are
    in no control. Raises RequestError for a layer or expert that does not exist, one that no other can take the place
    of, or a text that the context has no room for. Warns of interventions in use that held for no token.
    """
    if how not in ("reroute", "drop"):
        raise RequestError(f"how is {how!r}; expected 'reroute' or 'drop'")
    model, layers = lm.model, Layers.of(lm.model)
    numbers = layers.several(layer, moe=True)
    experts = tuple(map(layers.expert, range(layers.experts) if expert is None else named_experts(expert)))
    ids = np.asarray(lm._turns.known(x, thinking=thinking), np.int32)
    if not 1 <= len(ids) <= lm.engine.max_len:
        raise RequestError(f"x has {len(ids)} tokens; expected 1 to {lm.engine.max_len}, the context")
    bound = (lm._planned(None) or Plan()).bind(model, len(ids))
    bound.check_prompt(ids)
    others = _others(bound, numbers, experts, check_integer("controls", controls, 1), seed)
    wanted = sorted({(n, e) for (n, one), drawn in others.items() for e in (one, *drawn)})
    if how == "reroute":
        _check_places_taken(bound, wanted)
    known = phases(ids.tolist(), lm._tokenizer)
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(wanted), check_integer("batch_size", batch_size, 1)):
        part = wanted[start : start + batch_size]
        values = _kl(model, *_inputs(model, bound, ids, known, part, batch_size, how))
        found |= dict(zip(part, np.asarray(values)[1:].tolist(), strict=False))
    control = {one: np.mean([found[one[0], e] for e in drawn]) for one, drawn in others.items() if drawn}
    tables = [np.asarray([[of.get((n, e), np.nan) for e in experts] for n in numbers]) for of in (found, control)]
    if wanted:
        warn_of_idle(bound, None, stacklevel=3)
    return AblationSweep(numbers, experts, *tables)


def _others(
    bound: Bound, numbers: Sequence[int], experts: Sequence[int], count: int, seed: int
) -> dict[tuple[int, int], list[int]]:
    """Of each (layer, expert) that is not out already, up to `count` others of its layer that are not either."""
    rng, others = np.random.default_rng(seed), {}
    for number in numbers:
        there = np.flatnonzero(~bound.out[bound.target.layers.row(number)])
        for one in filter(there.__contains__, experts):
            others[number, one] = rng.permutation(there[there != one])[:count].tolist()
    return others


def _check_places_taken(bound: Bound, wanted: Sequence[tuple[int, int]]) -> None:
    """Raise RequestError for an expert without which too few are left."""
    for number, expert in wanted:
        out = bound.ruled_out.copy()
        out[bound.target.layers.row(number), expert] = True
        bound.target.check_enough_experts(out)


def _inputs(
    model: GLM,
    bound: Bound,
    ids: np.ndarray,
    known: Sequence[Phase],
    part: Sequence[tuple[int, int]],
    batch_size: int,
    how: str,
) -> tuple[np.ndarray, np.ndarray, Interventions]:
    """Rows of the same text, all with what is in use, and one part of the tables for each, for its own tokens."""
    layers, data = bound.target.layers, model.embed[...].sharding.mesh.shape["data"]
    rows = -(-(1 + batch_size) // data) * data
    width = max(32, 1 << (len(ids) - 1).bit_length())
    tokens, segments = np.zeros((rows, width), np.int32), np.full((rows, width), -1, np.int32)
    tokens[:, : len(ids)], segments[:, : len(ids)] = ids, 0
    shape = (rows, len(layers.moe), layers.experts)
    bias, scale = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    for row, (number, expert) in enumerate(part, 1):
        at = (row, layers.row(number), expert)
        if how == "reroute":
            bias[at] = -np.inf
        else:
            scale[at] = 0
    own = np.ascontiguousarray(np.broadcast_to(np.eye(rows, dtype=bool)[:, :, None], (rows, rows, width)))
    zeros, ones = np.zeros(shape, np.float32), np.ones(shape[:2], np.float32)
    tables, common = ExpertTables(own, bias, zeros, scale, ones), interventions_at(bound, [known] * rows)(0, width)
    if common.experts is not None:
        tables = jax.tree.map(lambda *parts: np.concatenate(parts), common.experts, tables)
    return tokens, segments, dataclasses.replace(common, experts=tables)


@jax.jit
def _kl(
    model: GLM, tokens: Int[Array, "B T"], segment_ids: Int[Array, "B T"], changes: Interventions
) -> Float[Array, " B"]:
    """The mean over tokens of KL(first row || each)."""
    hidden = model(tokens, segment_ids=segment_ids, interventions=changes).hidden
    total = jnp.zeros(tokens.shape[0])
    for start in range(0, tokens.shape[1], _HEAD):
        logprobs = jax.nn.log_softmax(model.logits(hidden[:, start : start + _HEAD]))
        whole = logprobs[:1]
        kl = (jnp.exp(whole) * (whole - logprobs)).sum(-1)
        total += (kl * (segment_ids[:, start : start + _HEAD] >= 0)).sum(-1)
    return total / (segment_ids >= 0).sum(-1)
