"""Which experts each token of a run went to, and what can be read from that."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from glmkit.errors import RequestError
from glmkit.runs.frames import data_frame
from glmkit.runs.layers import Layers
from glmkit.runs.tokens import Phase, Tokens
from glmkit.text.phases import checked_phases

__all__ = ["LayerRouting", "Routing", "coactivations", "expert_sums"]


@dataclass(frozen=True, eq=False)
class LayerRouting:
    """The routes of one layer, as in `Routing` without its layer axis."""

    layer: int
    ids: Integer[np.ndarray, "T k"]
    weights: Float[np.ndarray, "T k"] | None
    margin: Float[np.ndarray, " T"] | None


@dataclass(frozen=True, eq=False)
class Routing:
    """The routes of a run; step is the token's position, layers are numbered as in the checkpoint.

    Each token's experts are in the order of their selection scores. Weights are after normalisation, scaling and any
    intervention. The margin is the k-th selection score minus the next: how close the choice was.
    """

    ids: Integer[np.ndarray, "T moe_layer k"]  # uint8, or uint16 beyond 256 experts
    weights: Float[np.ndarray, "T moe_layer k"] | None
    margin: Float[np.ndarray, "T moe_layer"] | None
    held: Layers  # of the model, those without experts too
    tokens: Tokens

    @property
    def layers(self) -> tuple[int, ...]:
        """The numbers of the layers with experts, in the order of the `moe_layer` axis."""
        return self.held.moe

    @property
    def experts(self) -> int:
        """How many a layer has."""
        return self.held.experts

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        steps, _, top_k = self.ids.shape
        return f"Routing({steps} tokens, layers {list(self.layers)}, {top_k} of {self.experts} experts)"

    def row(self, layer: int) -> int:
        """The place of a layer on the `moe_layer` axis. Raises RequestError for one that is dense or not there."""
        return self.held.row(self.held.moe_number(layer))

    def at(self, layer: int) -> LayerRouting:
        """One layer. Raises RequestError for a dense layer, or one that does not exist."""
        row = self.row(layer)
        weights = None if self.weights is None else self.weights[:, row]
        return LayerRouting(
            self.layers[row], self.ids[:, row], weights, None if self.margin is None else self.margin[:, row]
        )

    def where(self, phase: Phase | Sequence[Phase] | None) -> Bool[np.ndarray, " T"]:
        """The tokens of one phase, of several, or all. Raises RequestError for a phase that there is not."""
        if phase is None:
            return np.ones(len(self), bool)
        return np.isin(np.asarray(self.tokens.phase), checked_phases(phase))

    def load(self, phase: Phase | Sequence[Phase] | None = None) -> Int[np.ndarray, "moe_layer E"]:
        """How many tokens chose each expert."""
        return expert_sums(self.ids[self.where(phase)], self.experts).astype(np.int64)

    def weight_mass(self, phase: Phase | Sequence[Phase] | None = None) -> Float[np.ndarray, "moe_layer E"]:
        """The sum of the weights that each expert had, float64."""
        where = self.where(phase)
        return expert_sums(self.ids[where], self.experts, self._kept("weights")[where])

    def entropy(self, phase: Phase | Sequence[Phase] | None = None) -> Float[np.ndarray, " moe_layer"]:
        """Of each layer's load, in bits: log2 of the number of experts if even."""
        load = self.load(phase)
        share = load / np.maximum(load.sum(1, keepdims=True), 1)
        return -(share * np.log2(np.where(share > 0, share, 1))).sum(1)

    def coactivation(self, phase: Phase | Sequence[Phase] | None = None) -> Int[np.ndarray, "moe_layer E E"]:
        """How many tokens chose both of two experts; on the diagonal, how many chose each."""
        return coactivations(self.ids[self.where(phase)], self.experts)

    def contrast(self, first: Phase = "think", second: Phase = "answer") -> Float[np.ndarray, "moe_layer E"]:
        """The share of an expert in one phase minus that in another; 0 throughout if either has no tokens."""
        one, other = self.load(first), self.load(second)
        if not one.any() or not other.any():
            return np.zeros(one.shape)
        return one / one.sum(1, keepdims=True) - other / other.sum(1, keepdims=True)

    def top_tokens(self, layer: int, expert: int, count: int = 10) -> list[tuple[str, int]]:
        """The texts that went to an expert most often, each with how often."""
        row, expert = self.row(layer), self.held.expert(expert)
        (steps,) = np.nonzero((self.ids[:, row] == expert).any(-1))
        return Counter(self.tokens.text[step] for step in steps).most_common(count)

    def to_pandas(self):
        """A data frame with a row for each token, layer and rank: step, text, phase, layer, rank, expert, weight."""
        steps, rows, top_k = self.ids.shape
        step, row, rank = (axis.ravel() for axis in np.indices((steps, rows, top_k)))
        text, phase = np.asarray(self.tokens.text, object), np.asarray(self.tokens.phase, object)
        columns: dict[str, Any] = {"step": step, "text": text[step], "phase": phase[step]}
        columns |= {"layer": np.asarray(self.layers)[row], "rank": rank, "expert": self.ids.ravel()}
        if self.weights is not None:
            columns["weight"] = self.weights.ravel()
        if self.margin is not None:
            columns["margin"] = self.margin[step, row]
        return data_frame(columns)

    def _kept(self, name: str) -> np.ndarray:
        value = getattr(self, name)
        if value is None:
            raise RequestError(f"this run did not keep the {name}; run it with keep=gk.keep('router')")
        return value


def coactivations(ids: Integer[np.ndarray, "T moe_layer k"], experts: int) -> Int[np.ndarray, "moe_layer E E"]:
    """How many tokens chose both of two experts."""
    out = np.zeros((ids.shape[1], experts, experts), np.int64)
    for start in range(0, len(ids), 4096):  # a float32 product, exact below 2**24
        part = ids[start : start + 4096]
        for row in range(ids.shape[1]):
            chosen = np.zeros((len(part), experts), np.float32)
            np.put_along_axis(chosen, part[:, row].astype(np.int64), 1, axis=1)
            out[row] += (chosen.T @ chosen).astype(np.int64)
    return out


def expert_sums(ids: np.ndarray, experts: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Of `[T, moe_layer, k]` ids how often each was, or the sums of their weights, `[moe_layer, E]`, float64."""
    rows = ids.shape[1]
    flat = ids.astype(np.int64) + np.arange(rows)[:, None] * experts
    values = None if weights is None else weights.ravel().astype(np.float64)
    return np.bincount(flat.ravel(), values, minlength=rows * experts).reshape(rows, experts).astype(np.float64)
