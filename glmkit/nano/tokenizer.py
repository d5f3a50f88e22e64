"""The vocabulary of glm-nano: a small byte-level BPE learned from the curriculum, closed by GLM's special tokens.

Digits are always tokens of their own, so that a column of a sum is a fixed number of tokens, and so is a newline.
Reading and using a tokenizer, whatever its size, is `glmkit.text.tokenizer`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from random import Random

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors, trainers

from glmkit.errors import TokenizerError
from glmkit.nano.mixture import MIXTURE
from glmkit.nano.skills import SKILLS
from glmkit.text import render
from glmkit.text.template import GLM45_CHAT_TEMPLATE
from glmkit.text.tokenizer import GLM_SPECIAL_TOKENS, Tokenizer

__all__ = ["build_tokenizer", "curriculum_texts"]

_PIECES = r"\p{N}|\n| ?\p{L}+| ?[^\s\p{L}\p{N}]+(?: [^\s\p{L}\p{N}]+)*|[^\S\n]+"
"""A digit, a newline, a word with the space before it, marks with spaces among them, other blanks: no token goes over
two of these. Marks go together for JSON's sake, where `": {"` is one token: declarations get shorter.
"""

_SPECIAL = re.compile("|".join(map(re.escape, GLM_SPECIAL_TOKENS)))


def curriculum_texts(seed: int = 0, characters: int = 2_000_000) -> Iterator[str]:
    """Rendered tasks for training, cut at special tokens: of each skill its share of about so many characters."""
    whole = sum(MIXTURE.values())
    for name, share in MIXTURE.items():
        rng, left = Random(f"glm-nano/vocabulary/{seed}/{name}"), characters * share / whole
        while left > 0:
            task = SKILLS[name](rng, "train")
            text = render(task.messages, task.tools, task.thinking)
            left -= len(text)
            yield from _SPECIAL.split(text)


def build_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int) -> Tokenizer:
    """Learn merges from `texts` and append the special tokens, `vocab_size` entries in all.

    The same texts give the same files, byte for byte. `max_length` is what the files say of the model's context.
    Raises TokenizerError when the texts are too few to fill the vocabulary.
    """
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(GLM_SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.add_tokens([AddedToken(text, special=flag, normalized=False) for text, flag in GLM_SPECIAL_TOKENS.items()])
    if (size := backend.get_vocab_size()) != vocab_size:
        raise TokenizerError(f"the texts give {size} entries of {vocab_size}: give more text or a smaller vocab_size")
    return Tokenizer(
        {
            "tokenizer.json": backend.to_str(pretty=True).encode(),
            "tokenizer_config.json": _json(_released_form(backend, max_length)),
            "chat_template.jinja": GLM45_CHAT_TEMPLATE.encode(),
        }
    )


def _released_form(backend: tokenizers.Tokenizer, max_length: int) -> dict:
    """The content of tokenizer_config.json, with the keys that the released models have."""
    added = sorted(backend.get_added_tokens_decoder().items())
    flags = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    return {
        "added_tokens_decoder": {str(i): {flag: getattr(token, flag) for flag in flags} for i, token in added},
        "additional_special_tokens": [token.content for _, token in added if token.special],
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|endoftext|>",
        "extra_special_tokens": {},
        "model_max_length": max_length,
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "remove_space": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _json(content: dict) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
