"""Two checkpoints of one shape, tensor by tensor: what training or merging changed, told without a model in memory."""

import os
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from glmkit.errors import CheckpointError
from glmkit.loading import resolve_source
from glmkit.runs.frames import data_frame
from glmkit.weights.safetensors import CheckpointFiles

__all__ = ["CheckpointDiff", "TensorChange", "diff"]

_BLOCK = 2**25  # numbers of a tensor that are read at once
_EXPERT = re.compile(r"model\.layers\.(\d+)\.mlp\.experts\.(\d+)\.")
_ROUTER = re.compile(r"model\.layers\.(\d+)\.mlp\.gate\.weight")
_BIAS = re.compile(r"model\.layers\.(\d+)\.mlp\.gate\.e_score_correction_bias")


@dataclass(frozen=True)
class TensorChange:
    """How a tensor of one checkpoint differs from that of another."""

    name: str
    difference: float  # Euclidean norm of b - a
    norm: float  # of a
    largest: float  # absolute change of any number

    @property
    def relative(self) -> float:
        """The change as a share of the norm; infinite where there was nothing and now is."""
        return self.difference / self.norm if self.norm else (float("inf") if self.difference else 0.0)


@dataclass(frozen=True, eq=False)
class CheckpointDiff:
    """What changed from checkpoint a to b.

    `experts`, `router` and `bias` have a row for each of `layers`: the relative change of an expert's weights, the
    relative change of its row of the router, and the drift of its correction bias, b minus a.
    """

    tensors: tuple[TensorChange, ...]  # of both, in the order of a
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    layers: tuple[int, ...]
    experts: Float[np.ndarray, "moe_layer E"]
    router: Float[np.ndarray, "moe_layer E"]
    bias: Float[np.ndarray, "moe_layer E"]

    def largest(self, count: int = 10) -> list[TensorChange]:
        """The tensors that changed most, relative to what they were."""
        return sorted(self.tensors, key=lambda change: -change.relative)[:count]

    def to_pandas(self):
        """A data frame with a row for each tensor."""
        names = ("name", "relative", "difference", "norm", "largest")
        return data_frame({name: [getattr(change, name) for change in self.tensors] for name in names})

    def __repr__(self) -> str:
        changed = [change for change in self.tensors if change.difference]
        most = max(self.tensors, key=lambda change: change.relative, default=None)
        worst = f"; most {most.name}, by {most.relative:.3g} of its norm" if changed else ""
        alone = f"; {len(self.only_a)} only in a, {len(self.only_b)} only in b" if self.only_a or self.only_b else ""
        return f"CheckpointDiff({len(changed)} of {len(self.tensors)} tensors changed{worst}{alone})"


def diff(path_a: str | os.PathLike[str], path_b: str | os.PathLike[str]) -> CheckpointDiff:
    """Compare two checkpoints in the released layout, a block of a tensor at a time: folders, or names as for `load`.

    Raises CheckpointError naming a folder that cannot be read, or a tensor whose shapes differ.
    """
    changes: list[TensorChange] = []
    squares: dict[tuple[int, int], np.ndarray] = {}
    router: dict[int, np.ndarray] = {}
    bias: dict[int, np.ndarray] = {}
    with CheckpointFiles.open(resolve_source(path_a)) as a, CheckpointFiles.open(resolve_source(path_b)) as b:
        for name in a.tensors:
            if name not in b.tensors:
                continue
            rows = _rows(a, b, name)
            changes.append(TensorChange(name, *np.sqrt(rows[:2].sum(1)).tolist(), float(rows[2].max(initial=0))))
            if found := _EXPERT.match(name):
                place = int(found[1]), int(found[2])
                squares[place] = squares.get(place, np.zeros(2)) + rows[:2].sum(1)
            elif found := _ROUTER.fullmatch(name):
                router[int(found[1])] = _relative(rows[0], rows[1])
            elif found := _BIAS.fullmatch(name):
                bias[int(found[1])] = b.read(name).astype(np.float64) - a.read(name).astype(np.float64)
        only_a = tuple(name for name in a.tensors if name not in b.tensors)
        only_b = tuple(name for name in b.tensors if name not in a.tensors)
    layers = tuple(sorted({layer for layer, _ in squares}))
    count = max((expert for _, expert in squares), default=-1) + 1
    experts = np.asarray([[squares.get((n, e), np.zeros(2)) for e in range(count)] for n in layers])
    experts = experts.reshape(len(layers), count, 2)
    nothing = np.zeros(count)
    return CheckpointDiff(
        tuple(changes), only_a, only_b, layers, _relative(experts[..., 0], experts[..., 1]),
        np.asarray([router.get(n, nothing) for n in layers]), np.asarray([bias.get(n, nothing) for n in layers]),
    )  # fmt: skip


def _rows(a: CheckpointFiles, b: CheckpointFiles, name: str) -> Float[np.ndarray, "3 rows"]:
    """Of each row the sum of squares of its change, that of what it was, and its largest change; float64."""
    shape, other = a.tensors[name].shape, b.tensors[name].shape
    if shape != other:
        raise CheckpointError(f"{name} is {list(shape)} in the first checkpoint and {list(other)} in the second")
    whole = shape or (1,)
    count = max(1, _BLOCK // max(1, int(np.prod(whole[1:]))))
    found = np.zeros((3, whole[0]))
    for start in range(0, whole[0], count):
        part = (slice(start, min(start + count, whole[0])),) if shape else ()
        one, two = (f.read_slice(name, part).astype(np.float64).reshape(-1, *whole[1:]) for f in (a, b))
        change, axes = two - one, tuple(range(1, len(whole)))
        block = slice(start, start + len(one))
        found[:, block] = (change**2).sum(axes), (one**2).sum(axes), np.abs(change).max(axes, initial=0)
    return found


def _relative(difference: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """Roots of the quotient of sums of squares."""
    return np.sqrt(np.divide(difference, norm, out=np.where(difference > 0, np.inf, 0.0), where=norm > 0))
