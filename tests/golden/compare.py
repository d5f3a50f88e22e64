"""How logits, chosen experts and tokens of two programs are compared. Each function returns a number to assert on."""

from __future__ import annotations

import numpy as np

from golden.cases import Inputs

# Of the largest logit: float32 sums in another order differ by 2e-6 in shallow models and 2e-5 after 46 layers.
LOGITS_TOLERANCE = 1e-4
# In nats, the mean over tokens. The reference in bfloat16 is itself this far from the reference in float32, nearly all
# of it from the one token in ten that rounding sends to another expert.
BFLOAT16_KL = 0.015


def relative_error(logits: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest expected logit."""
    return float(np.abs(logits - expected).max() / np.abs(expected).max())


def mean_kl(logits: np.ndarray, expected: np.ndarray) -> float:
    """The mean over rows of KL(expected || logits)."""
    p, q = _log_softmax(expected), _log_softmax(logits)
    return float((np.exp(p) * (p - q)).sum(-1).mean())


def load_of(experts: np.ndarray, inputs: Inputs, count: int) -> np.ndarray:
    """How many tokens that are not padding chose each of `count` experts, `[moe_layer, E]`."""
    return np.stack([np.bincount(layer[inputs.valid].ravel(), minlength=count) for layer in experts])


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
