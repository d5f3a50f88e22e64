"""Which curves of a run stand together in a panel, in which order, and which are shown only when asked for."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

__all__ = ["Panel", "panels"]


class Panel(NamedTuple):
    """Curves over one axis. In `PANELS`, a name may stand for all that it matches, such as "entropy/*"."""

    title: str
    names: tuple[str, ...]
    about: str = ""
    level: float | None = None  # a line to compare with
    quiet: bool = False


PANELS = (
    Panel("Held-out accuracy", ("held_out/greedy", "held_out/sampled")),
    Panel("Reward", ("reward", "reward/*"), "The mean over the samples of a step, and of the reward's parts"),
    Panel("Loss", ("loss", "mtp_loss", "eval_loss"), "In nats, where it is learned from text"),
    Panel(
        "Load imbalance",
        ("imbalance", "load_max"),
        "The busiest expert's load over the mean, in the worst layer; 1 is even",
        level=1.0,
    ),
    Panel(
        "Length, tokens", ("length_mean", "held_out/greedy_tokens", "held_out/sampled_tokens"), "Of what was written"
    ),
    Panel("Entropy, nats", ("entropy", "entropy/*"), "Of the distribution that is sampled from, by span"),
    Panel("KL, nats", ("kl",), "From the reference, at the sampled tokens"),
    Panel("Clipped tokens", ("clip_low", "clip_high", "clip_dual"), "The share whose gradient a bound takes"),
    Panel(
        "Mismatch, nats", ("mismatch_max", "mismatch_mean"), "Between the sampler's log-probabilities and the scorer's"
    ),
    Panel("Equal groups", ("groups_equal",), "The share of problems whose samples all earned the same: no gradient"),
    Panel("Gradient norm", ("gradient_norm",), "Before clipping"),
    Panel("Router drift", ("router_drift",), "The change of the routers' weights over their norm"),
    Panel("Tokens per second", ("tokens_per_s",)),
)
QUIET = (
    "seconds", "*_seconds", "tokens", "learned_tokens", "samples", "groups", "groups_all_*", "length_max", "truncated",
    "reward_std", "route_flips", "routes_held", "load_min", "load_entropy", "bias_drift", "last/*", "shaped/*",
    "temperature", "held_out/count",
)  # fmt: skip


def panels(names: Iterable[str]) -> list[Panel]:
    """The panels of a run with these curves; a curve that nothing is known of has one of its own."""
    left, found = list(names), []
    for panel in PANELS:
        here = tuple(name for pattern in panel.names for name in left if fnmatchcase(name, pattern))
        if here:
            found.append(panel._replace(names=here))
            left = [name for name in left if name not in here]
    alone = (Panel(_spoken(name), (name,), quiet=any(fnmatchcase(name, quiet) for quiet in QUIET)) for name in left)
    return [*found, *alone]


def _spoken(name: str) -> str:
    return (name[:1].upper() + name[1:]).replace("_", " ").replace("/", ": ")
