"""How well a model would say what a corpus says: its answers, read with and without interventions."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float
from tqdm.auto import tqdm

from glmkit.checks import check_integer
from glmkit.errors import DataError, GLMKitError, RequestError
from glmkit.lm import LM
from glmkit.model import Keep
from glmkit.probe.plan import Plan
from glmkit.probe.records import By, read_rows, record_group, record_ids
from glmkit.runs.frames import data_frame
from glmkit.runs.plans import BoundPlan
from glmkit.runs.reading import warn_of_idle
from glmkit.text.phases import Phase, phases, phases_where
from glmkit.train.examples import encode_record
from glmkit.turns import checked_ids

__all__ = ["AnswerScores", "Answers", "answer_scores"]


@dataclass(frozen=True, eq=False)
class AnswerScores:
    """Of each record its group, the mean loss of its answer's tokens in nats, and whether it would be said.

    It would be (`right`) if each of its tokens is the likeliest after those before it: greedily, after the same prompt,
    the model says it word for word.
    """

    group: tuple[str, ...]
    loss: Float[np.ndarray, " record"]
    right: Bool[np.ndarray, " record"]

    @property
    def groups(self) -> tuple[str, ...]:
        """Their names, in the order in which they came."""
        return tuple(dict.fromkeys(self.group))

    def of(self, group: str) -> "AnswerScores":
        """Those of one group. Raises RequestError if there is none of this name."""
        if group not in self.group:
            raise RequestError(f"there is no group {group!r}; expected one of {', '.join(self.groups)}")
        own = np.asarray(self.group) == group
        return AnswerScores((group,) * int(own.sum()), self.loss[own], self.right[own])

    @property
    def mean_loss(self) -> float:
        """Of records, each counting the same, in nats."""
        return float(self.loss.mean())

    @property
    def accuracy(self) -> float:
        """The share of answers that would be said."""
        return float(self.right.mean())

    def __len__(self) -> int:
        return len(self.group)

    def to_pandas(self):
        """A data frame with a row for each record."""
        return data_frame({"group": self.group, "loss": self.loss, "right": self.right})

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {self.of(name).mean_loss:.3g} nats" for name in self.groups)
        return f"AnswerScores({len(self)} answers, {self.accuracy:.1%} right: {told})"


def answer_scores(
    lm: LM,
    dataset: Iterable[Any],
    *,
    by: By = None,
    interventions: Plan | None = None,
    length: int | None = None,
    batch_size: int = 8,
    progress: bool = True,
) -> AnswerScores:
    """Score the assistant's turns of each record, or all of one that is no conversation, in one pass without sampling.

    Conversations are as `glmkit.train` reads them: each turn behind the prompt that `lm.chat` would give for it, and of
    the turn what the model has to say, its end too. Other records, `by` and `length` are as for `glmkit.collect`;
    `batch_size` rows are computed side by side. What `lm` has in use is added to `interventions`. Raises DataError
    naming a record that cannot be read, or whose answer `length` cuts, and RequestError for interventions that the
    model does not have. Warns of those that did nothing.
    """
    bound = bound_to(lm, interventions)
    answers = Answers.read(lm, dataset, by, length, batch_size)
    with tqdm(total=len(answers.rows), desc="answers", disable=not progress, leave=False) as bar:
        scores, effects = answers.scored(bound, bar.update)
    if bound is not None:
        warn_of_idle(bound, effects, stacklevel=3)
    return scores


def bound_to(lm: LM, interventions: Plan | None = None) -> BoundPlan | None:
    """What is in use and these, for its model. Raises RequestError for what it does not have."""
    plan = lm._planned(interventions)
    return None if plan is None else plan.bind(lm.model, None)


class Row(NamedTuple):
    """Tokens with their phases, and which of them answers are made of; the number of the record they are of."""

    ids: Sequence[int]
    phases: Sequence[Phase]
    learned: Bool[np.ndarray, " T"]
    record: int


@dataclass(frozen=True)
class Answers:
    """Answers of a corpus, encoded, to be scored as often as there is something to change."""

    lm: LM
    group: tuple[str, ...]  # of each record
    rows: tuple[Row, ...]
    batch_size: int

    @classmethod
    def read(cls, lm: LM, dataset: Iterable[Any], by: By, length: int | None, batch_size: int) -> Self:
        """Raises as `answer_scores` does."""
        length = lm.engine.max_len if length is None else check_integer("length", length, 1)
        group, rows = list[str](), list[Row]()
        for number, record in enumerate(dataset):
            group.append(record_group(by, record, number))
            rows += _rows(lm, record, number, length)
        if not rows:
            raise DataError("there are no records to score")
        return cls(lm, tuple(group), tuple(rows), check_integer("batch_size", batch_size, 1))

    def of(self, group: str) -> Self:
        """Those of one group."""
        own = [number for number, name in enumerate(self.group) if name == group]
        place = {number: at for at, number in enumerate(own)}
        rows = tuple(row._replace(record=place[row.record]) for row in self.rows if row.record in place)
        return dataclasses.replace(self, group=(group,) * len(own), rows=rows)

    def scored(
        self, bound: BoundPlan | None, advance: Callable[[int], Any] = lambda count: None
    ) -> tuple[AnswerScores, np.ndarray | None]:
        """Their scores, and how often interventions took effect, `[moe_layer, E]`, if they are watched.

        `advance` is told how many rows were read.
        """
        keep = Keep(effects=bound is not None and bound.watches_effects)
        total, count = np.zeros((2, len(self.group)))
        right, effects = np.ones(len(self.group), np.bool_), None
        rows = sorted(self.rows, key=lambda row: len(row.ids))
        for start in range(0, len(rows), self.batch_size):
            own = rows[start : start + self.batch_size]
            filled = [*own, *[own[-1]] * (self.batch_size - len(own))]  # so that all have one program
            logprobs, likeliest, seen = _read(self.lm, filled, keep, bound)
            effects = seen if effects is None else effects + seen
            for at, row in enumerate(own):
                before = np.flatnonzero(row.learned) - 1
                total[row.record] -= logprobs[at, before].sum()
                count[row.record] += len(before)
                right[row.record] &= likeliest[at, before].all()
            advance(len(own))
        return AnswerScores(self.group, total / count, right), effects


def _rows(lm: LM, record: Any, number: int, length: int) -> Iterator[Row]:
    """The rows of a record: of a conversation several, if a later turn is not shown all that came before."""
    if isinstance(record, Mapping) and "messages" in record:
        tokenizer = lm.tokenizer
        try:
            examples = encode_record(record, tokenizer)
        except (GLMKitError, KeyError, TypeError) as error:
            raise DataError(f"record {number}: {error}") from error
        told = [(each.tokens.tolist(), each.learned) for each in examples]
        found = [(ids, phases_where(ids, tokenizer, learned), learned) for ids, learned in told]
    else:
        ids = record_ids(lm, record, number)
        found = [(ids, phases(ids, lm._tokenizer), np.ones(len(ids), np.bool_))]
    for ids, known, learned in found:
        if learned[length:].any():
            end = int(np.flatnonzero(learned)[-1]) + 1
            raise DataError(
                f"record {number} has an answer that ends at token {end} of a row, of which the first {length} are "
                "read; raise length, or shorten the record or leave it out"
            )
        ids, learned = checked_ids("x", ids[:length], lm.config.vocab_size), learned[:length].copy()
        learned[0] = False  # predicted from nothing
        if not learned.any():
            raise DataError(f"record {number} has no answer to score")
        yield Row(ids, known[:length], learned, number)


def _read(
    lm: LM, rows: Sequence[Row], keep: Keep, bound: BoundPlan | None
) -> tuple[Float[np.ndarray, "B T"], Bool[np.ndarray, "B T"], np.ndarray | None]:
    """Of the token after each: its log-probability, and whether it is the likeliest; and what interventions did."""
    pieces = list(read_rows(lm, [row.ids for row in rows], keep, bound, [row.phases for row in rows]))
    effects = [piece.kept.effects for piece in pieces if piece.kept.effects is not None]
    found = (np.concatenate([getattr(p, name) for p in pieces], axis=1) for name in ("logprobs", "likeliest"))
    return *found, np.sum(effects, axis=0) if effects else None
