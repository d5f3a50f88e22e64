"""Writes the golden files: what the reference implementation computes on the cases, in a few kilobytes each.

Needs PyTorch and transformers. From the folder `tests`: `python -m golden.make [case ...]`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from golden.cases import CASES, GREEDY_TOKENS, NEAR_TIE_EXPERTS, NEAR_TIE_TOKENS, Case, fingerprint, write_checkpoint
from golden.files import Golden, kept_steps
from parity.reference import Reference, Scores, closest_expert, closest_token


def make(case: Case, folder: Path) -> Golden:
    """Run the reference on a case. Raises ValueError where it came to a near tie: the case needs another seed."""
    tensors = write_checkpoint(folder, case)
    reference = Reference(folder)
    inputs = case.inputs
    greedy = reference.greedy(inputs, GREEDY_TOKENS) if case.greedy else np.zeros((len(inputs.tokens), 0), np.int32)
    inputs = inputs.followed_by(greedy)
    scores = reference(inputs)
    _require_decided(scores, inputs.valid, greedy)

    steps = kept_steps(inputs)
    narrow = Reference(folder, "bfloat16")(inputs).logits[:, steps] if case.bfloat16 else None
    return Golden(
        fingerprint=fingerprint(tensors),
        greedy=greedy,
        experts=scores.experts.astype(np.uint8),
        logits=scores.logits[:, steps],
        bfloat16_logits=narrow,
        mtp_logits=reference.mtp_logits(inputs)[:, steps[:-1]] if reference.has_mtp else None,
    )


def _require_decided(scores: Scores, valid: np.ndarray, greedy: np.ndarray) -> None:
    """Equality with the golden file is exact because no choice in it is a near tie."""
    expert, token = closest_expert(scores, valid), closest_token(scores, greedy)
    if expert < NEAR_TIE_EXPERTS or token < NEAR_TIE_TOKENS:
        raise ValueError(
            f"closest choice of an expert {expert:.1e}, of a token {token:.1e}; give the case another seed"
        )


def main(names: list[str]) -> None:
    for name in names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            path = make(CASES[name], Path(folder)).save(name)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
