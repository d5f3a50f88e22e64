"""Text in and out of the model, in pure Python: tokens, the chat template, messages and tools, the output's parser."""

from glmkit.text.deltas import Delta, Parsed, ToolCall, ToolCallDelta, assemble
from glmkit.text.messages import normalize_messages
from glmkit.text.parser import StreamParser, Tag, parse
from glmkit.text.template import GLM45_CHAT_TEMPLATE, render, render_jinja, template_variant, thinking_mode
from glmkit.text.tokenizer import GLM_SPECIAL_TOKENS, IncrementalDecoder, Tokenizer
from glmkit.text.tools import function_schema, normalize_tools

__all__ = [
    "GLM45_CHAT_TEMPLATE",
    "GLM_SPECIAL_TOKENS",
    "Delta",
    "IncrementalDecoder",
    "Parsed",
    "StreamParser",
    "Tag",
    "Tokenizer",
    "ToolCall",
    "ToolCallDelta",
    "assemble",
    "function_schema",
    "normalize_messages",
    "normalize_tools",
    "parse",
    "render",
    "render_jinja",
    "template_variant",
    "thinking_mode",
]
