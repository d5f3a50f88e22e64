"""How well glm-nano does what it was taught: held-out tasks, asked as users ask them and judged to the letter.

`questions` draws what is asked, `asking` asks it in waves, `judges` says what is right, `figures` names the results and
their goals, and `inside` looks at drafts and experts on the way.
"""

from collections.abc import Sequence
from typing import Any

from tqdm.auto import tqdm

from glmkit.checks import check_integer
from glmkit.errors import RequestError
from glmkit.lm import LM
from glmkit.nano.evaluation.asking import ask
from glmkit.nano.evaluation.figures import Result, conversation_figures, curve_figures
from glmkit.nano.evaluation.inside import inside_figures
from glmkit.nano.evaluation.questions import ASKABLE, LENGTHS, draw_questions, draw_retrieval

__all__ = ["ASKABLE", "Result", "check_skills", "evaluate"]

CONTEXT = 4096
"""Tokens that are allocated for a question; those of the long curve get more."""


def evaluate(
    lm: LM,
    *,
    per_skill: int = 200,
    seed: int = 0,
    skills: Sequence[str] = (),
    long: bool = False,
    progress: bool = True,
) -> dict[str, Result]:
    """Figures by name, measured greedily on held-out tasks; the same for the same model and arguments.

    `per_skill` tasks of each of `skills` (all of `ASKABLE` by default) are asked; figures of skills that were not
    asked are left out. `long` adds retrieval from contexts of up to 16 times the trained length, which takes long. An
    `lm` that is no `LM` but answers `chat_batch` gets the figures of its answers alone. Raises `RequestError` for a
    skill that there is not.
    """
    check_integer("per_skill", per_skill, 1)
    asked = check_skills(skills) or ASKABLE
    questions = [question for skill in asked for question in draw_questions(skill, per_skill, seed)]
    stretches = {times: draw_retrieval(times, per_skill, seed) for times in LENGTHS if long and times > 1}
    total = len(questions) + sum(map(len, stretches.values()))
    with tqdm(total=total, desc="questions", disable=not progress) as bar:
        answers = ask(_with_context(lm, CONTEXT), questions, bar.update)
        results = conversation_figures(answers)
        for times, stretch in stretches.items():
            room = _with_context(lm, times * CONTEXT)
            results |= curve_figures(times, ask(room, stretch, bar.update, rows=max(1, 16 // times)))
    return results | (inside_figures(lm, answers) if isinstance(lm, LM) else {})


def check_skills(skills: Sequence[str]) -> tuple[str, ...]:
    """The skills, each once. Raises `RequestError` for one that there is not, naming those that there are."""
    for skill in skills:
        if skill not in ASKABLE:
            raise RequestError(f"there is no skill {skill!r} to evaluate; expected some of {', '.join(ASKABLE)}")
    return tuple(dict.fromkeys(skills))


def _with_context(lm: Any, tokens: int) -> Any:
    """The same model with room for so many tokens: caches are allocated, and attended to, for all that they hold."""
    if not isinstance(lm, LM):
        return lm
    room = min(tokens, lm.config.max_position_embeddings)
    return lm.with_model(lm.model, max_len=room)
