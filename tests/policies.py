"""For tests of RL: batches of one field each, a task for short runs, and a policy that is a table, with all that it can
say enumerated."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from glmkit.rl import Problem, Task
from glmkit.rl.batch import Batch, Scored

SETTINGS = {"prompts": 2, "n": 3, "max_tokens": 4, "thinking": "disabled", "learning_rate": 1e-2, "eval_count": 0}
SETTINGS |= {"progress": False, "save_every": 2}


def batch_of(advantages, mask=None, weight=None, behaviour=None, old=None, reference=None) -> Batch:
    """A batch as losses see it, learned everywhere unless told otherwise."""
    advantages = jnp.asarray(advantages, float)
    mask = np.ones(advantages.shape, bool) if mask is None else np.asarray(mask)
    zeros = jnp.zeros_like(advantages)
    old, reference = (None if x is None else jnp.asarray(x) for x in (old, reference))
    return Batch(
        tokens=np.zeros(mask.shape, np.int32),
        segment_ids=np.zeros(mask.shape, np.int32),
        mask=mask,
        weight=zeros if weight is None else weight,
        behaviour=zeros if behaviour is None else jnp.asarray(behaviour),
        advantages=advantages,
        old=old,
        reference=reference,
    )


def scored_of(logprobs, entropy=None) -> Scored:
    return Scored(logprobs, jnp.zeros_like(logprobs) if entropy is None else jnp.asarray(entropy))


def high(sample) -> float:
    """Bytes of capital letters earn something, so that groups differ."""
    return sum(letter.isupper() for letter in sample.content) + 0.01 * sample.index


def task(**changes) -> Task:
    problems = [Problem(text) for text in ("a", "bc", "def")]
    return Task(**{"name": "letters", "problems": problems, "reward": high, "held_out": problems[:1], **changes})


def weights(policy) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(policy.model)]


class Table:
    """A policy over `vocab` tokens and sequences of `length`: a logit for each token after each prefix."""

    def __init__(self, vocab: int = 3, length: int = 2, seed: int = 0):
        self.vocab, self.length = vocab, length
        self.completions = list(itertools.product(range(vocab), repeat=length))
        self._prefixes = {
            p: i for i, p in enumerate(p for n in range(length) for p in itertools.product(range(vocab), repeat=n))
        }
        self.theta = jnp.asarray(np.random.default_rng(seed).standard_normal((len(self._prefixes), vocab)))

    @property
    def states(self) -> np.ndarray:
        """`[completion, length]`: the prefix before each token."""
        return np.array([[self._prefixes[c[:t]] for t in range(self.length)] for c in self.completions])

    def logprobs(self, theta) -> jax.Array:
        """`[completion, length]`."""
        table = jax.nn.log_softmax(theta)
        return table[self.states, np.array(self.completions)]

    def probabilities(self, theta) -> jax.Array:
        """`[completion]`."""
        return jnp.exp(self.logprobs(theta).sum(1))
