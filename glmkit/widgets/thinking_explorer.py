"""The thinking explorer: one prompt in several modes and with several seeds, and thoughts that are cut and edited."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from traitlets import Dict, Unicode

from glmkit.checks import check_integer
from glmkit.errors import RequestError
from glmkit.examples import PROMPTS, Example
from glmkit.lm import LM
from glmkit.probe import Plan
from glmkit.runs import Run, Watch
from glmkit.text.template import thinking_mode
from glmkit.turns import SAMPLING, TURN, refuse_unknown
from glmkit.widgets.attempts import Attempt, Piece, Turn
from glmkit.widgets.base import Widget, assets
from glmkit.widgets.code import Source, thinking_code
from glmkit.widgets.pace import Paced
from glmkit.widgets.thinking_picture import thinking_picture

__all__ = ["MODES", "ThinkingExplorer", "ThinkingSelection"]

MODES = ("enabled", "disabled", "forced")
MOST = 64  # answers side by side
ESM = ("base.js", "tokens.js", "attempt.js", "thinking_explorer.js")


@dataclass(frozen=True)
class ThinkingSelection:
    """What is picked: the number of an attempt, how it was asked for, and `token`, a step of its run, to cut after."""

    attempt: int | None = None
    mode: str | None = None
    seed: int | None = None
    token: int | None = None


class ThinkingExplorer(Widget):
    """One prompt in every mode and with every seed, side by side, as the answers come.

    `x`, if given, is asked at once: a string, messages, or an `Example` of `glmkit.examples`. `modes` are those of
    `lm.chat`; `budget` closes thoughts after so many tokens; `interventions` hold for all that is asked; `settings` are
    those of `lm.run`, by default up to 256 tokens, and how the checkpoint wants to be sampled. What came is in
    `attempts`, the run of the one that is picked in `run`; `cut` and `edit` go on from a thought. Raises RequestError
    for what cannot be asked.
    """

    _esm = assets(*ESM)
    _css = assets("style.css", "thinking_explorer.css")
    _selection = Dict().tag(sync=True)
    _code = Unicode().tag(sync=True)

    def __init__(
        self,
        lm: LM,
        x: Any = None,
        *,
        modes: Sequence[Any] = MODES,
        seeds: Sequence[int] = (0, 1),
        budget: int | None = None,
        interventions: Plan | None = None,
        **settings: Any,
    ):
        self._lm, self._x = lm, None
        self._settings = _settings({"max_tokens": 256, **settings})
        self._modes, self._seeds, self._budget = _modes(modes), _seeds(seeds), _budget(budget)
        self._plan = interventions or None
        self._attempts: list[Attempt] = []
        self._watches: list[Watch] = []
        self._telling = threading.RLock()  # so that what a new view is told and what comes meanwhile are in order
        super().__init__()
        self.observe(self._write_code, names=["_selection"])
        self._write_code()
        if x is not None:
            self.ask(x)
            self.wait()

    # What the next cell reads.

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All answers, those that go on from others after them; waits for those that are being written."""
        self._join()
        return tuple(self._attempts)

    @property
    def run(self) -> Run | None:
        """Of the attempt that is picked, or of the first: tokens, phases, routes."""
        self._join()
        picked = self.selection.attempt
        return self._attempts[picked or 0].run if self._attempts else None

    @property
    def selection(self) -> ThinkingSelection:
        """What is picked."""
        number = self._selection.get("attempt")
        if number is None or number >= len(self._attempts):
            return ThinkingSelection()
        attempt = self._attempts[number]
        return ThinkingSelection(number, attempt.mode, attempt.seed, self._selection.get("token"))

    @property
    def interventions(self) -> Plan:
        """What holds for all that is asked from now on; may be set."""
        return Plan() if self._plan is None else self._plan

    @interventions.setter
    def interventions(self, plan: Plan | None) -> None:
        self._plan = plan or None

    def select(self, attempt: int, *, token: int | None = None) -> None:
        """Pick an attempt by its number, and a step of its run within the thought."""
        found = self._attempt(attempt)
        if token is not None:
            self._check_cut(found, token)
        self._selection = {"attempt": attempt, "token": token}

    # Doing.

    def ask(
        self,
        x: Any,
        *,
        modes: Sequence[Any] | None = None,
        seeds: Sequence[int] | None = None,
        **settings: Any,
    ) -> None:
        """Ask something else, in the background; `wait` waits for it. `settings` as at first, `budget` among them."""
        modes = self._modes if modes is None else _modes(modes)
        seeds = self._seeds if seeds is None else _seeds(seeds)
        if len(modes) * len(seeds) > MOST:
            raise RequestError(f"{len(modes)} modes and {len(seeds)} seeds; expected at most {MOST} answers")
        budget = _budget(settings.pop("budget", self._budget))
        x = x.messages if isinstance(x, Example) else x
        settings = _settings({**self._settings, **settings})
        prompts = {mode: self._encoded(x, mode, settings) for mode in modes}
        asked = [(mode, seed) for mode in modes for seed in seeds]
        attempts = [
            self._new(number, mode, seed, None if mode == "disabled" else budget, prompts[mode])
            for number, (mode, seed) in enumerate(asked)
        ]

        def work() -> None:
            self._x, self._modes, self._seeds, self._budget, self._settings = x, modes, seeds, budget, settings
            self._answer(attempts)

        self.begin("thinking", work)

    def edit(self, thought: str, *, attempt: int | None = None, close: bool = False) -> None:
        """Have the model go on from this thought, in the background: it becomes the start of the assistant's turn.

        It takes the place of the thought of an attempt, by default the one that is picked, whose seed it goes on with;
        with `close` the thought ends there, and the answer follows. Raises RequestError for interventions that hold by
        phase: the thought is part of what the model is given.
        """
        source = self._source(attempt)
        text = self._lm.prompt(self._x, tools=self._settings.get("tools"), thinking="forced") + thought
        self._go_on(source, self._lm.tokenizer.encode(text), "edited", thought, close)

    def cut(self, token: int | None = None, *, attempt: int | None = None, close: bool = False) -> None:
        """Have the model go on, in the background, from a thought cut after `token`, a step of the attempt's run.

        By default that is what is picked. Up to there the tokens stay the same ids: with the same seed, what follows is
        drawn as before. With `close` the thought ends there, and the answer follows. Raises RequestError as `edit`.
        """
        source = self._source(attempt)
        if token is None and source.number == self.selection.attempt:
            token = self.selection.token
        if token is None:
            raise RequestError("no token is picked; expected cut(token), a step of the thought to cut after")
        self._check_cut(source, token)
        self._go_on(source, source.turn.ids[: token + 1], "cut", token + 1, close)

    def stop(self) -> None:
        super().stop()
        with self._telling:
            watches = list(self._watches)
        for watch in watches:
            watch.stop()

    def picture(self) -> tuple[str, bytes] | None:
        with self._telling:
            return thinking_picture(self._lm.name, _asked(self._x), self._attempts) if self._attempts else None

    # Messages.

    def snapshot(self) -> None:
        with self._telling:
            self.post("about", self._about())
            self._post_attempts()

    def _about(self) -> dict[str, Any]:
        system, question = _parts(self._x)
        return {
            "live": True,
            "model": self._lm.name,
            "asked": question,
            "system": system,
            "modes": list(MODES),
            "picked": list(self._modes),
            "seeds": list(self._seeds),
            "budget": self._budget,
            "max_tokens": self._settings["max_tokens"],
            "temperature": self._settings.get("temperature"),
            "own_temperature": self._lm.generation.temperature if self._lm.generation.do_sample else 0,
            "examples": [vars(example) for example in PROMPTS],
        }

    def _post_attempts(self) -> None:
        messages = [attempt.message(self._lm.tokenizer) for attempt in self._attempts]
        self.post("attempts", {"attempts": messages})

    def on_ask(self, content: Mapping[str, Any]) -> None:
        example = Example("", "", content["text"], content["system"])
        settings = {name: content[name] for name in ("max_tokens", "temperature", "budget")}
        x = example.messages if example.system else example.prompt
        self.ask(x, modes=content["modes"], seeds=content["seeds"], **settings)

    def on_edit(self, content: Mapping[str, Any]) -> None:
        self.edit(content["thought"], attempt=content["attempt"], close=content["close"])

    def on_cut(self, content: Mapping[str, Any]) -> None:
        self.cut(content["token"], attempt=content["attempt"], close=content["close"])

    # Work, in the background.

    def _answer(self, attempts: Sequence[Attempt]) -> None:
        """All of them at once, in place of what was there if they go on from nothing."""
        with self._telling:
            self._watches.clear()
            if attempts[0].source is None:
                self._attempts = list(attempts)
                self._selection = {"attempt": 0, "token": None}
            else:
                self._attempts.extend(attempts)
                self._selection = {"attempt": attempts[0].number, "token": None}
            self._post_attempts()
        self._write_code()
        with Paced(self._say) as paced, ThreadPoolExecutor(len(attempts), "glmkit attempt") as pool:
            failures = list(pool.map(lambda attempt: self._answer_one(attempt, paced.add), attempts))
        self._write_code()
        for failure in filter(None, failures):
            raise failure

    def _answer_one(self, attempt: Attempt, say: Callable[[Piece], None]) -> Exception | None:
        number, started = attempt.number, time.perf_counter()
        watch = Watch(lambda token: say(Piece(number, token, time.perf_counter() - started)))
        with self._telling:
            self._watches.append(watch)
        if self._stopping.is_set():
            watch.stop()
        try:
            x, settings = self._request(attempt)
            attempt.plan = self._planned()
            attempt.run = self._lm.run(x, interventions=self._plan, seed=attempt.seed, watch=watch, **settings)
        except Exception as error:
            if not (watch.stopped and isinstance(error, RequestError)):  # rather than stopped before its first token
                attempt.error = f"{type(error).__name__}: {error}"
                return error
        finally:
            say(Piece(number))
        return None

    def _say(self, pieces: Sequence[Piece]) -> None:
        """What came since the last time, in one message."""
        with self._telling:
            before = {}
            for number, token, seconds in pieces:
                attempt = self._attempts[number]
                before.setdefault(number, (len(attempt.turn.thought), len(attempt.turn.rest)))
                if token is None:
                    attempt.over = True
                else:
                    attempt.turn.feed(token, seconds)
            heard = [(self._attempts[number], at) for number, at in before.items()]
            over = [attempt.message(self._lm.tokenizer) for attempt, _ in heard if attempt.over]
            told = [attempt.news(*at) for attempt, at in heard if not attempt.over]
            self.post("stream", {"pieces": told, "over": over})

    def _request(self, attempt: Attempt) -> tuple[Any, dict[str, Any]]:
        """What `lm.run` is given: the conversation, or tokens and only what goes with these."""
        if attempt.source is None:
            return self._x, {**self._settings, "thinking": attempt.mode, "budget": attempt.budget}
        known = ("max_tokens", *SAMPLING)
        return attempt.prompt, {name: value for name, value in self._settings.items() if name in known}

    def _go_on(self, source: Attempt, ids: Sequence[int], origin: Any, given: int | str, close: bool) -> None:
        self._planned().check_given(f"a thought that is {origin}")
        if close:
            ids = [*ids, self._lm.tokenizer.token_id("</think>")]
        mode = "forced" if source.mode == "disabled" else source.mode  # it has a thought now
        attempt = self._new(len(self._attempts), mode, source.seed, None, ids)
        attempt.source, attempt.origin, attempt.given, attempt.closed = source.number, origin, given, close
        self.begin("going on", lambda: self._answer([attempt]))

    # Small things.

    def _new(self, number: int, mode: str, seed: int, budget: int | None, prompt: Sequence[int]) -> Attempt:
        turn = Turn(self._lm.tokenizer, prompt)
        return Attempt(number, mode, seed, budget, tuple(prompt), turn, self._planned())

    def _planned(self) -> Plan:
        """What is changed in all that is asked now."""
        return (self._lm.interventions or Plan()) + (self._plan or Plan())

    def _encoded(self, x: Any, mode: str, settings: Mapping[str, Any]) -> list[int]:
        return self._lm.tokenizer.encode(self._lm.prompt(x, tools=settings.get("tools"), thinking=mode))

    def _attempt(self, number: Any) -> Attempt:
        number = check_integer("attempt", number, 0)
        if number >= len(self._attempts):
            raise RequestError(f"there is no attempt {number}; there are {len(self._attempts)}, from 0 on")
        return self._attempts[number]

    def _source(self, number: int | None) -> Attempt:
        if self.busy:
            raise RequestError(f"{self._doing} still goes on; wait for it, or stop it")
        if number is None:
            number = self.selection.attempt or 0
        return self._attempt(number)

    def _check_cut(self, attempt: Attempt, token: Any) -> None:
        first = attempt.turn.first
        if first is None or not attempt.turn.thought:
            raise RequestError(f"attempt {attempt.number} has no thought to cut")
        last = first + len(attempt.turn.thought) - 1
        if check_integer("token", token, 0) not in range(first - 1, last + 1):
            raise RequestError(f"token is {token}; the thought of attempt {attempt.number} is steps {first} to {last}")

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _write_code(self, _: Any = None) -> None:
        shape = {"modes": self._modes, "seeds": self._seeds, "budget": self._budget}
        picked = self.selection.attempt
        self._code = thinking_code(Source.of(self._lm), self._x, shape, self._settings, self._attempts, picked)


