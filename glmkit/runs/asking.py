"""How an LM is asked for runs: the part of it that keeps and changes what goes on inside."""

import dataclasses
import functools
import operator
import threading
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Array, Float, Int

from glmkit.checks import check_integer
from glmkit.engine import Request
from glmkit.engine.answer import Answer
from glmkit.engine.probing import Probe, Probing
from glmkit.errors import RequestError
from glmkit.model import Interventions, Keep
from glmkit.runs.layers import Layers
from glmkit.runs.plans import BoundPlan, Plan
from glmkit.runs.reading import read_run, warn_of_idle
from glmkit.runs.run import Run
from glmkit.runs.scoring import require_room
from glmkit.runs.sites import Selection
from glmkit.runs.watch import Watch
from glmkit.runs.writing import written_run
from glmkit.text import normalize_messages
from glmkit.text.phases import PhaseFollower, numbered, phases
from glmkit.turns import SAMPLING, TURN, as_data, checked_ids, refuse_unknown, stop_strings

__all__ = ["Runs"]


class _Effects:
    """What steps told that interventions changed about the routes, added up."""

    total: Float[np.ndarray, "moe_layer E"] | None = None

    def add(self, effects: Float[np.ndarray, "moe_layer E"]) -> None:
        self.total = effects if self.total is None else self.total + effects


@dataclasses.dataclass(eq=False)
class _Block:
    """A `using` that is open, and what was heard of its interventions while it was, beside whichever others."""

    plan: Plan
    bound: BoundPlan
    effects: _Effects = dataclasses.field(default_factory=_Effects)
    shared: bool = False  # whether others bind the plan, too, and tell by themselves what of it did nothing


class _Used(NamedTuple):
    """What all open blocks change together, and how requests are probed meanwhile."""

    plan: Plan
    bound: BoundPlan
    probing: Probing


