"""What answers lose without each expert alone: which experts a group of them needs, not only which it uses."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from tqdm.auto import tqdm

from glmkit.checks import check_integer
from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.probe.answers import Answers, AnswerScores, bound_to
from glmkit.probe.intervene import ablate
from glmkit.probe.records import By
from glmkit.probe.routing_stats import Experts, largest
from glmkit.runs import Layers
from glmkit.runs.frames import data_frame
from glmkit.runs.reading import warn_of_idle

__all__ = ["ExpertEffects", "effects_of", "expert_effects"]


@dataclass(frozen=True, eq=False)
class ExpertEffects:
    """`added_loss` is what the mean loss of a group's answers gains, in nats, without one expert; NaN for those that
    were not taken out, or were out already. `whole` are the scores with all experts."""

    layers: Layers
    whole: AnswerScores
    added_loss: Float[np.ndarray, "group moe_layer E"]

    @property
    def groups(self) -> tuple[str, ...]:
        """Their names, in the order of `added_loss`."""
        return self.whole.groups

    def needed(self, group: str, count: int = 3) -> Experts:
        """(layer, expert) of those that a group's answers lose most without, the first most of all.

        Raises RequestError for a group that there is not.
        """
        return self._largest(self._added(group), count)

    def specialists(self, group: str, count: int = 3) -> Experts:
        """(layer, expert) of those that a group needs most beyond what the other groups do, the first most of all.

        By how much its answers lose, less the mean of what those of the other groups lose. Raises RequestError for a
        group that there is not, and where there is no other.
        """
        own = self._added(group)
        if len(self.groups) == 1:
            raise RequestError(f"{group!r} has no other groups to be told from; score with by=")
        return self._largest(own - np.delete(self.added_loss, self.groups.index(group), axis=0).mean(0), count)

    def _added(self, group: str) -> Float[np.ndarray, "moe_layer E"]:
        if group not in self.groups:
            raise RequestError(f"there is no group {group!r}; expected one of {', '.join(self.groups)}")
        return self.added_loss[self.groups.index(group)]

    def _largest(self, values: Float[np.ndarray, "moe_layer E"], count: int) -> Experts:
        """As many as were measured at most."""
        count = min(check_integer("count", count, 1), int(np.isfinite(values).sum()))
        return largest(self.layers, np.nan_to_num(values, nan=-np.inf), count, ()) if count else ()

    def to_pandas(self):
        """A data frame with a row for each group, layer and expert."""
        group, row, expert = (axis.ravel() for axis in np.indices(self.added_loss.shape))
        columns = {"group": np.asarray(self.groups, object)[group], "layer": np.asarray(self.layers.moe)[row]}
        return data_frame(columns | {"expert": expert, "added_loss": self.added_loss.ravel()})

    def __repr__(self) -> str:
        measured = np.isfinite(self.added_loss[0]).sum()
        return f"ExpertEffects({len(self.whole)} answers without each of {measured} experts)"


def expert_effects(
    lm: LM,
    dataset: Iterable[Any],
    *,
    by: By = None,
    experts: Iterable[tuple[int, int]] | None = None,
    how: Literal["reroute", "drop"] = "reroute",
    tokens: Any = None,
    length: int | None = None,
    batch_size: int = 8,
    progress: bool = True,
) -> ExpertEffects:
    """Score the answers of a corpus without each expert in turn: one pass for each expert, all of one program.

    `experts` are those to take out, each (layer, expert), by default all; of a model of thousands, those that
    `RoutingStats.specialists` names may do. `how` and `tokens` are as for `glmkit.ablate`, the rest as for
    `answer_scores`. What `lm` has in use stays so in every pass. Raises what those do.
    """
    answers = Answers.read(lm, dataset, by, length, batch_size)
    experts = every_expert(Layers.of(lm.model)) if experts is None else tuple(experts)
    with tqdm(total=(1 + len(experts)) * len(answers.rows), desc="effects", disable=not progress, leave=False) as bar:
        return effects_of(answers, experts, how=how, tokens=tokens, advance=bar.update)


def effects_of(
    answers: Answers,
    experts: Iterable[tuple[int, int]],
    *,
    how: Literal["reroute", "drop"] = "reroute",
    tokens: Any = None,
    advance: Callable[[int], Any],
) -> ExpertEffects:
    """As `expert_effects`, of answers that were read; `advance` is told how many rows were scored."""
    lm, layers = answers.lm, Layers.of(answers.lm.model)
    used = bound_to(lm)
    out = np.zeros((len(layers.moe), layers.experts), np.bool_) if used is None else used.out
    places = [(layers.row(layers.moe_number(layer)), layers.expert(expert)) for layer, expert in experts]
    places = [place for place in places if not out[place]]
    plans = [ablate(layer=layers.moe[row], expert=expert, how=how, tokens=tokens) for row, expert in places]
    changed = [bound_to(lm, plan) for plan in plans]  # all before a pass is made
    added = np.full((len(set(answers.group)), *out.shape), np.nan)
    whole, effects = answers.scored(used, advance)
    if used is not None:
        warn_of_idle(used, effects, stacklevel=4)
    for (row, expert), plan in zip(places, changed, strict=True):
        scores, _ = answers.scored(plan, advance)
        added[:, row, expert] = [scores.of(g).mean_loss - whole.of(g).mean_loss for g in whole.groups]
    return ExpertEffects(layers, whole, added)


def every_expert(layers: Layers) -> Experts:
    """(layer, expert) of all there are."""
    return tuple((layer, expert) for layer in layers.moe for expert in range(layers.experts))
