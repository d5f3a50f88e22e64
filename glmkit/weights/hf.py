"""Models in the released Hugging Face layout, in and out, one tensor at a time.

What is where comes from each parameter's own declaration (`glmkit.model.params`); files are `safetensors.py`'s affair.
"""

import functools
import json
import math
import mmap
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import DTypeLike
from tqdm.auto import tqdm

from glmkit.checks import check_integer, file_exists
from glmkit.config import GLMConfig
from glmkit.errors import CheckpointError
from glmkit.model import GLM, Buffer
from glmkit.model.defaults import floating_dtype
from glmkit.model.mtp import MTPTables
from glmkit.model.params import HFTensor, hf_tensors, is_variable, map_variables
from glmkit.weights.atomic import atomic_folder, total_bytes, write_beside
from glmkit.weights.exportable import require_exportable
from glmkit.weights.formats import refuse_other_formats
from glmkit.weights.safetensors import DTYPES, INDEX_FILE, CheckpointFiles, dtype_name, narrowed
from glmkit.weights.shards import MAX_SHARD_BYTES, ShardWriter, TensorSpec, plan_shards

_LARGEST_READ = 256 * 2**20  # bytes held at a time beside the model; a row is always read whole
_PROGRESS_DELAY = 1.0  # seconds; a load that is over sooner shows nothing


Table = list[tuple[nnx.Variable, list[HFTensor]]]  # every parameter, with the checkpoint tensors it is made of


def load_hf(
    path: str | os.PathLike[str],
    mesh: Mesh | None = None,
    dtype: DTypeLike | None = None,
    *,
    fsdp: bool = False,
    stacked: bool = False,
    layers: slice | None = None,
    check_finite: bool = False,
) -> GLM:
    """Read a checkpoint folder straight into arrays on their target sharding.

    `dtype` defaults to bfloat16 on accelerators and float32 on CPU. `layers` keeps only these layers, for study, and
    leaves out the multi-token-prediction layer. Beside the model itself the host holds one parameter on its way to an
    accelerator, and 256 MiB of a tensor.
    Raises `CheckpointError` naming the tensor or file that is missing, superfluous, misshapen, corrupt, or (with
    `check_finite`) not finite, before anything else is read.
    """
    path = Path(path).expanduser()
    config = read_config(path)
    with CheckpointFiles.open(path) as files:
        layout = {"mesh": mesh, "dtype": dtype, "fsdp": fsdp, "stacked": stacked, "layers": layers}
        abstract = GLM.abstract(config, mtp=_mtp_tables(config, files), **layout)
        table = checkpoint_table(abstract)
        _check_names(table, files, config, complete=not abstract.truncated)
        with _progress("reading", sum(files.tensors[t.name].nbytes for _, parts in table for t in parts)) as bar:
            read = {id(v): _read(v, parts, files, check_finite, bar) for v, parts in table}
        stored = _stored_dtypes(table, files, config)
    model = map_variables(lambda variable: read[id(variable)], abstract)
    model.stored_dtypes = stored
    return model


