"""Normalisations: how much each token counts in the loss of a whole batch. Each is named once.

A normalisation is a function from which tokens are learned, `[N, T]`, and which sample each row belongs to, `[N]`, to
weights `[N, T]`. It sees the whole batch, so that the loss, `sum(weight * loss of the token)`, and its gradient are the
same however the batch is split.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["Constant", "per_sequence", "per_token", "sequence_sums"]

Mask = Bool[np.ndarray, "N T"]
Owners = Int[np.ndarray, " N"]
Weights = Float[np.ndarray, "N T"]


def per_token(mask: Mask, sample: Owners) -> Weights:
    """The mean over all tokens of the batch (DAPO's, arXiv 2503.14476): long samples count more."""
    return mask / max(1, int(mask.sum()))


def per_sequence(mask: Mask, sample: Owners) -> Weights:
    """The mean over samples of the mean over a sample's tokens (GRPO's): of long samples each token counts less."""
    owners, index = np.unique(sample, return_inverse=True)
    lengths = np.bincount(index, mask.sum(axis=1), minlength=len(owners))
    return mask / np.maximum(lengths, 1)[index][:, None] / max(1, int((lengths > 0).sum()))


def sequence_sums(mask: Mask, sample: Owners) -> Weights:
    """The mean over samples of the sum over a sample's tokens: the policy gradient as it is derived."""
    owners = np.unique(sample[mask.any(axis=1)])
    return mask / max(1, len(owners))


@dataclasses.dataclass(frozen=True)
class Constant:
    """The sum over tokens divided by samples times a constant length (Dr. GRPO's, which takes the longest allowed).

    `sequence_sums` on another scale: no sample's weight depends on its own length, nor on the others'.
    """

    length: float

    def __post_init__(self):
        if not self.length > 0:
            raise ValueError(f"length is {self.length!r}; expected a positive number")

    def __call__(self, mask: Mask, sample: Owners) -> Weights:
        return sequence_sums(mask, sample) / self.length
