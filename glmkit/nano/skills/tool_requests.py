"""How a user asks for a tool: the request in words, with the values of its arguments somewhere in it."""

from random import Random
from typing import NamedTuple

from glmkit.nano.skills.lexicon import capital, enumerated, with_article
from glmkit.nano.skills.tool_catalogue import Tool
from glmkit.nano.task import Split, pick

__all__ = ["Request", "draw_chain", "draw_request"]

REQUESTS = (
    "{Clause}.", "Please {clause}.", "{Clause}, please.", "Can you {clause}?", "Could you {clause}?",
    "I want to {clause}.", "I need to {clause}.", "I would like to {clause}.", "I want you to {clause}.",
    "Help me {clause}.", "Will you {clause}?", "{Clause} now.", "It is time to {clause}.", "Use a tool to {clause}.",
    "Hi! Please {clause}.", "Could you please {clause}?", "I'd like you to {clause}.", "You should {clause}.",
    "My boss wants me to {clause}.", "Next: {clause}.", "Let's {clause}.", "Now {clause}.", "{Clause} for me.",
    "Hello, can you {clause}?", "Be so kind and {clause}.", "Time to {clause}!", "Quick, {clause}!",
    "We have to {clause}.", "Your task: {clause}.", "Would you {clause}, please?", "Just {clause}.",
)  # fmt: skip
DETAILED = (
    "{Clause}. Details: {details}.", "I want to {clause}. Use {details}.", "With {details}, please {clause}.",
    "{Clause}, and take {details}.", "Please {clause}. The data: {details}.", "Can you {clause}? It has {details}.",
    "I need to {clause}. Here you are: {details}.", "Given {details}, {clause}.", "Use {details} and {clause}.",
    "Could you {clause}? Take {details}.", "Take {details}. Then {clause}.", "{Clause}! I say {details}.",
    "Let's {clause}. My input: {details}.", "I have {details}. Please {clause}.", "Set {details} and {clause}.",
)  # fmt: skip
LINKS = (
    "{clause} with {details}", "{clause}, {details}", "{clause} ({details})", "{clause} using {details}",
    "{clause}: {details}", "{clause} where {details}", "{clause} given {details}", "{clause} - {details}",
    "{clause}, with {details}", "{clause} having {details}", "{clause} by {details}", "{clause}, namely {details}",
)  # fmt: skip
FORMS = (
    "{name} {value}", "{name} = {value}", "{name}: {value}", "{name} is {value}", "{name} set to {value}",
    "{value} as {name}", "{value} as the {name}", "{value} for {name}", "the {name} {value}", "the {name} is {value}",
    "{name} of {value}", "{name} -> {value}", "{name}={value}", "{name} being {value}", "{value} for the {name}",
    "a {name} of {value}", "{name} equal to {value}", "{name} as {value}",
)  # fmt: skip
BARE = (
    "{clause} {value}", "{clause}: {value}", "{clause} with {value}", "{clause} for {value}",
    "{clause} using {value}", "{clause} by {value}", "{clause} ({value})", "{clause}, {value}", "{clause} on {value}",
    "{clause} from {value}",
)  # fmt: skip
CHAINS = (
    "First {first}, then {second}.", "{First} and then {second}.", "{First}, then {second}.",
    "Please {first} and {second}.", "After you {first}, {second}.", "{First}. Then {second}.",
    "I want you to {first} and then to {second}.", "Can you {first}, then {second}?",
    "Step one: {first}. Step two: {second}.", "1. {First}. 2. {Second}.", "{First}; afterwards {second}.",
    "Start: {first}. Next: {second}.", "{First}. When that is done, {second}.",
    "Could you {first} and after that {second}?", "Do two things: {first}, and {second}.",
    "You have to {first} before you {second}.", "{First}. After that {second}, please.",
    "To begin, {first}. Finally {second}.", "Begin: {first}. End: {second}.",
)  # fmt: skip


class Request(NamedTuple):
    """What the user writes, and the wordings it is made of."""

    text: str
    wordings: tuple[str, ...]


def draw_request(rng: Random, split: Split, tool: Tool) -> Request:
    """A whole message that asks for `tool` and gives its arguments."""
    if tool.question and (not tool.clause or rng.random() < 0.5):
        return Request(tool.question, tool.wordings)
    if tool.given and not tool.complete and rng.random() < 0.25:
        details, form = _details(rng, split, tool)
        wording = pick(rng, DETAILED, split)
        text = wording.format(clause=tool.clause, Clause=capital(tool.clause), details=details)
        return Request(text, (*tool.wordings, form, wording))
    clause, wordings = _with_arguments(rng, split, tool)
    wording = pick(rng, REQUESTS, split)
    return Request(wording.format(clause=clause, Clause=capital(clause)), (*wordings, wording))


def draw_chain(rng: Random, split: Split, first: Tool, second: Tool) -> Request:
    """A message that asks for one and then for the other."""
    one, two = _with_arguments(rng, split, first), _with_arguments(rng, split, second)
    wording = pick(rng, CHAINS, split)
    text = wording.format(first=one.text, second=two.text, First=capital(one.text), Second=capital(two.text))
    return Request(text, (*one.wordings, *two.wordings, wording))


def _with_arguments(rng: Random, split: Split, tool: Tool) -> Request:
    """The tool's clause with its arguments in it: bare where there is but one, else each with its name."""
    if tool.complete or not tool.given:
        return Request(tool.clause, tool.wordings)
    if len(tool.arguments) == 1 and rng.random() < 0.4:
        wording = pick(rng, BARE, split)
        text = wording.format(clause=tool.clause, value=tool.arguments[0].value.said)
        return Request(text, (*tool.wordings, wording))
    details, form = _details(rng, split, tool)
    wording = pick(rng, LINKS, split)
    return Request(wording.format(clause=tool.clause, details=details), (*tool.wordings, form, wording))


def _details(rng: Random, split: Split, tool: Tool) -> tuple[str, str]:
    """The arguments with their names, in any order, and the form in which they are said."""
    form = pick(rng, FORMS, split)
    arguments = rng.sample(tool.given, len(tool.given))
    said = [with_article(form.format(name=argument.said, value=argument.value.said)) for argument in arguments]
    return enumerated(said, rng.choice((" and ", ", "))), form
