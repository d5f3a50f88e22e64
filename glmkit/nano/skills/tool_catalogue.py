"""Tools to be declared: their names, descriptions and arguments, and the words by which a user means one of them.

Most are composed of a verb and a noun (or a made-up word), so that nothing is known of them but what is declared;
some are those of `known_tools`. Conversations with them are in `tools`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from glmkit.nano.skills.known_tools import KNOWN
from glmkit.nano.skills.lexicon import capital, drawn, made_up_word, own, syllables, with_article, words
from glmkit.nano.skills.tool_values import VALUES, Value
from glmkit.nano.task import Split, pick

__all__ = ["NOUNS", "Argument", "Tool", "asked_again", "draw_other", "draw_tool", "draw_tools"]


def _groups(*lines: str) -> dict[str, tuple[str, ...]]:
    """Words of one meaning, by the first of them."""
    return {line.split(", ")[0]: tuple(line.split(", ")) for line in lines}


VERBS = _groups(
    "find, get, show, fetch, look up, retrieve, locate, search for",
    "create, make, add, build, generate, produce, set up",
    "delete, remove, erase, cancel, discard, drop", "update, change, edit, modify, adjust, alter, revise",
    "send, mail, deliver, forward, dispatch", "count, tally", "start, launch, run, begin, activate, trigger",
    "stop, end, halt, pause, abort, terminate", "book, reserve", "buy, purchase, acquire, pay for",
    "move, shift, transfer, relocate", "copy, duplicate, clone, replicate",
    "measure, calculate, compute, determine, work out", "save, store, keep, archive, preserve",
    "repair, fix, mend, restore", "score, grade, rate, assess, evaluate", "share, publish, post, release",
    "test, check, verify, inspect, validate, examine", "plan, schedule, arrange, organize", "clean, wash, scrub",
    "open, unlock", "close, shut, lock, seal", "print, print out", "hide, conceal", "draw, paint, sketch",
    "join, combine, merge, unite", "rename", "block, ban, forbid", "compare, contrast", "call, ring, phone, dial",
    "approve, accept, confirm, allow", "reject, refuse, deny", "rent, hire, lease", "track, follow, monitor, watch",
    "describe, explain, summarize", "split, divide", "sell, trade", "read, scan", "sign", "paste, insert",
)  # fmt: skip
NOUNS = _groups(
    "expense, outlay", "meeting, appointment", "note, memo, reminder", "photo, picture, image, snapshot",
    "car, vehicle, automobile", "route, path", "ticket, pass, voucher", "attic, loft", "invoice, bill, receipt",
    "order",
    "file, document", "movie, film", "shop, market", "house, home, building", "job, task, assignment",
    "user, account, profile", "client, customer, buyer", "curtain, drape", "door, gate, entrance", "robot, droid",
    "camera, webcam", "report, overview", "address", "password, passcode", "parcel, package, shipment", "garden, yard",
    "chart, graph, diagram", "game, match", "team, crew, group, squad", "coach, trainer", "course, class, lesson",
    "student, pupil, learner", "doctor, physician", "patient", "drug, medicine, pill", "meal, dish", "menu",
    "drink, beverage", "plant, flower", "animal, pet, creature", "bank", "loan, credit", "tax, fee", "salary, wage",
    "map, atlas", "trip, journey, tour, voyage", "train", "bus", "ship, boat, vessel", "bike, bicycle",
    "street, road, lane", "bridge", "sensor, detector, probe", "server, machine, computer", "backup",
    "folder, directory", "page", "website, site", "link", "comment, remark", "party, celebration",
    "contract, deal, agreement", "product, item, article", "gift, present", "letter", "box, crate", "key",
    "label, tag, sticker", "engine, motor", "window", "wall", "tree", "river, stream", "shirt", "shoe, boot", "budget",
    "survey, poll, questionnaire", "event", "badge, medal", "channel", "record, entry", "token",
    "device, gadget, appliance", "booking, reservation", "alert, warning, notification", "hotel, hostel",
    "museum, gallery", "chat, conversation", "video, clip", "printer", "recipe", "contact", "drone", "calendar",
    "factory, mill", "storm", "painting, artwork", "coupon, discount", "rule, policy",
)  # fmt: skip
DESCRIPTIONS = (
    "{verb} (a|the|one|any|a given|this|some|your|a single|the given|the chosen|a certain|the user's|our) {noun}"
    "( now| at once| for you| for the user| on request| when asked| right away||)",
    "(Use this to|Call this to|A tool to|Function to|Tool to|Service to|Lets you|To|Can|Will|Helps to|Helps you|Used to"
    "|Able to|Allows you to|An API to|Method to|Command to) {verb} (a|the|any|one|some|your|the user's) {noun}",
    "(For|Given|Takes|With) (a|the|any|one) {noun}(:|,) {verb} it( now| at once|)",
    "{noun} (tool|service|function|helper|command|API|manager)(:| can| to| will) {verb} (it|one|a {noun}|the {noun})",
    "{noun}(:| -|,) {verb}( it| one| now|)", "{verb} {noun}( now| on request| for you|)",
)  # fmt: skip
_DETERMINERS = words("the the the a a my my our this that one your his her their")

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
    kind: str  # of `VALUES`
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
    described: tuple[str, str] = ("", "")  # the verb and the noun of the description
    wordings: tuple[str, ...] = ()  # that of the description first

    @property
    def given(self) -> tuple[Argument, ...]:
        return self.arguments[: len(self.arguments) - self.left_out]

    @property
    def plain(self) -> str:
        """What it does, in the first word of each group: as a thought has it."""
        return " ".join(filter(None, self.does))

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


def draw_tools(rng: Random, split: Split, first: Tool, count: int, short: bool = False) -> list[Tool]:
    """`first` and others, `count` in all: no two of one name, and no two that do the same.

    Half of the others share a verb or a noun with the first, so that one word does not tell them apart; short ones
    are drawn apart.
    """
    tools = [first]
    while len(tools) < count:
        tools.append(draw_other(rng, split, tools, None if short else first, short))
    return tools


def draw_other(rng: Random, split: Split, tools: Sequence[Tool], beside: Tool | None, short: bool = False) -> Tool:
    """A tool of another name than any of `tools`, that does what none of them does."""
    while True:
        other = draw_tool(rng, split, beside=beside, short=short)
        if all(other.name != tool.name and other.does != tool.does for tool in tools):
            return other


def draw_tool(
    rng: Random, split: Split, beside: Tool | None = None, kind: str | None = None, short: bool = False
) -> Tool:
    """A tool with up to three arguments, or one if it is `short`.

    When a `kind` is given, one argument is of it. Neither then nor if it is short it is a known tool.
    """
    if kind is None and not short and rng.random() < 0.25:
        return _draw_known(rng, split)
    verb, noun = rng.choice(tuple(VERBS)), rng.choice(tuple(NOUNS))
    if rng.random() < 0.25:
        noun = made_up_word(rng, split)
    if beside is not None and beside.does[0] and rng.random() < 0.5:
        verb, noun = rng.choice(((beside.does[0], noun), (verb, beside.does[1])))
    count = rng.choices((0, 1, 2, 3), (4, 96, 0, 0) if short else (4, 48, 36, 12))[0]
    kinds = rng.choices(tuple(_KINDS), weights=tuple(_KINDS.values()), k=count)
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
        described=(verb_pair[0], noun_pair[0]),
        wordings=(pattern, *(f"{a} > {b}" for a, b in (verb_pair, noun_pair) if a != b)),
    )


def asked_again(rng: Random, split: Split, tool: Tool) -> Tool:
    """The same declaration, asked for in new words and with new values."""
    arguments = tuple(replace(each, value=_another_value(rng, split, each)) for each in tool.arguments)
    described = tool.wordings[0]
    if tool.complete:
        known = next(known for known in KNOWN if known.topic == tool.does[1])
        clause, question = pick(rng, known.clauses, split), pick(rng, known.questions, split)
        said = [argument.value.said for argument in arguments]
        return replace(
            tool,
            arguments=arguments,
            clause=clause.format(*said),
            question=question.format(*said),
            wordings=(described, clause, question),
        )
    groups = (VERBS[tool.does[0]], NOUNS.get(tool.does[1], (tool.does[1],)))
    verb, noun = (_said_for(rng, split, *each) for each in zip(tool.described, groups, strict=True))
    pairs = [f"{a} > {b}" for a, b in zip(tool.described, (verb, noun), strict=True) if a != b]
    clause = with_article(f"{verb} {rng.choice(_DETERMINERS)} {noun}")
    return replace(tool, arguments=arguments, clause=clause, wordings=(described, *pairs))


def _draw_known(rng: Random, split: Split) -> Tool:
    """One of the known tools, its description and what asks for it worded from this side of the line."""
    known = rng.choice(KNOWN)
    description, clause, question = (
        pick(rng, said, split) for said in (known.descriptions, known.clauses, known.questions)
    )
    arguments = _draw_arguments(rng, split, [(kind, names.split()) for kind, names in known.arguments])
    said = [argument.value.said for argument in arguments]
    return Tool(
        name=_draw_name(rng, split, known.names.split()),
        description=capital(description),
        arguments=arguments,
        does=("", known.topic),
        clause=clause.format(*said),
        question=question.format(*said),
        complete=True,
        required=rng.choice((len(arguments), None)),
        wordings=(description, clause, question),
    )


def _described_and_said(rng: Random, split: Split, words: Sequence[str]) -> tuple[str, str]:
    """The word of the description and that of the request: the same, or a pair of this side of the line."""
    pairs = own([f"{a} > {b}" for a in words for b in words if a != b], split)
    if pairs and rng.random() < 0.5:
        described, said = rng.choice(pairs).split(" > ")
        return described, said
    return (word := rng.choice(words)), word


def _said_for(rng: Random, split: Split, described: str, words: Sequence[str]) -> str:
    """What a request calls what the description calls so: the same, or another word, of a pair of this side."""
    pairs = own([f"{described} > {word}" for word in words if word != described], split)
    return rng.choice(pairs).split(" > ")[1] if pairs and rng.random() < 0.5 else described


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
        arguments.append(Argument(name, kind, VALUES[kind](rng, split)))
    return tuple(arguments)


def _another_value(rng: Random, split: Split, argument: Argument) -> Value:
    """Of the same kind, and where the declaration lists what there is, one of these."""
    schema = argument.value.schema
    if "enum" in schema:
        choice = rng.choice(schema["enum"])
        return Value(choice, choice, schema)
    return VALUES[argument.kind](rng, split)


def _draw_argument_name(rng: Random, names: Sequence[str]) -> str:
    chance, name = rng.random(), rng.choice(names)
    if chance < 0.4:
        return syllables(rng)
    if chance < 0.7:
        return name
    modifier = rng.choice(_MODIFIERS)
    return f"{modifier}_{name}" if chance < 0.9 else modifier + capital(name)
