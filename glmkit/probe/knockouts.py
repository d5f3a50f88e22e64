"""Are the experts that a task uses most needed for it? They are taken out, and others of their layers as a control."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from tqdm.auto import tqdm

from glmkit.checks import check_integer
from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.probe.answers import Answers, AnswerScores, bound_to
from glmkit.probe.intervene import ablate
from glmkit.probe.plan import Plan
from glmkit.probe.records import By
from glmkit.probe.routing_stats import Experts, RoutingStats
from glmkit.runs import Layers
from glmkit.runs.frames import data_frame
from glmkit.runs.plans import BoundPlan
from glmkit.runs.reading import warn_of_idle

__all__ = ["Knockout", "knockout", "knockout_of", "without"]

_RESAMPLES = 4000
_FEWEST = 4  # records, to say how sure a mean is


class Excess(NamedTuple):
    """What a group's answers lose, in nats of mean loss, without its experts, and beyond what the controls cost.

    `low` and `high` bound 95% of resamplings of records and controls; NaN for fewer than four records or two controls.
    """

    own: float
    control: float
    excess: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Knockout:
    """Scores of all answers by the whole model and without each group's experts; of its own, without each control."""

    experts: Mapping[str, Experts]
    whole: AnswerScores
    without: Mapping[str, AnswerScores]
    controls: Mapping[str, tuple[AnswerScores, ...]]

    def excess(self, group: str) -> Excess:
        """How much more a group owes to its experts than to others. Raises RequestError for one that was not tested."""
        if group not in self.without:
            raise RequestError(f"nothing was taken out for {group!r}, only for {', '.join(self.without)}")
        return self._excesses[group]

    @functools.cached_property
    def _excesses(self) -> dict[str, Excess]:
        return {group: self._excess(group) for group in self.without}

    def _excess(self, group: str) -> Excess:
        whole, rng = self.whole.of(group).loss, np.random.default_rng(0)
        own = self.without[group].of(group).loss - whole
        controls = np.stack([scores.loss for scores in self.controls[group]]) - whole
        low = high = float("nan")
        if len(whole) >= _FEWEST and len(controls) > 1:
            resampled = []
            for _ in range(_RESAMPLES):
                records, drawn = rng.integers(0, len(whole), len(whole)), rng.integers(0, len(controls), len(controls))
                resampled.append(own[records].mean() - controls[drawn][:, records].mean())
            low, high = map(float, np.quantile(resampled, (0.025, 0.975)))
        return Excess(float(own.mean()), float(controls.mean()), float(own.mean() - controls.mean()), low, high)

    @property
    def needed(self) -> tuple[str, ...]:
        """The groups that lose more without their experts than without the controls, by an interval above 0."""
        return tuple(group for group in self.without if self.excess(group).low > 0)

    def added_loss(self) -> Float[np.ndarray, "taken tested"]:
        """The mean loss, in nats, that answers of each group gain without the experts of each."""
        groups = tuple(self.without)
        return np.array(
            [[self.without[t].of(g).mean_loss - self.whole.of(g).mean_loss for g in groups] for t in groups]
        )

    def to_pandas(self):
        """A data frame with a row for each group: its experts, what its answers lose, and which would still be said."""
        rows = [{"group": group, "experts": self.experts[group], **self._row(group)} for group in self.without]
        return data_frame({name: [row[name] for row in rows] for name in rows[0]})

    def _row(self, group: str) -> dict[str, float]:
        right = {"right": self.whole.of(group).accuracy, "right_without": self.without[group].of(group).accuracy}
        right["right_control"] = float(np.mean([scores.accuracy for scores in self.controls[group]]))
        return {"loss": self.whole.of(group).mean_loss, **self.excess(group)._asdict(), **right}

    def __repr__(self) -> str:
        told = ", ".join(f"{g} {self.excess(g).own:+.3g} nats, {self.excess(g).control:+.3g}" for g in self.without)
        return f"Knockout({len(self.needed)} of {len(self.without)} groups need their experts: {told} of controls)"


def without(experts: Iterable[tuple[int, int]], **settings: Any) -> Plan:
    """Take experts out, each (layer, expert), by `glmkit.ablate` with `settings`."""
    return sum((ablate(layer=layer, expert=expert, **settings) for layer, expert in experts), Plan())


