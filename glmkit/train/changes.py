"""What interventions change in rows of packed examples, each of which is a context of its own."""

import numpy as np

from glmkit.model import GLM, Interventions
from glmkit.runs.plans import Plan
from glmkit.runs.reading import warn_of_idle
from glmkit.text import Tokenizer
from glmkit.text.phases import numbered, phases
from glmkit.train.data import Batch

__all__ = ["Changes"]


class Changes:
    """A plan for a model that is trained. Raises RequestError naming what does not exist in it.

    Places and phases are those of a run over the example alone.
    """

    def __init__(self, plan: Plan, model: GLM, tokenizer: Tokenizer | None):
        self._bound, self._tokenizer = plan.bind(model, None), tokenizer
        self.identity = f"{plan}, {self._bound.digest}"

    def __call__(self, batch: Batch) -> Interventions:
        """Of one micro-batch, `[B, T]`; of the same structure for all."""
        positions, coded = np.zeros(batch.tokens.shape, np.int32), np.full(batch.tokens.shape, -1, np.int32)
        for row, segments in enumerate(batch.segment_ids):
            for segment in range(segments.max() + 1):
                at = np.flatnonzero(segments == segment)
                ids = batch.tokens[row, at].tolist()
                self._bound.check_prompt(ids)
                positions[row, at] = np.arange(len(at))
                coded[row, at] = numbered(phases(ids, self._tokenizer))
        return self._bound.at(positions, coded)

    def warn_of_idle(self) -> None:
        """Say what of the plan has held for no token so far."""
        warn_of_idle(self._bound, None)
