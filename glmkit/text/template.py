"""A conversation as the one string the model reads: by glmkit's own GLM-4.5 template or by a checkpoint's.

Both are jinja2 and both run in `sandbox.py`; messages and tools are first brought to one form by `messages.py` and
`tools.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from glmkit.errors import RequestError, TemplateError
from glmkit.text.messages import Messages, normalize_messages
from glmkit.text.sandbox import run_template
from glmkit.text.tools import Tools, normalize_tools

__all__ = ["GLM45_CHAT_TEMPLATE", "Thinking", "render", "render_jinja", "template_variant", "thinking_mode"]

if TYPE_CHECKING:
    Thinking = str | bool | Mapping[str, Any]
else:
    Thinking = Any  # at run time `thinking_mode` checks it, and says what is wrong

GLM45_CHAT_TEMPLATE = files(__package__).joinpath("chat_template.jinja").read_text(encoding="utf-8")
"""glmkit's own template for GLM-4.5 and GLM-4.6, also what a checkpoint saved without one of its own is given."""

THOUGHT_OPENED = "\n<think>"


_MODES: Mapping[str | bool, Literal["enabled", "disabled", "forced"]] = {
    **{"enabled": "enabled", "dynamic": "enabled", True: "enabled"},
    **{"disabled": "disabled", False: "disabled", "forced": "forced"},
}


def thinking_mode(thinking: Thinking) -> Literal["enabled", "disabled", "forced"]:
    """The one spelling of a thinking setting.

    "enabled" (also "dynamic", True: the model decides), "disabled" (False), "forced" (it has to think), or
    `{"type": one of these}`. Raises RequestError for anything else.
    """
    value = thinking.get("type") if isinstance(thinking, Mapping) else thinking
    if isinstance(value, str | bool) and value in _MODES:
        return _MODES[value]
    raise RequestError(
        f"thinking: expected 'enabled' ('dynamic', True), 'disabled' (False), 'forced' or {{'type': ...}}, "
        f"got {thinking!r}"
    )


def render(
    messages: Messages,
    tools: Tools = None,
    thinking: Thinking = "enabled",
    add_generation_prompt: bool = True,
) -> str:
    """The prompt of a conversation in the format of GLM-4.5 and GLM-4.6.

    `messages` as for `normalize_messages`, `tools` as for `normalize_tools`, `thinking` as for `thinking_mode`. With
    "forced" the prompt goes on with an opened thought. Encode the result without adding special tokens: it has them.
    Raises RequestError for messages, tools or a thinking mode that cannot be served.
    """
    return render_jinja(GLM45_CHAT_TEMPLATE, messages, tools, thinking, add_generation_prompt)


def render_jinja(
    template: str,
    messages: Messages,
    tools: Tools = None,
    thinking: Thinking = "enabled",
    add_generation_prompt: bool = True,
) -> str:
    """The prompt of a conversation by a checkpoint's own template, which sees `messages`, `tools` (None without any),
    `enable_thinking` and `add_generation_prompt`.

    As `render` otherwise; also raises TemplateError when the template fails, loops or reaches outside its sandbox.
    """
    mode = thinking_mode(thinking)
    prompt = run_template(
        template,
        {
            "messages": normalize_messages(messages),
            "tools": normalize_tools(tools) or None,
            "enable_thinking": mode != "disabled",
            "add_generation_prompt": add_generation_prompt,
        },
    )
    return prompt + THOUGHT_OPENED if mode == "forced" and add_generation_prompt else prompt


def template_variant(chat_template: str | None) -> Literal["glm-4.5"]:
    """Which format a checkpoint's template has its model answer in; None stands for glmkit's own.

    Found by rendering two small conversations. Raises TemplateError for GLM-4.7's format and for tool calls in any
    form `StreamParser` would misread: a wrong answer is worse than none.
    """
    if chat_template is None:
        return "glm-4.5"
    prompt = render_jinja(chat_template, "x")
    if prompt.rstrip().endswith("<think>") or "<|user|>x" in prompt:
        raise TemplateError(
            "chat template: this is the GLM-4.7 format (no newline after a role, or the prompt opens the thought "
            "itself), which glmkit does not parse; use a GLM-4.5 or GLM-4.6 checkpoint or template"
        )
    call = {"function": {"name": "f", "arguments": {"k": "v"}}}
    asked = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}]
    try:
        shown = render_jinja(chat_template, asked, add_generation_prompt=False)
    except TemplateError:
        return "glm-4.5"  # a template without tools: there is no call to misread
    form = r"<tool_call>\s*f\s*\n\s*<arg_key>k</arg_key>\s*<arg_value>v</arg_value>\s*</tool_call>"
    if "<tool_call>" in shown and not re.search(form, shown):
        raise TemplateError(
            "chat template: writes tool calls in a form glmkit does not parse; expected GLM-4.5's "
            "'<tool_call>name', then lines of '<arg_key>...</arg_key>' and '<arg_value>...</arg_value>'"
        )
    return "glm-4.5"
