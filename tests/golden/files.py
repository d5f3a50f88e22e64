"""A golden file: what the reference implementation computed on a case, and where it lies. `make.py` writes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

from golden.cases import Inputs

FOLDER = Path(__file__).parent
_MOST_STEPS = 48


@dataclass(frozen=True)
class Golden:
    """The inputs are those of the case, followed by the greedy tokens; logits are float32 and at `kept_steps` only."""

    fingerprint: int  # of the checkpoint's tensors
    greedy: np.ndarray  # [B, N], N being 0 where the case has none
    experts: np.ndarray  # [moe_layer, B, T, k], ascending ids
    logits: np.ndarray  # [B, step, V]
    bfloat16_logits: np.ndarray | None = None  # the same, of the model in bfloat16
    mtp_logits: np.ndarray | None = None  # [B, step - 1, V], of the token after next

    @classmethod
    def load(cls, name: str) -> Self:
        with np.load(FOLDER / f"{name}.npz") as file:
            return cls(**{key: file[key] for key in file})

    def save(self, name: str) -> Path:
        path = FOLDER / f"{name}.npz"
        np.savez_compressed(path, **{key: value for key, value in asdict(self).items() if value is not None})
        return path


def kept_steps(inputs: Inputs) -> np.ndarray:
    """The steps whose logits a golden file holds: spread evenly over the rows, the first and the last among them."""
    length = inputs.tokens.shape[1]
    return np.unique(np.linspace(0, length - 1, min(length, _MOST_STEPS)).astype(int))
