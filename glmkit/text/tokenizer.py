"""Text to token ids and back, whole or as a stream; the tokenizer's files, kept byte for byte.

What is encoded is what is given: no special tokens are added (the chat template writes them), nothing is truncated.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from operator import index
from pathlib import Path
from types import MappingProxyType
from typing import Any, SupportsIndex

import tokenizers
from tokenizers.decoders import ByteLevel

from glmkit.checks import file_exists, parse_json
from glmkit.errors import RequestError, TokenizerError

__all__ = ["GLM_SPECIAL_TOKENS", "TAGS", "IncrementalDecoder", "Tokenizer"]

_FLAGGED = """<|endoftext|> [MASK] [gMASK] [sMASK] <sop> <eop> <|system|> <|user|> <|assistant|> <|observation|>
<|begin_of_image|> <|end_of_image|> <|begin_of_video|> <|end_of_video|> <|begin_of_audio|> <|end_of_audio|>
<|begin_of_transcription|> <|end_of_transcription|>"""
_PLAIN = """<|code_prefix|> <|code_middle|> <|code_suffix|> <think> </think> <tool_call> </tool_call> <tool_response>
</tool_response> <arg_key> </arg_key> <arg_value> </arg_value> /nothink <|begin_of_box|> <|end_of_box|> <|image|>
<|video|>"""

GLM_SPECIAL_TOKENS: Mapping[str, bool] = MappingProxyType(
    dict.fromkeys(_FLAGGED.split(), True) | dict.fromkeys(_PLAIN.split(), False)
)
"""The 36 tokens that close GLM-4.5's vocabulary, in the order of their ids, and whether each is flagged special.