def save_hf(
    model: GLM,
    path: str | os.PathLike[str],
    *,
    dtype: DTypeLike | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    files: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> None:
    """Write the released layout: `config.json`, per-expert tensors in shards with an index, and `files` beside them.

    Without `dtype` a tensor is stored as the checkpoint it came from stored it, where that was unusual, else in
    `config.dtype`; with it in `dtype`, which config.json then states. The correction bias is stored in float32. The
    folder appears under its name whole or not at all. Raises `CheckpointError` for a truncated model, one with an
    adapter, a value beyond the range of the dtype to store it in, an existing folder without `overwrite` (or one that
    is no checkpoint), and a full disk.
    """
    require_exportable(model)
    check_integer("max_shard_bytes", max_shard_bytes, 1)
    dtype = None if dtype is None else floating_dtype(dtype)
    own = dict(model.stored_dtypes) if dtype is None else {}
    usual = own.get("") or dtype_name(jnp.dtype(model.config.dtype if dtype is None else dtype))
    table = [
        (variable, [(tensor, own.get(tensor.name, _usual_dtype(variable, usual))) for tensor in parts])
        for variable, parts in checkpoint_table(model)
    ]
    specs = [TensorSpec(tensor.name, stored, tensor.shape) for _, parts in table for tensor, stored in parts]
    plan = plan_shards(sorted(specs, key=lambda spec: _natural(spec.name)), max_shard_bytes)
    config = model.config if dtype is None else replace(model.config, dtype=dtype.name)
    files = files or {}
    for name in ("config.json", INDEX_FILE, *(shard.file.name for shard in plan)):
        if name in files:
            raise CheckpointError(f"files: {name} is written from the model; leave it out")
    beside = {"config.json": _json(config.to_hf()), **files}
    nbytes = sum(shard.nbytes for shard in plan) + total_bytes(beside)
    with atomic_folder(path, nbytes=nbytes, overwrite=overwrite) as folder, _progress("writing", nbytes) as bar:
        write_beside(folder, beside)
        with ShardWriter(folder, plan) as writer:
            for variable, parts in table:
                value = _on_host(variable.get_value())
                for tensor, stored in parts:
                    array = narrowed(tensor.name, tensor.to_hf(value[tensor.index]), DTYPES[stored])
                    writer.write(tensor.name, array)
                    bar.update(array.nbytes)


def _on_host(array: jax.Array) -> np.ndarray:
    """The whole array. JAX keeps with an array the host copy made of it, and would so keep the whole model."""
    shards = [shard.data for shard in array.addressable_shards]
    return np.asarray(jax.make_array_from_single_device_arrays(array.shape, array.sharding, shards))


def read_config(path: str | os.PathLike[str]) -> GLMConfig:
    """The config.json of a checkpoint folder. Refuses by name what is no such folder but, say, a GGUF file."""
    if not file_exists(Path(path) / "config.json"):
        refuse_other_formats(Path(path))
    if Path(path).exists() and not Path(path).is_dir():
        raise CheckpointError(f"{path} is a file; expected the folder of a checkpoint")
    return GLMConfig.from_hf(path)


def declare_hf(path: str | os.PathLike[str], **layout: Any) -> GLM:
    """As `load_hf`, of shapes and shardings alone: by the configuration, and by what the files' headers hold.

    `layout` as for `GLM.abstract`.
    """
    config = read_config(path)
    with CheckpointFiles.open(Path(path).expanduser()) as files:
        return GLM.abstract(config, mtp=_mtp_tables(config, files), **layout)


def stored_dtype(path: str | os.PathLike[str]) -> np.dtype:
    """The narrowest dtype that holds every trained weight of a checkpoint folder exactly.

    Raises `CheckpointError` as `load_hf` does, for what the files' headers tell.
    """
    config = read_config(path)
    with CheckpointFiles.open(path) as files:
        table = checkpoint_table(GLM(config, rngs=None, mtp=_mtp_tables(config, files)))
        _check_names(table, files, config, complete=True)
        trained = [part.name for variable, parts in table if not isinstance(variable, Buffer) for part in parts]
        return DTYPES[_widest(files.tensors[name].dtype for name in trained)]


def checkpoint_table(model: GLM) -> Table:
    """Every parameter of the model with the checkpoint tensors it is made of, in checkpoint order."""
    return [
        (variable, list(hf_tensors(variable, prefix, numbers)))
        for part, prefix, numbers in model.checkpoint_parts()
        for variable in jax.tree.leaves(part, is_leaf=is_variable)
    ]


def _mtp_tables(config: GLMConfig, files: CheckpointFiles) -> MTPTables | None:
    """Which form of the prediction layer the files hold; None when the config announces one that is not there."""
    prefix = f"model.layers.{config.num_hidden_layers}."
    if not any(name.startswith(prefix) for name in files.tensors):
        return None
    return "own" if f"{prefix}embed_tokens.weight" in files.tensors else "shared"


def _check_names(table: Table, files: CheckpointFiles, config: GLMConfig, *, complete: bool) -> None:
    expected = {tensor.name: tensor.shape for _, parts in table for tensor in parts}
    missing = [name for name in expected if name not in files.tensors]
    if missing:
        raise CheckpointError(f"{_some(missing)} missing from the checkpoint; its config.json calls for them")
    extra = [name for name in files.tensors if name not in expected]
    if extra and complete:
        raise CheckpointError(
            f"{_some(extra)} in the checkpoint and not part of the {config.num_hidden_layers}-layer model its "
            "config.json describes"
        )
    for name, shape in expected.items():
        entry = files.tensors[name]
        if entry.shape != shape:
            raise CheckpointError(f"{name} has shape {list(entry.shape)}; expected {list(shape)}")
        entry.require_weights()


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{shown} {'is' if len(names) == 1 else 'are'}"


def _read(
    abstract: nnx.Variable, parts: list[HFTensor], files: CheckpointFiles, check_finite: bool, bar: tqdm
) -> nnx.Variable:
    """One parameter: each of its tensors is read once, in blocks, and copied to every local shard that overlaps it."""
    struct = abstract.get_value()
    shape, dtype, sharding = struct.shape, struct.dtype, struct.sharding
    placement = sharding.addressable_devices_indices_map(shape)
    shards = {_bounds(index, shape): None for index in placement.values()}
    shards = {bounds: _pages([stop - start for start, stop in bounds], dtype) for bounds in shards}
    for part in parts:
        row_bytes = files.tensors[part.name].nbytes // part.shape[0]
        for rows, block in part.row_blocks(max(_LARGEST_READ // row_bytes, 1)):
            data = files.read_slice(part.name, (rows,))
            if check_finite and not np.isfinite(data).all():
                raise CheckpointError(f"{part.name} holds NaN or infinite values")
            data = narrowed(part.name, data, dtype)
            for bounds, shard in shards.items():
                _copy_overlap(block, data, shape, bounds, shard)
            bar.update(data.nbytes)
    arrays = [jax.device_put(shards[_bounds(index, shape)], device) for device, index in placement.items()]
    return abstract.replace(jax.make_array_from_single_device_arrays(shape, sharding, arrays))


Bounds = tuple[tuple[int, int], ...]


def _bounds(index: tuple[slice, ...], shape: tuple[int, ...]) -> Bounds:
    return tuple(s.indices(size)[:2] for s, size in zip(index, shape, strict=True))


def _pages(shape: list[int], dtype: np.dtype) -> np.ndarray:
    """An empty array in pages of its own.

    JAX's CPU backend adopts a buffer so aligned instead of copying it, and pages go back to the system when the array
    goes, where the allocator of C would keep them for itself.
    """
    count = math.prod(shape)
    memory = mmap.mmap(-1, max(count * np.dtype(dtype).itemsize, 1))
    return np.frombuffer(memory, dtype, count).reshape(shape)


def _copy_overlap(tensor: HFTensor, data: np.ndarray, shape: tuple[int, ...], bounds: Bounds, shard: np.ndarray):
    """Copy what of `tensor` falls into the shard that covers `bounds` of the parameter."""
    target: list[int | slice] = []
    own_shape, own_slices = [], []
    for at, size, (start, stop) in zip(tensor.index, shape, bounds, strict=True):
        if isinstance(at, int):
            if not start <= at < stop:
                return
            target.append(at - start)
        else:
            first, last, _ = at.indices(size)
            low, high = max(first, start), min(last, stop)
            if low >= high:
                return
            target.append(slice(low - start, high - start))
            own_shape.append(last - first)
            own_slices.append(slice(low - first, high - first))
    shard[tuple(target)] = tensor.from_hf(data, tuple(own_shape))[tuple(own_slices)]


def _widest(names: Iterable[str]) -> str:
    """The dtype that holds the values of all of these exactly."""
    return dtype_name(np.dtype(functools.reduce(jnp.promote_types, (DTYPES[name] for name in set(names)))))


def _stored_dtypes(table: Table, files: CheckpointFiles, config: GLMConfig) -> tuple[tuple[str, str], ...]:
    """`GLM.stored_dtypes`: by the name "" the dtype of most weights, then each tensor's that has another."""
    found = {part.name: files.tensors[part.name].dtype for _, parts in table for part in parts}
    weights = Counter(found[part.name] for v, parts in table if not isinstance(v, Buffer) for part in parts)
    ((usual, _),) = weights.most_common(1)
    base = () if usual == dtype_name(jnp.dtype(config.dtype)) else (("", usual),)
    names = [(part.name, _usual_dtype(variable, usual)) for variable, parts in table for part in parts]
    return base + tuple((name, found[name]) for name, expected in names if found[name] != expected)


def _usual_dtype(variable: nnx.Variable, weights: str) -> str:
    """The dtype to write in by the layout's rule: correction biases in float32."""
    return "F32" if isinstance(variable, Buffer) else weights


def _natural(name: str) -> list[str | int]:
    """Sorts numbers in names as numbers, so that a stacked model is written in the order of its layers."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _json(content: Mapping) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _progress(action: str, nbytes: int) -> tqdm:
    """Shows nothing where it would be written to a file or a pipe."""
    return tqdm(total=nbytes, desc=action, unit="B", unit_scale=True, delay=_PROGRESS_DELAY, leave=False, disable=None)
