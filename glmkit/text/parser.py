"""What a GLM-4.5 model says, taken apart as it arrives: reasoning, content and tool calls.

One incremental state machine; parsing a whole text is feeding it in one piece, so every way of cutting the text into
pieces gives the same result. It never raises on what a model writes. Values are read in `arguments.py`.
Where tags are tokens of their own they come as such (`Tag`), and those that a text spells out are text.

- `<think>` and `</think>` begin and end reasoning wherever they stand; a tag that changes nothing is dropped, and
  reasoning that is never closed is reasoning.
- `<tool_call>` starts a call, in a thought too, which it ends. It is a call once a name of one word and the end of its
  line, or the first `<arg_key>`, have come. Anything else after the tag is text of the phase it stands in.
- A call that the output breaks off stays a call, with the arguments that were complete, a string as far as it came,
  and `closed` false. Text between the tags of a call is ignored; of two arguments of one name the first counts.
- Newlines next to a tag belong to the format and are dropped, and so are blanks that are all there is between two
  tags. Text that a call interrupts goes on in a new line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Literal, NamedTuple

from glmkit.text.arguments import Forms, forms
from glmkit.text.deltas import Delta, Parsed, ToolCallDelta, as_json, assemble, joined
from glmkit.text.tools import Tools, normalize_tools

__all__ = ["StreamParser", "Tag", "parse"]

Phase = Literal["think", "answer", "tool"]


class Tag(str):
    """A tag that came as a token of its own."""


def parse(text: str, tools: Tools = None, thinking_open: bool = False, id_prefix: str = "call_") -> Parsed:
    """Take a whole output apart; arguments as for `StreamParser`."""
    parser = StreamParser(tools, thinking_open, id_prefix)
    return assemble(parser.feed(text) + parser.finish())


class _At(Enum):
    """Where in the output the parser is."""

    ANSWER = auto()
    THINK = auto()
    NAME = auto()  # after <tool_call>
    CALL = auto()  # between the arguments
    KEY = auto()  # after <arg_key>
    KEY_END = auto()  # after </arg_key>
    VALUE = auto()  # after <arg_value>


_TAGS = {
    _At.ANSWER: ("<think>", "</think>", "<tool_call>"),
    _At.THINK: ("<think>", "</think>", "<tool_call>"),
    _At.NAME: ("\n", r"\n", "<arg_key>", "</tool_call>", "<tool_call>", "<think>", "</think>"),
    _At.CALL: ("<arg_key>", "</tool_call>", "<tool_call>"),
    _At.KEY: ("</arg_key>", "</tool_call>"),
    _At.KEY_END: ("<arg_value>", "<arg_key>", "</tool_call>"),
    _At.VALUE: ("</arg_value>",),
}
"""What ends the text of each place. A backslash and an n after a name are a newline that the model has escaped."""

_NAME = re.compile(r"[^\s<]+")


class _Ends(NamedTuple):
    """What ends a stretch of text, to be looked for in it."""

    pattern: re.Pattern[str]
    halves: tuple[str, ...]  # the longest first

    @classmethod
    def of(cls, tags: Sequence[str]) -> _Ends:
        halves = {tag[:size] for tag in tags for size in range(1, len(tag))}
        pattern = "|".join(map(re.escape, tags)) or "(?!)"
        return cls(re.compile(pattern), tuple(sorted(halves, key=len, reverse=True)))

    def half(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a tag."""
        if not text.endswith(self.halves):
            return 0
        return next(len(half) for half in self.halves if text.endswith(half))


_SPELLED = {at: _Ends.of(tags) for at, tags in _TAGS.items()}
_APART = {at: _Ends.of([tag for tag in tags if not tag.startswith("<")]) for at, tags in _TAGS.items()}


@dataclass
class _Prose:
    """Reasoning or content, without the newlines next to tags."""

    started: bool = False  # any of it, in this stretch between two tags or an earlier one
    fresh: bool = True  # nothing yet in this stretch
    held: str = ""  # blanks that may be dropped

    def add(self, text: str) -> str:
        text = self.held + text
        kept = text.rstrip("\n") if not self.fresh or text.strip() else ""
        self.held = text[len(kept) :]
        if kept and self.fresh:
            kept = ("\n" if self.started else "") + kept.lstrip("\n")
            self.started, self.fresh = True, False
        return kept

    def end_stretch(self) -> None:
        self.fresh, self.held = True, ""


