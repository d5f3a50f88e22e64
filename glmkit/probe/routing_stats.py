"""Counts of routes by group, layer and expert: added to piece by piece, saved, and read as tables."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int, Integer

from glmkit.checks import check_integer
from glmkit.errors import CheckpointError, RequestError
from glmkit.runs import Layers
from glmkit.runs.frames import data_frame
from glmkit.runs.routing import coactivations, expert_sums
from glmkit.runs.run import read_arrays
from glmkit.weights.arrays import write_arrays

__all__ = ["MARGIN_EDGES", "STATS", "Experts", "RoutingStats", "largest"]

STATS = ("load", "weight_mass", "coactivation", "margin", "top_tokens")
MARGIN_EDGES = np.concatenate([[0.0], np.logspace(-6, 0, 61)])  # of the bins that margins are counted in
_FORMAT = "glmkit.routing_stats.1"
_TRIES = 50  # for each control, before those found are taken for all that there are

Experts = Sequence[tuple[int, int]]
"""(layer, expert) of each."""


@dataclass(eq=False)
class RoutingStats:
    """What was counted, for each group: `tokens`, and by layer and expert what was asked for; None for the rest.

    `load` is how many tokens chose an expert, `weight_mass` the sum of the weights it had, `coactivation` how many
    tokens chose both of two, `margin` how many tokens had a margin in each bin of `MARGIN_EDGES`, of which the last is
    open, and `token_counts`, of all groups together, how often each token went to each expert. `about` is what else the
    counts depend on, by name, and `first` are digests of the first records: what is gone on with has the same.
    """

    layers: Layers
    stats: tuple[str, ...]
    model: str
    groups: list[str] = field(default_factory=list)
    records: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)
    tokens: Int[np.ndarray, " group"] = field(default_factory=lambda: np.zeros(0, np.int64))
    load: Int[np.ndarray, "group moe_layer E"] | None = None
    weight_mass: Float[np.ndarray, "group moe_layer E"] | None = None
    coactivation: Int[np.ndarray, "group moe_layer E E"] | None = None
    margin: Int[np.ndarray, "group moe_layer bin"] | None = None
    token_counts: Int[np.ndarray, "moe_layer E V"] | None = None

    @classmethod
    def empty(cls, layers: Layers, stats: Sequence[str], vocab_size: int, model: str) -> Self:
        """Nothing counted yet."""
        found = cls(layers, tuple(name for name in STATS if name in stats), model)
        shape = (len(layers.moe), layers.experts)
        kinds: dict[str, tuple[tuple[int, ...], Any]] = {
            "load": (shape, np.int64),
            "weight_mass": (shape, np.float64),
            "coactivation": ((*shape, layers.experts), np.int64),
            "margin": ((shape[0], len(MARGIN_EDGES)), np.int64),
        }
        for name, (of_group, dtype) in kinds.items():
            if name in stats:
                setattr(found, name, np.zeros((0, *of_group), dtype))
        if "top_tokens" in stats:
            found.token_counts = np.zeros((*shape, vocab_size), np.int32)
        return found

    def group(self, name: str) -> int:
        """The number of a group, which is new if there was none of this name."""
        if name not in self.groups:
            self.groups.append(name)
            for attribute in ("tokens", *STATS[:-1]):
                value = getattr(self, attribute)
                if value is not None:
                    setattr(self, attribute, np.concatenate([value, np.zeros((1, *value.shape[1:]), value.dtype)]))
        return self.groups.index(name)

    def add(
        self,
        group: int,
        ids: Integer[np.ndarray, "T moe_layer k"],
        weights: Float[np.ndarray, "T moe_layer k"] | None,
        margins: Float[np.ndarray, "T moe_layer"] | None,
        tokens: Int[np.ndarray, " T"],
    ) -> None:
        """Count tokens and their routes."""
        experts = self.layers.experts
        self.tokens[group] += len(tokens)
        if self.load is not None:
            self.load[group] += expert_sums(ids, experts).astype(np.int64)
        if self.weight_mass is not None:
            self.weight_mass[group] += expert_sums(ids, experts, weights)
        if self.coactivation is not None:
            self.coactivation[group] += coactivations(ids, experts)
        if self.margin is not None:
            bins = np.searchsorted(MARGIN_EDGES, margins, side="right") - 1
            for row in range(bins.shape[1]):
                self.margin[group, row] += np.bincount(bins[:, row], minlength=len(MARGIN_EDGES))
        if self.token_counts is not None:
            for row in range(ids.shape[1]):
                np.add.at(self.token_counts[row], (ids[:, row].ravel(), np.repeat(tokens, ids.shape[2])), 1)

    def share(self, group: str | None = None) -> Float[np.ndarray, "moe_layer E"]:
        """Of a layer's choices those of each expert, in one group or all together."""
        load = self._of("load", group)
        return load / np.maximum(load.sum(-1, keepdims=True), 1)

    def specialists(self, group: str, count: int = 3, *, out: Experts = ()) -> Experts:
        """(layer, expert) of those that are most a group's own, of whatever layers, the first most of all.

        By how much their share of its choices exceeds their mean share in the other groups; none of `out`. Raises
        RequestError for a group of which nothing was counted, and where there is no other.
        """
        counted = [name for name in self.groups if self._of("load", name).any()]
        if group in self.groups and group not in counted:
            raise RequestError(f"nothing was counted of {group!r}: it has no tokens of the phases that were wanted")
        more, others = self.share(group), [name for name in counted if name != group]
        if not others:
            raise RequestError(f"{group!r} has no other groups to be told from; collect with by=")
        return largest(self.layers, more - np.mean([self.share(name) for name in others], axis=0), count, out)

    def controls(
        self, experts: Experts, group: str, count: int, seed: int = 0, *, nearest: int = 5, out: Experts = ()
    ) -> tuple[Experts, ...]:
        """Sets of as many other experts of the same layers, each drawn from the `nearest` by their share of the group's
        choices, none of `out`: no two sets alike, fewer than `count` where there are no more.

        Raises RequestError for a layer or expert that there is not, and where a layer has too few others.
        """
        experts, out = self._checked(experts), self._checked(out)
        share, rng, found = self.share(group), np.random.default_rng(seed), dict[frozenset, Experts]()
        for _ in range(_TRIES * count):
            drawn: list[tuple[int, int]] = []
            for layer, expert in experts:
                own = share[self.layers.row(layer)]
                taken = {other for number, other in (*experts, *out, *drawn) if number == layer}
                free = [other for other in np.argsort(np.abs(own - own[expert]), kind="stable") if other not in taken]
                if not free:
                    raise RequestError(f"layer {layer} has no experts left for a control of {list(experts)}")
                drawn.append((layer, int(rng.choice(free[:nearest]))))
            found.setdefault(frozenset(drawn), tuple(drawn))
            if len(found) == count:
                break
        return tuple(found.values())

    def specialisation(self) -> Float[np.ndarray, " moe_layer"]:
        """Bits that the chosen expert tells of the group, with every group as frequent as any other.

        Groups of which nothing was counted are left out.
        """
        load = self._kept("load").astype(np.float64)
        load = load[load.any((1, 2))]
        joint = load / np.maximum(load.sum(2, keepdims=True), 1) / max(1, len(load))
        apart = joint.sum(0, keepdims=True) * joint.sum(2, keepdims=True)
        ratio = np.divide(joint, apart, out=np.ones_like(joint), where=joint > 0)
        return (joint * np.log2(ratio)).sum((0, 2))

    def top_tokens(self, layer: int, expert: int, count: int = 10) -> list[tuple[int, int]]:
        """The ids of the tokens that went to an expert most often, each with how often."""
        row = self.layers.row(self.layers.moe_number(layer))
        counts = self._kept("token_counts")[row, self.layers.expert(expert)]
        best = np.argsort(-counts, kind="stable")[:count]
        return [(int(token), int(counts[token])) for token in best if counts[token]]

    def to_pandas(self):
        """A data frame with a row for each group, layer and expert: tokens, load, share, and weight if it was kept."""
        load = self._kept("load")
        group, row, expert = (axis.ravel() for axis in np.indices(load.shape))
        columns = {"group": np.asarray(self.groups, object)[group], "layer": np.asarray(self.layers.moe)[row]}
        columns |= {"expert": expert, "tokens": self.tokens[group], "load": load.ravel()}
        columns["share"] = np.stack([self.share(name) for name in self.groups]).ravel()
        if self.weight_mass is not None:
            columns["weight"] = self.weight_mass.ravel()
        return data_frame(columns)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, all or nothing."""
        arrays = {name: getattr(self, name) for name in ("tokens", *STATS[:-1], "token_counts")}
        layers = [self.layers.numbers, self.layers.moe, self.layers.experts, self.layers.top_k]
        about = {"stats": self.stats, "groups": self.groups, "records": self.records, "layers": layers}
        about |= {"about": dict(self.about), "first": self.first}
        text = {name: json.dumps(value) for name, value in about.items()}
        kept = {name: array for name, array in arrays.items() if array is not None}
        write_arrays(path, kept, {"format": _FORMAT, "model": self.model, **text})

    @classmethod
    def load_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises CheckpointError naming a file that is something else."""
        arrays, about = read_arrays(path, _FORMAT)
        numbers, moe, experts, top_k = json.loads(about["layers"])
        layers = Layers(tuple(numbers), tuple(moe), experts, top_k)
        stats, groups, records = (json.loads(about[name]) for name in ("stats", "groups", "records"))
        asked, first = (json.loads(about.get(name, "[]")) for name in ("about", "first"))
        return cls(layers, tuple(stats), about["model"], groups, records, dict(asked), first, **arrays)

    def continued(self, empty: Self, path: str | os.PathLike[str]) -> Self:
        """This, to be gone on with. Raises CheckpointError if it is not of what `empty` is to count."""
        if (self.layers, self.stats, self.model) != (empty.layers, empty.stats, empty.model):
            raise CheckpointError(
                f"{path} counted {', '.join(self.stats)} of {self.model}; expected {', '.join(empty.stats)} of "
                f"{empty.model}, of the same layers; name another file"
            )
        for name, value in empty.about.items():
            if self.about.get(name) != value:
                raise CheckpointError(
                    f"{path} counted with another {name}: {self.about.get(name)!r} there, {value!r} here; go on as it "
                    "began, or name another file"
                )
        pairs = zip(self.first, empty.first, strict=False)
        if other := [number for number, (theirs, ours) in enumerate(pairs) if theirs != ours]:
            raise CheckpointError(
                f"{path} counted another record {other[0]}, or had it in another group; name another file"
            )
        self.first = max(self.first, empty.first, key=len)
        return self

    def __repr__(self) -> str:
        groups = ", ".join(f"{name} {count:,}" for name, count in zip(self.groups, self.tokens, strict=True))
        return f"RoutingStats({', '.join(self.stats)} of {self.records:,} records; tokens: {groups or 'none'})"

    def _checked(self, experts: Experts) -> Experts:
        """Raises RequestError for a dense layer, and for a layer or an expert that there is not."""
        return tuple((self.layers.moe_number(layer), self.layers.expert(expert)) for layer, expert in experts)

    def _of(self, name: str, group: str | None) -> np.ndarray:
        value = self._kept(name)
        if group is None:
            return value.sum(0)
        if group not in self.groups:
            raise RequestError(f"there is no group {group!r}; expected one of {', '.join(self.groups)}")
        return value[self.groups.index(group)]

    def _kept(self, name: str) -> np.ndarray:
        value = getattr(self, name)
        if value is None:
            what = "top_tokens" if name == "token_counts" else name
            raise RequestError(f"{what} was not counted, only {', '.join(self.stats)}; collect with stats=[{what!r}]")
        return value


def largest(layers: Layers, values: Float[np.ndarray, "moe_layer E"], count: int, out: Experts) -> Experts:
    """The experts of the largest values, the first of all first; none of `out`."""
    values = values.copy()
    for layer, expert in out:
        values[layers.row(layer), expert] = -np.inf
    order = np.argsort(-values, axis=None, kind="stable")[: check_integer("count", count, 1)]
    rows, experts = np.unravel_index(order, values.shape)
    return tuple((layers.moe[row], int(expert)) for row, expert in zip(rows, experts, strict=True))
