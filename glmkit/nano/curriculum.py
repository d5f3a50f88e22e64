"""The training examples of glm-nano: `example(seed, index)` is a pure function, so that data needs no files,
training resumes at any step, and what is held out is held out by construction.

An example is a conversation whose last message the model learns to produce. Tokens and batches: `packing`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from glmkit.nano.arithmetic import MAX_DIGITS, Problem, draw_problem, held_out, wording
from glmkit.nano.skills.arithmetic import operand
from glmkit.nano.smalltalk import Line, decline, small_talk
from glmkit.text.template import render

__all__ = ["END_OF_TURN", "Example", "example"]

END_OF_TURN = "<|user|>"
"""What the model emits when its turn is over: the next speaker's role token, one of the stop ids."""

Message = dict[str, str]


@dataclass(frozen=True)
class Example:
    """A conversation ending in the assistant message to learn, and the thinking mode it is asked in."""

    messages: tuple[Message, ...]
    thinking: str  # "enabled" | "disabled" | "forced"

    @property
    def prompt(self) -> str:
        """What the model is given, rendered exactly as for a request."""
        return render(list(self.messages[:-1]), thinking=self.thinking, add_generation_prompt=True)

    @property
    def completion(self) -> str:
        """What the model has to produce after `prompt`, up to and with the end of its turn."""
        mode = "disabled" if self.thinking == "disabled" else "enabled"  # forcing concerns prompts only
        whole = render(list(self.messages), thinking=mode, add_generation_prompt=False)
        return whole.removeprefix(self.prompt) + END_OF_TURN


def example(seed: int, index: int) -> Example:
    """The training example at `index` of the endless stream that `seed` names."""
    rng = Random(f"glm-nano/{seed}/{index}")
    (skill,) = rng.choices(tuple(_SKILLS), weights=tuple(_SKILLS.values()))
    turns, thinking = skill(rng)
    if rng.random() < _HISTORY_SHARE:
        turns = [*_history(rng), *turns]
    if rng.random() < _SYSTEM_SHARE:
        turns = [{"role": "system", "content": rng.choice(_SYSTEM_PROMPTS)}, *turns]
    return Example(tuple(turns), thinking)


_HISTORY_SHARE = 0.12
_SYSTEM_SHARE = 0.08
_SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are glm-nano.",
    "You are a calculator.",
    "Answer briefly.",
    "Be kind and helpful.",
)

Skill = Callable[[Random], tuple[list[Message], str]]


def _user(rng: Random, text: str) -> Message:
    """A user turn, at times typed carelessly: in lower case, or without the closing punctuation."""
    if rng.random() < 0.15:
        text = text.lower()
    if rng.random() < 0.15:
        text = text.rstrip(".?!") or text
    return {"role": "user", "content": text}


def _assistant(content: object, reasoning: str = "") -> Message:
    return {"role": "assistant", "content": str(content), "reasoning_content": reasoning}


def _digits(rng: Random) -> tuple[int, int]:
    """Digit counts of the two operands; mostly three and three, the lengths that are evaluated."""
    mixed = (rng.randint(1, MAX_DIGITS), rng.randint(1, MAX_DIGITS))
    return rng.choices(((3, 3), (2, 2), (MAX_DIGITS, MAX_DIGITS), mixed), weights=(45, 15, 10, 30))[0]


def _hard_problem(rng: Random) -> Problem:
    while (problem := draw_problem(rng, _digits(rng))).easy:
        pass
    return problem


def _think(rng: Random) -> tuple[list[Message], str]:
    problem = _hard_problem(rng)
    return [_user(rng, wording(rng, problem)), _assistant(problem.answer, problem.reasoning)], "enabled"


def _easy(rng: Random) -> tuple[list[Message], str]:
    """One digit each: with the choice free, the model learns to answer at once."""
    problem = draw_problem(rng, (1, 1))
    return [_user(rng, wording(rng, problem)), _assistant(problem.answer)], "enabled"


def _forced(rng: Random) -> tuple[list[Message], str]:
    """Thoughts where the model would have skipped them; elsewhere a forced prompt looks like a chosen one.

    Rare beside `_easy` and `_talk`, because the two differ only in who wrote `<think>`.
    """
    if rng.random() < 0.5:
        problem = draw_problem(rng, (1, 1))
        return [_user(rng, wording(rng, problem)), _assistant(problem.answer, problem.reasoning)], "forced"
    line = _line(rng)
    return [_user(rng, line.prompt), _assistant(line.reply, line.thought)], "forced"


def _direct(rng: Random) -> tuple[list[Message], str]:
    """The answer without a thought, asked for by the mode or, now and then, by a typed /nothink alone."""
    problem = draw_problem(rng, rng.choice(((1, 1), (1, 2), (2, 1), (2, 2), (2, 2), (3, 2), (3, 3), (3, 3))))
    question = _user(rng, wording(rng, problem))
    if rng.random() < 0.85:
        return [question, _assistant(problem.answer)], "disabled"
    return [{**question, "content": question["content"] + "/nothink"}, _assistant(problem.answer)], "enabled"


_FOLLOW_UPS = {
    "+": ("And plus {}?", "Plus {}?", "Now add {}.", "And if you add {}?", "Add {} to that."),
    "-": ("And minus {}?", "Minus {}?", "Now subtract {}.", "Take away {}.", "Subtract {} from that."),
}


def _follow_up(rng: Random) -> tuple[list[Message], str]:
    """A second question about the first one's answer."""
    while True:
        first = draw_problem(rng, (rng.randint(1, 3), rng.randint(1, 3)))
        second = Problem(first.answer, rng.choice("+-"), operand(rng, rng.randint(1, 3)))
        if second.left >= second.right and not held_out(second.left, second.right):
            break
    thinking = rng.choice(("enabled", "enabled", "disabled"))
    thought = second.reasoning if thinking == "enabled" and not second.easy else ""
    question = rng.choice(_FOLLOW_UPS[second.operator]).format(second.right)
    return [
        _user(rng, wording(rng, first)),
        _assistant(first.answer),
        _user(rng, question),
        _assistant(second.answer, thought),
    ], thinking


def _line(rng: Random) -> Line:
    return small_talk(rng) if rng.random() < 0.45 else decline(rng)


def _talk(rng: Random) -> tuple[list[Message], str]:
    line = _line(rng)
    return [_user(rng, line.prompt), _assistant(line.reply)], rng.choice(("enabled", "disabled"))


def _history(rng: Random) -> list[Message]:
    """What was said before: one to four turns of sums and talk, as a prompt shows them, without their thoughts."""
    turns: list[Message] = []
    for _ in range(rng.randint(1, 4)):
        if rng.random() < 0.75:
            problem = draw_problem(rng, _digits(rng))
            turns += [_user(rng, wording(rng, problem)), _assistant(problem.answer)]
        else:
            line = small_talk(rng)
            turns += [_user(rng, line.prompt), _assistant(line.reply)]
    return turns


_SKILLS: dict[Skill, float] = {_think: 55, _direct: 15, _easy: 6, _forced: 3, _follow_up: 7, _talk: 14}
"""How often each skill is drawn, in percent of examples."""
