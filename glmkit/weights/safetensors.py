"""Safetensors checkpoints as files: which tensors a folder holds, all checked, and reading them one at a time.

Knows nothing of models. Reads with `pread` into memory of its own: a memory map counts against the process as
it is touched, and turns a file cut short into a crash.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np

from glmkit.checks import file_exists, parse_json
from glmkit.errors import CheckpointError
from glmkit.weights.formats import refuse_other_formats, refuse_quantized_tensors

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

DTYPES: Mapping[str, np.dtype] = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        "U8": np.dtype(np.uint8),
        "I8": np.dtype(np.int8),
        "U16": np.dtype(np.uint16),
        "I16": np.dtype(np.int16),
        "U32": np.dtype(np.uint32),
        "I32": np.dtype(np.int32),
        "U64": np.dtype(np.uint64),
        "I64": np.dtype(np.int64),
        "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
        "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
        "F16": np.dtype(np.float16),
        "BF16": np.dtype(ml_dtypes.bfloat16),
        "F32": np.dtype(np.float32),
        "F64": np.dtype(np.float64),
    }
)
_WEIGHT_DTYPES = ("BF16", "F16", "F32", "F64")
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000  # the limit of the format's own library


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies: `nbytes` bytes from byte `offset` of `file`, C order, little-endian."""

    name: str
    file: Path
    dtype: str  # as the format spells it, a key of `DTYPES`
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return tensor_bytes(self.dtype, self.shape)

    def require_weights(self) -> None:
        """Raise CheckpointError unless the tensor's dtype is one that weights have."""
        if self.dtype not in _WEIGHT_DTYPES:
            raise CheckpointError(f"{self.name} has dtype {self.dtype}; expected one of {', '.join(_WEIGHT_DTYPES)}")


class CheckpointFiles:
    """The tensors of one checkpoint folder, found and checked, none of them read yet.

    `tensors` maps each name to its entry, in the order of the files. Several threads may read at once; a call
    holds the bytes it returns and, while it cuts a slice, the rows it is cut from.
    """

    def __init__(self, tensors: Mapping[str, TensorEntry], files: Mapping[Path, FileIO]):
        self.tensors = MappingProxyType(dict(tensors))
        self._files = files

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> CheckpointFiles:
        """Find `model.safetensors`, or the shards its index names, and check every header.

        Raises CheckpointError naming the file or tensor: a missing, truncated or corrupt file, an index that
        does not agree with its shards, a tensor stored twice, or another format (GGUF, AWQ, GPTQ, FP8, pickles).
        """
        folder = Path(folder)
        weight_map = _weight_map(folder)
        names = [SINGLE_FILE] if weight_map is None else sorted(set(weight_map.values()))
        tensors: dict[str, TensorEntry] = {}
        with ExitStack() as opened:
            files = {folder / name: opened.enter_context(_open_shard(folder / name)) for name in names}
            for path, file in files.items():
                for entry in read_header(path, file):
                    if entry.name in tensors:
                        raise CheckpointError(f"{entry.name} is in {tensors[entry.name].file} and again in {path}")
                    tensors[entry.name] = entry
            refuse_quantized_tensors(folder, tensors)
            if weight_map is not None:
                _check_index(folder / INDEX_FILE, weight_map, tensors)
            opened.pop_all()
        return cls(tensors, files)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors together."""
        return sum(entry.nbytes for entry in self.tensors.values())

    def read(self, name: str) -> np.ndarray:
        """The tensor `name`, in its stored dtype and shape, in memory of its own."""
        return self.read_slice(name, ())

    def read_slice(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """The part `tensor[index]`, of unit steps, in memory of its own.

        Only the rows of the first axis that `index` asks for are read; the other axes are cut from those.
        """
        entry = self._entry(name)
        dtype = DTYPES[entry.dtype]
        if not index:
            return self._read_bytes(entry, 0, entry.nbytes).view(dtype).reshape(entry.shape)
        start, stop, step = index[0].indices(entry.shape[0])
        if step != 1:
            raise CheckpointError(f"{name}: cannot read every {step}th row; expected slices of step 1")
        rows = max(stop - start, 0)
        row_bytes = tensor_bytes(entry.dtype, entry.shape[1:])
        data = self._read_bytes(entry, start * row_bytes, rows * row_bytes)
        part = data.view(dtype).reshape(rows, *entry.shape[1:])[:, *index[1:]]
        return np.ascontiguousarray(part)

    def close(self) -> None:
        """Close the files. Reading afterwards raises ValueError."""
        for file in self._files.values():
            file.close()

    def __enter__(self) -> CheckpointFiles:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _entry(self, name: str) -> TensorEntry:
        if name not in self.tensors:
            raise CheckpointError(f"there is no tensor {name} in {', '.join(sorted(map(str, self._files)))}")
        return self.tensors[name]

    def _read_bytes(self, entry: TensorEntry, start: int, count: int) -> np.ndarray:
        buffer = np.empty(count, np.uint8)
        view, position = memoryview(buffer), entry.offset + start
        descriptor = self._files[entry.file].fileno()
        while view:  # one call reads at most 2 GiB
            got = os.preadv(descriptor, [view], position)
            if got == 0:
                raise CheckpointError(f"{entry.file} ends inside {entry.name}; it was cut short while open")
            view, position = view[got:], position + got
        return buffer


def tensor_bytes(dtype: str, shape: Iterable[int]) -> int:
    """Bytes of a tensor of the format's dtype `dtype`."""
    return DTYPES[dtype].itemsize * math.prod(shape)


