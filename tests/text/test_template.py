"""glmkit's own template, against goldens and a plain Python rendering of the format's rules; checkpoints' templates."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from glmkit.errors import RequestError, TemplateError
from glmkit.text import GLM45_CHAT_TEMPLATE, render, render_jinja, template_variant, thinking_mode

USER = {"role": "user", "content": "hi"}
CALLS = [
    {
        "id": "1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "北京", "n": 3, "o": {"a": [1, True]}}},
    },
    {"id": "2", "type": "function", "function": {"name": "noargs", "arguments": {}}},
]
TEXT_CALL = {"function": {"name": "f", "arguments": '{"a": "x", "b": [1]}'}}
CALLED = (
    "<|user|>\nq1<|assistant|>\n<think>r</think>\nc\n"
    "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>北京</arg_value>\n<arg_key>n</arg_key>\n"
    '<arg_value>3</arg_value>\n<arg_key>o</arg_key>\n<arg_value>{"a": [1, true]}</arg_value>\n</tool_call>\n'
    "<tool_call>noargs\n</tool_call>"
)
RESULTS = "<|observation|>\n<tool_response>\nR1\n</tool_response>\n<tool_response>\nR2\n</tool_response>"
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "天气 <b>", "parameters": {}}}
TOOLS_BLOCK = """<|system|>
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{"type": "function", "function": {"name": "get_weather", "description": "天气 <b>", "parameters": {}}}
{"type": "function", "function": {"name": "b"}}
</tools>

