"""Training data: records read from JSONL, encoded once, packed into rows, streamed as batches that can be resumed.

What a batch holds is decided by the records, the seed and the numbers of hosts and workers alone, through `grain`.
"""

import dataclasses
import functools
import hashlib
import multiprocessing
import os
import threading
import weakref
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self, runtime_checkable

import grain
import jax
import numpy as np
from absl import flags
from grain.experimental import FirstFitPackIterDataset
from jaxtyping import Array, Bool, Int32
from tqdm.auto import tqdm

from glmkit.checks import check_integer, parse_json
from glmkit.errors import DataError, GLMKitError
from glmkit.text import Tokenizer
from glmkit.text.messages import has_other_parts
from glmkit.train.examples import Example, encode_record

__all__ = ["Batch", "DataReport", "ReadAhead", "Source", "TokenDataset", "batches"]

TooLong = Literal["split", "drop", "error"]


class Batch(NamedTuple):
    """Rows of packed examples."""

    tokens: Int32[np.ndarray | Array, "*steps B T"]
    learned: Bool[np.ndarray | Array, "*steps B T"]  # whether the loss covers this token
    segment_ids: Int32[np.ndarray | Array, "*steps B T"]  # 0, 1, ... number the examples of a row; -1 is padding


@dataclasses.dataclass(frozen=True)
class DataReport:
    """What became of the records. `dropped` and `split` name places (`FILE:LINE`) by reason."""

    records: int
    examples: int
    tokens: int
    learned_tokens: int
    dropped: Mapping[str, tuple[str, ...]]
    split: tuple[str, ...]

    def __str__(self) -> str:
        share = self.learned_tokens / max(1, self.tokens)
        lines = [
            f"{self.records:,} records, {self.examples:,} examples, {self.tokens:,} tokens, {share:.0%} of them learned"
        ]
        lines += [f"dropped {len(places):,}: {reason} ({_few(places)})" for reason, places in self.dropped.items()]
        if self.split:
            lines.append(f"split {len(self.split):,} texts longer than a row ({_few(self.split)})")
        return "\n".join(lines)


def _few(places: tuple[str, ...]) -> str:
    return ", ".join(places[:3]) + (", ..." if len(places) > 3 else "")


class NothingToLearn(DataError):
    """A data set without an example."""


@runtime_checkable
class Source(Protocol):
    """What `fit` learns from: a `grain` source of `{"tokens", "learned"}`, and what a run has to know of it."""

    length: int  # of its longest example
    largest_token: int
    digest: str  # by which a run that goes on knows its data
    report: Any  # what is in it, in words

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, np.ndarray]: ...


class TokenDataset:
    """Encoded examples, held flat in memory: a `grain` source of `{"tokens", "learned"}`.

    `length` is that of the longest. `report` tells what was dropped and why; `digest` is the SHA-256 of all
    tokens, `vocabulary` that of the vocabulary they are of.
    """

    def __init__(self, examples: Iterable[Example], report: DataReport, vocabulary: str):
        self.vocabulary, examples = vocabulary, list(examples)
        if not examples:
            raise NothingToLearn(f"there is nothing to learn from:\n{report}")
        self.report = report
        self.length = max(len(example.tokens) for example in examples)
        self._ends = np.cumsum([len(example.tokens) for example in examples])
        self._tokens = np.concatenate([example.tokens for example in examples])
        self._learned = np.concatenate([example.learned for example in examples])
        parts = (self._ends.astype(np.int64), self._tokens, self._learned)
        self.largest_token = int(self._tokens.max())
        self.digest = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    @classmethod
    def read(cls, path: str | os.PathLike[str], tokenizer: Tokenizer, length: int, **options: Any) -> Self:
        """The records of a JSONL file; `options` as for `encode`.

        Raises `DataError` naming the line that is not JSON or not a record, or the file in which there is nothing to
        learn, before anything is computed.
        """
        try:
            return cls.encode(_json_lines(Path(path)), tokenizer, length, **options)
        except NothingToLearn as error:
            raise NothingToLearn(f"{path}: {error}") from error

    @classmethod
    def encode(
        cls,
        records: Iterable[tuple[str, Mapping[str, Any]] | Mapping[str, Any]],
        tokenizer: Tokenizer,
        length: int,
        *,
        too_long: TooLong | None = None,
        progress: bool = False,
    ) -> Self:
        """Encode records, each alone or with the place it came from.

        What is longer than `length` tokens is split if it is a text and dropped if it is a conversation, unless
        `too_long` says "split", "drop" or "error" for all. A piece of a conversation may lack its beginning. A
        conversation with parts that are not text is dropped. Raises `RequestError` for a `length` of less than 2.
        """
        check_integer("length", length, 2)
        count, split, dropped = Counter(), [], {}
        examples: list[Example] = []
        for number, item in enumerate(tqdm(records, desc="encoding", unit=" records", disable=not progress, delay=1)):
            place, record = item if isinstance(item, tuple) else (f"record {number + 1}", item)
            count["records"] += 1
            if isinstance(record, Mapping) and has_other_parts(record.get("messages")):
                # What is said about them would be learned blindly.
                dropped.setdefault("has parts that are not text", []).append(place)
                continue
            for example in _encoded(place, record, tokenizer):
                excess = len(example.tokens) - length
                rule = too_long or ("drop" if "messages" in record else "split")
                if excess > 0 and rule == "error":
                    raise DataError(f"{place}: {len(example.tokens)} tokens are {excess} more than a row holds")
                if excess > 0 and rule == "drop":
                    dropped.setdefault(f"longer than {length} tokens", []).append(place)
                    continue
                if excess > 0:
                    split.append(place)
                for piece in _pieces(example, length):
                    if piece.learned[1:].any():
                        examples.append(piece)
                    else:
                        dropped.setdefault("nothing in it to learn", []).append(place)
        report = DataReport(
            records=count["records"],
            examples=len(examples),
            tokens=sum(len(example.tokens) for example in examples),
            learned_tokens=sum(int(example.learned[1:].sum()) for example in examples),
            dropped={reason: tuple(places) for reason, places in dropped.items()},
            split=tuple(split),
        )
        return cls(examples, report, tokenizer.digest)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        start = self._ends[index - 1] if index else 0
        at = slice(start, self._ends[index])
        return {"tokens": self._tokens[at], "learned": self._learned[at]}

    def __repr__(self) -> str:
        return f"TokenDataset({self.report})"


