"""The routing probe: which experts the tokens of a run went to, seen, brushed, and changed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from traitlets import Dict, List, Unicode

from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.probe import Knockout, Plan
from glmkit.resources import data_path
from glmkit.runs import Layers, Run, Watch
from glmkit.text import IncrementalDecoder
from glmkit.text.phases import Phase, checked_phases
from glmkit.weights.atomic import atomic_file
from glmkit.widgets.base import Widget, assets
from glmkit.widgets.code import Source, python_code, run_settings
from glmkit.widgets.effects import Change, Effect, joined, measure
from glmkit.widgets.export import routing_page
from glmkit.widgets.pace import Paced
from glmkit.widgets.packing import Message, pack_history, pack_run, packed
from glmkit.widgets.picture import routing_picture
from glmkit.widgets.rereading import plan_of, require_run_of
from glmkit.widgets.skills import Skills, is_nano, knockout_message, knockout_words

__all__ = ["RoutingProbe", "RoutingSelection"]

SETTINGS = {"max_tokens": 256, "temperature": 0.0, "thinking": "enabled"}
_CONTROLS = 4  # of a knockout
ESM = ("base.js", "tokens.js", "map.js", "panels.js", "routing_probe.js")


@dataclass(frozen=True)
class RoutingSelection:
    """What is picked: `steps` are the tokens brushed, of the phases that are shown; `by` is "share" or "mass"."""

    steps: tuple[int, ...] = ()
    layer: int | None = None
    expert: int | None = None
    by: str = "share"


class RoutingProbe(Widget):
    """A map of layers and experts tied to the tokens of a run.

    `x`, if given, is run at once, as `lm.run(x, **settings)` does, by default at temperature 0 for up to 256 tokens;
    or `run` is one that there is, which is run again as it was asked. What is picked is in `selection`, the run in
    `run`, what is changed in `interventions`; after `regenerate`, the changed run is in `alternative` and what it
    differs by in `effect`. `skills` are records of what the model can do, by name, as for `glmkit.collect`, by default
    those of glm-nano's curriculum if `lm` is it: `knock_out` takes away the experts that a skill needs beyond the
    others, and says in `knockout` what becomes of all skills. `history` is a `routing_history.npz` to show as a film,
    by default that of glm-nano if `lm` is it. Without an `lm` a run can be looked at and not run again. Raises
    RequestError for a run without routes, or of another model, and for skills that cannot be told apart.
    """

    _esm = assets(*ESM)
    _css = assets("style.css")
    _selection = Dict().tag(sync=True)
    _changes = List().tag(sync=True)
    _code = Unicode().tag(sync=True)

    def __init__(
        self,
        lm: LM | None = None,
        x: Any = None,
        *,
        run: Run | None = None,
        history: str | os.PathLike[str] | None = None,
        skills: Mapping[str, Sequence[Any]] | None = None,
        **settings: Any,
    ):
        if (x is not None and run is not None) or (lm is None and run is None):
            raise RequestError("expected a model, and what it is to run or a run; or a run alone")
        self._lm, self._run, self._x, self._used = lm, None, x, None
        self._settings = {**SETTINGS, **settings}
        self._alternative: Run | None = None
        self._effect: Effect | None = None
        self._watch = Watch()
        self._said: list[str] = []  # the text of each token of what is being generated
        self._skills, self._knockout = None, None
        if skills is not None:
            self._skills = Skills.of(self._need_lm(), skills)
        elif lm is not None and lm.name == "nano":
            self._skills = Skills.of_nano(lm)
        if history is None and lm is not None and is_nano(lm):  # the film is of these weights
            history = data_path("checkpoints/glm-nano/routing_history.npz")
        self._history = None if history is None else pack_history(history)
        if run is not None:
            self._take(run, settings)
        super().__init__()
        self.observe(self._write_code, names=["_selection", "_changes"])
        if x is not None:
            self._ask(x, self._settings)
        self._write_code()

    # What the next cell reads.

    @property
    def run(self) -> Run | None:
        """The baseline; of one that is being generated, when it is there."""
        self._join()
        return self._run

    @property
    def alternative(self) -> Run | None:
        """The run with the interventions, once it was generated."""
        self._join()
        return self._alternative

    @property
    def effect(self) -> Effect | None:
        """What the interventions do to the baseline's tokens, and a control."""
        self._join()
        return self._effect

    @property
    def knockout(self) -> Knockout | None:
        """What became of all skills without the experts of one."""
        self._join()
        return self._knockout

    @property
    def interventions(self) -> Plan:
        """All that was set to be changed."""
        return joined(self._changed)

    @property
    def selection(self) -> RoutingSelection:
        """What is picked."""
        picked = self._selection
        steps = () if self._run is None else tuple(self._steps(picked).tolist())
        return RoutingSelection(steps, picked.get("layer"), picked.get("expert"), picked.get("by", "share"))

    def select(
        self,
        *,
        tokens: slice | None = None,
        phases: Phase | Sequence[Phase] = (),
        layer: int | None = None,
        expert: int | None = None,
        by: str = "share",
    ) -> None:
        """Pick tokens, phases (none are all), an expert, and whether shares or masses of weight are shown.

        Raises RequestError for what there is not.
        """
        if (layer is None) != (expert is None):
            raise RequestError(f"layer {layer!r} and expert {expert!r}; expected both or neither")
        if by not in ("share", "mass"):
            raise RequestError(f"by is {by!r}; expected 'share' or 'mass'")
        run, layers = self._there(), self._layers()
        if layer is not None:
            layer, expert = layers.moe_number(layer), layers.expert(expert)
        brush = None
        if tokens is not None:
            brush = list(tokens.indices(len(run)))[:2]
        phases = list(checked_phases(phases)) if phases else []
        self._selection = {"brush": brush, "phases": phases, "layer": layer, "expert": expert, "by": by}

    # Doing.

    def change(self, kind: str, layer: int, expert: int, by: float = 0.0) -> None:
        """Have an expert ablated, forced or biased ("ablate", "force", "bias" with `by`) in what is generated next."""
        new = Change.of(self._layers(), kind, layer, expert, by)
        kept = [change for change in self._changed if (change.layer, change.expert) != (new.layer, new.expert)]
        self._changes = [change.message() for change in (*kept, new)]

    def clear(self) -> None:
        """Change nothing any more."""
        self._changes = []

    def ask(self, x: Any, **settings: Any) -> None:
        """Run something else as the baseline, in the background; `wait` waits for it.

        `settings` hold from then on, if it comes to a run.
        """
        self._need_lm()
        given = {**self._settings, **settings}
        self.begin("running", lambda: self._ask(x, given))

    def regenerate(self) -> None:
        """Run the same with the interventions, and read the baseline's tokens with them, in the background.

        Raises RequestError where `lm.using` has not in use what the baseline was made with: it would be compared with
        another.
        """
        self._need_lm()._check_in_use(self._there())
        if not self._changes:
            raise RequestError("nothing is changed yet; ablate, bias or force an expert first")
        self.begin("regenerating", self._regenerate)

    def knock_out(self, skill: str, count: int = 3) -> None:
        """Ablate the `count` experts that a skill needs most beyond the others, in the place of all that was set to be
        changed, and score all skills without them, in the background.

        Which those are is measured on other records, as `glmkit.expert_effects` does: of the 64 that the skill uses
        most beyond the others, what its answers lose without each, and of the eight most needed what all others lose.
        """
        if self._skills is None:
            raise RequestError("this probe knows no skills; RoutingProbe(lm, skills={name: records, ...}) does")
        self._skills.require(skill)
        self.begin(f"taking away the experts of {skill}", lambda: self._knock_out(skill, count))

    def stop(self) -> None:
        super().stop()
        self._watch.stop()

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write one HTML file, of at most 1 MB, that shows all this without a kernel or a network: all or nothing."""
        page = self._page()
        with atomic_file(path) as partial:
            partial.write_text(page, encoding="utf-8")
        return Path(path)

    def _page(self) -> str:
        """For a run that is too long, with what was left out named in it."""
        sources = assets(*ESM), assets("style.css")
        traits = {"_selection": dict(self._selection), "_changes": list(self._changes), "_code": self._code}
        knockout = None if self._knockout is None else knockout_message(self._knockout)
        return routing_page(*sources, traits, self._there(), self._effect_message(), self._history, knockout)

    def picture(self) -> tuple[str, bytes] | None:
        if self._run is None:
            return None
        return routing_picture(self._run, self._steps(self._selection), self._effect_words())

    def _effect_words(self) -> tuple[str, ...]:
        """What regenerating showed, in a line or two, and what became of skills."""
        knocked = () if self._knockout is None else knockout_words(self._knockout)
        if self._effect is None:
            return knocked
        effect, alternative = self._effect, self._alternative
        control = f", of random experts {np.mean(effect.controls):.3g}" if effect.controls else ""
        found = f"mean KL {effect.kl.mean():.3g} nats{control}; {effect.changed_routes:.0%} of routes changed"
        return f"With {alternative.interventions}: {found}", f"It answers: {alternative.answer}", *knocked

    # Messages.

    def snapshot(self) -> None:
        about = {"live": self._lm is not None, "saved": False, "film": self._history is not None}
        about |= {"skills": () if self._skills is None else self._skills.names}
        about |= {"model": self._shown_name(), "asked": self._x if isinstance(self._x, str) else ""}
        self.post("about", about | {name: self._settings[name] for name in ("max_tokens", "thinking")})
        self._post_run()
        if self._effect is not None:
            self._post_message("effect", self._effect_message())
        if self._knockout is not None:
            self._post_message("knockout", knockout_message(self._knockout))
        with self._sending:  # so that a view is told all of an answer once
            if self._said:
                self._post_stream(0)

    def on_ask(self, content: Mapping[str, Any]) -> None:
        self.ask(content["text"], thinking=content["thinking"], max_tokens=content["max_tokens"])

    def on_regenerate(self, _: Mapping[str, Any]) -> None:
        self.regenerate()

    def on_knock_out(self, content: Mapping[str, Any]) -> None:
        self.knock_out(content["skill"])

    def on_film(self, content: Mapping[str, Any]) -> None:
        if self._history is not None:
            self.answer(content, "film", *self._history)

    def on_export(self, content: Mapping[str, Any]) -> None:
        self.answer(content, "page", {"name": "routing_probe.html"}, [self._page().encode()])

    def _post_message(self, kind: str, message: Message) -> None:
        self.post(kind, message.content, message.buffers)

    def _post_stream(self, start: int) -> None:
        """What is generated, from a token on."""
        self.post("stream", {"at": start, "text": "".join(self._said[start:]), "count": len(self._said)})

    def _post_run(self) -> None:
        if self._run is not None:
            self._post_message("run", pack_run(self._run))

    def _effect_message(self) -> Message | None:
        if self._effect is None:
            return None
        effect, alternative = self._effect, self._alternative
        about = {
            "text": list(alternative.tokens.text),
            "phase": list(alternative.tokens.phase),
            "changed": alternative.interventions,
            "controls": list(effect.controls),
            "changed_routes": effect.changed_routes,
        }
        arrays = {"kl": effect.kl, "control": effect.control, "ids": effect.read.routing.ids}
        arrays = {name: a if a.dtype.kind == "u" else a.astype(np.float32) for name, a in arrays.items()}
        return packed(about, arrays, {})

    # Work, in the background or not.

    def _ask(self, x: Any, settings: Mapping[str, Any]) -> None:
        run = self._generate(x, None, settings)
        seed = {} if run.asked is None else {"seed": run.asked["seed"]}
        self._run, self._x, self._settings = run, x, {**settings, **seed}
        self._used = plan_of(self._lm, run)
        self._alternative = self._effect = None
        self._selection = {**self._selection, "brush": None}
        self._post_run()
        self._write_code()

    def _regenerate(self) -> None:
        changes, baseline = self._changed, self._there()
        alternative = self._generate(self._x, joined(changes), self._settings)
        effect = measure(self._need_lm(), baseline, changes, go_on=self._go_on)
        self._alternative, self._effect = alternative, effect
        self._post_message("effect", self._effect_message())

    def _knock_out(self, skill: str, count: int) -> None:
        found = self._skills.knockout(skill, count, _CONTROLS, self._go_on)
        self._knockout = found
        self._changes = [Change("ablate", layer, expert).message() for layer, expert in found.experts[skill]]
        self._post_message("knockout", knockout_message(found))

    def _generate(self, x: Any, plan: Plan | None, settings: Mapping[str, Any]) -> Run:
        lm, settings = self._need_lm(), run_settings(x, settings)
        decoder = IncrementalDecoder(lm.tokenizer) if settings.get("max_tokens") else None  # what is read says nothing

        def say(tokens: list[int]) -> None:
            with self._sending:
                start = len(self._said)
                self._said += map(decoder.feed, tokens)
                self._post_stream(start)

        try:
            with Paced(say) as paced:
                self._watch = Watch(paced.add)
                if self._stopping.is_set() and self.busy:
                    self._watch.stop()
                return lm.run(x, interventions=plan, watch=self._watch, **settings)
        finally:
            self._said.clear()

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise RequestError("stopped")

    # Small things.

    @property
    def _changed(self) -> list[Change]:
        return [Change(**change) for change in self._changes]

    def _there(self) -> Run:
        if self._run is None:
            raise RequestError("nothing was run yet")
        return self._run

    def _need_lm(self) -> LM:
        if self._lm is None:
            raise RequestError("this probe has a run and no model; RoutingProbe(lm, run=run) can run it again")
        return self._lm

    def _shown_name(self) -> str:
        return self._run.model if self._lm is None else self._lm.name

    def _layers(self) -> Layers:
        return self._run.layers if self._run is not None else Layers.of(self._need_lm().model)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _steps(self, picked: Mapping[str, Any]) -> np.ndarray:
        where = self._there().routing.where(picked.get("phases") or None)
        brush = picked.get("brush")
        if brush is not None:
            inside = np.arange(len(where))
            where = where & (inside >= brush[0]) & (inside < brush[1])
        return np.flatnonzero(where)

    def _take(self, run: Run, settings: Mapping[str, Any]) -> None:
        """A run that there is, and what it was asked with; of one that was read, as many tokens as its answer has."""
        run.routing  # noqa: B018 - says at once if there is none
        if self._lm is not None:
            require_run_of(self._lm, run)
            self._used = plan_of(self._lm, run)
        prompt = run.tokens.phase.count("prompt")
        read = {**SETTINGS, "x": run.tokens.id[:prompt].tolist(), "max_tokens": len(run) - prompt, "seed": 0}
        asked = read if run.asked is None else {"thinking": SETTINGS["thinking"], **run.asked}
        self._run, self._x = run, asked["x"]
        self._settings = {**asked, **settings}
        del self._settings["x"]

    def _write_code(self, _: Any = None) -> None:
        steps = None if self._run is None or self._selection.get("brush") is None else self.selection.steps
        made_with = "" if self._run is None else self._run.interventions
        given = self._x, self._settings, self._changed
        source = Source.of_run(self._run) if self._lm is None else Source.of(self._lm)
        self._code = python_code(source, *given, steps, self._used, made_with)
