"""GenerationConfig: how a checkpoint asks to be sampled, unless the caller says otherwise."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from glmkit.checks import file_exists
from glmkit.config import GLM_4_6_CONTEXT, GLMConfig
from glmkit.errors import ConfigError
from glmkit.hf_config import as_json, is_int, is_number, read_json_object, token_ids, updated_source

_FIELDS = ("do_sample", "eos_token_id", "pad_token_id", "temperature", "top_p")


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """Sampling defaults of one checkpoint. `extra` and `source` are as in GLMConfig."""

    eos_token_id: tuple[int, ...] = ()
    pad_token_id: int | None = None
    temperature: float = 0.6
    top_p: float = 0.95
    do_sample: bool = True
    extra: dict[str, Any] = field(default_factory=dict, hash=False)
    source: tuple[dict[str, Any], GenerationConfig] | None = field(default=None, hash=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "eos_token_id", token_ids("eos_token_id", self.eos_token_id))
        top_k, penalty = self.extra.get("top_k"), self.extra.get("repetition_penalty")
        checks = {
            "pad_token_id": (self.pad_token_id is None or is_int(self.pad_token_id, 0), "a token id or none"),
            "temperature": (is_number(self.temperature) and self.temperature >= 0, "a number of at least 0"),
            "top_p": (is_number(self.top_p) and 0 < self.top_p <= 1, "a number above 0 and at most 1"),
            "do_sample": (isinstance(self.do_sample, bool), "true or false"),
            "top_k": (top_k is None or is_int(top_k, 0), "an integer of at least 0 or none"),
            "repetition_penalty": (
                penalty is None or (is_number(penalty) and penalty > 0),
                "a positive number or none",
            ),
        }
        values = {**self.extra, **{name: getattr(self, name) for name in _FIELDS}}
        for name, (holds, expected) in checks.items():
            if not holds:
                raise ConfigError(f"{name} is {values[name]!r}; expected {expected}")

    @classmethod
    def recommended(cls, config: GLMConfig) -> GenerationConfig:
        """Z.ai's own: temperature 0.6 for GLM-4.5, 1.0 for 4.6 (told by its context length), top_p 0.95."""
        temperature = 1.0 if config.max_position_embeddings == GLM_4_6_CONTEXT else 0.6
        ids = {"eos_token_id": config.eos_token_id, "pad_token_id": config.pad_token_id}
        return cls(**ids, temperature=temperature, top_p=0.95)

    @classmethod
    def from_hf(cls, source: Mapping[str, Any] | str | PathLike[str], config: GLMConfig) -> GenerationConfig:
        """Read generation_config.json: its dictionary, its path, or the folder that may hold it.

        What is absent, a key or the file, is as `recommended`. Raises ConfigError naming the file and key.
        """
        if isinstance(source, Mapping):
            return cls._from_dict(dict(source), config)
        path = Path(source)
        if path.is_dir():
            path = path / "generation_config.json"
            if not file_exists(path):
                return cls.recommended(config)
        hf = read_json_object(path)
        try:
            return cls._from_dict(hf, config)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def _from_dict(cls, hf: dict[str, Any], config: GLMConfig) -> GenerationConfig:
        stated = {name: hf[name] for name in _FIELDS if hf.get(name) is not None}
        extra = {key: copy.deepcopy(value) for key, value in hf.items() if key not in _FIELDS}
        read = replace(cls.recommended(config), **stated, extra=extra)
        return replace(read, source=(copy.deepcopy(hf), read))

    def warn_of_missing_stops(self, vocab_size: int) -> None:
        """Warn the caller of who asks of stop ids that a model of so many tokens cannot say."""
        if beyond := [token for token in self.eos_token_id if token >= vocab_size]:
            warnings.warn(
                f"eos_token_id names {beyond}, but the vocabulary has {vocab_size} tokens: "
                "generation cannot stop at these",
                stacklevel=3,
            )

    def to_hf(self) -> dict[str, Any]:
        """The dictionary to write as generation_config.json: as it was read, or else every field set."""
        if self.source is not None:
            return updated_source(self, _FIELDS)
        every = {name: as_json(getattr(self, name)) for name in _FIELDS}
        stated = {name: value for name, value in every.items() if value is not None}
        return stated | copy.deepcopy(self.extra)
