"""On-policy distillation: the policy samples, and a teacher says of each token how likely it would have been."""

import dataclasses

import numpy as np
from jaxtyping import Float

from glmkit.errors import DataError
from glmkit.rl.rollout import Rollout

__all__ = ["distilled"]


def distilled(
    rollout: Rollout,
    student: Float[np.ndarray, "N T"],
    teacher: Float[np.ndarray, "N T"],
    *,
    weight: float = 1.0,
) -> Rollout:
    """The rollout with `-weight * (lp_student - lp_teacher)` added to the advantage of each token that was drawn.

    Its expected gradient is that of `weight` times KL(student || teacher) at each state. `student` and `teacher` are
    the log-probabilities of `policy.score(rollout)` and `policy.score(rollout, model=teacher)`, where the teacher goes
    to experts of its own; of a rollout without advantages the teacher is all there is to learn from. Raises `DataError`
    for another shape.
    """
    for name, logprobs in (("student", student), ("teacher", teacher)):
        if logprobs.shape != rollout.mask.shape:
            raise DataError(f"{name} has shape {list(logprobs.shape)}; expected {list(rollout.mask.shape)}")
    before = rollout.per_token() if rollout.has_advantages else np.zeros(rollout.mask.shape)
    added = np.where(rollout.mask, weight * (teacher - student), 0)
    return dataclasses.replace(rollout, token_advantages=before + added)
