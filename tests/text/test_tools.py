"""Tools: schemas taken as they are, schemas made from Python functions, and errors that name the tool and the key."""

import re
from typing import Annotated, Any, Literal, Optional

import pytest

from glmkit.errors import RequestError
from glmkit.text import function_schema, normalize_tools


def test_a_schema_is_kept_as_it_is():
    tool = {"function": {"parameters": {"type": "object"}, "name": "f", "strict": True}, "type": "function"}
    (kept,) = normalize_tools([tool])
    assert list(kept.items()) == list(tool.items())


def test_a_bare_function_is_wrapped():
    bare = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
    wrapped = [{"type": "function", "function": bare}]
    assert normalize_tools([bare]) == wrapped
    assert normalize_tools([{"type": "function", **bare}]) == wrapped


def test_no_tools():
    assert normalize_tools(None) == normalize_tools([]) == []


def weather(
    city: Annotated[str, "Where"],
    days: int = 3,
    unit: Literal["C", "F"] = "C",
    note: str | None = None,
    tags: list[str] | None = None,
    limits: Optional[dict[str, float]] = None,  # noqa: UP045 - the older spelling is accepted too
    level: Literal[1, "high"] = 1,
    extra: dict | list = (),
    anything: Any = None,
    later: "bool" = False,
) -> str:
    """Tell the weather.

    Of today and of the days after.

    Args:
        days (int): How many days,
            today: included.
        unit: Celsius or Fahrenheit.

    Returns:
        A sentence.
    """


def test_schema_of_a_function():
    assert function_schema(weather) == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather.\n\nOf today and of the days after.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Where"},
                    "days": {"type": "integer", "description": "How many days, today: included."},
                    "unit": {"type": "string", "enum": ["C", "F"], "description": "Celsius or Fahrenheit."},
                    "note": {"type": ["string", "null"]},
                    "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
                    "limits": {
                        "anyOf": [
                            {"type": "object", "additionalProperties": {"type": "number"}},
                            {"type": "null"},
                        ]
                    },
                    "level": {"enum": [1, "high"]},
                    "extra": {"type": ["object", "array"]},
                    "anything": {},
                    "later": {"type": "boolean"},
                },
                "required": ["city"],
            },
        },
    }


def test_function_without_parameters_or_docstring():
    def now():
        pass

    assert function_schema(now)["function"] == {
        "name": "now",
        "parameters": {"type": "object", "properties": {}, "required": []},
    }


def test_methods_do_not_show_self():
    class Shop:
        def buy(self, item: str) -> None:
            """Buy it."""

    (tool,) = normalize_tools([Shop().buy])
    assert list(tool["function"]["parameters"]["properties"]) == ["item"]


def test_an_annotation_may_hold_anything_beside_the_type():
    def function(x: Annotated[str, {"min": 3}, "A word"]):
        pass

    (tool,) = normalize_tools([function])
    assert tool["function"]["parameters"]["properties"]["x"] == {"type": "string", "description": "A word"}


def untyped(x):
    pass


def many(*names: str):
    pass


def odd(x: complex):
    pass


def keyed(x: dict[int, str]):
    pass


def unknown(x: "Nowhere"):  # noqa: F821 - what this is about
    pass


def listed(x: [int]):
    pass


NAMED = {"type": "function", "function": {"name": "f"}}
BAD = [
    (NAMED, "tools: expected a list"),
    ("f", "tools: expected a list"),
    ([int], "tools[0]: expected a schema or a typed Python function, got type"),
    ([NAMED, 3], "tools[1]: expected a schema or a typed Python function"),
    ([{"type": "web_search"}], "tools[0].type: expected 'function'"),
    ([NAMED, {"type": "function", "function": {"parameters": {}}}], "tools[1].function.name: a tool needs a name"),
    ([{}], "tools[0].function.name: a tool needs a name"),
    ([{"name": "two words"}], "tools[0].function.name: 'two words' is not one word"),
    ([{"name": r"two\nlines"}], r"tools[0].function.name: 'two\\nlines' is not one word"),
    ([{"function": "f"}], "tools[0].function: expected an object"),
    ([{"name": "f", "parameters": []}, {"name": "g", "parameters": [1]}], "tools[1].function.parameters"),
    ([{"name": "f", "parameters": {"properties": ["x"]}}], "tools[0].function.parameters"),
    ([{"name": "f", "description": {1}}], "tools[0]: not JSON"),
    ([NAMED, NAMED], "tools[1].function.name: 'f' is declared twice"),
    ([untyped], "tool 'untyped', parameter 'x': needs a type annotation"),
    ([many], "tool 'many', parameter 'names'"),
    ([odd], "tool 'odd', parameter 'x': <class 'complex'> has no JSON schema"),
    ([keyed], "tool 'keyed', parameter 'x'"),
    ([unknown], "tool 'unknown': its annotations cannot be resolved"),
    ([listed], "tool 'listed', parameter 'x': [<class 'int'>] has no JSON schema"),
    ([max], "tool 'max': its annotations cannot be resolved: no signature found"),
    ([lambda x: x], "tool '<lambda>'"),
]


@pytest.mark.parametrize(("tools", "said"), BAD)
def test_errors_name_tool_and_key(tools, said):
    with pytest.raises(RequestError, match=re.escape(said)):
        normalize_tools(tools)
