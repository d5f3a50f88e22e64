"""The output parser: every known way GLM's output has been misread, and that no way of cutting it matters."""

import json
import sys

import pytest
from hypothesis import given, settings, strategies as st

from glmkit.text import Parsed, StreamParser, ToolCall, assemble, parse, render

SCHEMAS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "unit": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "note": {"type": ["string", "null"]},
                    "days": {"type": "integer"},
                    "filters": {"type": "object"},
                },
            },
        },
    },
    {"name": "noop", "parameters": {"type": "object", "properties": {}}},
]


def call(name, *pairs, newline="\n"):
    arguments = "".join(f"<arg_key>{k}</arg_key>{newline}<arg_value>{v}</arg_value>{newline}" for k, v in pairs)
    return f"<tool_call>{name}{newline}{arguments}</tool_call>"


def stream(text, size, **options):
    parser = StreamParser(**options)
    deltas = [delta for start in range(0, len(text), size) for delta in parser.feed(text[start : start + size])]
    return deltas + parser.finish()


def only_call(text, tools=SCHEMAS):
    (made,) = parse(text, tools).tool_calls
    return made.name, made.arguments


WEATHER = call("get_weather", ("city", "Beijing"))
BEIJING = ("get_weather", {"city": "Beijing"})

# output -> reasoning, content, [(name, arguments), ...]; tools are SCHEMAS
CASES = {
    "plain": ("This is a test", None, "This is a test", []),
    "nothing": ("", None, None, []),
    "angle brackets": ("a < b and c > d. done", None, "a < b and c > d. done", []),
    "trailing newline is the model's": ("one\ntwo\n", None, "one\ntwo\n", []),
    "thought and answer": ("<think>R</think>C", "R", "C", []),
    "as GLM writes it": ("\n<think>R\nS\n</think>\nC", "R\nS", "C", []),
    "leading newline, no thought": ("\nC", None, "C", []),
    "indented answer": ("\n<think>R</think>\n\n    code", "R", "    code", []),
    "thought only": ("<think>R</think>", "R", None, []),
    "empty thought": ("<think></think>C", None, "C", []),
    "blank thought": ("<think>\n</think>\nC", None, "C", []),
    "empty thought only": ("<think></think>", None, None, []),
    "unclosed thought": ("<think>R", "R", None, []),
    "stray end of thought": ("</think>C", None, "C", []),
    "two thoughts": ("<think>a</think>b<think>c</think>d", "a\nc", "b\nd", []),
    "call": (WEATHER, None, None, [BEIJING]),
    "thought and call": (f"\n<think>R</think>\n{WEATHER}", "R", None, [BEIJING]),
    "trailing space kept": (f"I check. {WEATHER}", None, "I check. ", [BEIJING]),
    "newline before a call": (f"I check.\n\n{WEATHER}", None, "I check.", [BEIJING]),
    "blanks between calls": (f"{WEATHER}\n    {call('noop')}\n", None, None, [BEIJING, ("noop", {})]),
    "text between calls": (
        f"First.\n{WEATHER}\nAlso.\n{call('noop')}",
        None,
        "First.\nAlso.",
        [BEIJING, ("noop", {})],
    ),
    "call ends the thought": (f"<think>so {WEATHER}\nC", "so ", "C", [BEIJING]),
    "end of thought after such a call": (f"<think>so{WEATHER}</think>C", "so", "C", [BEIJING]),
    "no arguments": (call("noop"), None, None, [("noop", {})]),
    "no newline after the name": (
        "<tool_call>get_weather<arg_key>city</arg_key><arg_value>x</arg_value></tool_call>",
        None,
        None,
        [("get_weather", {"city": "x"})],
    ),
    "escaped newlines": (
        call("get_weather", ("city", "x"), newline=r"\n"),
        None,
        None,
        [("get_weather", {"city": "x"})],
    ),
    "indented": (WEATHER.replace("\n", "\n    "), None, None, [BEIJING]),
    "name on the next line": (WEATHER.replace("get", "\nget"), None, None, [BEIJING]),
    "undeclared tool is kept": (call("other", ("x", "1")), None, None, [("other", {"x": 1})]),
    "no end of the first call": (
        f"<tool_call>noop\n{WEATHER}",
        None,
        None,
        [("noop", {}), ("get_weather", {"city": "Beijing"})],
    ),
    "unfinished key": (
        call("get_weather", ("city", "x"), ("days", "1")).replace("days</arg_key>", "days"),
        None,
        None,
        [("get_weather", {"city": "x"})],
    ),
    "key twice": (call("get_weather", ("city", "a"), ("city", "b")), None, None, [("get_weather", {"city": "a"})]),
    "text inside a call": ("<tool_call>noop\nwhy?</tool_call>", None, None, [("noop", {})]),
    "tags inside a value": (
        call("get_weather", ("city", "a</tool_call><think>b</think>")),
        None,
        None,
        [("get_weather", {"city": "a</tool_call><think>b</think>"})],
    ),
    "not a call: empty": ("<tool_call></tool_call>", None, "<tool_call></tool_call>", []),
    "not a call: blank": ("<tool_call>   ", None, "<tool_call>   ", []),
    "not a call: newline only": ("<tool_call>\n", None, "<tool_call>\n", []),
    "not a call: no line": ("<tool_call>noop</tool_call>", None, "<tool_call>noop</tool_call>", []),
    "not a call: cut name": ("See <tool_call>get_wea", None, "See <tool_call>get_wea", []),
    "not a call: prose": (
        "<think>write <tool_call> and then\na name</think>C",
        "write <tool_call> and then\na name",
        "C",
        [],
    ),
    "not a call: thought goes on": ("<think>use <tool_call></think>C", "use <tool_call>", "C", []),
    "tag of a call twice": (f"<tool_call>{WEATHER}", None, "<tool_call>", [BEIJING]),
    "half tag at the end": ("x <tool_ca", None, "x <tool_ca", []),
}