def dtype_name(dtype: np.dtype) -> str:
    """How the format spells a NumPy dtype. Raises CheckpointError for one it has no name for."""
    if dtype not in _NAMES:
        raise CheckpointError(f"{dtype} cannot be stored; expected one of {', '.join(map(str, _NAMES))}")
    return _NAMES[dtype]


def read_header(path: Path, file: FileIO) -> list[TensorEntry]:
    """The tensors of one safetensors file, in the order of their bytes.

    Raises CheckpointError when the header cannot be read, or does not describe exactly the bytes that follow it.
    """
    size = os.fstat(file.fileno()).st_size
    text, start = _header_text(path, file, size)
    try:
        header = parse_json(text, object_pairs_hook=_without_repeats)
    except ValueError as error:  # of the encoding, of JSON, or a repeated key
        raise CheckpointError(f"{path} has a corrupt header ({error}); fetch the file again") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} has a corrupt header (no JSON object); fetch the file again")
    header.pop("__metadata__", None)
    placed = sorted(_placed(path, name, described) for name, described in header.items())
    end = 0
    for begin, stop, dtype, shape, name in placed:
        if begin != end or stop - begin != tensor_bytes(dtype, shape):
            raise CheckpointError(
                f"{path}: {name} {dtype} {list(shape)} lies at bytes {begin} to {stop}; "
                f"expected {end} to {end + tensor_bytes(dtype, shape)}, without gap or overlap"
            )
        end = stop
    if start + end != size:
        state = "is truncated" if size < start + end else "is longer than its header says"
        raise CheckpointError(f"{path} {state}: {size} bytes, expected {start + end}; fetch the file again")
    return [TensorEntry(name, path, dtype, shape, start + begin) for begin, _, dtype, shape, name in placed]


def _header_text(path: Path, file: FileIO, size: int) -> tuple[bytes, int]:
    """The header's JSON text, and the byte at which the tensors start."""
    first = os.pread(file.fileno(), _LENGTH_BYTES, 0)
    if first == b"version ":
        raise CheckpointError(f"{path} is a Git LFS pointer, not the weights; run `git lfs pull` in its folder")
    length = int.from_bytes(first, "little")
    if len(first) < _LENGTH_BYTES or not 2 <= length <= _LONGEST_HEADER:
        raise CheckpointError(f"{path} is no safetensors file: its first bytes are no header; fetch the file again")
    start = _LENGTH_BYTES + length
    if start > size:
        raise CheckpointError(f"{path} is truncated: {size} bytes, less than its header; fetch the file again")
    return os.pread(file.fileno(), length, _LENGTH_BYTES), start