@dataclass
class _Call:
    """The tool call under way."""

    index: int
    parameters: Mapping[str, Any]  # their schema
    keys: set[str] = field(default_factory=set)
    key: str = ""
    forms: Forms | None = None  # of the value
    streams: bool = False  # the value is a string and goes out as it comes
    repeated: bool = False  # the value is of a key that has had one


class StreamParser:
    """The parser of one answer.

    `tools`: what the model was offered, schemas or functions; they say which arguments are strings, taken verbatim
    and streamed as they come. Other arguments come out whole: what may be a string is one unless it is JSON of what
    else it may be; the rest is JSON, a Python literal or else the text.
    `thinking_open`: the prompt ended in `<think>`, so the output starts inside the thought.
    `id_prefix`: ids of tool calls are this and their index; give one of its own to each answer of a conversation.
    `tags_apart`: only a piece that is a `Tag` is one; otherwise they are looked for in the text.
    """

    def __init__(
        self, tools: Tools = None, thinking_open: bool = False, id_prefix: str = "call_", tags_apart: bool = False
    ) -> None:
        self._tools = {tool["function"]["name"]: tool["function"] for tool in normalize_tools(tools)}
        self._id_prefix, self._apart = id_prefix, tags_apart
        self._at = _At.THINK if thinking_open else _At.ANSWER
        self._home = self._at  # the prose a tool call stands in
        self._prose = {_At.THINK: _Prose(), _At.ANSWER: _Prose()}
        self._tail = ""  # the beginning of a tag, perhaps
        self._held: list[str] = []  # the name, key or value so far
        self._call = _Call(-1, {})
        self._out: list[Delta] = []

    @property
    def phase(self) -> Phase:
        """What the text fed last belongs to."""
        return "think" if self._at is _At.THINK else "answer" if self._at is _At.ANSWER else "tool"

    def feed(self, piece: str) -> list[Delta]:
        """What `piece` adds. No part of a tag and no part of a tool's name ever comes out."""
        if self._apart and isinstance(piece, Tag):
            return self._feed_tag(piece)
        ends = _APART if self._apart else _SPELLED
        text, start = self._tail + piece, 0
        while found := ends[self._at].pattern.search(text, start):
            self._take(text[start : found.start()])
            self._end(found.group())
            start = found.end()
        text = text[start:]
        end = len(text) - ends[self._at].half(text)
        self._take(text[:end])
        self._tail = text[end:]
        return self._flush()

    def _feed_tag(self, tag: Tag) -> list[Delta]:
        self._take(self._tail)
        self._tail = ""
        self._end(tag)
        return self._flush()

    def finish(self) -> list[Delta]:
        """What is left when the output has ended: held back text, and the end of a call that was broken off."""
        self._take(self._tail)
        self._tail = ""
        if self._at is _At.NAME:
            self._not_a_call("")
        elif end := self.call_end():
            self._emit(*end)
            self._at = self._home
        prose = self._prose[self._at]
        if not prose.fresh:
            self._emit_prose(prose.held)
        prose.end_stretch()
        return self._flush()

    def call_end(self) -> list[Delta]:
        """What would make the arguments of a call under way JSON, if the output ended here."""
        if self._at is _At.NAME or self._at in self._prose:
            return []
        end = ('"' if self._at is _At.VALUE and self._call.streams else "") + ("}" if self._call.keys else "{}")
        return [Delta(tool_calls=(ToolCallDelta(self._call.index, arguments_fragment=end),))]

    def _take(self, text: str) -> None:
        """Text without tags, where the parser is."""
        if not text:
            return
        if self._at in self._prose:
            self._emit_prose(self._prose[self._at].add(text))
        elif self._at is _At.VALUE and self._call.streams:
            self._emit_arguments(as_json(text)[1:-1])
        elif self._at in (_At.NAME, _At.KEY, _At.VALUE):
            self._held.append(text)
            if self._at is _At.NAME and len("".join(self._held).split()) > 1:
                self._not_a_call("")

    def _end(self, tag: str) -> None:
        """What ends a stretch of text; what ends none where the parser is by now is text too."""
        (self._turn if tag in _TAGS[self._at] else self._take)(tag)

    def _turn(self, tag: str) -> None:
        """Move on at a tag; which tags can come where is in `_TAGS`."""
        match self._at, tag:
            case ((_At.ANSWER | _At.THINK), "<tool_call>"):
                self._at, self._held = _At.NAME, []
            case ((_At.ANSWER | _At.THINK), _):
                self._prose[self._at].end_stretch()
                self._at = self._home = _At.THINK if tag == "<think>" else _At.ANSWER
            case _At.NAME, _:
                self._end_name(tag)
            case _, "</tool_call>":
                self._close_call()
            case _At.CALL, "<tool_call>":
                self._close_call()
                self._turn(tag)
            case ((_At.CALL | _At.KEY_END), "<arg_key>"):
                self._at, self._held = _At.KEY, []
            case _At.KEY, _:
                self._call.key = "".join(self._held).strip()
                self._at = _At.KEY_END
            case _At.KEY_END, _:
                self._open_value()
            case _At.VALUE, _:
                self._close_value()

    def _end_name(self, tag: str) -> None:
        name = "".join(self._held).strip()
        if tag == "\n" and not name:
            self._held.append(tag)  # the name may come on the next line
        elif tag in ("\n", r"\n", "<arg_key>") and _NAME.fullmatch(name):
            self._open_call(name)
            if tag == "<arg_key>":
                self._turn(tag)
        else:
            self._not_a_call(tag)

    def _not_a_call(self, tag: str) -> None:
        """Give `<tool_call>` and what followed back as text. A tag that means something in prose still does."""
        self._at = self._home
        text = "<tool_call>" + "".join(self._held)
        if tag in _TAGS[self._at]:
            self._take(text)
            self._turn(tag)
        else:
            self._take(text + tag)

    def _open_call(self, name: str) -> None:
        self._prose[self._home].end_stretch()
        self._home = _At.ANSWER  # a call ends the thought it stands in
        self._call = _Call(self._call.index + 1, self._tools.get(name, {}).get("parameters") or {})
        self._at = _At.CALL
        first = ToolCallDelta(self._call.index, f"{self._id_prefix}{self._call.index}", name)
        self._emit(Delta(tool_calls=(first,)))

    def _close_call(self) -> None:
        self._emit_arguments("}" if self._call.keys else "{}", closed=True)
        self._at = self._home

    def _open_value(self) -> None:
        call = self._call
        self._at, self._held = _At.VALUE, []
        call.repeated = call.key in call.keys
        call.forms = forms((call.parameters.get("properties") or {}).get(call.key), call.parameters)
        call.streams = not call.repeated and bool(call.forms.texts) and not call.forms.others
        if call.streams:
            self._emit_key()
            self._emit_arguments('"')

    def _close_value(self) -> None:
        self._at = _At.CALL
        if self._call.streams:
            self._emit_arguments('"')
        elif not self._call.repeated:
            self._emit_key()
            self._emit_arguments(as_json(self._call.forms.read("".join(self._held))))

    def _emit_key(self) -> None:
        call = self._call
        self._emit_arguments(("{" if not call.keys else ", ") + as_json(call.key) + ": ")
        call.keys.add(call.key)

    def _emit_arguments(self, fragment: str, closed: bool = False) -> None:
        self._emit(Delta(tool_calls=(ToolCallDelta(self._call.index, None, None, fragment, closed),)))

    def _emit_prose(self, text: str) -> None:
        if text:
            self._emit(Delta(reasoning=text) if self._at is _At.THINK else Delta(content=text))

    def _emit(self, delta: Delta) -> None:
        """Queue a delta for the caller, in one with the last where that is of the same kind."""
        both = joined(self._out[-1], delta) if self._out else None
        if both is None:
            self._out.append(delta)
        else:
            self._out[-1] = both

    def _flush(self) -> list[Delta]:
        out, self._out = self._out, []
        return out
