"""From a rollout to the arrays of an update: weights by token, rows as micro-batches, on the devices."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Float

from glmkit.engine.sampling import Sampling, SamplingBatch
from glmkit.errors import DataError
from glmkit.rl.batch import Batch
from glmkit.rl.rollout import Rollout
from glmkit.sharding import partition_spec

__all__ = ["by_row", "micro_batches"]

_EMPTY = {"segment_ids": -1, "routes": -1, "allowed": -1}  # what rows are filled up with; 0 elsewhere


def micro_batches(
    rollout: Rollout,
    rows: int,
    mesh: Mesh,
    weight: Callable[..., Float[np.ndarray, "N T"]] | None = None,
    dtype: type[np.floating] = np.float32,
) -> Batch:
    """Micro-batches of `rows` rows, `[M, R, T]`, the last filled up with padding.

    With `weight`, a normalisation, they carry advantages and weights, the rollout's own if it has some; without, only
    what is to be scored. Raises `DataError` for samples that were drawn greedily, which have no distribution to learn
    from, and where it is not known what filters left.
    """
    if rollout.sampling.temperature == 0:
        raise DataError("this rollout was sampled with temperature 0: its tokens were not drawn from a distribution")
    if rollout.sampling.filters and rollout.allowed is None:
        raise DataError(
            "this rollout was sampled with top_p, top_k or min_p, and does not tell what these left: allowed"
        )
    mask = rollout.mask
    zeros = np.zeros(mask.shape, dtype)
    places = np.arange(mask.shape[1])
    parts = Batch(
        tokens=rollout.tokens,
        segment_ids=np.where(places < rollout.length[:, None], 0, -1).astype(np.int32),
        mask=mask,
        weight=zeros if weight is None else np.where(mask, _weights(rollout, weight), 0).astype(dtype),
        behaviour=np.where(rollout.drawn_rows[:, None], rollout.logprobs, np.nan).astype(dtype),
        advantages=zeros if weight is None else rollout.per_token().astype(dtype),
        old=None if rollout.old is None else rollout.old.astype(dtype),
        reference=None if rollout.reference is None else rollout.reference.astype(dtype),
        routes=rollout.routes,
        allowed=rollout.allowed,
    )
    count = max(1, -(-len(mask) // rows))

    def cut(name: str, x: np.ndarray | None) -> jax.Array | None:
        if x is None:
            return None
        width = [(0, count * rows - len(x)), *[(0, 0)] * (x.ndim - 1)]
        x = np.pad(x, width, constant_values=_EMPTY.get(name, 0)).reshape(count, rows, *x.shape[1:])
        layout = NamedSharding(mesh, partition_spec((None, "batch", *(None,) * (x.ndim - 2))))
        return jax.make_array_from_process_local_data(layout, x)

    arrays = {name: cut(name, x) for name, x in parts._asdict().items() if name != "settings"}
    settings = None
    if rollout.sampling.temperature != 1:
        drawn, shown = Sampling(rollout.sampling.temperature), Sampling()
        rows_as = SamplingBatch.of([drawn if was_drawn else shown for was_drawn in rollout.drawn_rows])
        settings = jax.tree.map(lambda x: cut("settings", x), rows_as)
    return Batch(settings=settings, **arrays)


def _weights(rollout: Rollout, norm: Callable[..., Float[np.ndarray, "N T"]]) -> Float[np.ndarray, "N T"]:
    return norm(rollout.mask, rollout.sample) if rollout.token_weights is None else rollout.token_weights


def by_row(x: jax.Array, rows: int) -> np.ndarray:
    """`[M, R, ...]` as `[N, ...]` on the host, padding left out."""
    x = np.asarray(x)
    return x.reshape(-1, *x.shape[2:])[:rows]
