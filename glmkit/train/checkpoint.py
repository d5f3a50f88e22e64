"""Checkpoints of a run, written by Orbax: the whole state of training, so that a run goes on to the same bits.

A killed process leaves the checkpoints before the one it was writing. What was changed since is refused by name.
"""

import contextlib
import dataclasses
import math
import os
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from glmkit.errors import TrainingError
from glmkit.train.identity import Identity, difference
from glmkit.weights.unheard import failed_tasks_unheard

__all__ = ["Checkpoints", "leaving"]


class Checkpoints:
    """The checkpoints in a folder: the newest `keep`, and the `keep_best` with the least `metric`."""

    def __init__(self, folder: str | os.PathLike[str], *, keep: int = 2, keep_best: int = 0, metric: str = "eval_loss"):
        import orbax.checkpoint as ocp  # takes a second
        from orbax.checkpoint.checkpoint_managers import preservation_policy as policies

        self.folder, self._metric = Path(folder).resolve(), metric
        kept = [policies.LatestN(keep)]
        if keep_best:
            kept.append(
                policies.BestN(
                    get_metric_fn=lambda metrics: metrics[metric],
                    reverse=True,
                    n=keep_best,
                    keep_checkpoints_without_metrics=False,
                )
            )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(kept),
            best_fn=(lambda metrics: metrics[metric]) if keep_best else None,  # else Orbax does not write metrics
            best_mode="min",
            cleanup_tmp_directories=True,
            enable_async_checkpointing=False,  # the next step consumes the state
            step_prefix="step",
        )
        handlers = {"arrays": ocp.StandardCheckpointHandler(), "about": ocp.JsonCheckpointHandler()}
        self._ocp, self.keeps_best = ocp, keep_best > 0
        self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handlers)

    @property
    def latest(self) -> int | None:
        """The newest step there is a checkpoint of."""
        return self._manager.latest_step()

    @property
    def steps(self) -> tuple[int, ...]:
        """Those there is a checkpoint of."""
        return tuple(self._manager.all_steps())

    @property
    def best(self) -> int | None:
        """The step with the least `metric` that is kept; None where the best are not, or none was measured."""
        return self._manager.best_step() if self.keeps_best else None

    def save(
        self,
        step: int,
        state: Any,
        identity: Identity,
        position: Mapping[str, Any],
        metrics: Mapping[str, float] = types.MappingProxyType({}),
    ) -> None:
        """Write a state, a pytree of arrays, as it is after `step`. `position` is where the data stream stands.

        Without a finite `metric` among its metrics it is none of the best. Raises `TrainingError` when the disk is
        full; the checkpoints before stay.
        """
        about = {"identity": dataclasses.asdict(identity), "position": position}
        args = self._ocp.args
        measured = math.isfinite(metrics.get(self._metric, math.nan))
        try:
            with failed_tasks_unheard():
                self._manager.save(
                    step,
                    args=args.Composite(arrays=args.StandardSave(_named(state)), about=args.JsonSave(about)),
                    metrics=dict(metrics) if measured else None,
                    force=True,
                )
        except (OSError, ValueError) as error:  # Orbax's for a full disk is either
            raise TrainingError(f"step {step} was not saved in {self.folder}: {error}") from error

    def restore(self, like: Any, identity: Identity, step: int | None = None) -> tuple[Any, Mapping[str, Any]]:
        """A state, by default the newest, in the structure and on the devices of `like`, and where its data stood.

        Raises `TrainingError` when it belongs to another run, has other arrays, or cannot be read.
        """
        args, step = self._ocp.args, self.latest if step is None else step
        damaged = f"step {step} in {self.folder} is damaged; remove it to go on before it"
        try:
            about = self._manager.restore(step, args=args.Composite(about=args.JsonRestore()))["about"]
        except (OSError, ValueError, KeyError) as error:
            raise TrainingError(damaged) from error
        identity.check(about["identity"], self.folder)
        targets = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), _named(like)
        )
        try:
            self._check_arrays(targets, self._manager.item_metadata(step)["arrays"])
            arrays = self._manager.restore(step, args=args.Composite(arrays=args.StandardRestore(targets)))["arrays"]
        except (OSError, ValueError, KeyError) as error:
            raise TrainingError(damaged) from error
        leaves = [arrays[name] for name in _named(like)]
        return jax.tree.unflatten(jax.tree.structure(like), leaves), about["position"]

    def _check_arrays(self, wanted: Mapping[str, Any], saved: Any) -> None:
        """Raise `TrainingError` naming arrays that only one side has, or that differ in shape or dtype."""
        here, there = ({name: _described(leaf) for name, leaf in each.items()} for each in (wanted, saved))
        if differing := difference(there, here):
            raise TrainingError(
                f"{self.folder} holds a run with other arrays: {differing}; go on as it began, or give another folder "
                "to start afresh"
            )

    def close(self) -> None:
        self._manager.close()


@contextlib.contextmanager
def leaving(save: Callable[[], None], state: Callable[[], Any]) -> Iterator[None]:
    """Save when the block is left, by whatever, unless a step broke off that had consumed the state."""
    try:
        yield
    finally:
        if not any(leaf.is_deleted() for leaf in jax.tree.leaves(state())):
            save()


def _named(state: Any) -> dict[str, jax.Array]:
    """Every array by its path, in the order of the tree."""
    leaves, _ = jax.tree.flatten_with_path(state)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _described(leaf: Any) -> str:
    return f"{jax.numpy.dtype(leaf.dtype).name}{list(leaf.shape)}"