The others stay when special tokens are skipped: thoughts and tool calls are part of what the model says.
"""

TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
"""What thoughts and calls are written with."""

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
COMPANIONS = ("special_tokens_map.json", "added_tokens.json")  # not read, but carried along
FILES = (TOKENIZER, CONFIG, TEMPLATE, *COMPANIONS)


class Tokenizer:
    """A byte-level BPE tokenizer as a checkpoint folder holds it.

    Made of the files themselves: `{"tokenizer.json": bytes, ...}`, with "tokenizer_config.json" and
    "chat_template.jinja" where there are any. Raises TokenizerError naming the file that cannot be used.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        if TOKENIZER not in files:
            raise TokenizerError(f"{TOKENIZER} is missing: glmkit reads no other form of tokenizer")
        try:
            backend = tokenizers.Tokenizer.from_buffer(files[TOKENIZER])
        except ValueError as error:
            raise TokenizerError(f"{TOKENIZER}: {error}") from error
        if not isinstance(backend.decoder, ByteLevel):
            raise TokenizerError(f"{TOKENIZER}: expected a ByteLevel decoder, as GLM's, got {backend.decoder}")
        backend.no_truncation()
        backend.no_padding()
        _check_added_tokens(files[TOKENIZER], backend)
        self.backend = backend
        self.files = MappingProxyType(dict(files))
        self.chat_template = _chat_template(files)

    def __repr__(self) -> str:
        return f"Tokenizer({self.vocab_size} tokens)"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self.files),)

    @classmethod
    def from_folder(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read the tokenizer in a checkpoint folder. Raises TokenizerError naming the file."""
        folder = Path(path)
        try:
            return cls({name: _read(folder / name) for name in FILES if file_exists(folder / name)})
        except TokenizerError as error:
            raise TokenizerError(f"{folder}: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the files back as they were read. Each appears whole or not at all."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            part = folder / f"{name}.part"
            part.write_bytes(content)
            os.replace(part, folder / name)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`. Special tokens written in it, as in a rendered prompt, are found; none is added.

        Raises RequestError for text that is no Unicode: half a surrogate pair, as undecodable bytes become.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RequestError(
                f"the text is not valid Unicode at character {error.start}: {text[error.start]!r}"
            ) from error
        return self.backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[SupportsIndex], skip_special: bool = False) -> str:
        """The text of `ids`. Bytes that are not UTF-8 become U+FFFD, ids of the padded vocabulary nothing."""
        return self.backend.decode([index(i) for i in ids], skip_special_tokens=skip_special)

    @cached_property
    def vocab_size(self) -> int:
        """The highest id plus one: rows an embedding needs."""
        return max(self.backend.get_vocab().values()) + 1

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all tokens with their ids."""
        return hashlib.sha256(json.dumps(sorted(self.backend.get_vocab().items())).encode()).hexdigest()

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids flagged special, which `skip_special` leaves out."""
        return frozenset(i for i, token in self.backend.get_added_tokens_decoder().items() if token.special)

    @cached_property
    def tags(self) -> Mapping[int, str]:
        """The tags of thoughts and calls by their ids; none unless all of them are tokens of their own."""
        found = {i: token.content for i, token in self.backend.get_added_tokens_decoder().items()}
        tags = {i: content for i, content in found.items() if content in TAGS}
        return MappingProxyType(tags if len(tags) == len(TAGS) else {})

    def token_id(self, token: str) -> int:
        """The id of one token, as `token_id("<think>")`. Raises TokenizerError when the vocabulary lacks it."""
        found = self.backend.token_to_id(token)
        if found is None:
            raise TokenizerError(f"the tokenizer has no token {token!r}")
        return found

    def token_bytes(self, token_id: SupportsIndex) -> bytes:
        """The bytes one token stands for, possibly part of a character; none for an id it does not know."""
        token = self.backend.id_to_token(index(token_id))
        if token is None:
            return b""
        try:
            return bytes(_BYTE_OF[character] for character in token)
        except KeyError:
            return token.encode()  # an added token, in plain text

    def check_fits(self, vocab_size: int) -> None:
        """Raise TokenizerError unless an embedding of `vocab_size` rows has one for every token."""
        if self.vocab_size > vocab_size:
            raise TokenizerError(
                f"the tokenizer's ids go up to {self.vocab_size - 1}, but the model's embedding has only "
                f"{vocab_size} rows (vocab_size in config.json): they are not of the same checkpoint"
            )


class IncrementalDecoder:
    """Text from tokens that arrive one by one, never half a character.

    The pieces of `feed`, and of `finish` at the end, put together are `Tokenizer.decode` of all the ids.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._skipped = tokenizer.special_ids if skip_special else frozenset()
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_id: SupportsIndex) -> str:
        """What is certain of the text with one more token; empty while a character is incomplete."""
        if index(token_id) in self._skipped:
            return ""
        return self._utf8.decode(self._tokenizer.token_bytes(token_id))

    def finish(self) -> str:
        """What is left: U+FFFD for a character that was never completed, else nothing. Ready for another text."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"{path.name} cannot be read: {error.strerror}") from error


def _chat_template(files: Mapping[str, bytes]) -> str | None:
    """The template of its own file or else of the configuration. Both are checked, whichever is used."""
    configured = _configured_template(files) if CONFIG in files else None
    template = _utf8(files, TEMPLATE) if TEMPLATE in files else configured
    if template is not None and not template.strip():
        raise TokenizerError(f"{TEMPLATE if TEMPLATE in files else CONFIG}: the chat template is empty")
    return template


def _configured_template(files: Mapping[str, bytes]) -> str | None:
    """The template in the configuration: one text, or several of which one is the default."""
    try:
        config = parse_json(_utf8(files, CONFIG))
    except ValueError as error:
        raise TokenizerError(f"{CONFIG}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise TokenizerError(f"{CONFIG}: expected an object, got {type(config).__name__}")
    template = config.get("chat_template")
    if isinstance(template, list):
        template = _default(template)
    if template is not None and not isinstance(template, str):
        raise TokenizerError(f"{CONFIG}: chat_template: expected a string or a list of named templates")
    return template


def _check_added_tokens(content: bytes, backend: tokenizers.Tokenizer) -> None:
    """The library gives an added token that does not follow the vocabulary another id, and does not say so."""
    for token in parse_json(content).get("added_tokens", ()):
        if (found := backend.token_to_id(token["content"])) != token["id"]:
            raise TokenizerError(
                f"{TOKENIZER}: added token {token['content']!r} says it has id {token['id']}, which does not follow "
                f"from the vocabulary before it; expected {found}"
            )


def _default(named: list[Any]) -> str:
    templates = {entry.get("name"): entry.get("template") for entry in named if isinstance(entry, dict)}
    if "default" not in templates:
        raise TokenizerError(f"{CONFIG}: chat_template: expected one named 'default', got {list(templates)}")
    return templates["default"]


def _utf8(files: Mapping[str, bytes], name: str) -> str:
    try:
        return files[name].decode()
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{name}: not UTF-8: {error}") from error


def _byte_alphabet() -> dict[str, int]:
    """The character that byte-level BPE writes for each byte: itself where printable, else the next from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
