"""What is measured of a rollout and an update, as numbers by name. Log-probabilities and entropies are in nats."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from glmkit.rl.rollout import Rollout
from glmkit.runs import PHASES
from glmkit.runs.routing import expert_sums

__all__ = [
    "advantage_mass", "divergence", "mismatch", "of_groups", "of_load", "of_rollout", "of_samples", "of_step",
    "of_tokens",
]  # fmt: skip

_OF_SAMPLER = ("mismatch_max", "mismatch_mean", "route_flips", "routes_held", "kl", "entropy")


def of_step(sampled: Rollout, shaped: Rollout | None, updates: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What was sampled, as `shaped/...` what was made of it to learn from, and what updates on that told.

    Of several updates it is the last, but of the sampler what the first told, which began from the sampler's weights;
    `last/...` is what the last one did.
    """
    found = dict(updates[-1]) if updates else {}
    if len(updates) > 1:
        names = [name for name in found if name.partition("/")[0] in _OF_SAMPLER]
        found |= {f"last/{name}": found[name] for name in names} | {name: updates[0][name] for name in names}
    found |= of_rollout(sampled)
    if shaped is not None:
        found |= {f"shaped/{name}": value for name, value in of_rollout(shaped).items()}
    return found


def of_rollout(rollout: Rollout) -> dict[str, float]:
    """Of its samples and its groups."""
    return of_samples(rollout) | of_groups(rollout)


def of_samples(rollout: Rollout) -> dict[str, float]:
    """How many there are, and of those that were drawn rewards, their parts, and how long they are."""
    values = {
        "samples": float(len(rollout)),
        "tokens": float(rollout.length.sum()),
        "learned_tokens": float(rollout.mask.sum()),
    }
    rollout = rollout.drawn
    lengths = rollout.lengths()
    values |= {
        "length_mean": float(lengths.mean()) if len(lengths) else 0.0,
        "length_max": float(lengths.max(initial=0)),
    }
    if rollout.samples:
        values["truncated"] = float(np.mean([not sample.finished for sample in rollout.samples]))
    if rollout.rewards is not None and len(rollout):
        values |= {"reward": float(rollout.rewards.mean()), "reward_std": float(rollout.rewards.std())}
        values |= {f"reward/{name}": float(part.mean()) for name, part in rollout.parts.items()}
    return values


def of_groups(rollout: Rollout) -> dict[str, float]:
    """Shares of groups whose rewards are all equal, all the highest seen, and all the lowest, which teach nothing."""
    rollout = rollout.drawn
    if rollout.rewards is None or not len(rollout):
        return {}
    low, high = rollout.rewards.min(), rollout.rewards.max()
    by_group = [rollout.rewards[rollout.group == group] for group in np.unique(rollout.group)]
    equal = np.array([np.ptp(rewards) == 0 for rewards in by_group])
    first = np.array([rewards[0] for rewards in by_group])
    return {
        "groups": float(len(by_group)),
        "groups_equal": float(equal.mean()),
        "groups_all_best": float((equal & (first == high)).mean()),
        "groups_all_worst": float((equal & (first == low)).mean()),
    }


def mismatch(
    rollout: Rollout, logprobs: Float[np.ndarray, "N T"], flips: Int[np.ndarray, "N T"] | None
) -> dict[str, float]:
    """How far the scorer is from the sampler: log-probabilities at tokens it drew, and routes wherever known.

    `route_flips` is the share of tokens with another set of experts in any layer, among those that were routed.
    """
    drawn = rollout.mask & rollout.drawn_rows[:, None]
    off = np.abs(logprobs.astype(np.float64) - rollout.logprobs)[drawn]
    values = {
        "mismatch_max": float(off.max(initial=0.0)),
        "mismatch_mean": float(off.mean()) if off.size else 0.0,
    }
    if flips is not None and rollout.routes is not None:
        known = (rollout.routes >= 0).all(axis=(2, 3))
        values["route_flips"] = float((flips[known] > 0).mean()) if known.any() else 0.0
    return values


def divergence(rollout: Rollout, logprobs: Float[np.ndarray, "N T"]) -> dict[str, float]:
    """`kl`, the mean of the estimate k3 of the divergence from the reference over tokens that the policy drew, where
    what the reference gives them is known."""
    if rollout.reference is None:
        return {}
    difference = logprobs.astype(np.float64) - rollout.reference
    return {"kl": _mean(np.expm1(-difference) + difference, rollout.mask & rollout.drawn_rows[:, None])}


def of_tokens(
    rollout: Rollout, entropy: Float[np.ndarray, "N T"], measured: Mapping[str, Float[np.ndarray, "N T"]]
) -> dict[str, float]:
    """Means over learned tokens: entropy, by span too, and what the loss measured, such as clip fractions."""
    values = {"entropy": _mean(entropy, rollout.mask)}
    for code, name in enumerate(PHASES):
        here = rollout.mask & (rollout.spans == code)
        if here.any():
            values[f"entropy/{name}"] = _mean(entropy, here)
    return values | {name: _mean(x, rollout.mask) for name, x in measured.items()}


def of_load(load: Float[np.ndarray, "moe_layer E"]) -> dict[str, float]:
    """Of the experts: the busiest's load over the mean in the worst layer, the least's, and the entropy in bits."""
    if not load.size or not load.sum():
        return {}
    share = load / np.maximum(load.sum(axis=1, keepdims=True), 1)
    bits = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1)
    return {
        "load_max": float((share.max(axis=1) * load.shape[1]).max()),
        "load_min": float((share.min(axis=1) * load.shape[1]).min()),
        "load_entropy": float(bits.mean()),
    }


def advantage_mass(rollout: Rollout, experts: int) -> Float[np.ndarray, "moe_layer E"]:
    """How much advantage, in absolute value, went through each expert: sums over learned tokens, split evenly among
    the experts that predicted the token, which are those of the token before it."""
    mass = np.abs(rollout.per_token())[:, 1:]
    before = rollout.routes[:, :-1]
    here = rollout.mask[:, 1:] & (before >= 0).all(axis=(2, 3))
    ids, weights = before[here], mass[here]
    shares = np.broadcast_to((weights / ids.shape[-1])[:, None, None], ids.shape)
    return expert_sums(ids, experts, shares)


def _mean(x: np.ndarray, where: np.ndarray) -> float:
    return float(x[where].astype(np.float64).mean()) if where.any() else 0.0
