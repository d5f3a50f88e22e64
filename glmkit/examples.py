"""Prompts to try a model with, by what they ask of it: plain text, in the categories in which GLM-4.5 is shown."""

from dataclasses import dataclass

from glmkit.errors import RequestError

__all__ = ["CATEGORIES", "PROMPTS", "Example", "of"]


@dataclass(frozen=True)
class Example:
    """A prompt under a title; `system`, where there is one, says who answers. `nano`: glm-nano has learned such."""

    category: str
    title: str
    prompt: str
    system: str = ""
    nano: bool = False

    @property
    def messages(self) -> list[dict[str, str]]:
        """As `LM.chat` and `LM.run` take them."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.prompt}]


_THINKING = (
    Example("simple thinking", "A small sum", "What is 7 + 5?", nano=True),
    Example("simple thinking", "Two digits", "What is 27 + 58?", nano=True),
    Example("simple thinking", "Days of the week", "Today is Thursday. What day will it be in ten days?"),
    Example("simple thinking", "Letters", "Which letters do the words 'planet' and 'metal' share?"),
    Example("moderate thinking", "A sum in columns", "What is 345 + 678?", nano=True),
    Example("moderate thinking", "A product", "What is 47 * 8?", nano=True),
    Example("moderate thinking", "Four operations", "Calculate 12 + 7 * 8 - 30.", nano=True),
    Example("moderate thinking", "Seats at a table",
            "Ana, Ben, Cleo and Dan sit around a square table. Ana is opposite Ben, and Cleo is to Ana's left. "
            "Who is to Ben's left?"),
    Example("moderate thinking", "Two trains",
            "A train leaves at 9:10 and goes 80 km/h. Another leaves the same station at 9:40 and follows at 110 km/h. "
            "When does it catch up?"),
    Example("difficult thinking", "A long product", "What is 486 * 73?", nano=True),
    Example("difficult thinking", "Parentheses", "Work out (84 - 37) * 6 + 158 - 49.", nano=True),
    Example("difficult thinking", "Coprime pairs",
            "How many pairs of integers (a, b) with 1 <= a < b <= 60 have a greatest common divisor of 1 and a sum "
            "that is divisible by 12? Explain how you know."),
    Example("difficult thinking", "A proof",
            "Show that among any 52 integers there are two whose sum or difference is divisible by 100."),
    Example("difficult thinking", "Weighing",
            "Of thirteen coins one is false, lighter or heavier than the others. Find it in three weighings on a "
            "balance, or show that it cannot be done."),
)  # fmt: skip

_WORK = (
    Example("web development", "A tide clock",
            "Write one HTML file with a tide clock: an animated SVG of the water's level between high and low tide, "
            "with two inputs for the times. No libraries."),
    Example("web development", "A quiz",
            "Build a quiz on the planets as a single page: ten questions, a progress bar, keyboard control, and the "
            "score at the end with what was answered wrongly."),
    Example("web development", "A bug",
            "This button stops working after the list is drawn again: `list.querySelector('button').onclick = add; "
            "list.innerHTML = items.join('')`. Why, and how do I mend it?"),
    Example("assistant", "A free afternoon",
            "I have 90 minutes, 20 euros and a bicycle. Suggest three things to do on a rainy afternoon, and say what "
            "each needs."),
    Example("assistant", "A mail to the landlord",
            "Write a short and friendly mail to my landlord: the heating in the bedroom has been cold for a week, and "
            "I am at home on Tuesday and Friday mornings."),
    Example("slides", "Tides for a school class",
            "Make an outline of eight slides that explain the tides to twelve-year-olds: a title, three points and an "
            "idea for a picture on each."),
    Example("slides", "A quarter in five slides",
            "Make five slides as Markdown for a quarterly review of a small bakery: sales, costs, customers, what went "
            "wrong, what comes next. Leave blanks where a figure belongs."),
    Example("question answering", "From a text",
            "The harbour of Hallow Bay freezes from December to March. Ferries leave every two hours in summer and "
            "twice a day when the bay is free of ice otherwise. How often do ferries leave in May?"),
    Example("question answering", "What it can do", "What can you do?", nano=True),
    Example("question answering", "Why the sky is blue", "Why is the sky blue at noon and red in the evening?"),
)  # fmt: skip

_LANGUAGE = (
    Example("translation", "Words for a number", "Write 47 in words.", nano=True),
    Example("translation", "A sign in a hotel",
            "Translate into Chinese, politely and no longer than the original: 'Breakfast is served until ten; on "
            "Sundays we let you sleep until eleven.'"),
    Example("translation", "A proverb",
            "Translate 'He who digs a pit for others falls into it himself' into French, German and Chinese; where the "
            "language has its own proverb, give that."),
    Example("content", "A product in forty words",
            "Describe a folding kettle for hikers in forty words, without a superlative and without an exclamation "
            "mark."),
    Example("content", "A headline and its opposite",
            "Write a headline for the opening of a night bus line, as its fans would and as its critics would."),
    Example("characters", "A lighthouse keeper", "A ship is late tonight. What do you do?",
            system="You are Maren, keeper of a lighthouse in 1890: of few words, dry, kind. You never leave the role."),
    Example("characters", "A patient examiner", "I forgot what a derivative is.",
            system="You are an examiner who asks one short question at a time and never gives an answer away."),
)  # fmt: skip

PROMPTS: tuple[Example, ...] = (*_THINKING, *_WORK, *_LANGUAGE)
"""All of them, category by category."""

CATEGORIES: tuple[str, ...] = tuple(dict.fromkeys(example.category for example in PROMPTS))
"""In the order of `PROMPTS`."""


def of(category: str) -> tuple[Example, ...]:
    """The prompts of a category. Raises RequestError for one that there is not."""
    if category not in CATEGORIES:
        raise RequestError(f"there are no examples of {category!r}; expected one of {', '.join(CATEGORIES)}")
    return tuple(example for example in PROMPTS if example.category == category)
