"""What answers lose without each expert alone: which experts a group of them needs, not only which it uses."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from tqdm.auto import tqdm

from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.probe.answers import Answers, AnswerScores, bound_to
from glmkit.probe.intervene import ablate
from glmkit.probe.records import By
from glmkit.probe.routing_stats import Experts, largest
from glmkit.runs import Layers
from glmkit.runs.frames import data_frame
from glmkit.runs.reading import warn_of_idle

__all__ = ["ExpertEffects", "expert_effects"]


@dataclass(frozen=True, eq=False)
class ExpertEffects:
    """`added_loss` is what the mean loss of a group's answers gains, in nats, without one expert; NaN where it was out
    already. `whole` are the scores with all experts."""

    layers: Layers
    whole: AnswerScores
    added_loss: Float[np.ndarray, "group moe_layer E"]

    @property
    def groups(self) -> tuple[str, ...]:
        """Their names, in the order of `added_loss`."""
        return self.whole.groups

    def specialists(self, group: str, count: int = 3) -> Experts:
        """(layer, expert) of those that a group needs most beyond what the other groups do, the first most of all.

        By how much its answers lose, less the mean of what those of the other groups lose. Raises RequestError for a
        group that there is not, and where there is no other.
        """
        if group not in self.groups:
            raise RequestError(f"there is no group {group!r}; expected one of {', '.join(self.groups)}")
        if len(self.groups) == 1:
            raise RequestError(f"{group!r} has no other groups to be told from; score with by=")
        own = self.groups.index(group)
        more = self.added_loss[own] - np.delete(self.added_loss, own, axis=0).mean(0)
        return largest(self.layers, np.nan_to_num(more, nan=-np.inf), count, ())

    def to_pandas(self):
        """A data frame with a row for each group, layer and expert."""
        group, row, expert = (axis.ravel() for axis in np.indices(self.added_loss.shape))
        columns = {"group": np.asarray(self.groups, object)[group], "layer": np.asarray(self.layers.moe)[row]}
        return data_frame(columns | {"expert": expert, "added_loss": self.added_loss.ravel()})

    def __repr__(self) -> str:
        return f"ExpertEffects({len(self.whole)} answers without each of {self.added_loss[0].size} experts)"


def expert_effects(
    lm: LM,
    dataset: Iterable[Any],
    *,
    by: By = None,
    how: Literal["reroute", "drop"] = "reroute",
    tokens: Any = None,
    length: int | None = None,
    batch_size: int = 8,
    progress: bool = True,
) -> ExpertEffects:
    """Score the answers of a corpus without each expert in turn: one pass for each expert, all of one program.

    `how` and `tokens` are as for `glmkit.ablate`, the rest as for `answer_scores`. What `lm` has in use stays so in
    every pass. Raises what those do.
    """
    answers, layers = Answers.read(lm, dataset, by, length, batch_size), Layers.of(lm.model)
    used = bound_to(lm)
    out = np.zeros((len(layers.moe), layers.experts), np.bool_) if used is None else used.ruled_out
    left = [(row, int(expert)) for row, expert in np.argwhere(~out)]
    plans = [ablate(layer=layers.moe[row], expert=expert, how=how, tokens=tokens) for row, expert in left]
    changed = [bound_to(lm, plan) for plan in plans]  # all before a pass is made
    added = np.full((len(set(answers.group)), *out.shape), np.nan)
    with tqdm(total=(1 + len(left)) * len(answers.rows), desc="effects", disable=not progress, leave=False) as bar:
        whole, effects = answers.scored(used, bar.update)
        if used is not None:
            warn_of_idle(used, effects, stacklevel=3)
        for (row, expert), plan in zip(left, changed, strict=True):
            scores, _ = answers.scored(plan, bar.update)
            added[:, row, expert] = [scores.of(g).mean_loss - whole.of(g).mean_loss for g in whole.groups]
    return ExpertEffects(layers, whole, added)
