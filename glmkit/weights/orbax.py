"""Models as Orbax checkpoints: quick to write and to restore onto any mesh. What was saved is described in glmkit.json.

Orbax itself is imported when first used: it takes a second, which whoever only asks `is_orbax` should not wait.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import DTypeLike

from glmkit.config import GLMConfig
from glmkit.errors import CheckpointError
from glmkit.model import GLM
from glmkit.model.adapter import refuse_adapters
from glmkit.model.mtp import MTPTables
from glmkit.model.params import is_variable
from glmkit.weights.atomic import atomic_folder

MANIFEST = "glmkit.json"
_ARRAYS = "arrays"  # the folder that Orbax writes
_VERSION = 1


@dataclass(frozen=True)
class SavedArray:
    """One array. `stored` is the dtype its tensors had in the checkpoint it came from, where that was unusual."""

    shape: tuple[int, ...]
    dtype: str
    stored: str | None = None


@dataclass(frozen=True)
class Manifest:
    """Everything about a saved model but the numbers: what `GLM` needs to be built, and every array by its path."""

    config: GLMConfig
    layer_numbers: tuple[int, ...]
    stacked: bool
    mtp: MTPTables | None
    arrays: Mapping[str, SavedArray]

    @classmethod
    def of(cls, model: GLM) -> "Manifest":
        return cls(
            config=model.config,
            layer_numbers=model.layer_numbers,
            stacked=any(count is not None for count in model.layer_counts),
            mtp=None if model.mtp is None else "shared" if model.mtp.embed is None else "own",
            arrays={
                name: SavedArray(variable.shape, str(variable.dtype), variable.get_metadata().get("stored"))
                for name, variable in _variables(model).items()
            },
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Manifest":
        """The manifest in a folder. Raises `CheckpointError` when there is none, or none that glmkit wrote."""
        file = Path(path) / MANIFEST
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CheckpointError(f"{path} was not written by glmkit.save: it holds no {MANIFEST}") from error
        except ValueError as error:
            raise CheckpointError(f"{file} is corrupt: {error}") from error
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            raise CheckpointError(f"{file} is not of version {_VERSION}, the one this glmkit reads")
        try:
            return cls(
                config=GLMConfig.from_hf(content["config"]),
                layer_numbers=tuple(content["layer_numbers"]),
                stacked=content["stacked"],
                mtp=content["mtp"],
                arrays={
                    name: SavedArray(tuple(saved["shape"]), saved["dtype"], saved["stored"])
                    for name, saved in content["arrays"].items()
                },
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{file} is corrupt: {error!r}") from error

    def write(self, folder: Path) -> None:
        content = {
            "version": _VERSION,
            "config": self.config.to_hf(),
            "layer_numbers": self.layer_numbers,
            "stacked": self.stacked,
            "mtp": self.mtp,
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
            layer_numbers=self.layer_numbers,
            mtp=self.mtp,
        )
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
    """Write the model as it is: its layers stacked or not, truncated or not, each array in its dtype.

    `files` are put beside, such as the tokenizer's. The folder appears under its name whole or not at all. Raises
    `CheckpointError` for a model with an adapter, an existing folder without `overwrite`, and a full disk.
    """
    refuse_adapters(model)
    arrays = {name: variable.get_value() for name, variable in _variables(model).items()}
    nbytes = sum(array.nbytes for array in arrays.values())
    with atomic_folder(path, nbytes=nbytes, overwrite=overwrite) as folder:
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        Manifest.of(model).write(folder)
        try:
            with _checkpointer() as checkpointer:
                checkpointer.save(folder / _ARRAYS, arrays)
        except ValueError as error:  # tensorstore's for a disk that fills
            raise CheckpointError(f"{path} was not written; nothing is left behind ({error})") from error


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
    folder that `save` did not write, or that has been damaged since, and (with `check_finite`) naming an array that
    holds NaN or infinite values.
    """
    manifest = Manifest.read(path)
    model = manifest.abstract(mesh, dtype, fsdp)
    targets = {name: variable.get_value() for name, variable in _variables(model).items()}
    folder = Path(path).resolve() / _ARRAYS
    try:
        with _checkpointer() as checkpointer:
            arrays = checkpointer.restore(folder, targets)
    except (OSError, ValueError, KeyError) as error:  # tensorstore's for unreadable bytes, Orbax's for absent ones
        raise CheckpointError(f"{folder} is damaged; save it again ({error})") from error
    if check_finite:
        for name, array in arrays.items():
            if not jnp.isfinite(array).all():
                raise CheckpointError(f"{name} in {folder} holds NaN or infinite values")
    stored = {name: {"stored": saved.stored} for name, saved in manifest.arrays.items() if saved.stored}
    return _replace(model, lambda name, _: arrays[name], stored)


def _variables(model: GLM) -> dict[str, nnx.Variable]:
    """Every Variable by its path, such as `blocks.3.mlp.gate_up`."""
    leaves, _ = jax.tree.flatten_with_path(model, is_leaf=is_variable)
    return {_name(path): variable for path, variable in leaves}


def _replace(model: GLM, value, metadata: Mapping[str, Mapping[str, Any]] | None = None) -> GLM:
    """The model with each Variable's value replaced by `value(name, old value)`."""

    def replaced(path, variable: nnx.Variable) -> nnx.Variable:
        name = _name(path)
        return variable.replace(value(name, variable.get_value()), **(metadata or {}).get(name, {}))

    return jax.tree.map_with_path(replaced, model, is_leaf=is_variable)


def _name(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else f"of shape {list(shape)}"


def _checkpointer():
    """Orbax's synchronous writer and reader: the asynchronous one copies the model before it writes."""
    import orbax.checkpoint as ocp

    return ocp.Checkpointer(ocp.StandardCheckpointHandler())
