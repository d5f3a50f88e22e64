"""Writing safetensors: planned whole before the first byte, then filled in tensor by tensor, always the same bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from glmkit.errors import CheckpointError
from glmkit.weights.safetensors import DTYPES, INDEX_FILE, SINGLE_FILE, TensorEntry, dtype_name, tensor_bytes

MAX_SHARD_BYTES = 5 * 1000**3


@dataclass(frozen=True)
class TensorSpec:
    """A tensor to be written. `dtype` is spelled as the format does, a key of `DTYPES`."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Shard:
    """One file to be: its header, and its tensors with their offsets in the file."""

    file: Path
    header: bytes
    tensors: tuple[TensorEntry, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the file."""
        return len(self.header) + sum(entry.nbytes for entry in self.tensors)


def plan_shards(specs: Iterable[TensorSpec], max_shard_bytes: int = MAX_SHARD_BYTES) -> tuple[Shard, ...]:
    """Divide tensors, in their order, over files of at most `max_shard_bytes` of tensor data.

    A tensor larger than that has a file to itself; what fits into one file is `model.safetensors`. Inside a file
    wider dtypes come first, so that every tensor is aligned. Raises CheckpointError for a name that comes twice
    and when there is no tensor at all.
    """
    groups: list[list[TensorSpec]] = []
    names: set[str] = set()
    room = 0
    for spec in specs:
        if spec.name in names:
            raise CheckpointError(f"{spec.name} is to be written twice")
        names.add(spec.name)
        nbytes = tensor_bytes(spec.dtype, spec.shape)
        if not groups or nbytes > room:
            groups.append([])
            room = max_shard_bytes
        groups[-1].append(spec)
        room -= nbytes
    if not groups:
        raise CheckpointError("there is no tensor to write")
    count = len(groups)
    files = [f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)] if count > 1 else [SINGLE_FILE]
    return tuple(_lay_out(Path(file), group) for file, group in zip(files, groups, strict=True))


def _lay_out(file: Path, specs: Sequence[TensorSpec]) -> Shard:
    ordered = sorted(specs, key=lambda spec: -DTYPES[spec.dtype].itemsize)  # stable
    described: dict[str, object] = {"__metadata__": {"format": "pt"}}
    begins, end = [], 0
    for spec in ordered:
        begins.append(end)
        end += tensor_bytes(spec.dtype, spec.shape)
        described[spec.name] = {"dtype": spec.dtype, "shape": spec.shape, "data_offsets": (begins[-1], end)}
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    tensors = (
        TensorEntry(spec.name, file, spec.dtype, spec.shape, len(header) + begin)
        for spec, begin in zip(ordered, begins, strict=True)
    )
    return Shard(file, header, tuple(tensors))


class ShardWriter:
    """Writes the tensors of a plan into `folder`, in any order, each to its place.

    A file is open from its first tensor to its last. A context manager: leaving it without an error writes the
    index, or raises CheckpointError if a tensor is missing.
    """

    def __init__(self, folder: str | os.PathLike[str], plan: Sequence[Shard]):
        self._folder = Path(folder)
        self._shards = {entry.name: shard for shard in plan for entry in shard.tensors}
        self._entries = {entry.name: entry for shard in plan for entry in shard.tensors}
        self._missing = {shard.file: {entry.name for entry in shard.tensors} for shard in plan}
        self._open: dict[Path, FileIO] = {}

    def write(self, name: str, array: np.ndarray) -> None:
        """Write one tensor. Raises CheckpointError for one that is not planned so, or was already written."""
        entry = self._entries.get(name)
        if entry is None:
            raise CheckpointError(f"{name} is not among the tensors to be written")
        dtype = dtype_name(array.dtype)
        if (dtype, array.shape) != (entry.dtype, entry.shape):
            planned = f"{entry.dtype} {list(entry.shape)}"
            raise CheckpointError(f"{name} is {dtype} {list(array.shape)}; planned was {planned}")
        missing = self._missing[entry.file]
        if name not in missing:
            raise CheckpointError(f"{name} was already written")
        file = self._file(self._shards[name])
        _write_at(file, np.ascontiguousarray(array).reshape(-1).view(np.uint8), entry.offset)
        missing.remove(name)
        if not missing:
            self._open.pop(entry.file).close()

    def finish(self) -> None:
        """Check that every tensor was written, and write the index if there are several files."""
        missing = [name for names in self._missing.values() for name in sorted(names)]
        if missing:
            raise CheckpointError(f"{len(missing)} tensors were not written, the first of them {missing[0]}")
        if len(self._missing) > 1:
            total = sum(entry.nbytes for entry in self._entries.values())
            weight_map = {name: entry.file.name for name, entry in self._entries.items()}
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            text = json.dumps(index, indent=2, sort_keys=True) + "\n"
            (self._folder / INDEX_FILE).write_text(text, encoding="utf-8")

    def close(self) -> None:
        """Close the files that are open."""
        for file in self._open.values():
            file.close()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close()
        if kind is None:
            self.finish()

    def _file(self, shard: Shard) -> FileIO:
        if shard.file not in self._open:
            file = (self._folder / shard.file).open("xb", buffering=0)
            self._open[shard.file] = file
            _write_at(file, shard.header, 0)
        return self._open[shard.file]


def _write_at(file: FileIO, data: bytes | np.ndarray, position: int) -> None:
    view = memoryview(data)
    while view:  # one call writes at most 2 GiB
        written = os.pwrite(file.fileno(), view, position)
        view, position = view[written:], position + written
