"""What is right, by family of skills: one judge for each. All are strict; only blanks around an answer do not count."""

from collections.abc import Callable, Mapping
from typing import Any

from glmkit.checks import parse_json
from glmkit.nano.evaluation.questions import Question
from glmkit.nano.skills.talk import NO_TOOL, is_refusal

__all__ = ["is_declined", "is_right", "same_json"]

Judge = Callable[[Question, Any], bool]


def is_right(question: Question, reply: Any) -> bool:
    """Whether a `Completion` answers the question. One that failed or was cut off does not."""
    return reply.finish_reason in ("stop", "tool_calls") and JUDGES[question.family](question, reply)


def is_declined(reply: Any) -> bool:
    """Whether it says in one of the learned sentences that it cannot, and offers three things that it can do."""
    return not reply.tool_calls and is_refusal(reply.content) and reply.content.strip() != NO_TOOL


def same_json(one: Any, other: Any) -> bool:
    """Equal in value and type: 1, 1.0, "1" and true are four things. The order of an object's keys is of no matter."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return one == other


def _says(question: Question, reply: Any) -> bool:
    """The very text, and no call: a number, a list, a date, a sentence."""
    return not reply.tool_calls and reply.content.strip() == question.expected["content"]


def _calls(question: Question, reply: Any) -> bool:
    """The calls and no other, by name and typed arguments; where no tool helps, what is said instead of one.

    That no tool fits may be said in any of the sentences that say no.
    """
    wanted = [call["function"] for call in question.expected.get("tool_calls", ())]
    if not wanted:
        refused = not reply.tool_calls and is_refusal(question.expected["content"]) and is_refusal(reply.content)
        return refused or _says(question, reply)
    return len(wanted) == len(reply.tool_calls) and all(
        call.closed and call.name == function["name"] and same_json(call.arguments, function["arguments"])
        for call, function in zip(reply.tool_calls, wanted, strict=True)
    )


def _gives_json(question: Question, reply: Any) -> bool:
    """An object and nothing around it, in one line where the question says so."""
    said = reply.content.strip()
    in_line = any("one line" in message["content"] for message in question.conversation)
    if reply.tool_calls or (in_line and "\n" in said):
        return False
    try:
        return same_json(parse_json(said), parse_json(question.expected["content"]))
    except ValueError:
        return False


def _keeps_the_rule(question: Question, reply: Any) -> bool:
    """The text that the rule asks for, or the object."""
    return (_gives_json if question.expected["content"].startswith("{") else _says)(question, reply)


def _talks(question: Question, reply: Any) -> bool:
    """The one answer, or any of the sentences that decline."""
    return is_declined(reply) if is_refusal(question.expected["content"]) else _says(question, reply)


def _declines(question: Question, reply: Any) -> bool:
    return is_declined(reply)


JUDGES: Mapping[str, Judge] = {
    **dict.fromkeys(("arithmetic", "stories", "words", "lists", "dates", "copying", "retrieval", "multi_turn"), _says),
    "tools": _calls,
    "extraction": _gives_json,
    "system_prompts": _keeps_the_rule,
    "talk": _talks,
    "outside": _declines,
}
