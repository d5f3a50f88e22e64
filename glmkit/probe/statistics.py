"""How the routing of a corpus is distributed: counted as it goes by, in memory that the number of tokens does not grow.

`collect` reads records; `RoutingStats` is what came of them.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from tqdm.auto import tqdm

from glmkit.checks import check_integer
from glmkit.engine.context import model_fingerprint
from glmkit.errors import CheckpointError, MemoryPlanError, RequestError
from glmkit.lm import LM
from glmkit.model import GLM, Keep, Kept
from glmkit.probe.records import By, batches, read_record, read_rows
from glmkit.probe.routing_stats import STATS, RoutingStats
from glmkit.runs import Layers, Selection
from glmkit.runs.plans import BoundPlan, Plan
from glmkit.runs.reading import warn_of_idle
from glmkit.text.phases import Phase, checked_phases, spoken

__all__ = ["collect"]

_MOST = 2**30  # bytes of a table of tokens by expert
_FIRST = 8  # records that a file to go on with is known by


def collect(
    lm: LM,
    dataset: Iterable[Any],
    *,
    by: By = None,
    stats: str | Sequence[str] = ("load", "weight_mass"),
    phases: Phase | Sequence[Phase] | None = None,
    interventions: Plan | None = None,
    length: int | None = None,
    batch_size: int = 1,
    resume: str | os.PathLike[str] | None = None,
    save_every: int = 1000,
    progress: bool = True,
) -> RoutingStats:
    """Count the routes of a corpus, in groups.

    `dataset` gives records: texts, read as they are; token ids; or mappings with "text", "messages" (and "tools",
    "thinking") or "tokens". Each is a context of its own, cut to `length` tokens, by default the LM's context. `by` is
    a key of the records or a function of one, and says which group it counts for. `stats` are one or some of "load",
    "weight_mass", "coactivation", "margin" and "top_tokens". With `phases`, as ("think", "answer"), all is read, and
    tokens of these alone count, of every assistant turn or of what is said to it. `batch_size` records are computed
    side by side; alone, as by default, each gives the counts of `lm.run` to the last. With `resume`, a file, what was
    counted is saved every `save_every` records and at the end, and what the file has counted already is skipped. Raises
    DataError naming a record that cannot be read, RequestError for a statistic or a phase that there is not,
    MemoryPlanError for a table of tokens that is too large, CheckpointError for a file that counted something else:
    other statistics, phases, weights, interventions, lengths, groups or first records. Warns of interventions that did
    nothing, if it counted all of the records itself.
    """
    layers = Layers.of(lm.model)
    stats, save_every = (stats,) if isinstance(stats, str) else stats, check_integer("save_every", save_every, 1)
    _check(stats, layers, lm.config.vocab_size)
    if phases is not None:
        phases, _ = checked_phases(phases), lm.tokenizer  # without which nothing tells them apart
    length = lm.engine.max_len if length is None else check_integer("length", length, 1)
    plan = lm._planned(interventions)
    bound = None if plan is None else plan.bind(lm.model, None)
    read = partial(read_record, lm, by, length)
    numbered = enumerate(dataset)
    found = RoutingStats.empty(layers, stats, lm.config.vocab_size if "top_tokens" in stats else 0, lm.name)
    if resume is not None:
        first = list(islice(numbered, _FIRST))
        numbered = chain(first, numbered)
        found.about = {**_about(lm.model, plan, bound, length, by), "phases": phases and list(phases)}
        found.first = [_digest(*read(*each)) for each in first]
        if Path(resume).exists():
            found = RoutingStats.load_file(resume).continued(found, resume)
    sites = (*_SITES["load"], *(site for stat in stats for site in _SITES[stat]))
    keep = Selection.of(*sites).select(layers, effects=bound is not None and bound.watches_effects).keep
    before, effects = found.records, None
    if (there := sum(1 for _ in islice(numbered, before))) < before:
        raise CheckpointError(f"{resume} counted {before} records, and the data have {there}; expected those, or more")
    with tqdm(desc="tokens", unit="", disable=not progress, leave=False) as bar:
        for batch in batches(numbered, check_integer("batch_size", batch_size, 1)):
            records = [read(*each) for each in batch]
            seen = _count(found, records, lm, keep, bound, phases)
            effects = seen if effects is None else effects + seen
            saved, found.records = found.records // save_every, found.records + len(records)
            bar.update(sum(len(ids) for ids, _ in records))
            if resume is not None and saved != found.records // save_every:
                found.save(resume)
    if resume is not None:
        found.save(resume)
    if bound is not None and found.records and not before:  # what it did to the records of a file is not known
        warn_of_idle(bound, effects, stacklevel=3)
    return found


_SITES: Mapping[str, tuple[str, ...]] = {
    "load": ("router_ids",),
    "coactivation": ("router_ids",),
    "top_tokens": ("router_ids",),
    "weight_mass": ("router_ids", "router_weights"),
    "margin": ("router_margins",),
}


def _about(model: GLM, plan: Plan | None, bound: BoundPlan | None, length: int, by: By) -> Mapping[str, Any]:
    """What counts depend on beside the records."""
    changes = None if bound is None else f"{plan}, {bound.digest}"
    grouping = "a function" if callable(by) else by
    return {"weights": model_fingerprint(model), "interventions": changes, "length": length, "by": grouping}


def _digest(ids: Sequence[int], group: str) -> str:
    return hashlib.sha256(f"{list(map(int, ids))} {group}".encode()).hexdigest()


def _count(
    found: RoutingStats,
    records: Sequence[tuple[Sequence[int], str]],
    lm: LM,
    keep: Keep,
    bound: BoundPlan | None,
    wanted: tuple[Phase, ...] | None,
) -> Float[np.ndarray, "moe_layer E"] | None:
    """Add what records, their ids and group, were routed to; how often interventions took effect, if that is kept."""
    ids, groups, effects = [ids for ids, _ in records], [found.group(group) for _, group in records], None
    counted = [
        np.ones(len(row), np.bool_) if wanted is None else np.isin(spoken(row, lm.tokenizer), wanted) for row in ids
    ]
    for piece in read_rows(lm, ids, keep, bound):
        if piece.kept.effects is not None:
            effects = piece.kept.effects if effects is None else effects + piece.kept.effects
        for row, group in enumerate(groups):
            count = min(piece.count, len(ids[row]) - piece.start)
            if count > 0:
                own = slice(piece.start, piece.start + count)
                _add(found, group, piece.kept, row, np.asarray(ids[row][own]), counted[row][own])
    return effects


def _add(
    found: RoutingStats, group: int, kept: Kept, row: int, ids: Int[np.ndarray, " T"], where: Bool[np.ndarray, " T"]
) -> None:
    def of(name: str) -> np.ndarray | None:
        value = getattr(kept, name)
        return None if value is None else np.moveaxis(value[:, row, : len(ids)], 0, 1)[where]

    found.add(group, of("ids"), of("weights"), of("margins"), ids[where])


def _check(stats: Sequence[str], layers: Layers, vocab_size: int) -> None:
    if not layers.moe:
        raise RequestError("this model has no layers with experts")
    if unknown := [name for name in stats if name not in STATS]:
        raise RequestError(f"there is no statistic {unknown[0]!r}; expected some of {', '.join(STATS)}")
    size = len(layers.moe) * layers.experts * vocab_size * 4
    if "top_tokens" in stats and size > _MOST:
        raise MemoryPlanError(
            f"top_tokens counts tokens by expert: {size / 2**30:.1f} GiB, more than {_MOST / 2**30:.0f} GiB; "
            "leave it out, or load fewer layers (gk.load(..., layers=))"
        )