@pytest.mark.parametrize(("text", "reasoning", "content", "calls"), CASES.values(), ids=CASES.keys())
def test_known_outputs(text, reasoning, content, calls):
    expected = Parsed(
        reasoning, content, tuple(ToolCall(name, args, f"call_{i}") for i, (name, args) in enumerate(calls))
    )
    assert parse(text, SCHEMAS) == expected
    for size in (1, 2, 3, 7):
        assert assemble(stream(text, size, tools=SCHEMAS)) == expected


VALUES = [
    ("city", "123", "123"),
    ("city", "123_456", "123_456"),
    ("city", "  spaced  ", "  spaced  "),
    ("city", r"C:\Users\new", r"C:\Users\new"),
    ("city", 'say "hi"\nok', 'say "hi"\nok'),
    ("city", "a<b & c</arg", "a<b & c</arg"),
    ("city", "北京 🎉", "北京 🎉"),
    ("city", "", ""),
    ("unit", "true", "true"),
    ("unit", "null", None),
    ("note", "null", None),
    ("note", "None", "None"),
    ("days", "42", 42),
    ("days", "many", "many"),
    ("filters", '{"a": {"b": [1, null]}}', {"a": {"b": [1, None]}}),
    ("filters", "{'a': True}", {"a": True}),
    ("filters", r"[{\"id\": \"1\"}]", [{"id": "1"}]),
    ("filters", r"[{\"path\": \"C:\\\\x\"}]", [{"path": "C:\\x"}]),
    ("else", "3.14", 3.14),
    ("else", "True", True),
    ("else", "None", None),
    ("else", "123abc", "123abc"),
    ("else", '"quoted"', "quoted"),
    ("else", "(1, 2)", [1, 2]),
    ("else", "{1: 2}", {"1": 2}),
    ("else", "1, 2, 3 go", "1, 2, 3 go"),
    ("else", "", ""),
    # What Python or a lax JSON reader would take, but strict JSON cannot carry, stays text.
    ("else", "NaN", "NaN"),
    ("else", "1e999", sys.float_info.max),
    ("else", "{1, 2}", "{1, 2}"),
    ("else", r'"\ud800"', r'"\ud800"'),
    ("else", "[" * 100_000, "[" * 100_000),
    ("else", "9" * 5000, "9" * 5000),
]


