"""What a loss is given: a rollout's arrays as the scorer reads them, and what it finds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from glmkit.engine.sampling import SamplingBatch

__all__ = ["Batch", "Scored"]


class Batch(NamedTuple):
    """Rows of tokens; what stands at place t is about the token at t, which was predicted from those before it.

    `mask` says which tokens are learned: those that the policy drew. `weight` is how much each counts in the loss, 0
    where not learned. `behaviour` are the log-probabilities it was drawn with, NaN of demonstrations, which were not
    drawn; `old` those that the scorer gave before the update, None in the first update on a rollout; `reference` those
    of a reference model. `settings` says by row the temperature its tokens were sampled with, None where it is 1;
    `allowed` which tokens filters and a grammar let pass, as `glmkit.engine.sampling.allowed` reads it.
    """

    tokens: Int[Array | np.ndarray, "*M R T"]
    segment_ids: Int[Array | np.ndarray, "*M R T"]  # -1 is padding
    mask: Bool[Array | np.ndarray, "*M R T"]
    weight: Float[Array | np.ndarray, "*M R T"]
    behaviour: Float[Array | np.ndarray, "*M R T"]
    advantages: Float[Array | np.ndarray, "*M R T"]
    settings: SamplingBatch | None = None
    old: Float[Array | np.ndarray, "*M R T"] | None = None
    reference: Float[Array | np.ndarray, "*M R T"] | None = None
    routes: Int[Array | np.ndarray, "*M R T moe_layer k"] | None = None  # -1 for none
    allowed: Int[Array | np.ndarray, "*M R T W"] | None = None


class Scored(NamedTuple):
    """Of each token, 0 at the first place and wherever nothing is learned; in nats."""

    logprobs: Float[Array | np.ndarray, "*M R T"]  # under the distribution that is sampled from
    entropy: Float[Array | np.ndarray, "*M R T"]  # of that distribution
