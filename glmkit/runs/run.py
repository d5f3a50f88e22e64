"""A run: tokens, and what was kept of the model as it read or wrote them."""

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open

from glmkit.engine.answer import Completion
from glmkit.errors import CheckpointError, RequestError
from glmkit.model import Keep, Kept
from glmkit.runs.layers import Layers
from glmkit.runs.routing import Routing
from glmkit.runs.sites import canonical
from glmkit.runs.tokens import Tokens
from glmkit.weights.arrays import write_arrays

__all__ = ["Run"]

_FORMAT = "glmkit.run.1"
_ROUTES = {"router_ids": "ids", "router_weights": "weights", "router_margins": "margins"}


@dataclass(frozen=True, eq=False)
class Run:
    """What was kept of a sequence of tokens, as NumPy arrays with a step for each token.

    `run["resid_post", 3]` is `[step, d]`, `run["router_scores", 3]` `[step, E]`, `run["attention", 3]` `[step, head,
    key]`, `run["expert_out", 3]` `[step, k, d]`, `run["logits"]` `[step, V]`; names of TransformerLens work too, such
    as `run["blocks.3.hook_resid_post"]`. All are as they were computed with, after interventions. `completion` is the
    answer, if one was generated, which `lm.run(**run.asked)` writes again; `interventions` says in words what was
    changed.
    """

    tokens: Tokens
    layers: Layers
    arrays: Mapping[str, np.ndarray] = field(repr=False)  # by site; those kept by layer have a slot axis first
    slots: Mapping[str, tuple[int, ...]] = field(repr=False)  # the layers of each site kept by layer
    model: str = ""
    interventions: str = ""
    completion: Completion | None = field(default=None, repr=False)
    asked: Mapping[str, Any] | None = field(default=None, repr=False)
    """`x` and the settings that an answer was asked with, its seed and how it was sampled among them; else None."""
    again: Callable[[Keep], Iterator[Kept]] | None = field(default=None, repr=False)
    """Scores the same tokens once more, with the same interventions, in pieces; None for a run that was loaded."""
    digest: str | None = field(default=None, repr=False)
    """Of all that was changed, to the last bit, "" for nothing; None for a run from a file that was written without."""

    @functools.cached_property
    def routing(self) -> Routing:
        """The routes of every token. Raises RequestError if they were not kept."""
        if "router_ids" not in self.arrays:
            raise RequestError(f"this run did not keep its routes; run it with keep=gk.keep('router'); {self._has()}")
        weights, margin = (self.arrays.get(name) for name in ("router_weights", "router_margins"))
        ids = self.arrays["router_ids"]
        return Routing(ids, weights, margin, self.layers, self.tokens)

    def __getitem__(self, key: str | tuple[str, int]) -> np.ndarray:
        name, layer = key if isinstance(key, tuple) else (key, None)
        site, own = canonical(name)
        if layer is not None and own is not None:
            raise RequestError(f"{name!r} names its layer; {layer} beside it is one too many")
        layer = own if layer is None else layer
        if site not in self.arrays:
            raise RequestError(f"this run did not keep {site}; {self._has()}")
        value = self.arrays[site]
        if site in _ROUTES:
            return value if layer is None else value[:, self.layers.row(self.layers.moe_number(layer))]
        if site not in self.slots:
            if layer is not None:
                raise RequestError(f"{site} is of no layer; expected run[{site!r}]")
            return _wide(value)
        held = self.slots[site]
        if layer is None:
            raise RequestError(f"{site} is kept by layer; expected run[{site!r}, layer] with one of {list(held)}")
        number = self.layers.number(layer)
        if number not in held:
            raise RequestError(f"this run did not keep {site} of layer {number}, only of {list(held)}")
        return _wide(value[held.index(number)])

    def __contains__(self, key: object) -> bool:
        try:
            return self[key] is not None
        except RequestError:
            return False

    def keys(self) -> list[str | tuple[str, int]]:
        """All that can be asked for in brackets."""
        by_layer = [(site, layer) for site, held in self.slots.items() for layer in held]
        return [*by_layer, *(site for site in self.arrays if site not in self.slots)]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def text(self) -> str:
        """All of it, the prompt too."""
        return "".join(self.tokens.text)

    @property
    def answer(self) -> str:
        """What comes after the prompt, thoughts and calls included."""
        return "".join(token.text for token in self.tokens if token.phase != "prompt")

    @property
    def loss(self) -> float:
        """The mean of the negative log-probability of the answer's tokens, in nats; of all if there is no answer."""
        answer = np.asarray(self.tokens.phase) != "prompt"
        known = self.tokens.logprob[(answer | ~answer.any()) & ~np.isnan(self.tokens.logprob)]
        return float(-known.mean()) if known.size else float("nan")

    @property
    def nbytes(self) -> int:
        """Bytes of what was kept."""
        return sum(value.nbytes for value in self.arrays.values())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, all or nothing; `Run.load` reads it back, without `completion`, of which the tokens
        and what was asked are kept, and without the way to run it again."""
        tokens = self.tokens
        about = {
            "format": _FORMAT,
            "text": json.dumps(tokens.text),
            "phase": json.dumps(tokens.phase),
            "layers": json.dumps([self.layers.numbers, self.layers.moe, self.layers.experts, self.layers.top_k]),
            "slots": json.dumps(dict(self.slots)),
            "model": self.model,
            "interventions": self.interventions,
            "asked": json.dumps(self.asked),
        }
        if self.digest is not None:
            about["digest"] = self.digest
        columns = {f"tokens.{name}": getattr(tokens, name) for name in ("id", "logprob", "time")}
        write_arrays(path, {**self.arrays, **columns}, about)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises CheckpointError naming a file that is something else."""
        arrays, about = read_arrays(path, _FORMAT)
        columns = {name: arrays.pop(f"tokens.{name}") for name in ("id", "logprob", "time")}
        text, phase = (tuple(json.loads(about[name])) for name in ("text", "phase"))
        numbers, moe, experts, top_k = json.loads(about["layers"])
        slots = {site: tuple(held) for site, held in json.loads(about["slots"]).items()}
        tokens = Tokens(columns["id"], text, phase, columns["logprob"], columns["time"])
        layers = Layers(tuple(numbers), tuple(moe), experts, top_k)
        asked = json.loads(about.get("asked", "null"))
        told = {"asked": asked, "digest": about.get("digest")}
        return cls(tokens, layers, arrays, slots, about["model"], about["interventions"], **told)

    def __repr__(self) -> str:
        changed = f", with {self.interventions}" if self.interventions else ""
        return f"Run({len(self)} tokens of {self.model or 'a model'}{changed}; {self._has()})"

    def _has(self) -> str:
        parts = [f"{site} of layers {list(held)}" for site, held in self.slots.items()]
        parts += [site for site in self.arrays if site not in self.slots]
        return f"it has {', '.join(parts) or 'tokens only'}"


def _wide(value: np.ndarray) -> Float[np.ndarray, "..."]:
    """In float32 at least: NumPy computes little in bfloat16."""
    return value if value.dtype in (np.float32, np.float64) else value.astype(np.float32)


def read_arrays(path: str | os.PathLike[str], expected: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a file of one format. Raises CheckpointError naming the file if it is another."""
    try:
        with safe_open(path, "np") as file:
            about = file.metadata() or {}
            if about.get("format") != expected:
                raise CheckpointError(f"{path} holds {about.get('format', 'other tensors')}; expected {expected}")
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