@pytest.mark.parametrize(("key", "written", "value"), VALUES)
def test_values_by_schema(key, written, value):
    assert only_call(call("get_weather", (key, written))) == ("get_weather", {key: value})


def test_object_value_in_last_place_keeps_its_brace():
    text = call("get_weather", ("days", "1"), ("filters", '{"a": {}}'))
    assert fragments(stream(text, 1, tools=SCHEMAS)) == '{"days": 1, "filters": {"a": {}}}'


def test_tools_may_be_python_functions():
    def find(name: str, limit: int = 3) -> None:
        """Find it."""

    assert only_call(call("find", ("name", "7"), ("limit", "7")), [find]) == ("find", {"name": "7", "limit": 7})


def test_without_tools_values_are_read_as_json():
    assert only_call(call("get_weather", ("city", "Rome"), ("days", "3")), None)[1] == {"city": "Rome", "days": 3}


def fragments(deltas, index=0):
    return "".join(p.arguments_fragment for delta in deltas for p in delta.tool_calls if p.index == index)


def test_streamed_arguments_are_the_json_of_the_arguments():
    text = call("get_weather", ("city", '北"京\n🎉\\'), ("days", "3"), ("filters", "{'a': 'é'}"))
    expected = json.dumps({"city": '北"京\n🎉\\', "days": 3, "filters": {"a": "é"}}, ensure_ascii=False)
    for size in (1, 4, len(text)):
        assert fragments(stream(text, size, tools=SCHEMAS)) == expected


def test_call_without_arguments_streams_an_empty_object():
    assert fragments(stream(call("noop"), 1, tools=SCHEMAS)) == "{}"


def test_long_string_streams_as_it_comes():
    code = "def f(x):\n    return x < 1\n" * 20
    deltas = stream(call("get_weather", ("city", code)), 10, tools=SCHEMAS)
    assert sum(bool(part.arguments_fragment) for delta in deltas for part in delta.tool_calls) >= 50


def test_name_comes_once_and_whole_before_arguments():
    deltas = stream(WEATHER + "\n" + call("noop"), 1, tools=SCHEMAS)
    parts = [part for delta in deltas for part in delta.tool_calls]
    assert [(p.index, p.id, p.name) for p in parts if p.name] == [(0, "call_0", "get_weather"), (1, "call_1", "noop")]
    assert parts[0].name == "get_weather"
    assert all(p.id is None and p.arguments_fragment for p in parts if p.name is None)
    assert [p.index for p in parts if p.closed] == [0, 1]


def test_whole_call_in_one_piece_is_two_deltas():
    parts = [part for delta in StreamParser(SCHEMAS).feed(WEATHER) for part in delta.tool_calls]
    assert [part.arguments_fragment for part in parts] == ["", '{"city": "Beijing"}']


def test_half_a_name_is_held_back():
    parser = StreamParser(SCHEMAS)
    assert parser.feed("<tool_call>get_wea") == []
    assert parser.feed("ther\n")[0].tool_calls[0].name == "get_weather"


def test_opened_thought():
    assert parse("\nR</think>\nC", thinking_open=True) == Parsed("R", "C")
    assert parse("R", thinking_open=True) == Parsed("R", None)
    assert parse("<think>R</think>C", thinking_open=True) == Parsed("R", "C")


@pytest.mark.parametrize(
    ("cut", "arguments"),
    [
        ("<tool_call>get_weather\n", {}),
        ("<tool_call>get_weather\n<arg_key>ci", {}),
        ("<tool_call>get_weather\n<arg_key>city</arg_key>\n", {}),
        ("<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>", {"city": ""}),
        ("<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Bei", {"city": "Bei"}),
        # A number that was cut off would be another number: it is left out.
        ("<tool_call>get_weather\n<arg_key>days</arg_key>\n<arg_value>12", {}),
        (WEATHER.removesuffix("</tool_call>"), {"city": "Beijing"}),
    ],
)
def test_broken_off_call_is_a_call_that_is_not_closed(cut, arguments):
    for size in (1, 5, len(cut)):
        parsed = assemble(stream("Hm." + cut, size, tools=SCHEMAS))
        assert parsed == Parsed(None, "Hm.", (ToolCall("get_weather", arguments, "call_0", closed=False),))