def _placed(path: Path, name: str, described: Any) -> tuple[int, int, str, tuple[int, ...], str]:
    """(begin, stop, dtype, shape, name) from a header's `{"dtype": ..., "shape": ..., "data_offsets": ...}`."""
    corrupt = f"{path} has a corrupt header ({name} is {described!r}); fetch the file again"
    try:
        dtype, shape, (begin, stop) = described["dtype"], tuple(described["shape"]), described["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(corrupt) from error
    if not isinstance(dtype, str) or not all(isinstance(n, int) and n >= 0 for n in (*shape, begin, stop)):
        raise CheckpointError(corrupt)
    if dtype not in DTYPES:
        raise CheckpointError(f"{path}: {name} has dtype {dtype}; expected one of {', '.join(DTYPES)}")
    return begin, stop, dtype, shape, name


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    repeated = sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
    if repeated:
        raise ValueError(f"{', '.join(repeated)} described twice")
    return dict(pairs)


def _open_shard(path: Path) -> FileIO:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing, though {INDEX_FILE} names it; fetch it again") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def _weight_map(folder: Path) -> dict[str, str] | None:
    """What the index says of each tensor's shard; None for a checkpoint of one file without an index."""
    single, index = folder / SINGLE_FILE, folder / INDEX_FILE
    if not file_exists(single) and not file_exists(index):
        refuse_other_formats(folder)
        raise CheckpointError(f"{folder} is no checkpoint folder; expected {SINGLE_FILE} or {INDEX_FILE} in it")
    if not index.exists():
        return None
    try:
        weight_map = parse_json(index.read_bytes())["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{index} is corrupt: expected JSON with a weight_map ({error!r})") from error
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError(f"{index} is corrupt: expected weight_map to map tensor names to files")
    outside = sorted(name for name in set(weight_map.values()) if not name or "\0" in name or Path(name).name != name)
    if outside:
        raise CheckpointError(f"{index} names {outside[0]!r}; expected files in the same folder")
    if single.exists() and SINGLE_FILE not in weight_map.values():
        raise CheckpointError(f"{folder} holds {SINGLE_FILE} and an index of other files; remove one of them")
    return weight_map


def _check_index(index: Path, weight_map: Mapping[str, str], tensors: Mapping[str, TensorEntry]) -> None:
    for name, file in weight_map.items():
        if name not in tensors:
            raise CheckpointError(f"{index} says that {name} is in {file}, which does not hold it")
        if tensors[name].file.name != file:
            raise CheckpointError(f"{index} says that {name} is in {file}; it is in {tensors[name].file.name}")
    unnamed = [name for name in tensors if name not in weight_map]
    if unnamed:
        raise CheckpointError(f"{tensors[unnamed[0]].file} holds {unnamed[0]}, which {index} does not name")


def narrowed(name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array in `dtype`. Raises CheckpointError for a finite value that is beyond its range."""
    if ml_dtypes.finfo(dtype).max >= ml_dtypes.finfo(array.dtype).max:
        return array.astype(dtype, copy=False)
    with np.errstate(over="ignore"):
        narrow = array.astype(dtype)
    if (np.isinf(narrow) & np.isfinite(array)).any():
        raise beyond(name, np.abs(array).max(), dtype)
    return narrow


def beyond(name: str, largest: float, dtype: np.dtype) -> CheckpointError:
    """The error of a parameter or tensor with values up to `largest`, which are beyond the range of a dtype."""
    return CheckpointError(
        f"{name} has values up to {largest:.4g}, beyond {dtype}, which ends at "
        f"{ml_dtypes.finfo(dtype).max:.4g}; use bfloat16 or float32"
    )
