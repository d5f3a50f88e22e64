"""Devices that run out of memory: what to change is told."""

import contextlib
from collections.abc import Callable, Iterator

import jax

from glmkit.errors import TrainingError
from glmkit.model import GLM
from glmkit.parallel.planner import is_out_of_memory
from glmkit.sharding import platform_of
from glmkit.train.settings import Settings

__all__ = ["to_start", "to_step", "told_of_memory"]


@contextlib.contextmanager
def told_of_memory(advice: Callable[[], str]) -> Iterator[None]:
    """Raise `TrainingError` with the advice where the block runs out of memory."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(f"the devices ran out of memory {advice()}") from error


def to_start() -> str:
    """What to change for a run to begin."""
    return (
        "with what is trained, its optimiser's state and float32 copies: train an adapter (add_lora), freeze some of "
        "it, set master_weights=False, or shard the model over more devices"
    )


def to_step(settings: Settings, model: GLM) -> str:
    """What to change for a step to fit."""
    s, remat = settings, ""
    if s.remat != "block":
        in_vain = platform_of(model.embed[...]) == "cpu" and not any(model.layer_counts)
        remat = f'set remat="block"{" on model.stacked()" if in_vain else ""}, '
    return (
        f"at batch_size={s.batch_size}, length={s.length}, remat={s.remat!r}: lower batch_size and raise accumulate by "
        f"as much, {remat}or lower length"
    )