def test_phases():
    parser = StreamParser(SCHEMAS)
    seen = []
    for piece in ("\n", "<think>", "R", "</think>", "C", "<tool_call>", "noop", "\n", "</tool_call>", "D"):
        parser.feed(piece)
        seen.append(parser.phase)
    assert seen == ["answer", "think", "think", "answer", "answer", "tool", "tool", "tool", "answer", "answer"]
    assert StreamParser(thinking_open=True).phase == "think"


def test_finish_leaves_nothing_behind():
    parser = StreamParser(SCHEMAS)
    parser.feed("x <tool_call>get_weather\n<arg_key>city</arg_key><arg_value>a")
    assert parser.finish()
    assert parser.finish() == []


def test_message_goes_back_into_the_conversation():
    parsed = parse(
        "\n<think>R</think>\nC\n" + call("get_weather", ("city", "北京"), ("days", "2")), SCHEMAS, id_prefix="t1_"
    )
    assert parsed.message == {
        "role": "assistant",
        "content": "C",
        "reasoning_content": "R",
        "tool_calls": [
            {
                "id": "t1_0",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "北京", "days": 2}'},
            }
        ],
    }
    assert parse("").message == {"role": "assistant", "content": None}


# Any mixture of what matters to the parser: tags, halves of tags, separators, text, values.
TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"]
HALVES = ["<", "</", "<arg_", "<think", "/think>", "\\", "\\n", "\n", " ", "  \n"]
WORDS = [
    "get_weather",
    "get_weather\n",
    "noop",
    "city",
    "days",
    "filters",
    "3",
    "{'a':1}",
    "[1,2]",
    '"',
    "北",
    "🎉",
    "a.",
]
OUTPUTS = st.lists(st.sampled_from(TAGS + HALVES + WORDS), max_size=30).map("".join)


@settings(max_examples=250, deadline=None)
@given(OUTPUTS, st.data(), st.booleans())
def test_any_cut_gives_the_same_answer(text, data, thinking_open):
    options = {"tools": SCHEMAS, "thinking_open": thinking_open}
    whole = parse(text, **options)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    parser = StreamParser(**options)
    deltas = [delta for piece in pieces for delta in parser.feed(piece)] + parser.finish()
    assert assemble(deltas) == whole
    one_by_one = stream(text, 1, **options)
    assert assemble(one_by_one) == whole
    for index, made in enumerate(whole.tool_calls):
        assert fragments(one_by_one, index) == json.dumps(made.arguments, ensure_ascii=False)


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_text_without_tags_passes_through(text):
    if not any(tag in text for tag in ("<think>", "</think>", "<tool_call>")):
        expected = text.lstrip("\n") if text.strip() else ""
        assert parse(text) == Parsed(None, expected or None)


PROSE = st.text(st.characters(blacklist_characters="<", blacklist_categories=["Cs"]), max_size=20).map(str.strip)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
)
CITY = st.text(st.characters(blacklist_categories=["Cs"])).filter(lambda text: "</arg_value>" not in text)
ARGUMENTS = st.fixed_dictionaries({}, optional={"city": CITY, "filters": JSON})


@settings(max_examples=100, deadline=None)
@given(PROSE, PROSE, st.lists(ARGUMENTS, max_size=3))
def test_what_the_template_writes_the_parser_reads(reasoning, content, calls):
    made = [{"function": {"name": "get_weather", "arguments": arguments}} for arguments in calls]
    answer = {"role": "assistant", "content": content, "reasoning_content": reasoning, "tool_calls": made}
    question = {"role": "user", "content": "q"}
    prompt = render([question], SCHEMAS)
    text = render([question, answer], SCHEMAS, add_generation_prompt=False).removeprefix(prompt)
    parsed = parse(text, SCHEMAS)
    assert (parsed.reasoning, parsed.content) == (reasoning or None, content or None)
    assert [made.arguments for made in parsed.tool_calls] == calls
