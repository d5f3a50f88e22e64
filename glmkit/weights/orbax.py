"""Models as Orbax checkpoints: quick to write and to restore onto any mesh. What was saved is described in glmkit.json.

Orbax itself is imported when first used: it takes a second, which whoever only asks `is_orbax` should not wait.
"""

import gc
import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import DTypeLike

from glmkit.checks import parse_json
from glmkit.config import GLMConfig
from glmkit.errors import CheckpointError
from glmkit.model import GLM
from glmkit.model.mtp import MTPTables
from glmkit.model.params import is_variable
from glmkit.weights.atomic import atomic_folder, total_bytes, write_beside
from glmkit.weights.exportable import require_exportable
from glmkit.weights.safetensors import beyond
from glmkit.weights.unheard import failed_tasks_unheard

MANIFEST = "glmkit.json"
_ARRAYS = "arrays"  # the folder that Orbax writes
_VERSION = 2
_PATIENCE = 10  # seconds for a thread of Orbax whose save has failed


@dataclass(frozen=True)
class SavedArray:
    """The shape and dtype of one array."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Manifest:
    """Everything about a saved model but the numbers: what `GLM` needs to be built, and every array by its path."""

    config: GLMConfig
    stacked: bool
    mtp: MTPTables | None
    stored_dtypes: tuple[tuple[str, str], ...]  # as in GLM
    arrays: Mapping[str, SavedArray]

    @classmethod
    def of(cls, model: GLM) -> "Manifest":
        return cls(
            config=model.config,
            stacked=any(count is not None for count in model.layer_counts),
            mtp=None if model.mtp is None else "shared" if model.mtp.embed is None else "own",
            stored_dtypes=model.stored_dtypes,
            arrays={name: SavedArray(v.shape, str(v.dtype)) for name, v in _variables(model).items()},
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Manifest":
        """The manifest in a folder. Raises `CheckpointError` when there is none, or none that glmkit wrote."""
        file = Path(path) / MANIFEST
        try:
            content = parse_json(file.read_bytes())
        except FileNotFoundError as error:
            raise CheckpointError(f"{path} was not written by glmkit.save: it holds no {MANIFEST}") from error
        except ValueError as error:
            raise CheckpointError(f"{file} is corrupt: {error}") from error
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            raise CheckpointError(f"{file} is not of version {_VERSION}, the one this glmkit reads")
        try:
            return cls(
                config=GLMConfig.from_hf(content["config"]),
                stacked=content["stacked"],
                mtp=content["mtp"],
                stored_dtypes=tuple((str(name), str(dtype)) for name, dtype in content["stored_dtypes"]),
                arrays={
                    name: SavedArray(tuple(saved["shape"]), saved["dtype"]) for name, saved in content["arrays"].items()
                },
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{file} is corrupt: {error!r}") from error

    def write(self, folder: Path) -> None:
        content = {
            "version": _VERSION,
            "config": self.config.to_hf(),
            "stacked": self.stacked,
            "mtp": self.mtp,
            "stored_dtypes": self.stored_dtypes,
            "arrays": {name: asdict(saved) for name, saved in self.arrays.items()},
        }
        (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def abstract(self, mesh: Mesh | None, dtype: DTypeLike | None, fsdp: bool) -> GLM:
        """The saved model as shapes, dtypes and shardings; `dtype=None` keeps each array's own."""
        model = GLM(
            self.config,
            rngs=None,
            dtype=jnp.float32 if dtype is None else dtype,
            mesh=mesh,
            fsdp=fsdp,
            stacked=self.stacked,
            mtp=self.mtp,
        )
        model.stored_dtypes = self.stored_dtypes
        described = {name: variable.shape for name, variable in _variables(model).items()}
        saved = {name: array.shape for name, array in self.arrays.items()}
        if saved != described:
            name = min(name for name, _ in saved.items() ^ described.items())
            raise CheckpointError(
                f"{MANIFEST} does not agree with itself: its config calls for {name} {_shape(described.get(name))}, "
                f"its list of arrays holds {_shape(saved.get(name))}"
            )
        if dtype is not None:
            return model
        return _replace(model, lambda name, value: value.update(dtype=self.arrays[name].dtype))