For each function call, output the function name and arguments within the following XML format:
<tool_call>{function-name}
<arg_key>{arg-key-1}</arg_key>
<arg_value>{arg-value-1}</arg_value>
<arg_key>{arg-key-2}</arg_key>
<arg_value>{arg-value-2}</arg_value>
...
</tool_call>"""


def conversation(*turns):
    return [{"role": role, "content": content, **more} for role, content, *rest in turns for more in (rest or [{}])]


ASKED = conversation(("user", "q1"), ("assistant", "c", {"reasoning_content": "r", "tool_calls": CALLS}))
ANSWERED = [*ASKED, *conversation(("tool", "R1"), ("tool", "R2"))]

# messages, options of render, the prompt after "[gMASK]<sop>"
GOLDENS = {
    "user": ([USER], {}, "<|user|>\nhi<|assistant|>"),
    "string is one user turn": ("hi", {}, "<|user|>\nhi<|assistant|>"),
    "no generation prompt": ([USER], {"add_generation_prompt": False}, "<|user|>\nhi"),
    "thinking disabled": ([USER], {"thinking": "disabled"}, "<|user|>\nhi/nothink<|assistant|>\n<think></think>"),
    "thinking forced": ([USER], {"thinking": "forced"}, "<|user|>\nhi<|assistant|>\n<think>"),
    "forced, no prompt": ([USER], {"thinking": "forced", "add_generation_prompt": False}, "<|user|>\nhi"),
    "nothink on every user turn, once": (
        conversation(("user", "a"), ("assistant", "b"), ("user", "c/nothink"), ("user", "d")),
        {"thinking": False},
        "<|user|>\na/nothink<|assistant|>\n<think></think>\nb<|user|>\nc/nothink<|user|>\nd/nothink"
        "<|assistant|>\n<think></think>",
    ),
    "system": (conversation(("system", "S"), ("user", "hi")), {}, "<|system|>\nS<|user|>\nhi<|assistant|>"),
    "system later": (conversation(("user", "hi"), ("system", "S")), {}, "<|user|>\nhi<|system|>\nS<|assistant|>"),
    "earlier reasoning is dropped": (
        conversation(("user", "q1"), ("assistant", "a1", {"reasoning_content": "r1"}), ("user", "q2")),
        {},
        "<|user|>\nq1<|assistant|>\n<think></think>\na1<|user|>\nq2<|assistant|>",
    ),
    "reasoning between tool calls is kept": (ANSWERED, {}, CALLED + RESULTS + "<|assistant|>"),
    "until the next user message": (
        [*ANSWERED, USER],
        {},
        CALLED.replace(">r<", "><") + RESULTS + "<|user|>\nhi<|assistant|>",
    ),
    "results in two runs": (
        [*ASKED, *conversation(("tool", "R1"), ("assistant", "x"), ("tool", "R2"))],
        {"add_generation_prompt": False},
        CALLED + "<|observation|>\n<tool_response>\nR1\n</tool_response><|assistant|>\n<think></think>\nx"
        "<|observation|>\n<tool_response>\nR2\n</tool_response>",
    ),
    "several results in one message": (
        [USER, {"role": "tool", "content": [{"output": "R1"}, "R2"]}],
        {},
        f"<|user|>\nhi{RESULTS}<|assistant|>",
    ),
    "text parts of a result": (
        [USER, {"role": "tool", "content": [{"type": "text", "text": "R"}, {"type": "text", "text": "1"}]}],
        {},
        "<|user|>\nhi<|observation|>\n<tool_response>\nR1\n</tool_response><|assistant|>",
    ),
    "thought inside the content": (
        conversation(("user", "hi"), ("assistant", "\n<think>\nr1\n</think>\n\na1\n")),
        {"add_generation_prompt": False},
        "<|user|>\nhi<|assistant|>\n<think>r1</think>\na1",
    ),
    "parts": (
        [{"role": "user", "content": ["a", {"type": "text", "text": "b"}, " c"]}],
        {},
        "<|user|>\nab c<|assistant|>",
    ),
    "content None is empty": (
        conversation(("user", None), ("assistant", None, {"tool_calls": CALLS[1:]})),
        {"add_generation_prompt": False},
        "<|user|>\n<|assistant|>\n<think></think>\n<tool_call>noargs\n</tool_call>",
    ),
    "arguments as JSON text": (
        conversation(("user", "q"), ("assistant", "", {"tool_calls": [TEXT_CALL]})),
        {"add_generation_prompt": False},
        "<|user|>\nq<|assistant|>\n<think></think>\n<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>x</arg_value>\n"
        "<arg_key>b</arg_key>\n<arg_value>[1]</arg_value>\n</tool_call>",
    ),
    "tools before all messages": (
        conversation(("system", "S"), ("user", "hi")),
        {"tools": [TOOL, {"name": "b"}]},
        TOOLS_BLOCK + "<|system|>\nS<|user|>\nhi<|assistant|>",
    ),
    "no tools": ([USER], {"tools": []}, "<|user|>\nhi<|assistant|>"),
}


@pytest.mark.parametrize(("messages", "options", "prompt"), GOLDENS.values(), ids=GOLDENS.keys())
def test_goldens(messages, options, prompt):
    assert render(messages, **options) == "[gMASK]<sop>" + prompt


def plain_render(messages, tools, off, generate):
    """The rules of the format in plain Python, for messages in the normal form."""
    out = ["[gMASK]<sop>"]
    if tools:
        shown = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        head, tail = TOOLS_BLOCK.split("<tools>\n")[0], TOOLS_BLOCK.split("\n</tools>")[1]
        out.append(f"{head}<tools>\n{shown}\n</tools>{tail}")
    last_user = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=-1)
    for i, m in enumerate(messages):
        role, content = m["role"], m["content"]
        if role == "system":
            out.append(f"<|system|>\n{content}")
        elif role == "user":
            out.append(f"<|user|>\n{content}" + ("/nothink" if off and not content.endswith("/nothink") else ""))
        elif role == "tool":
            if i == 0 or messages[i - 1]["role"] != "tool":
                out.append("<|observation|>")
            out.append(f"\n<tool_response>\n{content}\n</tool_response>")
        else:
            reasoning = m.get("reasoning_content")
            if reasoning is None:
                reasoning = ""
                if "</think>" in content:
                    reasoning = content.split("</think>")[0].rstrip("\n").split("<think>")[-1].lstrip("\n")
                    content = content.split("</think>")[-1].lstrip("\n")
            out.append(f"<|assistant|>\n<think>{reasoning.strip() if i > last_user else ''}</think>")
            out.append(f"\n{content.strip()}" if content.strip() else "")
            for made in m.get("tool_calls", []):
                out.append(f"\n<tool_call>{made['function']['name']}\n")
                for key, value in made["function"]["arguments"].items():
                    written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                    out.append(f"<arg_key>{key}</arg_key>\n<arg_value>{written}</arg_value>\n")
                out.append("</tool_call>")
    if generate:
        out.append("<|assistant|>" + ("\n<think></think>" if off else ""))
    return "".join(out)


TEXT = st.lists(
    st.sampled_from(["a", " ", "\n", "北é", "<think>", "</think>", "/nothink", "{{ 1 }}", "<b>&'\"", "<|user|>"]),
    max_size=5,
).map("".join)
VALUE = st.one_of(TEXT, st.integers(), st.floats(allow_nan=False), st.booleans(), st.none(), st.lists(TEXT, max_size=2))
CALL = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["f", "get_x"]),
        "arguments": st.dictionaries(st.sampled_from(["a", "items", "键"]), VALUE),
    }
).map(lambda function: {"function": function})
MESSAGE = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "tool"]), "content": TEXT}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": TEXT},
        optional={"reasoning_content": TEXT, "tool_calls": st.lists(CALL, max_size=2)},
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(MESSAGE, min_size=1, max_size=6), st.booleans(), st.booleans(), st.booleans())
def test_template_follows_the_rules(messages, with_tools, off, generate):
    tools = [TOOL] if with_tools else None
    expected = plain_render(messages, tools, off, generate)
    assert render(messages, tools, not off, generate) == expected


def test_messages_are_not_changed():
    before = json.dumps(ANSWERED)
    render(ANSWERED, thinking=False)
    assert json.dumps(ANSWERED) == before


@pytest.mark.parametrize(
    ("given_as", "mode"),
    [
        ("enabled", "enabled"),
        ("dynamic", "enabled"),
        (True, "enabled"),
        ("disabled", "disabled"),
        (False, "disabled"),
        ("forced", "forced"),
        ({"type": "disabled"}, "disabled"),
        ({"type": "enabled", "clear_thinking": True}, "enabled"),
    ],
)
def test_thinking_modes(given_as, mode):
    assert thinking_mode(given_as) == mode


@pytest.mark.parametrize("wrong", ["on", None, 1, 0, {}, {"type": None}, {"type": ["forced"]}, ["enabled"]])
def test_other_thinking_modes_are_refused(wrong):
    with pytest.raises(RequestError, match="thinking: expected 'enabled'"):
        render("hi", thinking=wrong)


def test_a_checkpoints_template_sees_the_normal_form():
    template = (
        "{% for m in messages %}\n    {{- m.role }}:{{ m.content }};\n"
        "    {% for call in m.tool_calls %}{{ call.function.arguments | tojson }}{% endfor %}\n{% endfor %}"
        "{{ tools | tojson(indent=1) if tools else 'no tools' }} {{ enable_thinking }}"
    )
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": '{"k": "é"}'}}]},
    ]
    assert render_jinja(template, messages) == 'user:hi;\nassistant:;\n{"k": "é"}no tools True'
    assert render_jinja("{{ enable_thinking }}", "hi", thinking=False) == "False"
    assert render_jinja("{{ tools[0].function.name }}", "hi", [TOOL], "forced") == "get_weather\n<think>"


def test_own_template_works_without_normalisation():
    """A checkpoint carries it to libraries that render messages as they are."""
    import jinja2

    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value, ensure_ascii: json.dumps(value, ensure_ascii=ensure_ascii)
    parts = [{"type": "text", "text": "h"}, {"type": "image"}, "i"]
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {"a": "x"}}]},
        {"role": "tool", "content": [{"type": "text", "text": "R"}]},
    ]
    shown = environment.from_string(GLM45_CHAT_TEMPLATE).render(messages=messages, tools=[TOOL])
    assert shown.endswith(
        "<|user|>\nhi<|assistant|>\n<think></think>\n<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>x</arg_value>\n"
        "</tool_call><|observation|>\n<tool_response>\nR\n</tool_response>"
    )


# In the manner of GLM-4.7: no newlines, and the prompt opens or closes the thought.
GLM47 = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% for c in m.tool_calls %}"
    "<tool_call>{{ c.function.name }}{% for k, v in c.function.arguments.items() %}<arg_key>{{ k }}</arg_key>"
    "<arg_value>{{ v }}</arg_value>{% endfor %}</tool_call>{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{{ '<think>' if enable_thinking else '</think>' }}{% endif %}"
)


def test_variant_of_a_template():
    assert template_variant(None) == "glm-4.5"
    assert template_variant(GLM45_CHAT_TEMPLATE) == "glm-4.5"
    assert template_variant("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}") == "glm-4.5"
    no_tools = "{% for m in messages %}{% if m.tool_calls %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
    assert template_variant(no_tools) == "glm-4.5"


def test_formats_that_would_be_misread_are_refused_by_name():
    with pytest.raises(TemplateError, match=r"GLM-4\.7"):
        template_variant(GLM47)
    with pytest.raises(TemplateError, match=r"GLM-4\.7"):
        template_variant("<|user|>{{ messages[0].content }}<|assistant|>")
    as_json = (
        "{% for m in messages %}{% for c in m.tool_calls %}<tool_call>{{ c.function | tojson }}</tool_call>"
        "{% endfor %}{% endfor %}"
    )
    with pytest.raises(TemplateError, match="tool calls in a form"):
        template_variant(as_json)
    with pytest.raises(TemplateError):
        template_variant("{{ ''.__class__ }}")
