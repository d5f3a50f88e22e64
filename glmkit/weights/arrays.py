"""Arrays in one safetensors file that is written whole or not at all."""

import os
from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from glmkit.errors import CheckpointError
from glmkit.weights.atomic import atomic_file

__all__ = ["write_arrays"]


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], about: Mapping[str, str]) -> None:
    """Write arrays by name, with `about` as the file's metadata.

    Raises `CheckpointError` for a path that cannot be written to and for a full disk.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        with atomic_file(path, nbytes=sum(array.nbytes for array in arrays.values())) as partial:
            save_file(arrays, partial, metadata=dict(about))
    except (SafetensorError, OSError) as error:  # safetensors' own for a disk that fills
        raise CheckpointError(f"{path} was not written: {error}") from error
