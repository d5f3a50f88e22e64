"""A rollout: what the policy said to a batch of problems, token by token, with all that training needs of it."""

import dataclasses
import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from glmkit.engine.sampling import Sampling
from glmkit.errors import DataError, RewardError
from glmkit.rl.sample import Sample
from glmkit.runs import PHASES

__all__ = ["Rollout"]

BY_ROW = (
    *("tokens", "length", "spans", "mask", "logprobs", "sample"),
    *("routes", "allowed", "token_advantages", "token_weights", "old", "reference"),
)
BY_SAMPLE = ("group", "demonstrated", "rewards", "advantages")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Rollout:
    """`S` samples in `N` rows of up to `T` tokens; its arrays are the leaves of a pytree.

    A sample is one row, except where a later turn was not shown all that came before (thoughts of earlier rounds are
    not): there another row begins. `mask` is true for the tokens that the policy drew, whose `logprobs` are those of
    the distribution they were drawn from; prompts, results of tools, and what a template or a thinking budget supplied
    are not. `spans` are numbers into `glmkit.runs.PHASES`, -1 for padding. `routes` are the experts of every token that
    was read, -1 elsewhere. `allowed` is what the sampler could draw from, as a mask that
    `glmkit.engine.sampling.allowed` reads, all ones where that is everything: the policy as it goes on and other models
    are scored over the same tokens. `version` is that of the policy's weights. `rollout[3]` is a `Sample`,
    `rollout[2:4]` or `rollout[mask]` the rollout of some.
    """

    tokens: Int[np.ndarray, "N T"]
    length: Int[np.ndarray, " N"]
    spans: Int[np.ndarray, "N T"]
    mask: Bool[np.ndarray, "N T"]
    logprobs: Float[np.ndarray, "N T"]
    sample: Int[np.ndarray, " N"]  # which of the samples the row belongs to
    group: Int[np.ndarray, " S"]  # samples of one problem
    routes: Int[np.ndarray, "N T moe_layer k"] | None = None
    allowed: Int[np.ndarray, "N T W"] | None = None  # what filters and a grammar let pass
    demonstrated: Bool[np.ndarray, " S"] | None = None  # samples that were given, whose `logprobs` say nothing
    rewards: Float[np.ndarray, " S"] | None = None
    advantages: Float[np.ndarray, " S"] | None = None
    token_advantages: Float[np.ndarray, "N T"] | None = None  # in the place of `advantages` where they differ by token
    token_weights: Float[np.ndarray, "N T"] | None = None  # in the place of what the update's `norm` gives
    old: Float[np.ndarray, "N T"] | None = None  # what the scorer gave before the first of several updates
    reference: Float[np.ndarray, "N T"] | None = None  # what a reference model gives
    samples: tuple[Sample, ...] = dataclasses.field(default=(), metadata={"static": True}, repr=False)
    parts: Mapping[str, Any] = dataclasses.field(default_factory=dict, metadata={"static": True})  # rewards by name
    sampling: Sampling = dataclasses.field(default=Sampling(), metadata={"static": True})
    version: int = dataclasses.field(default=0, metadata={"static": True})

    def __len__(self) -> int:
        return len(self.group)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            return self.samples[index]
        return self._taken(np.arange(len(self))[index])

    def rewarded(self, reward: Callable[[Sample], float | Mapping[str, float]]) -> Self:
        """With the rewards of a function of one sample, or their parts, which are added up.

        Raises `RewardError`, which names the sample and has this rollout as `rollout`, for a reward that raises, or is
        no finite number.
        """
        found = [self._reward(reward, sample) for sample in self.samples]
        names = list(dict.fromkeys(name for parts in found for name in parts))
        columns = {name: np.array([parts.get(name, 0.0) for parts in found], np.float64) for name in names}
        total = np.sum(list(columns.values()), axis=0) if columns else np.zeros(len(self))
        columns.pop("", None)  # of samples whose reward has no parts
        return self.with_rewards(total, columns)

    def with_rewards(
        self, rewards: Sequence[float] | np.ndarray, parts: Mapping[str, np.ndarray] | None = None
    ) -> Self:
        """With one number for each sample. Raises `RewardError` for another count, or what is not finite."""
        values = np.asarray(rewards, np.float64)
        if values.shape != (len(self),):
            raise RewardError(f"{values.size} rewards for {len(self)} samples; expected one for each", self)
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise RewardError(f"the reward of {self.samples[at] if self.samples else at} is {values[at]}", self)
        return dataclasses.replace(self, rewards=values, parts=dict(parts or {}))

    def with_advantage(self, function: Callable[[Float[np.ndarray, "G n"]], Float[np.ndarray, "G n"]]) -> Self:
        """With the advantages that a function of rewards `[G, n]` gives, a row for each group.

        Warns where every group has equal rewards, since nothing is learned from those. Raises `DataError` for no
        samples, groups of different sizes, or a function that gives another shape.
        """
        if self.rewards is None:
            raise DataError("this rollout has no rewards yet: rollout.rewarded(task.reward)")
        groups, index, sizes = np.unique(self.group, return_inverse=True, return_counts=True)
        if not len(groups):
            raise DataError("this rollout has no samples left: there is nothing to learn from")
        if len(set(sizes.tolist())) > 1:
            raise DataError(f"groups have {sizes.min()} to {sizes.max()} samples; keep or drop groups as a whole")
        order = np.argsort(index, kind="stable")
        by_group = self.rewards[order].reshape(len(groups), -1)
        found = np.asarray(function(by_group), np.float64)
        if found.shape != by_group.shape:
            raise DataError(f"the advantages have shape {list(found.shape)}; expected {list(by_group.shape)}")
        if (by_group == by_group[:, :1]).all() and not found.any():
            warnings.warn(
                f"the rewards of each of the {len(groups)} groups are all equal: the gradient is zero", stacklevel=2
            )
        advantages = np.empty(len(self))
        advantages[order] = found.ravel()
        return dataclasses.replace(self, advantages=advantages, token_advantages=None)

    def with_reference(self, logprobs: Float[np.ndarray, "N T"]) -> Self:
        """With the log-probabilities that another model gives the tokens, those of `Policy.score(...)`.

        Raises `DataError` for another shape.
        """
        if np.shape(logprobs) != self.mask.shape:
            raise DataError(
                f"the reference has shape {list(np.shape(logprobs))}; expected {list(self.mask.shape)}, as the "
                "`logprobs` of policy.score(...) have"
            )
        return dataclasses.replace(self, reference=logprobs)

    @property
    def has_advantages(self) -> bool:
        return self.advantages is not None or self.token_advantages is not None

    @property
    def drawn(self) -> Self:
        """The samples that the policy drew: all but demonstrations."""
        return self if self.demonstrated is None else self.where(~self.demonstrated)

    @property
    def drawn_rows(self) -> Bool[np.ndarray, " N"]:
        """Whose `logprobs` say what the policy drew them with: rows of all samples but demonstrations."""
        return np.ones(len(self.sample), np.bool_) if self.demonstrated is None else ~self.demonstrated[self.sample]

    def where(self, keep: Bool[np.ndarray, " S"]) -> Self:
        """The samples for which `keep` is true."""
        return self._taken(np.flatnonzero(keep))

    def lengths(self) -> Int[np.ndarray, " S"]:
        """How many tokens of each sample the policy drew."""
        return np.bincount(self.sample, self.mask.sum(axis=1), minlength=len(self)).astype(np.int64)

    def per_token(self) -> Float[np.ndarray, "N T"]:
        """The advantage of each token: its sample's, or its own; 0 where nothing is learned."""
        if self.token_advantages is not None:
            return self.token_advantages
        if self.advantages is None:
            raise DataError("this rollout has no advantages yet: rollout.with_advantage(gk.rl.advantage.dr_grpo)")
        return np.where(self.mask, self.advantages[self.sample][:, None], 0.0)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, all or nothing; `Rollout.load` reads it back."""
        from glmkit.rl.rollout_file import write

        write(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Rollout":
        """Read what `save` wrote. Raises `CheckpointError` naming a file that is something else."""
        from glmkit.rl.rollout_file import read

        return read(path)

    @classmethod
    def joined(cls, rollouts: Sequence["Rollout"]) -> "Rollout":
        """Several of one policy as one; groups and samples are numbered anew. Raises `DataError` where they differ."""
        from glmkit.rl.rollout_file import join

        return join(rollouts)

    def __repr__(self) -> str:
        counts = Counter(self.spans[self.spans >= 0].tolist())
        spans = ", ".join(f"{counts[code]:,} {name}" for code, name in enumerate(PHASES) if counts[code])
        earned = "" if self.rewards is None else f", reward {self.rewards.mean():.3f}" if len(self) else ""
        groups = len(np.unique(self.group))
        learned = f"{int(self.mask.sum()):,} learned"
        return f"Rollout({len(self)} samples in {groups} groups{earned}; tokens: {spans}; {learned}; v{self.version})"

    def _repr_html_(self) -> str:
        from glmkit.rl.rollout_html import page

        return page(self)

    def _reward(self, reward: Callable[[Sample], Any], sample: Sample) -> dict[str, float]:
        try:
            found = reward(sample)
            parts = dict(found) if isinstance(found, Mapping) else {"": found}
            if not parts or any(isinstance(value, str | bytes) for value in parts.values()):
                raise TypeError(f"{found!r} is no number, nor numbers by name")
            numbers = {name: float(value) for name, value in parts.items()}
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise RewardError(f"the reward raised for {sample}: {told}; the rollout is kept", self) from error
        for name, value in numbers.items():
            if not np.isfinite(value):
                part = f"part {name!r} of the reward" if name else "reward"
                raise RewardError(f"the {part} of {sample} is {value}; the rollout is kept", self)
        return numbers

    def _taken(self, chosen: Int[np.ndarray, " K"]) -> Self:
        """Samples by their places, in that order, one that is named twice twice."""
        in_order, counts = np.argsort(self.sample, kind="stable"), np.bincount(self.sample, minlength=len(self))
        starts = np.cumsum(counts) - counts
        rows = [in_order[starts[old] : starts[old] + counts[old]] for old in chosen]
        rows = np.concatenate([np.zeros(0, np.int64), *rows])
        changes: dict[str, Any] = {
            name: None if getattr(self, name) is None else getattr(self, name)[rows] for name in BY_ROW
        }
        changes |= {name: None if getattr(self, name) is None else getattr(self, name)[chosen] for name in BY_SAMPLE}
        changes["sample"] = np.repeat(np.arange(len(chosen)), counts[chosen]).astype(self.sample.dtype)
        changes["parts"] = {name: values[chosen] for name, values in self.parts.items()}
        if self.samples:
            changes["samples"] = tuple(
                dataclasses.replace(self.samples[old], index=new) for new, old in enumerate(chosen.tolist())
            )
        return dataclasses.replace(self, **changes)