def batches(
    source: Source,
    *,
    length: int,
    batch_size: int,
    seed: int = 0,
    epochs: int | None = 1,
    shuffle: bool = True,
    pad: int = 0,
    workers: int = 0,
) -> grain.DatasetIterator:
    """Batches of packed rows, `[batch_size, length]`, in an order that `seed` decides, or, without
    `shuffle`, in that of the source; `epochs=None` never ends.

    `source[i]` gives `{"tokens", "learned"}`. Examples go whole into the first row with room; the last batch is filled
    up with empty rows. Each host gets its share of the examples, and of that each of the `workers`, processes that make
    batches in turn; without any, this one does. The iterator's `get_state` and `set_state` resume it at the exact
    example.
    """
    order = grain.MapDataset.source(source).seed(seed)
    order = (order.shuffle() if shuffle else order).repeat(epochs)
    mine = order[jax.process_index() :: jax.process_count()]
    rows = FirstFitPackIterDataset(
        mine.to_iter_dataset(grain.ReadOptions(num_threads=0)),  # of Python: threads would take turns
        length_struct={"tokens": length, "learned": length},
        padding_struct={"tokens": pad, "learned": False},
        num_packing_bins=batch_size,
        seed=seed,
    )
    filled = rows.batch(batch_size, drop_remainder=False, batch_fn=functools.partial(_batch, batch_size, pad))
    if not workers:
        return iter(filled)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain reads its own, which no command line of ours sets
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=8)
    shared = iter(filled.mp_prefetch(options, worker_init_fn=_end_with_parent))
    shared.get_state()  # makes an iterator for each; else they would start one after the other, when first read
    shared.start_prefetch()
    return shared


def _end_with_parent(*_: int) -> None:
    """In a worker: not to go on when the process that it reads for was killed, which tells it nothing."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _batch(batch_size: int, pad: int, packed: Sequence[Mapping[str, np.ndarray]]) -> Batch:
    """Packed rows, and empty ones below them if there are too few."""

    def column(name: str, empty: Any) -> np.ndarray:
        filled = np.stack([row[name] for row in packed])
        return np.pad(filled, ((0, batch_size - len(packed)), (0, 0)), constant_values=empty)

    segments = column("tokens_segment_ids", 0).astype(np.int32) - 1
    return Batch(column("tokens", pad), column("learned", False), segments)


class ReadAhead:
    """Batches, some of which may be read before they are asked for: the state is behind those that were given."""

    def __init__(self, source: grain.DatasetIterator):
        self._source, self._read = source, deque()
        self._state = source.get_state()
        weakref.finalize(self, _close, source, self._read)  # its workers, before the interpreter ends

    def __next__(self) -> Batch:
        batch, self._state = self._read.popleft() if self._read else self._taken()
        return batch

    def read(self, count: int) -> None:
        """Have so many at hand. Where the source fails or ends it does so again when the batch is asked for."""
        state = self._read[-1][1] if self._read else self._state
        try:
            while len(self._read) < count:
                self._read.append(self._taken())
                state = self._read[-1][1]
        except Exception:
            self._source.set_state(state)

    def get_state(self) -> dict[str, Any]:
        return self._state

    def set_state(self, state: dict[str, Any]) -> None:
        self._read.clear()
        self._source.set_state(state)
        self._state = state

    def _taken(self) -> tuple[Batch, dict[str, Any]]:
        return next(self._source), self._source.get_state()


def _close(source: grain.DatasetIterator, read: deque) -> None:
    read.clear()  # batches of workers lie in memory that is shared
    source.close()


def _encoded(place: str, record: Any, tokenizer: Tokenizer) -> list[Example]:
    try:
        return encode_record(record, tokenizer)
    except GLMKitError as error:
        raise DataError(f"{place}: {error}") from error


def _pieces(example: Example, length: int) -> Iterator[Example]:
    for start in range(0, len(example.tokens), length):
        at = slice(start, start + length)
        yield Example(example.tokens[at], example.learned[at])


def _json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; expected a file of JSON lines") from error
    with file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield f"{path.name}:{number}", parse_json(line.decode())
                except ValueError as error:  # of JSON, or of UTF-8
                    raise DataError(f"{path}:{number}: not JSON: {error}") from error
