"""The page of an expert: which tokens of a corpus choose it, in which contexts, beside whom, and what it then says."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer
from tqdm.auto import tqdm

from glmkit.checks import check_integer
from glmkit.errors import DataError
from glmkit.lm import LM
from glmkit.model import GLM
from glmkit.probe.plan import Plan
from glmkit.probe.records import By, batches, read_record, read_rows
from glmkit.runs import Layers, Selection
from glmkit.runs.reading import warn_of_idle
from glmkit.runs.tokens import texts
from glmkit.sharding import constrain, mesh_of

__all__ = ["Context", "ExpertPage", "expert_page"]

_AROUND = 12  # tokens on each side of a context


class Context(NamedTuple):
    """A token that chose the expert with a high weight, and what stands around it."""

    before: str
    token: str
    after: str
    weight: float
    group: str


@dataclass(frozen=True)
class ExpertPage:
    """What a corpus says of one expert of one layer.

    `chosen` of `tokens` chose it, with a mean `weight`; `share` is by group. `top_tokens` are those that chose it most
    often (text, times, and how many times as often as tokens do on average), `partners` the experts chosen with it
    (number, and times as often as their loads say). `contexts` have the highest weights, one of a record. `promoted`
    and `suppressed` are the tokens whose logits its mean output moves most, read directly through the final norm's
    scale and the head, without its division: (text, logit beyond the mean of all).
    """

    layer: int
    expert: int
    model: str
    tokens: int
    chosen: int
    weight: float
    share: Mapping[str, float]
    top_tokens: tuple[tuple[str, int, float], ...]
    partners: tuple[tuple[int, float], ...]
    contexts: tuple[Context, ...] = field(repr=False)
    promoted: tuple[tuple[str, float], ...] = field(repr=False)
    suppressed: tuple[tuple[str, float], ...] = field(repr=False)

    def _repr_html_(self) -> str:
        quoted = html.escape

        def listed(title: str, items: Iterable[str]) -> str:
            return f"<p><b>{title}</b> {', '.join(items) or 'none'}</p>"

        def word(text: str) -> str:
            return f"<code>{quoted(text.replace(chr(10), '↵'))}</code>"

        contexts = "".join(
            f"<li>{quoted(c.before)}<mark>{quoted(c.token)}</mark>{quoted(c.after)} <small>{c.weight:.2f}, "
            f"{quoted(c.group)}</small></li>"
            for c in self.contexts
        )
        return (
            f"<h4>Layer {self.layer}, expert {self.expert} of {quoted(self.model)}</h4><p>Chosen by {self.chosen:,} of "
            f"{self.tokens:,} tokens, with a mean weight of {self.weight:.3f}</p>"
            + listed("By group", (f"{quoted(name)} {share:.1%}" for name, share in self.share.items()))
            + listed("Tokens", (f"{word(text)} ×{times} ({lift:.1f})" for text, times, lift in self.top_tokens))
            + listed("Chosen with", (f"{expert} ({lift:.1f})" for expert, lift in self.partners))
            + listed("Makes likelier", (f"{word(text)} {logit:+.2f}" for text, logit in self.promoted))
            + listed("Makes less likely", (f"{word(text)} {logit:+.2f}" for text, logit in self.suppressed))
            + f"<b>Contexts</b><ul style='white-space:pre-wrap'>{contexts}</ul>"
        )


def expert_page(
    lm: LM,
    dataset: Iterable[Any],
    layer: int,
    expert: int,
    *,
    by: By = None,
    count: int = 10,
    interventions: Plan | None = None,
    length: int | None = None,
    batch_size: int = 8,
    progress: bool = True,
) -> ExpertPage:
    """Read a corpus once for the page of one expert, in memory that the number of its tokens does not grow.

    Records, `by`, `interventions` and `length` are as for `glmkit.collect`, `count` is how many of everything are told.
    Raises RequestError for a layer or an expert that does not exist, or without a tokenizer, and DataError naming a
    record that cannot be read. Warns of interventions that held for no token.
    """
    layers, _ = Layers.of(lm.model), lm.tokenizer  # which the page's texts need
    layer, expert = layers.moe_number(layer), layers.expert(expert)
    length = lm.engine.max_len if length is None else check_integer("length", length, 1)
    count, batch_size = check_integer("count", count, 1), check_integer("batch_size", batch_size, 1)
    plan = lm._planned(interventions)
    bound = None if plan is None else plan.bind(lm.model, None)
    keep = Selection.of("router_ids", "router_weights", expert_out=layer).select(layers).keep
    seen, numbered = _Seen(lm, layers.row(layer), layers.experts, expert, count), enumerate(dataset)
    with tqdm(desc="tokens", unit="", disable=not progress, leave=False) as bar:
        for batch in batches(numbered, batch_size):
            records = [read_record(lm, by, length, number, record) for number, record in batch]
            for piece in read_rows(lm, [ids for ids, _ in records], keep, bound):
                kept = piece.kept
                for at, (ids, group) in enumerate(records):
                    own = slice(0, max(0, min(piece.count, len(ids) - piece.start)))
                    parts = kept.ids[:, at, own], kept.weights[:, at, own], kept.expert_out[0, at, own]
                    seen.add(batch[at][0], ids, group, piece.start, *parts)
            bar.update(sum(len(ids) for ids, _ in records))
    if not seen.tokens:
        raise DataError("there are no records to read")
    if bound is not None:
        warn_of_idle(bound, None, stacklevel=3)
    return seen.page(layer)


class _Seen:
    """What was counted so far."""

    def __init__(self, lm: LM, row: int, experts: int, expert: int, count: int):
        self.lm, self.row, self.expert, self.count = lm, row, expert, count
        self.tokens = 0
        self.groups: dict[str, list[int]] = {}  # how many chose it, of how many
        self.load, self.beside = np.zeros((2, experts))
        self.of_token = np.zeros((2, lm.config.vocab_size), np.int64)  # how many chose it, and are there
        self.weight, self.out = 0.0, np.zeros(lm.config.hidden_size)
        self.contexts: dict[int, tuple[float, Context]] = {}  # by record

    def add(
        self,
        record: int,
        ids: Sequence[int],
        group: str,
        start: int,
        routes: Integer[np.ndarray, "moe_layer T k"],
        weights: Float[np.ndarray, "moe_layer T k"],
        outputs: Float[np.ndarray, "T k d"],
    ) -> None:
        own, number = np.asarray(ids[start : start + routes.shape[1]], np.int64), self.groups.setdefault(group, [0, 0])
        chosen = routes[self.row] == self.expert
        has, (steps, places) = chosen.any(-1), np.nonzero(chosen)
        self.tokens += len(own)
        number[0] += len(steps)
        number[1] += len(own)
        self.load += np.bincount(routes[self.row].ravel(), minlength=len(self.load))
        self.beside += np.bincount(routes[self.row][has].ravel(), minlength=len(self.load))
        np.add.at(self.of_token[0], own[has], 1)
        np.add.at(self.of_token[1], own, 1)
        if len(steps):
            weighed = weights[self.row][steps, places].astype(np.float64)
            self.weight += weighed.sum()
            self.out += outputs[steps, places].astype(np.float64).sum(0)
            best = int(weighed.argmax())
            self._note(record, ids, group, start + int(steps[best]), float(weighed[best]))

    def _note(self, record: int, ids: Sequence[int], group: str, at: int, weight: float) -> None:
        """Keep a context if it is the record's best and among the best of all."""
        if weight <= self.contexts.get(record, (0.0,))[0]:
            return
        first = max(0, at - _AROUND)
        pieces = texts(ids[first : at + 1 + _AROUND], self.lm.tokenizer)
        before, after = "".join(pieces[: at - first]), "".join(pieces[at - first + 1 :])
        self.contexts[record] = weight, Context(before, pieces[at - first], after, weight, group)
        if len(self.contexts) > self.count:
            del self.contexts[min(self.contexts, key=lambda known: self.contexts[known][0])]

    def page(self, layer: int) -> ExpertPage:
        chosen, (hits, there) = int(self.load[self.expert]), self.of_token
        decode = self.lm.tokenizer.decode
        lift = hits / np.maximum(there, 1) / max(chosen / self.tokens, 1e-12)
        top = [t for t in np.argsort(-hits, kind="stable")[: self.count].tolist() if hits[t]]
        expected = self.load * chosen / self.tokens
        together = np.where(np.arange(len(self.load)) == self.expert, 0, self.beside / np.maximum(expected, 1))
        partners = [e for e in np.argsort(-together, kind="stable")[: self.count].tolist() if together[e]]
        direct = np.zeros(self.lm.config.vocab_size)
        if chosen:
            direct = np.asarray(_direct(self.lm.model, np.asarray(self.out / chosen, np.float32)), np.float64)[0, 0]
            direct -= direct.mean()
        order = np.argsort(direct, kind="stable").tolist() if chosen else []
        told = [tuple((decode([t]), float(direct[t])) for t in part[: self.count]) for part in (order[::-1], order)]
        return ExpertPage(
            layer=layer,
            expert=self.expert,
            model=self.lm.name,
            tokens=self.tokens,
            chosen=chosen,
            weight=float(self.weight) / max(1, chosen),
            share={name: one / max(1, of) for name, (one, of) in self.groups.items()},
            top_tokens=tuple((decode([t]), int(hits[t]), float(lift[t])) for t in top),
            partners=tuple((e, float(together[e])) for e in partners),
            contexts=tuple(context for _, context in sorted(self.contexts.values(), key=lambda found: -found[0])),
            promoted=told[0],
            suppressed=told[1],
        )


@jax.jit
def _direct(model: GLM, x: Float[Array, " D"]) -> Float[Array, "data 1 V"]:
    """What is added to the residual stream, through the final norm's scale and the head; the same in every row."""
    embed = model.embed[...]
    scaled = (x * model.norm.scale[...].astype(x.dtype)).astype(embed.dtype)
    rows = jnp.broadcast_to(scaled, (mesh_of(embed).shape["data"], 1, *x.shape))
    return model.logits(constrain(rows, "batch", None, None, like=embed))
