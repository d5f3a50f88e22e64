"""Two runs beside each other: how far their predictions are apart, which routes changed, what the texts differ in."""

import difflib
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from glmkit.errors import RequestError
from glmkit.model import Keep
from glmkit.runs import Routing, Run
from glmkit.runs.frames import data_frame

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two runs as far as they have the same tokens, `shared` of them; what comes after is compared as text."""

    a: Run
    b: Run
    shared: int

    @functools.cached_property
    def kl(self) -> Float[np.ndarray, " shared"]:
        """KL(a || b) of the next token after each shared one, in nats.

        From the logits, if both runs kept them; else both are scored once more, piece by piece. Raises RequestError for
        runs of other vocabularies, and for a run without logits that was loaded or whose model is gone.
        """
        pieces = [_divergence(a, b) for a, b in zip(self._logits(self.a), self._logits(self.b), strict=False)]
        return np.concatenate(pieces)[: self.shared] if pieces else np.zeros(0)

    @property
    def mean_kl(self) -> float:
        """The mean of `kl`."""
        return float(self.kl.mean()) if self.shared else float("nan")

    @functools.cached_property
    def changed(self) -> Bool[np.ndarray, "shared moe_layer"]:
        """Where the two chose other experts; their order does not count. Raises RequestError without routes of both."""
        one, other = self.a.routing, self.b.routing
        if not _alike(one, other):
            raise RequestError(f"the routes are of different models: {one} and {other}")
        sets = [np.sort(routing.ids[: self.shared], axis=-1) for routing in (one, other)]
        return (sets[0] != sets[1]).any(-1)

    @property
    def changed_routes(self) -> float:
        """The share of tokens and layers where other experts were chosen."""
        return float(self.changed.mean()) if self.changed.size else 0.0

    @property
    def diff(self) -> str:
        """The two texts token by token: those of one only after "- ", those of the other after "+ "."""
        a, b, lines = self.a.tokens.text, self.b.tokens.text, list[str]()
        for kind, begin, end, start, stop in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            if kind == "equal":
                lines += [f"  {text}" for text in a[begin:end]]
            else:
                lines += [f"- {text}" for text in a[begin:end]] + [f"+ {text}" for text in b[start:stop]]
        return "\n".join(lines)

    def to_pandas(self):
        """A data frame with a row for each shared token: step, text, phase, kl, and, where both runs have routes that
        can be compared, how many layers changed."""
        tokens = self.a.tokens[: self.shared]
        columns = {"step": np.arange(self.shared), "text": tokens.text, "phase": tokens.phase, "kl": self.kl}
        return data_frame(columns | ({"changed_layers": self.changed.sum(1)} if self._has_routes else {}))

    def __repr__(self) -> str:
        same = (
            "the same tokens" if self.shared == len(self.a) == len(self.b) else f"the first {self.shared} tokens shared"
        )
        parts = [f"{len(self.a)} and {len(self.b)} tokens, {same}"]
        if self._has_routes:
            parts.append(f"{self.changed_routes:.1%} of routes changed")
        if "kl" in vars(self):
            parts.append(f"mean KL {self.mean_kl:.4g} nats")
        return f"Comparison({'; '.join(parts)})"

    @property
    def _has_routes(self) -> bool:
        """Whether both have, and of the same layers."""
        runs = self.a, self.b
        return all("router_ids" in run.arrays for run in runs) and _alike(*(run.routing for run in runs))

    def _logits(self, run: Run) -> Iterator[Float[np.ndarray, "t V"]]:
        if "logits" in run.arrays:
            for start in range(0, self.shared, _PIECE):
                yield run.arrays["logits"][start : min(start + _PIECE, self.shared)]
        elif run.again is None:
            raise RequestError("a run that was loaded, without logits: keep them, gk.keep('logits'), to compare it")
        else:
            for kept in run.again(Keep(logits=True)):
                for start in range(0, kept.logits.shape[1], _PIECE):
                    yield kept.logits[0, start : start + _PIECE]


_PIECE = 128  # tokens whose logits are compared at once; divides the chunks that runs are scored in


def compare(a: Run, b: Run) -> Comparison:
    """Compare two runs: of one model with and without interventions, or of two models on the same tokens.

    Raises RequestError if they begin with different tokens.
    """
    length = min(len(a), len(b))
    other = np.flatnonzero(a.tokens.id[:length] != b.tokens.id[:length])
    shared = int(other[0]) if len(other) else length
    if not shared:
        raise RequestError("these runs have not one token in common; compare runs of the same text")
    return Comparison(a, b, shared)


def _alike(one: Routing, other: Routing) -> bool:
    return one.layers == other.layers and one.ids.shape[-1] == other.ids.shape[-1]


def _divergence(a: Float[np.ndarray, "t V"], b: Float[np.ndarray, "u V"]) -> Float[np.ndarray, " n"]:
    if a.shape[1] != b.shape[1]:
        raise RequestError(f"these runs have vocabularies of {a.shape[1]} and {b.shape[1]} tokens")
    count = min(len(a), len(b))
    p, q = (_log_softmax(x[:count].astype(np.float64)) for x in (a, b))
    return np.maximum((np.exp(p) * (p - q)).sum(-1), 0)  # rounding may leave it below


def _log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))