def _modes(modes: Sequence[Any]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(thinking_mode(mode) for mode in modes))
    if not found:
        raise RequestError("modes is empty; expected some of " + ", ".join(map(repr, MODES)))
    return found


def _seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    found = tuple(dict.fromkeys(check_integer("seed", seed, 0) for seed in seeds))
    if not found:
        raise RequestError("seeds is empty; expected one or several integers")
    return found


def _settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Checked as far as they are not the engine's to check."""
    for name, several in (("thinking", "modes"), ("seed", "seeds")):
        if name in settings:
            raise RequestError(f"{name} is {settings[name]!r}; expected {several}=, a list, in its place")
    refuse_unknown(settings, (*TURN, *SAMPLING))
    check_integer("max_tokens", settings["max_tokens"], 1)
    return settings


def _budget(budget: Any) -> int | None:
    return None if budget is None else check_integer("budget", budget, 0)


def _parts(x: Any) -> tuple[str, str]:
    """The system's words and the user's, where these are all there is."""
    if isinstance(x, str):
        return "", x
    words = [(message.get("role"), message.get("content")) for message in x or ()]
    roles = [role for role, _ in words]
    if roles not in (["user"], ["system", "user"]) or not all(isinstance(content, str) for _, content in words):
        return "", ""
    return ("", words[0][1]) if len(words) == 1 else (words[0][1], words[1][1])


def _asked(x: Any) -> str:
    """The last that was said to the model."""
    return x if isinstance(x, str) else str(x[-1].get("content") or "") if x else ""
