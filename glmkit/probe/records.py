"""Data sets as probing reads them: the ids of each record, the group it counts for, and several side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from glmkit.errors import DataError, RequestError
from glmkit.lm import LM
from glmkit.model import Keep
from glmkit.runs.plans import BoundPlan
from glmkit.runs.reading import interventions_at
from glmkit.runs.scoring import Piece, Rows, score
from glmkit.text.phases import Phase, phases as phases_of
from glmkit.turns import checked_ids

__all__ = ["By", "batches", "read_record", "read_rows", "record_group", "record_ids"]

By = str | Callable[[Any], Any] | None
"""A key of the records, or a function of one, that says which group it counts for; None for one group of all."""


def batches(numbered: Iterator[tuple[int, Any]], size: int) -> Iterator[list[tuple[int, Any]]]:
    """Records with their numbers, so many at a time, the last perhaps fewer."""
    while batch := list(islice(numbered, size)):  # itertools.batched is of Python 3.12
        yield batch


def read_record(lm: LM, by: By, length: int, number: int, record: Any) -> tuple[Sequence[int], str]:
    """The first `length` ids of a record, and its group. Raises DataError naming one that cannot be read."""
    return record_ids(lm, record, number)[:length], record_group(by, record, number)


def read_rows(
    lm: LM,
    ids: Sequence[Sequence[int]],
    keep: Keep,
    bound: BoundPlan | None,
    phases: Sequence[Sequence[Phase]] | None = None,
) -> Iterator[Piece]:
    """What is kept of rows of ids side by side, piece by piece, with interventions by the phases of their tokens.

    `phases` are by default those of a run: all up to the last assistant turn is the prompt.
    """
    width, changes = max(map(len, ids)), None
    tokens = np.zeros((len(ids), width), np.int32)
    for row, own in enumerate(ids):
        tokens[row, : len(own)] = own
        if bound is not None:
            bound.check_prompt(own)
    if bound is not None:
        known = [phases_of(row, lm._tokenizer) for row in ids] if phases is None else phases
        changes = interventions_at(bound, known)
    yield from score(lm.model, Rows(tokens, np.asarray([len(row) for row in ids])), keep, changes)


def record_ids(lm: LM, record: Any, number: int) -> Sequence[int]:
    """All ids of a record. Raises DataError naming one that cannot be read."""
    try:
        ids = _ids(lm, record)
    except (RequestError, KeyError, TypeError) as error:
        raise DataError(f"record {number}: {error}") from error
    if not len(ids):
        raise DataError(f"record {number} is empty")
    return ids


def _ids(lm: LM, record: Any) -> Sequence[int]:
    if isinstance(record, str):
        return lm.tokenizer.encode(record)
    if not isinstance(record, Mapping):
        return checked_ids("tokens", record, lm.config.vocab_size)
    if "messages" in record:
        settings = {name: record[name] for name in ("tools", "thinking") if record.get(name) is not None}
        return lm._turns.known(list(record["messages"]), **settings)
    if "tokens" in record:
        return checked_ids("tokens", record["tokens"], lm.config.vocab_size)
    if isinstance(record.get("text"), str):
        return lm.tokenizer.encode(record["text"])
    raise RequestError(f"expected 'text', 'messages' or 'tokens', got the keys {sorted(record)}")


def record_group(by: By, record: Any, number: int) -> str:
    """The group a record counts for. Raises DataError naming one that has none."""
    if by is None:
        return "all"
    if callable(by):
        return str(by(record))
    if not isinstance(record, Mapping) or by not in record:
        raise DataError(f"record {number} has no {by!r} to group by")
    return str(record[by])