def is_orbax(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a folder that `save` wrote."""
    return (Path(path) / MANIFEST).is_file()


def save(
    model: GLM,
    path: str | os.PathLike[str],
    *,
    files: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> None:
    """Write the model as it is: its layers stacked or not, each array in its dtype.

    `files` are put beside, such as the tokenizer's. The folder appears under its name whole or not at all. Raises
    `CheckpointError` for a truncated model, one with an adapter, an existing folder without `overwrite` (or one that is
    no checkpoint), and a full disk.
    """
    require_exportable(model)
    _require_utf8(path)
    arrays = {name: variable.get_value() for name, variable in _variables(model).items()}
    files = files or {}
    nbytes = sum(array.nbytes for array in arrays.values()) + total_bytes(files)
    with atomic_folder(path, nbytes=nbytes, overwrite=overwrite) as folder:
        write_beside(folder, files)
        Manifest.of(model).write(folder)
        if reason := _write(folder / _ARRAYS, arrays):
            raise CheckpointError(f"{path} was not written; nothing is left behind ({reason})")


def _write(folder: Path, arrays: Mapping[str, jax.Array]) -> str | None:
    """Write the arrays, or say why that failed: of Orbax's error, which keeps its failed tasks alive, only the text."""
    before = set(threading.enumerate())
    try:
        with failed_tasks_unheard(), _checkpointer() as checkpointer:
            checkpointer.save(folder, arrays)
        return None
    except ValueError as error:  # tensorstore's for a disk that fills
        reason = str(error)
    for thread in set(threading.enumerate()) - before:  # which go on writing after one of them has failed
        threading.Thread.join(thread, _PATIENCE)  # Orbax's own `join` raises what the thread raised
    gc.collect()
    return reason


def _require_utf8(path: str | os.PathLike[str]) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(f"{str(path)!r} is not UTF-8, all that Orbax writes to; choose another name") from error


def restore(
    path: str | os.PathLike[str],
    mesh: Mesh | None = None,
    dtype: DTypeLike | None = None,
    *,
    fsdp: bool = False,
    check_finite: bool = False,
) -> GLM:
    """Read what `save` wrote, every array straight onto its place on `mesh`, whatever mesh it was saved from.

    `dtype` defaults to what was saved; the correction bias stays in float32 at least. Raises `CheckpointError` for a
    folder that `save` did not write, or that has been damaged since, naming an array with values beyond `dtype`, and
    (with `check_finite`) one that holds NaN or infinite values.
    """
    path = Path(path).expanduser()
    manifest = Manifest.read(path)
    model = manifest.abstract(mesh, dtype, fsdp)
    targets = {name: variable.get_value() for name, variable in _variables(model).items()}
    saved = {name: jnp.dtype(manifest.arrays[name].dtype) for name in targets}
    wider = [name for name, target in targets.items() if jnp.finfo(saved[name]).max > jnp.finfo(target.dtype).max]
    wide = {name: targets[name].update(dtype=saved[name]) for name in wider}
    arrays = _read(Path(path).resolve() / _ARRAYS, targets | wide)
    arrays |= {name: _narrowed(name, arrays[name], targets[name].dtype) for name in wider}
    if check_finite:
        for name, array in arrays.items():
            if not jnp.isfinite(array).all():
                raise CheckpointError(f"{name} in {path} holds NaN or infinite values")
    return _replace(model, lambda name, _: arrays[name])


def _narrowed(name: str, array: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """The array in a dtype of a smaller range. Raises `CheckpointError` for a finite value that is beyond it."""
    narrow = array.astype(dtype)
    if (jnp.isinf(narrow) & jnp.isfinite(array)).any():
        raise beyond(name, float(jnp.abs(array).max()), jnp.dtype(dtype))
    return narrow


def _read(folder: Path, targets: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    try:
        with _checkpointer() as checkpointer:
            return checkpointer.restore(folder, dict(targets))
    except (jax.errors.JaxRuntimeError, MemoryError):
        raise
    except Exception as error:  # tensorstore's ValueError for unreadable bytes; Orbax's own are bare Exceptions
        reason = str(error)
        names = [name for name in targets if name in reason]
        what = max(names, key=len) if names else "an array"
        raise CheckpointError(f"{what} in {folder} is damaged; save it again ({reason[:200]})") from error


def _variables(model: GLM) -> dict[str, nnx.Variable]:
    """Every Variable by its path, such as `blocks.3.mlp.gate_up`."""
    leaves, _ = jax.tree.flatten_with_path(model, is_leaf=is_variable)
    return {_name(path): variable for path, variable in leaves}


def _replace(model: GLM, value: Callable[[str, Any], Any]) -> GLM:
    """The model with each Variable's value replaced by `value(name, old value)`."""

    def replaced(path, variable: nnx.Variable) -> nnx.Variable:
        return variable.replace(value(_name(path), variable.get_value()))

    return jax.tree.map_with_path(replaced, model, is_leaf=is_variable)


def _name(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else f"of shape {list(shape)}"


def _checkpointer():
    """Orbax's synchronous writer and reader: the asynchronous one copies the model before it writes."""
    import orbax.checkpoint as ocp

    return ocp.Checkpointer(ocp.StandardCheckpointHandler())