def knockout(
    lm: LM,
    dataset: Iterable[Any],
    stats: RoutingStats,
    *,
    by: By,
    experts: Mapping[str, Experts] | None = None,
    groups: Sequence[str] | None = None,
    count: int = 3,
    controls: int = 6,
    how: Literal["reroute", "drop"] = "reroute",
    tokens: Any = None,
    length: int | None = None,
    batch_size: int = 8,
    seed: int = 0,
    progress: bool = True,
) -> Knockout:
    """Take the `count` experts out that are most each group's own, and score the answers of a corpus without them.

    Which those are is told by `stats`, which `glmkit.collect` counted by the same groups: on other records, or what was
    chosen is tested on what it was chosen by; with `phases=("think", "answer", "tool")` by what is said. `experts`
    names others, such as those that `expert_effects` finds, and `count` says nothing then. A control is as many other
    experts of the same layers, each among the nearest in load on the group's own tokens. `groups` are those that are
    taken experts from, by default all of `stats`, or of `experts`, that the corpus has; `how` and `tokens` are as for
    `glmkit.ablate`, the rest as for `answer_scores`. Raises what those do, and RequestError for groups that there are
    not, or `stats` of a model of other layers, before anything is scored. Warns of what did nothing.
    """
    answers = Answers.read(lm, dataset, by, length, batch_size)
    groups = _checked(groups, stats.groups if experts is None else experts, answers.group)
    controls = check_integer("controls", controls, 1)
    total = (1 + len(groups)) * len(answers.rows) + controls * sum(len(answers.of(group).rows) for group in groups)
    settings = {"experts": experts, "count": count, "controls": controls, "how": how, "tokens": tokens, "seed": seed}
    with tqdm(total=total, desc="knockouts", disable=not progress, leave=False) as bar:
        return knockout_of(answers, stats, groups, advance=bar.update, **settings)


def knockout_of(
    answers: Answers,
    stats: RoutingStats,
    groups: Sequence[str],
    *,
    experts: Mapping[str, Experts] | None = None,
    count: int,
    controls: int,
    how: Literal["reroute", "drop"] = "reroute",
    tokens: Any = None,
    seed: int = 0,
    advance: Callable[[int], Any],
) -> Knockout:
    """As `knockout`, of answers that were read; `advance` is told how many rows were scored."""
    lm, settings = answers.lm, {"how": how, "tokens": tokens}
    if stats.layers != (layers := Layers.of(lm.model)):
        raise RequestError(f"stats are of {stats.model}, which has {stats.layers}; {lm.name} has {layers}")

    def bound(experts: Experts) -> BoundPlan | None:
        return bound_to(lm, without(experts, **settings))

    used = bound_to(lm)
    out = () if used is None else [(layers.moe[row], int(expert)) for row, expert in np.argwhere(used.out)]
    chosen = {g: stats.specialists(g, count, out=out) if experts is None else tuple(experts[g]) for g in groups}
    if empty := [group for group, own in chosen.items() if not own]:
        raise RequestError(f"experts of {empty[0]!r} are none; expected (layer, expert) of one or more")
    drawn = {group: stats.controls(own, group, controls, seed, out=out) for group, own in chosen.items()}
    plans = {group: bound(own) for group, own in chosen.items()}
    others = {group: [bound(control) for control in own] for group, own in drawn.items()}  # all before a pass is made
    whole, found, control = answers.scored(used, advance)[0], dict[str, AnswerScores](), dict[str, tuple]()
    for group, plan in plans.items():
        found[group], effects = answers.scored(plan, advance)
        warn_of_idle(plan, effects, stacklevel=4)
        own = answers.of(group)
        control[group] = tuple(own.scored(each, advance)[0] for each in others[group])
    return Knockout(chosen, whole, found, control)


def _checked(groups: Sequence[str] | None, known: Iterable[str], there: Sequence[str]) -> tuple[str, ...]:
    """Those to take experts from, of which experts are `known`."""
    both = tuple(group for group in known if group in there)
    if not both:
        raise RequestError(f"experts are of {', '.join(known)}, and the data have {', '.join(dict.fromkeys(there))}")
    if groups is not None and not groups:
        raise RequestError(f"groups is empty; expected some of {', '.join(both)}, or None for all")
    if unknown := [group for group in groups or () if group not in both]:
        raise RequestError(
            f"there is no group {unknown[0]!r} with both experts and data; expected some of {', '.join(both)}"
        )
    return both if groups is None else tuple(dict.fromkeys(groups))
