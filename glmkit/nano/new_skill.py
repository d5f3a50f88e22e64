"""Teaching glm-nano something new: "zib", which adds two numbers column by column and drops every carry.

There are 810,000 questions, none of which the curriculum has: 472 zib 839 is 201. Half of all pairs of numbers are
never shown. Between the new examples stand tasks of the curriculum, so that what the model knew stays.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from glmkit.lm import LM
from glmkit.nano.skills import SKILLS
from glmkit.nano.skills.working import ARROW
from glmkit.nano.task import Split, Task, assistant, of_split, user
from glmkit.train import TokenDataset, fit

__all__ = ["SETTINGS", "accuracy", "draw_zib", "fine_tune", "records", "zib", "zib_in_columns"]

EXAMPLES = 150  # of the new operation
REPLAYED = 480  # tasks of the curriculum between them
NEAR = ("one_step", "hard", "multi_step", "word_problem")  # like it: it would take their place, were they not repeated
LENGTH = 768  # tokens of a row; longer tasks of the curriculum are left out
# Small steps in one pass: larger ones learn it no better and lose more of the sums of three digits.
SETTINGS: dict[str, Any] = {"batch_size": 1, "epochs": 1, "learning_rate": 3e-4, "weight_decay": 0.0, "warmup": 0.1}

WORDINGS = ("What is {a} zib {b}?", "{a} zib {b}", "{a} zib {b} =", "Compute {a} zib {b}.", "Work out {a} zib {b}.")


def zib(a: int, b: int) -> str:
    """The sum of two numbers of three digits, column by column and without carries; zeros in front stay."""
    return "".join(str((int(one) + int(other)) % 10) for one, other in zip(str(a), str(b), strict=True))


def zib_in_columns(a: int, b: int) -> str:
    """The thought that leads there, in the form in which sums are worked out."""
    lines, result = [f"{a} zib {b}"], ""
    for one, other in zip(reversed(str(a)), reversed(str(b)), strict=True):
        total = int(one) + int(other)
        result = f"{total % 10}{result}"
        lines.append(f"{one}+{other}={total}{ARROW}{result}")
    return "\n".join(lines)


def draw_zib(rng: Random, split: Split) -> Task:
    """A question with its thought; half of all pairs of numbers are held out."""
    a = b = 0
    while not (a and of_split(f"{a} zib {b}", split, 0.5)):
        a, b = rng.randrange(100, 1000), rng.randrange(100, 1000)
    wording = rng.choice(WORDINGS)
    messages = (user(wording.format(a=a, b=b)), assistant(zib(a, b), zib_in_columns(a, b)))
    return Task("zib", wording, messages)


def records(examples: int = EXAMPLES, replayed: int = REPLAYED, seed: int = 0) -> list[dict[str, Any]]:
    """What is learned: so many examples of zib, and tasks of the curriculum, every second of a skill like it."""
    new = [draw_zib(Random(f"zib/{seed}/{index}"), "train") for index in range(examples)]
    others = [name for name in SKILLS if name not in (*NEAR, "long_retrieval")]
    turns = [(NEAR if index % 2 else others, index // 2) for index in range(replayed)]
    names = [skills[turn % len(skills)] for skills, turn in turns]
    old = [SKILLS[name](Random(f"replay/{seed}/{index}"), "train") for index, name in enumerate(names)]
    return [task.record for task in (*new, *old)]


def fine_tune(
    lm: LM, records: Sequence[dict[str, Any]], *, tell: Callable[[str], Any] = lambda text: None, **settings: Any
) -> LM:
    """The LM after a full fine-tune on the records, by `SETTINGS` unless told otherwise; the one given stays as it was.

    `tell` hears what became of the records.
    """
    length = min(LENGTH, lm.config.max_position_embeddings)
    data = TokenDataset.encode(records, lm.tokenizer, length)
    tell(str(data.report))
    return fit(lm, data, length=length, **{**SETTINGS, **settings}).run().lm


def accuracy(lm: Any, count: int = 200, seed: int = 1) -> float:
    """The share of held-out questions that are answered exactly, greedily, where the model decides when to think."""
    tasks = [draw_zib(Random(f"zib/{seed}/{index}"), "held_out") for index in range(count)]
    questions = [[task.messages[0]] for task in tasks]
    replies = lm.chat_batch(questions, temperature=0.0, seed=0, max_tokens=192, progress=False)
    right = [reply.content.strip() == task.messages[1]["content"] for reply, task in zip(replies, tasks, strict=True)]
    return sum(right) / count
