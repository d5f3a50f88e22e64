"""Conversations with tools: one right call, its result told, no call where none helps, two calls in a row.

Declarations are long and nothing of them is learned: in rounds, several requests are made of the same tools.

A thought before a call copies each declared tool with its description and puts it in plain words, of which every group
of words of one meaning has one; last it puts in plain words what is wanted. Those are then above, and the tool's name
behind them: choosing is looking up. What is wanted comes last because tools are else said to do just that. The tools
themselves are drawn by `tool_catalogue`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from random import Random

from glmkit.nano.skills.talk import (
    NO_TOOL,
    Exchange,
    draw_about_itself,
    draw_courtesy,
    draw_declined,
    draw_easy_sum,
)
from glmkit.nano.skills.tool_catalogue import NOUNS, Tool, asked_again, draw_other, draw_tool, draw_tools
from glmkit.nano.skills.tool_requests import draw_chain, draw_request
from glmkit.nano.skills.tool_results import Result, draw_result, draw_value_result
from glmkit.nano.skills.tool_values import Value
from glmkit.nano.task import Message, Split, Task, assistant, pick, user

__all__ = ["SKILLS"]

REFERENCES = (
    "(the|that|this|its) (result|outcome|output|answer|value|reply|response)",
    "(the|that) (first|returned|found|resulting) (value|result|answer|output|thing)",
    "the (value|result|answer|thing|output) (you get|you find|you found|it gives|returned|found"
    "|from before|that comes back)",
    "the (value|result|answer|output) (of|from) (that|step one|the first step|the first tool"
    "|the first call|the first one)",
    "(what|whatever) (you get|you find|you learn|comes back|comes out|it says|it gives|it returns|is found|is returned)"
    "( there| then|)",
    "(what|whatever) (was found|came out|came back|that gives|you found|that returns|that tells you|you got)",
    "what the first (step|tool|call|one|task) (gives|returns|says|tells you|finds)",
)  # fmt: skip
"""How the second of two requests names what the first one gives."""

VALUE_ONLY = (
    "(Just|Only) (give me|tell me|say|write|reply with|answer with|return|show) the (bare |plain |raw |)value"
    "(, please|, nothing else|, no sentence|)(.|!|)",
    "(Give me|Tell me|Reply with|Answer with|Return|Say|Write) (only|just|no more than|nothing but) the "
    "(bare |raw |)value"
    "(, please|)(.|!|)",
    "I (want|need) (only|just|nothing but|no more than) the (bare |plain |raw |)value(, please|)(.|!|)",
    "(Value|Bare value|Plain value|Raw value|The value) only(, please|, no sentence|, no text|)(.|!|)",
    "The (bare |plain |raw |)value (alone |)(is enough|will do|is all I need|is all I want)(.|, thanks.|!)",
    "(No sentence|No words|No text|No explanation|Nothing else)(, |: |; )(just|only) the (bare |raw |)value"
    "(, please|)(.|!|)",
)  # fmt: skip

NO_NEED = "No tool is needed."
OUT_OF_REACH = "something else"
"""What is wanted, in plain words, where no tool ever does it."""


def tool_call(rng: Random, split: Split) -> Task:
    """A request that one of the declared tools fits."""
    tool = draw_tool(rng, split)
    tools = _declared(rng, draw_tools(rng, split, tool, _count(rng, split)))
    request = draw_request(rng, split, tool)
    mode = rng.choices(("enabled", "disabled", "forced"), weights=(80, 16, 4))[0]
    return _task("tool_call", [user(request.text), _call(tool, tools, mode)], mode, tools, request.wordings)


def tool_result(rng: Random, split: Split) -> Task:
    """A request, the call, and what came back of it in a sentence, or as a bare value where that is asked for."""
    tool = draw_tool(rng, split)
    tools = _declared(rng, draw_tools(rng, split, tool, _count(rng, split)))
    mode = _mode(rng)
    messages, wordings = _round(rng, split, tool, tools, mode)
    return _task("tool_result", messages, mode, tools, wordings)


def tool_rounds(rng: Random, split: Split) -> Task:
    """Three to eight requests in a row to the same two to six tools; now and then none of them helps."""
    return _rounds(rng, split, "tool_rounds", rng.choices((2, 3, 4, 5, 6), weights=(15, 25, 25, 20, 15))[0])


def short_rounds(rng: Random, split: Split) -> Task:
    """As `tool_rounds`, of one to three tools of at most one argument: choosing and calling in short texts."""
    return _rounds(rng, split, "short_rounds", rng.randint(1 if split == "train" else 2, 3), short=True)


def no_call(rng: Random, split: Split) -> Task:
    """Tools are declared, but none of them is of use: something easy, small talk, or what no tool does.

    In training, several such things are at times said of the same tools.
    """
    if split == "train" and rng.random() < 0.3:
        return _several(rng, split)
    return rng.choices((_beside, _missing, _unrelated, _afterwards), weights=(45, 25, 15, 15))[0](rng, split)


def two_tools(rng: Random, split: Split) -> Task:
    """Two calls in a row, the second with what the first gave; then the answer."""
    kind = rng.choice(("integer", "string"))
    first = draw_tool(rng, split)
    result = draw_value_result(rng, split, kind)
    second = draw_tool(rng, split, beside=first, kind=kind)
    while second.name == first.name or second.does == first.does:
        second = draw_tool(rng, split, beside=first, kind=kind)
    reference = pick(rng, REFERENCES, split)
    chained, *others = second.arguments
    value = Value(result.value, reference, chained.value.schema)
    second = replace(second, arguments=(replace(chained, value=value), *others))
    request = draw_chain(rng, split, first, second)
    others = draw_tools(rng, split, first, max(2, _count(rng, split)) - 1)
    tools = _declared(
        rng, [*(tool for tool in others if tool.does != second.does and tool.name != second.name), second]
    )
    mode, last = _mode(rng), draw_result(rng, split)
    messages = [
        user(request.text),
        _call(first, tools, mode),
        _sent(result),
        _call(second, tools, mode, again=True),
        _sent(last),
        assistant(last.told),
    ]
    return _task("two_tools", messages, mode, tools, (*request.wordings, reference))


SKILLS: dict[str, Callable[[Random, Split], Task]] = {
    "tool_call": tool_call,
    "tool_result": tool_result,
    "tool_rounds": tool_rounds,
    "short_rounds": short_rounds,
    "no_call": no_call,
    "two_tools": two_tools,
}


def _rounds(rng: Random, split: Split, skill: str, count: int, short: bool = False) -> Task:
    """With thoughts, which are gone from later prompts, each round is read anew; without, all are read at once.

    No tool is called again before all others were: what was said before would tell how.
    """
    mode = rng.choices(("enabled", "disabled"))[0]
    tools = _declared(rng, draw_tools(rng, split, draw_tool(rng, split, short=short), count, short))
    in_turn = cycle(rng.sample(tools, count))
    rounds = 2 if mode == "enabled" else rng.randint(max(3, count), count + 2)
    called = rng.randrange(rounds)  # whatever the others are
    messages: list[Message] = []
    wordings: list[str] = []
    for place in range(rounds):
        if place == called or rng.random() < 0.7:
            said, worded = _round(rng, split, asked_again(rng, split, next(in_turn)), tools, mode)
        elif mode == "enabled" or rng.random() < 0.45:
            said, worded = _aside(rng, split)
        else:
            said, worded = _unanswered(rng, split, tools, short)
        messages += said
        wordings += worded
    return _task(skill, messages, mode, tools, wordings)


def _several(rng: Random, split: Split) -> Task:
    """Three to six things in a row that none of the tools helps with; none of the answers has a thought."""
    mode = rng.choices(("enabled", "disabled"), weights=(4, 6))[0]
    tools = draw_tools(rng, split, draw_tool(rng, split), _count(rng, split))
    messages: list[Message] = []
    wordings: list[str] = []
    for _ in range(rng.randint(3, 6)):
        aside = mode == "enabled" or rng.random() < 0.4
        said, worded = _aside(rng, split) if aside else _unanswered(rng, split, tools)
        messages += said
        wordings += worded
    return _task("no_call", messages, mode, _declared(rng, tools), wordings)


def _aside(rng: Random, split: Split) -> tuple[list[Message], tuple[str, ...]]:
    """What is answered at once, whether there are tools or not."""
    exchange = _draw_aside(rng, split)
    return [user(exchange.prompt), assistant(exchange.reply)], (exchange.wording,)


def _draw_aside(rng: Random, split: Split) -> Exchange:
    return rng.choice((draw_easy_sum, draw_easy_sum, draw_courtesy, draw_about_itself))(rng, split)


def _unanswered(
    rng: Random, split: Split, tools: Sequence[Tool], short: bool = False
) -> tuple[list[Message], tuple[str, ...]]:
    """What no tool does: something like what one does, or something out of all reach."""
    # What is out of reach without tools may be just what a known one does.
    if rng.random() < 0.3 and not any(tool.complete for tool in tools):
        exchange = draw_declined(rng, split)
        if not any(_is_named(tool, exchange.prompt) for tool in tools):
            return [user(exchange.prompt), assistant(NO_TOOL)], (exchange.wording,)
    request = draw_request(rng, split, draw_other(rng, split, tools, rng.choice(tools), short))
    return [user(request.text), assistant(NO_TOOL)], request.wordings


def _is_named(tool: Tool, prompt: str) -> bool:
    return any(word in prompt.lower() for word in NOUNS.get(tool.does[1], (tool.does[1],)))


def _beside(rng: Random, split: Split) -> Task:
    exchange = _draw_aside(rng, split)
    tools = _declared(rng, draw_tools(rng, split, draw_tool(rng, split), _count(rng, split)))
    mode = rng.choices(("enabled", "disabled", "forced"), weights=(60, 36, 4))[0]
    thought = f"{NO_NEED} {exchange.thought}" if mode == "forced" else ""
    messages = [user(exchange.prompt), assistant(exchange.reply, thought)]
    return _task("no_call", messages, mode, tools, (exchange.wording,))


def _missing(rng: Random, split: Split) -> Task:
    """A request for a tool that is not there; those that are do something like it."""
    asked, *tools = draw_tools(rng, split, draw_tool(rng, split), 1 + _count(rng, split))
    request = draw_request(rng, split, asked)
    return _refused(rng, request.text, asked.plain, _declared(rng, tools), request.wordings)


def _unrelated(rng: Random, split: Split) -> Task:
    """A request out of all reach, beside tools whose nouns it does not name."""
    exchange, count = draw_declined(rng, split), _count(rng, split)
    tools: list[Tool] = []
    while len(tools) < count:
        tool = draw_tool(rng, split, kind="string")
        if not _is_named(tool, exchange.prompt) and all(
            tool.name != other.name and tool.does != other.does for other in tools
        ):
            tools.append(tool)
    return _refused(rng, exchange.prompt, OUT_OF_REACH, _declared(rng, tools), (exchange.wording,))


def _afterwards(rng: Random, split: Split) -> Task:
    """A call was made and told; what the user says next needs none."""
    mode = _mode(rng)
    tools = _declared(rng, draw_tools(rng, split, draw_tool(rng, split), _count(rng, split)))
    messages, wordings = _round(rng, split, rng.choice(tools), tools, mode)
    aside = rng.choice((draw_easy_sum, draw_courtesy))(rng, split)
    messages += [user(aside.prompt), assistant(aside.reply)]
    return _task("no_call", messages, mode, tools, (*wordings, aside.wording))


def _refused(rng: Random, prompt: str, wanted: str, tools: Sequence[Tool], wordings: Sequence[str]) -> Task:
    mode = rng.choices(("enabled", "disabled", "forced"), weights=(80, 16, 4))[0]
    thought = "" if mode == "disabled" else _thought(wanted, tools)
    return _task("no_call", [user(prompt), assistant(NO_TOOL, thought)], mode, tools, wordings)


def _task(skill: str, messages: Sequence[Message], mode: str, tools: Sequence[Tool], wordings: Sequence[str]) -> Task:
    return Task(skill, " | ".join(wordings), tuple(messages), mode, tuple(tool.schema for tool in tools))


def _mode(rng: Random) -> str:
    """Not forced: what tells a result has no thought."""
    return rng.choices(("enabled", "disabled"), weights=(80, 20))[0]


def _count(rng: Random, split: Split) -> int:
    """How many tools are declared: two to six, but in training mostly few, as declarations are long."""
    if split == "held_out":
        return rng.randint(2, 6)
    return rng.choices((1, 2, 3, 4, 5, 6), weights=(24, 28, 20, 12, 8, 8))[0]


def _declared(rng: Random, tools: Sequence[Tool]) -> list[Tool]:
    return rng.sample(tools, len(tools))


def _call(tool: Tool, tools: Sequence[Tool], mode: str, again: bool = False) -> Message:
    """The call and the thought before it; that of a call before has all tools, and is still to be read `again`."""
    thought = _wanted(tool.plain, tools) if again else _thought(tool.plain, tools)
    return assistant("", "" if mode == "disabled" else thought, tool_calls=[tool.call])


def _thought(wanted: str, tools: Sequence[Tool]) -> str:
    """Every tool as it is declared and in plain words, then what is wanted."""
    lines = [f"{tool.name}: {tool.description} = {tool.plain}: {tool.name}" for tool in tools]
    return "\n".join([*lines, _wanted(wanted, tools)])


def _wanted(wanted: str, tools: Sequence[Tool]) -> str:
    """What is wanted, in plain words, and the tool that does it."""
    (name,) = [tool.name for tool in tools if tool.plain == wanted] or ["none"]
    return f"Wanted = {wanted}: {name}"


def _sent(result: Result) -> Message:
    return {"role": "tool", "content": result.content}


def _round(
    rng: Random, split: Split, tool: Tool, tools: Sequence[Tool], mode: str
) -> tuple[list[Message], tuple[str, ...]]:
    """A request, the call of one of the declared tools, its result and what is said of it."""
    request, result = draw_request(rng, split, tool), draw_result(rng, split)
    text, told, wordings = request.text, result.told, request.wordings
    if result.value is not None and rng.random() < 0.3:
        wording = pick(rng, VALUE_ONLY, split)
        text, told, wordings = f"{text} {wording}", str(result.value), (*wordings, wording)
    return [user(text), _call(tool, tools, mode), _sent(result), assistant(told)], wordings
