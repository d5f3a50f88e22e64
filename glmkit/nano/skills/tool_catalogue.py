"""Tools to be declared: their names, descriptions and arguments, and the words by which a user means one of them.

Most are composed of a verb and a noun (or a made-up word), so that nothing is known of them but what is declared;
some are those of `known_tools`. Conversations with them are in `tools`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from glmkit.nano.skills.known_tools import KNOWN
from glmkit.nano.skills.lexicon import capital, drawn, made_up_word, own, syllables, with_article, words
from glmkit.nano.skills.tool_values import VALUES, Value
from glmkit.nano.task import Split, pick

__all__ = ["NOUNS", "Argument", "Tool", "draw_tool", "draw_tools"]


def _groups(*lines: str) -> dict[str, tuple[str, ...]]:
    """Words of one meaning, by the first of them."""
    return {line.split(", ")[0]: tuple(line.split(", ")) for line in lines}


VERBS = _groups(
    "find, get, show, fetch, look up", "create, make, add, build", "delete, remove, erase, cancel",
    "update, change, edit, modify", "send, mail, deliver, forward", "count, tally", "start, launch, run, begin",
    "stop, end, halt, pause", "book, reserve", "buy, purchase", "move, shift, transfer", "copy, duplicate, clone",
    "measure, calculate, compute", "save, store, keep", "repair, fix, mend", "score, grade, rate",
    "share, publish, post", "test, check, verify", "plan, schedule, arrange", "clean, wash", "open, unlock",
    "close, shut, lock", "print", "hide, conceal", "draw, paint, sketch", "join, combine, merge", "rename",
    "block, ban", "compare", "call, ring",
)  # fmt: skip
NOUNS = _groups(
    "expense, outlay", "meeting, appointment", "note, memo", "photo, picture, image", "car, vehicle", "route, path",
    "ticket, pass", "attic", "invoice, bill", "order", "file, document", "movie, film", "shop, market", "house, home",
    "job, task", "user, account", "client, customer", "curtain", "door, gate", "robot", "camera", "report", "address",
    "password, passcode", "parcel, package", "garden", "chart, graph", "game, match", "team, crew, group",
    "coach", "course, class, lesson", "student, pupil", "doctor", "patient", "drug, medicine", "meal, dish", "menu",
    "drink", "plant, flower", "animal, pet", "bank", "loan, credit", "tax, fee", "salary, wage", "map",
    "trip, journey, tour", "train", "bus", "ship, boat", "bike, bicycle", "street, road", "bridge", "sensor",
    "server, machine", "backup", "folder, directory", "page", "website, site", "link", "comment, remark", "party",
    "contract, deal", "product, item", "gift, present", "letter", "box", "key", "label, tag", "engine, motor",
    "window", "wall", "tree", "river", "shirt", "shoe", "budget", "survey, poll", "event", "badge", "channel",
    "record", "token", "device, gadget",
)  # fmt: skip
DESCRIPTIONS = (
    "{verb} a {noun}", "{verb} the {noun}", "{verb} one {noun}", "{verb} any {noun}", "{verb} a given {noun}",
    "Use this to {verb} a {noun}", "A tool to {verb} a {noun}", "Lets you {verb} a {noun}", "To {verb} a {noun}",
    "Can {verb} a {noun}", "Helps to {verb} a {noun}", "{verb} a {noun} for the user", "{verb} this {noun} now",
    "For a {noun}: {verb} it", "Function to {verb} a {noun}", "{verb} the user's {noun}", "{verb} some {noun}",
    "{noun} tool: {verb} it", "Will {verb} a {noun}", "{verb} a {noun} at once", "{verb} your {noun}",
    "Call this to {verb} the {noun}", "{verb} a single {noun}", "Service to {verb} the {noun}", "{noun}: {verb}",
)  # fmt: skip
_DETERMINERS = ("the", "the", "a", "my", "our", "this")

_ARGUMENT_WORDS = {
    "string": words("name title city user place topic owner target source brand label person subject key"),
    "integer": words("count size limit amount level page year days number width height age rank minutes"),
    "number": words("price weight rate length score ratio factor speed volume distance cost"),
    "boolean": words("urgent public visible loud fast private active fresh paid shared open"),
    "array": words("names tags items people words parts cities members"),
    "numbers": words("ids sizes values scores pages numbers"),
    "object": words("options position range limits data settings"),
    "enum": words("mode color unit grade kind type priority status"),
    "date": words("date day deadline since"),
}
_KINDS = {
    "string": 26, "integer": 24, "number": 10, "boolean": 10, "array": 8, "numbers": 5, "object": 5, "enum": 7,
    "date": 5,
}  # fmt: skip
_MODIFIERS = words("new old max min first last main total start end next default home base")


@dataclass(frozen=True)
class Argument:
    name: str
    value: Value

    @property
    def said(self) -> str:
        """The name as one says it: `maxCount` is "max count"."""
        return re.sub(r"([a-z])([A-Z])", r"\1 \2", self.name).replace("_", " ").lower()


@dataclass(frozen=True)
class Tool:
    """A declaration, the arguments that it is to be called with, and the words that ask for it."""

    name: str
    description: str
    arguments: tuple[Argument, ...]
    does: tuple[str, str]  # verb and noun, by their groups: no two tools of a task do the same
    clause: str  # "delete the file"
    question: str = ""  # another way to ask, arguments included
    complete: bool = False  # whether the clause, too, includes the arguments
    required: int | None = None  # how many arguments are listed as required; None leaves the list out
    left_out: int = 0  # how many arguments, from the end, the user does not give
    wordings: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[Argument, ...]:
        return self.arguments[: len(self.arguments) - self.left_out]

    @property
    def schema(self) -> dict[str, Any]:
        properties = {argument.name: dict(argument.value.schema) for argument in self.arguments}
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        if self.required is not None:
            parameters["required"] = [argument.name for argument in self.arguments[: self.required]]
        body = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": body}

    @property
    def call(self) -> dict[str, Any]:
        values = {argument.name: argument.value.json for argument in self.given}
        return {"type": "function", "function": {"name": self.name, "arguments": values}}


def draw_tools(rng: Random, split: Split, first: Tool, count: int) -> list[Tool]:
    """`first` and others, `count` in all: no two of one name, and no two that do the same.

    Half of the others share a verb or a noun with the first, so that one word does not tell them apart.
    """
    tools = [first]
    while len(tools) < count:
        other = draw_tool(rng, split, beside=first)
        if all(other.name != tool.name and other.does != tool.does for tool in tools):
            tools.append(other)
    return tools


def draw_tool(rng: Random, split: Split, beside: Tool | None = None, kind: str | None = None) -> Tool:
    """A tool with up to three arguments; with one of this `kind` and no known tool, when it is given."""
    if kind is None and rng.random() < 0.25:
        return _draw_known(rng, split)
    verb, noun = rng.choice(tuple(VERBS)), rng.choice(tuple(NOUNS))
    if rng.random() < 0.25:
        noun = made_up_word(rng, split)
    if beside is not None and beside.does[0] and rng.random() < 0.5:
        verb, noun = rng.choice(((beside.does[0], noun), (verb, beside.does[1])))
    kinds = rng.choices(tuple(_KINDS), weights=tuple(_KINDS.values()), k=rng.choices((0, 1, 2, 3), (4, 48, 36, 12))[0])
    if kind is not None:
        kinds = [kind, *kinds[:1]]
    left_out = int(kind is None and len(kinds) > 1 and rng.random() < 0.1)
    nouns = NOUNS.get(noun, (noun,))
    verb_pair, noun_pair = _described_and_said(rng, split, VERBS[verb]), _described_and_said(rng, split, nouns)
    pattern = pick(rng, DESCRIPTIONS, split)
    return Tool(
        name=_draw_name(rng, split, _in_styles(rng.choice(VERBS[verb]).replace(" ", "_"), rng.choice(nouns))),
        description=capital(with_article(pattern.format(verb=verb_pair[0], noun=noun_pair[0]))),
        arguments=_draw_arguments(rng, split, [(each, _ARGUMENT_WORDS[each]) for each in kinds]),
        does=(verb, noun),
        clause=with_article(f"{verb_pair[1]} {rng.choice(_DETERMINERS)} {noun_pair[1]}"),
        required=len(kinds) - left_out if left_out or rng.random() < 0.5 else None,
        left_out=left_out,
        wordings=(pattern, *(f"{a} > {b}" for a, b in (verb_pair, noun_pair) if a != b)),
    )


def _draw_known(rng: Random, split: Split) -> Tool:
    """One of the known tools of which this side of the line has a description and a request."""
    while True:
        known = rng.choice(KNOWN)
        descriptions, clauses, questions = (
            own(said, split) for said in (known.descriptions, known.clauses, known.questions)
        )
        if descriptions and (clauses or questions):
            break
    description, clause, question = (rng.choice(said) if said else "" for said in (descriptions, clauses, questions))
    arguments = _draw_arguments(rng, split, [(kind, names.split()) for kind, names in known.arguments])
    said = [argument.value.said for argument in arguments]
    return Tool(
        name=_draw_name(rng, split, known.names.split()),
        description=description,
        arguments=arguments,
        does=("", known.topic),
        clause=clause.format(*said),
        question=question.format(*said),
        complete=True,
        required=rng.choice((len(arguments), None)),
        wordings=tuple(wording for wording in (description, clause, question) if wording),
    )


def _described_and_said(rng: Random, split: Split, words: Sequence[str]) -> tuple[str, str]:
    """The word of the description and that of the request: the same, or a pair of this side of the line."""
    pairs = own([f"{a} > {b}" for a in words for b in words if a != b], split)
    if pairs and rng.random() < 0.5:
        described, said = rng.choice(pairs).split(" > ")
        return described, said
    return (word := rng.choice(words)), word


def _draw_name(rng: Random, split: Split, telling: Sequence[str]) -> str:
    """One of the `telling` names or, as often, a name that says nothing."""
    return drawn(
        split,
        lambda: rng.choice(telling if rng.random() < 0.5 else _in_styles(syllables(rng), syllables(rng))),
    )


def _in_styles(first: str, second: str) -> list[str]:
    """Two words as one name, as programmers write them."""
    camel = (first + capital(second), second + capital(first))
    return [first, f"{first}_{second}", f"{first}_{second}", f"{second}_{first}", f"{first}-{second}", *camel]


def _draw_arguments(rng: Random, split: Split, wanted: Sequence[tuple[str, Sequence[str]]]) -> tuple[Argument, ...]:
    """An argument for each (kind, names for it), with different names."""
    arguments: list[Argument] = []
    for kind, names in wanted:
        taken = [argument.name for argument in arguments]
        while (name := drawn(split, lambda names=names: _draw_argument_name(rng, names))) in taken:
            pass
        arguments.append(Argument(name, VALUES[kind](rng, split)))
    return tuple(arguments)


def _draw_argument_name(rng: Random, names: Sequence[str]) -> str:
    chance, name = rng.random(), rng.choice(names)
    if chance < 0.4:
        return syllables(rng)
    if chance < 0.7:
        return name
    modifier = rng.choice(_MODIFIERS)
    return f"{modifier}_{name}" if chance < 0.9 else modifier + capital(name)
