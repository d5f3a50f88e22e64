"""The loss of a model on held-out data."""

import jax
import jax.numpy as jnp

from glmkit.model import GLM, Interventions
from glmkit.train.changes import Changes
from glmkit.train.data import Batch, Source, batches
from glmkit.train.loss import loss_sums, targets_ahead
from glmkit.train.settings import check_shares

__all__ = ["evaluate"]


def evaluate(
    model: GLM, data: Source, batch_size: int = 8, length: int = 1024, changes: Changes | None = None
) -> float:
    """Mean loss in nats over every learned token of `data`, of the model as it is changed.

    Raises `ConfigError` for rows that the devices cannot share.
    """
    check_shares(batch_size, model)
    total, count = 0.0, 0
    for batch in batches(data, length=length, batch_size=batch_size):
        changed = None if changes is None else changes(batch)
        sums, counted = _sums(model, Batch(*map(jnp.asarray, batch)), changed)
        total, count = total + float(sums), count + int(counted)
    return total / max(1, count)


@jax.jit
def _sums(model: GLM, batch: Batch, interventions: Interventions | None):
    sums = loss_sums(model, batch, second=False, interventions=interventions)
    return sums.next_token, targets_ahead(batch, 1).counted.sum()