class Runs:
    """What `LM` inherits; works on the model, the engine and the tokenizer that it has."""

    _blocks: tuple[_Block, ...] = ()  # that are open, in the order in which they were opened
    _used: _Used | None = None
    _opening = threading.RLock()  # of blocks, which threads open and close as they like

    @property
    def interventions(self) -> Plan | None:
        """What is in use: of the `using` blocks that are open."""
        return None if self._used is None else self._used.plan

    def run(
        self,
        x: str | Sequence[Mapping[str, Any]] | Sequence[int],
        *,
        keep: Selection | None = None,
        interventions: Plan | None = None,
        max_tokens: int = 0,
        watch: Watch | None = None,
        **settings: Any,
    ) -> Run:
        """Read `x`, and write an answer of up to `max_tokens`, keeping what `keep` names of what goes on inside.

        `x` is a string (one user turn), messages, or token ids. With `max_tokens=0` it is scored in one pass; messages
        that end in an assistant turn are scored with it. `keep` is what `glmkit.keep` gives, by default the routes;
        `interventions` what is changed, after what `using` says. `settings` are those of `chat`: `tools` and
        `thinking`, and for an answer all but `stream`, `show` and `n`. Everything that is kept is computed anew, and of
        a prompt that is read to be answered no log-probabilities are. Of ids that are read, `prompt` says how many are
        the prompt's, by default all up to the last <|assistant|>. `watch` hears the answer's tokens, and stops it.
        Raises `RequestError` naming what does not exist in this model, and `MemoryPlanError` for more than the memory
        holds, before anything is computed. Warns of interventions that did nothing.
        """
        selection = Selection.of("router") if keep is None else keep
        if not isinstance(selection, Selection):
            raise RequestError(f"keep is {keep!r}; expected what glmkit.keep gives, such as gk.keep('router')")
        plan = self._planned(interventions)
        if check_integer("max_tokens", max_tokens, 0):
            return self._written(x, selection, plan, max_tokens=max_tokens, watch=watch, **settings)
        prompt = settings.pop("prompt", None)
        refuse_unknown(settings, ("tools", "thinking"))
        known, tokenizer = self._tokenizer is not None, self._tokenizer
        ids = self._turns.known(x, **settings) if known else checked_ids("x", x, self.config.vocab_size)
        if not 1 <= len(ids) <= self.engine.max_len:
            raise RequestError(f"x has {len(ids)} tokens; expected 1 to {self.engine.max_len}, the context")
        if prompt is not None and check_integer("prompt", prompt, 0) > len(ids):
            raise RequestError(f"prompt is {prompt}; x has {len(ids)} tokens")
        return read_run(self.model, ids, phases(ids, tokenizer, prompt), tokenizer, selection, plan, self.name)

    def run_with_cache(self, x: Any, *names: str, **settings: Any) -> tuple[Float[np.ndarray, "T V"], Run]:
        """Logits `[step, V]` and the run, which knows TransformerLens's names: `cache["blocks.3.hook_resid_post"]`.

        `names` are as for `glmkit.keep`; without any, the residual stream, the routes and the router's scores of all
        layers are kept. `settings` as for `run`.
        """
        names = names or ("resid_pre", "resid_mid", "resid_post", "router", "router_scores")
        run = self.run(x, keep=Selection.of(*names, "logits"), **settings)
        return run["logits"], run

    @contextmanager
    def using(self, interventions: Plan) -> Iterator[Self]:
        """Within the block, all that this LM computes is computed with `interventions`; blocks add up.

        Each ends what it began, whichever was opened first. That holds for whoever asks it, on any thread. Raises
        `RequestError` at once, naming what does not exist in this model. Warns, at the end, of interventions that held
        for no token.
        """
        if not interventions:
            yield self
            return
        block = _Block(interventions, interventions.bind(self.model, None))
        with self._opening:
            self._use((*self._blocks, block))
        try:
            yield self
        finally:
            with self._opening:
                self._use(() if self.closed else tuple(other for other in self._blocks if other is not block))
        if not block.shared:
            warn_of_idle(block.bound, block.effects.total)

    def _use(self, blocks: tuple[_Block, ...]) -> None:
        """Have these in use, as long as nothing is opened or closed; whoever calls holds the lock."""
        used = None
        if blocks:
            plan = functools.reduce(operator.add, (block.plan for block in blocks))
            bound = functools.reduce(operator.add, (block.bound for block in blocks))
            keep, told = Keep(effects=True) if bound.watches_effects else None, [b.effects.add for b in blocks]
            used = _Used(plan, bound, Probing(keep, bound, told))
        self._blocks, self._used = blocks, used

    def _written(
        self,
        x: Any,
        selection: Selection,
        plan: Plan | None,
        stop: Any = (),
        watch: Watch | None = None,
        **settings: Any,
    ) -> Run:
        """Answer with everything kept."""
        if isinstance(x, str) or (isinstance(x, Sequence) and x and isinstance(x[0], Mapping)):
            refuse_unknown(settings, (*TURN, *SAMPLING))
            request, answer = self._turns.chat(x, stop=stop, **settings)
            x = x if isinstance(x, str) else normalize_messages(x)
        else:
            refuse_unknown(settings, SAMPLING)
            request = self._turns.request(x, **settings)
            x = list(request.prompt)
            text = self.tokenizer.decode(request.prompt)
            answer = Answer(request, self.tokenizer, prompt=text, stop=stop_strings(stop))
        self.engine.check_fits(request)
        bound = None if plan is None else plan.bind(self.model, None)
        if bound is not None:
            bound.check_prompt(request.prompt)
        effects = bound is not None and bound.watches_effects
        selected = selection.select(Layers.of(self.model), effects=effects)
        longest = len(request.prompt) + request.max_tokens
        require_room(self.model, selected.keep, longest, self.engine.largest_step(len(request.prompt)))
        seen, began = _Effects(), time.perf_counter()
        probing = Probing(selected.keep, bound, [seen.add])
        request.probe = Probe(probing, PhaseFollower(self._tokenizer), captures=True)
        (completion,) = self._serve([(request, answer)], watch=watch)
        if completion.error is not None:
            raise completion.error
        if not request.probe.pieces:
            raise RequestError("the run was stopped before its first token")
        if bound is not None:
            warn_of_idle(bound, seen.total)
        run = written_run(self.model, request, completion, self.tokenizer, selected, plan, self.name, began)
        return dataclasses.replace(run, asked={"x": x, **_settings_of(request, {"stop": stop or None, **settings})})

    def _changes(self, tokens: Int[Array, "B T"]) -> Interventions | None:
        """What is in use, for rows of known tokens."""
        used = self._used
        if used is None:
            return None
        rows = np.asarray(tokens).tolist()
        for row in rows:
            used.bound.check_prompt(row)
        known = [numbered(phases(row, self._tokenizer)) for row in rows]
        return used.probing.changes(np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape), np.asarray(known))

    @property
    def _page_scope(self) -> Hashable:
        """Whose pages what is asked now shares, as `KnownPage.scope` tells it."""
        used = self._used
        return self.engine.cache.scope(None if used is None else Probe(used.probing, PhaseFollower(None)))

    def _probed(self, request: Request) -> Request:
        """With the interventions in use, unless it has its own. Raises RequestError if these are of another prompt."""
        used = self._used
        if used is not None and request.probe is None:
            used.bound.check_prompt(request.prompt)
            request.probe = Probe(used.probing, PhaseFollower(self._tokenizer))
        return request

    def _heard(self, request: Request) -> None:
        """Tell what a request was changed with which tokens it had, once it has ended."""
        probe = request.probe
        if probe is not None and probe.probing.plan is not None and len(request.prompt):
            # What is not captured is not read to its last token.
            ids = request.piece(0, probe.captured if probe.captures else request.length - 1)
            phases = probe.phases(request.prompt, request.tokens, request.forced)
            probe.probing.plan.heard(ids, phases[: len(ids)], request.cached_tokens or 0)

    def _check_in_use(self, run: Run) -> None:
        """Raise RequestError unless a run was made with what is in use."""
        if not self._is_in_use(run):
            using = str(self.interventions or "nothing")
            raise RequestError(
                f"this run was made with {run.interventions or 'no interventions'}, and in use is {using}"
                f"{' of other values' if run.interventions == using else ''}; have what it was made with in use: with "
                "lm.using(...)"
            )

    def _is_in_use(self, run: Run) -> bool:
        """Whether what a run was made with is; of one without a digest, by what both say of themselves."""
        if run.digest is None:
            return run.interventions == str(self.interventions or "")
        return run.digest == ("" if self._used is None else self._used.bound.digest)

    def _planned(self, interventions: Plan | None) -> Plan | None:
        """With what is in use, for whoever binds it and tells what of it did nothing; None for nothing at all."""
        used = self._used
        if used is None:
            return interventions or None
        for block in self._blocks:
            block.shared = True
        return used.plan + interventions if interventions else used.plan


def _settings_of(request: Request, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given, as data that a file takes, and what the request took where nothing was."""
    sampling = {name: value for name, value in dataclasses.asdict(request.sampling).items() if name in SAMPLING}
    return as_data({**given, **sampling, "max_tokens": request.max_tokens})
