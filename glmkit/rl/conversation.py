"""Conversations of a policy with episodes, all of them side by side through the engine, and the rollout they make."""

import dataclasses
import hashlib
from collections.abc import Generator, Sequence
from typing import Any

from glmkit.engine import Engine, Request
from glmkit.engine.answer import Answer, Completion
from glmkit.engine.probing import Probe, Probing
from glmkit.engine.sampling import Sampling
from glmkit.errors import DataError, RequestError
from glmkit.model import Keep
from glmkit.rl.rollout import Rollout
from glmkit.rl.rows import Row, assembled
from glmkit.rl.sample import Sample, Turn
from glmkit.rl.task import Episode, Message, Problem, modes_of
from glmkit.text import Tokenizer
from glmkit.text.phases import PhaseFollower
from glmkit.turns import Turns

__all__ = ["Sampler"]


@dataclasses.dataclass
class _Asked:
    """A turn on its way, or one that there is no room for: its request has ended."""

    request: Request
    answer: Answer
    text: str  # of the prompt
    probe: Probe
    row: Row  # which it adds to


@dataclasses.dataclass
class _Dialogue:
    """One sample as it is made."""

    index: int
    group: int
    problem: Problem
    thinking: str
    episode: Generator[Sequence[Message], Completion, Any]
    messages: list[Message] = dataclasses.field(default_factory=list)
    turns: list[Turn] = dataclasses.field(default_factory=list)
    rows: list[Row] = dataclasses.field(default_factory=list)
    text: str = ""  # of the last row
    over: bool = False
    returned: Any = None

    def take(self, reply: Completion) -> None:
        self.turns.append(Turn.of(reply))
        self.messages.append(reply.message)

    def advance(self, reply: Completion | None) -> None:
        """Hear a reply, or nothing at the start, and take what is to be said next."""
        try:
            said = self.episode.send(reply)
            self.messages += said
        except StopIteration as stop:
            self.over, self.returned = True, stop.value
        except Exception as error:
            told = f"raised {type(error).__name__} after {len(self.turns)} turns: {error}"
            raise DataError(f"the episode of sample {self.index} {told}") from error
        if reply is None and self.over:
            raise DataError(f"the episode of sample {self.index} ended before anything was said; let it yield messages")


class Sampler:
    """Samples of problems, by one engine and one set of settings.

    `thinking` is a mode, or several that the samples of a group take in turn.
    """

    def __init__(
        self,
        engine: Engine,
        turns: Turns,
        tokenizer: Tokenizer,
        sampling: Sampling,
        *,
        thinking: str | Sequence[str],
        budget: int | None,
        max_tokens: int,
        tool_choice: Any,
        routes: bool,
    ):
        self._engine, self._turns, self._tokenizer = engine, turns, tokenizer
        self._sampling, self._budget, self._max_tokens = sampling, budget, max_tokens
        self._modes = modes_of(thinking)
        self._tool_choice, self._routes = tool_choice, routes
        self._probing = Probing(Keep(routes=("ids",)) if routes else None, None)
        self._raw = sampling == Sampling(seed=sampling.seed) or sampling.temperature == 0

    def sample(self, problems: Sequence[Problem], n: int, episode: Episode, version: int) -> Rollout:
        """`n` samples of each problem; their seeds depend on the place of each alone.

        A `DataError` of an episode has what was said until then as `rollout`.
        """
        dialogues = [
            _Dialogue(group * n + number, group, problem, self._modes[number % len(self._modes)], episode(problem))
            for group, problem in enumerate(problems)
            for number in range(n)
        ]
        for dialogue in dialogues:
            dialogue.advance(None)
        try:
            while live := [dialogue for dialogue in dialogues if not dialogue.over]:
                self._take_turns(live)
        except DataError as error:
            if dialogues[-1].turns:
                error.rollout = self._made(dialogues, version)
            raise
        return self._made(dialogues, version)

    def _made(self, dialogues: Sequence[_Dialogue], version: int) -> Rollout:
        samples = [Sample(d.index, d.group, d.problem, tuple(d.turns), d.returned) for d in dialogues]
        rows = [row for dialogue in dialogues for row in dialogue.rows]
        return assembled(rows, samples, self._sampling, version)

    def _take_turns(self, live: Sequence[_Dialogue]) -> None:
        """A turn of each, all at the same time."""
        asked = [(dialogue, self._asked(dialogue)) for dialogue in live]
        self._answer([each for _, each in asked if each.request.finish_reason is None])
        replies = []
        for dialogue, each in asked:
            each.answer.finish()
            completion, had_room = each.answer.completion(), bool(each.request.tokens or each.request.end)
            if completion.error is not None:
                raise completion.error
            if had_room:
                self._note(dialogue, each)
            dialogue.take(completion)
            replies.append((completion, had_room))
        for (dialogue, _), (completion, had_room) in zip(asked, replies, strict=True):
            dialogue.advance(completion)
            if not had_room and not dialogue.over:
                dialogue.episode.close()
                dialogue.over = True

    def _asked(self, dialogue: _Dialogue) -> _Asked:
        """The next turn's request. Its prompt goes on from the tokens that were drawn where its text does."""
        settings = self._sampling
        constrained = bool(dialogue.problem.tools)
        try:
            request, answer = self._turns.chat(
                dialogue.messages,
                tools=list(dialogue.problem.tools),
                tool_choice=self._tool_choice if constrained else "auto",
                thinking=dialogue.thinking,
                budget=None if dialogue.thinking == "disabled" else self._budget,
                max_tokens=self._max_tokens,
                temperature=settings.temperature,
                top_p=settings.top_p,
                top_k=settings.top_k,
                min_p=settings.min_p,
                repetition_penalty=1.0,
                seed=_seed(settings.seed, dialogue.index, len(dialogue.turns)),
                drawn_logprobs=settings.temperature > 0 and (constrained or not self._raw),
            )
        except RequestError as error:
            if not dialogue.turns:
                raise
            where = f"turn {len(dialogue.turns)} of sample {dialogue.index}"
            raise DataError(f"{where} cannot be asked as its episode says it: {error}") from error
        text, row = answer.completion().prompt, Row(dialogue.index)
        if dialogue.rows and text.startswith(dialogue.text):
            row = dialogue.rows[-1]
            request.prompt = (*row.tokens, *self._tokenizer.encode(text.removeprefix(dialogue.text)))
        if dialogue.turns and not self._engine.fits(request):
            request.finish("length")
        probe = Probe(self._probing, PhaseFollower(self._tokenizer), captures=self._routes)
        request.probe = probe if self._routes else None
        return _Asked(request, answer, text, probe, row)

    def _answer(self, asked: Sequence[_Asked]) -> None:
        tickets = self._engine.submit_all([(each.request, each.answer.feed) for each in asked])
        try:
            for ticket in tickets:
                ticket.wait()
        except BaseException:
            for ticket in tickets:
                ticket.cancel("interrupted")
            raise

    def _note(self, dialogue: _Dialogue, asked: _Asked) -> None:
        request = asked.request
        if not dialogue.rows or asked.row is not dialogue.rows[-1]:
            dialogue.rows.append(asked.row)
        asked.row.add_turn(request, asked.probe)
        ended = [] if request.end is None else [request.end.token]
        dialogue.text = asked.text + self._tokenizer.decode([*request.tokens, *ended])


def _seed(seed: int, sample: int, turn: int) -> int:
    """Of one turn of one sample, whatever else is sampled."""
    digest = hashlib.blake2b(f"{seed}/{sample}/{turn}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")
