"""For tests of `fit`: settings and records of short runs, and whether two networks are the same."""

import jax
import numpy as np

SETTINGS = {"batch_size": 2, "length": 32, "learning_rate": 3e-3, "progress": False}
RECORDS = [
    {"messages": [{"role": "user", "content": "ab"[n % 2]}, {"role": "assistant", "content": "ba"[n % 2]}]}
    for n in range(24)
]


def leaves(network) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(network)]


def same(ours, theirs) -> bool:
    return all((a == b).all() for a, b in zip(leaves(ours), leaves(theirs), strict=True))
