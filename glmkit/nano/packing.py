"""Examples to rows of tokens: encoding with a loss mask, and packing many examples into one batch.

Everything is a pure function of (seed, step): a run that stops resumes with the same data, and needs no data files.
"""

from typing import NamedTuple

import numpy as np

from glmkit.nano.curriculum import Example, example
from glmkit.text.tokenizer import Tokenizer

__all__ = ["Batch", "batch", "encode"]

EXAMPLES_PER_STEP = 2**24
"""Room in the stream of examples for one step; no step uses nearly as many."""

MISSES = 16
"""A batch is full when so many examples have found no row with room for them."""


class Batch(NamedTuple):
    tokens: np.ndarray
    """int32 [B, T]; padding holds <|endoftext|>."""
    loss_mask: np.ndarray
    """bool [B, T]: whether this token is one the model learns to produce (from those before it)."""
    segment_ids: np.ndarray
    """int32 [B, T]: 0, 1, ... number the examples of a row, -1 is padding."""


def encode(tokenizer: Tokenizer, item: Example) -> tuple[list[int], list[int]]:
    """Token ids of an example's prompt and of its completion.

    They are encoded apart, as at inference. The prompt ends in a special token, so no merge is lost by it.
    """
    return tokenizer.encode(item.prompt), tokenizer.encode(item.completion)


def batch(tokenizer: Tokenizer, seed: int, step: int, batch_size: int, length: int) -> Batch:
    """The batch of this step: whole examples, each in the first row with room for it.

    An example longer than `length` is passed over.
    """
    tokens = np.full((batch_size, length), tokenizer.token_id("<|endoftext|>"), np.int32)
    loss_mask = np.zeros((batch_size, length), bool)
    segment_ids = np.full((batch_size, length), -1, np.int32)
    used, misses = np.zeros(batch_size, int), 0
    index = step * EXAMPLES_PER_STEP
    while misses < MISSES:
        prompt, completion = encode(tokenizer, example(seed, index))
        index += 1
        size = len(prompt) + len(completion)
        (rows,) = np.nonzero(used + size <= length)
        if not rows.size:
            misses += 1
            continue
        row, start = rows[0], used[rows[0]]
        tokens[row, start : start + size] = prompt + completion
        loss_mask[row, start + len(prompt) : start + size] = True
        segment_ids[row, start : start + size] = segment_ids[row, start - 1] + 1 if start else 0
        used[row] += size
    return Batch(tokens, loss_mask, segment_ids)
