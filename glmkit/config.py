"""GLMConfig: the shape of a GLM-4.5 model under the released configs' own names, and the released presets.

Plain data without JAX. `hf_config` translates config.json; `generation_config` holds the sampling defaults.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from glmkit.checks import is_integer
from glmkit.errors import ConfigError
from glmkit.hf_config import (
    IDENTITY,
    MODEL_TYPE,
    as_json,
    fields_from_hf,
    fields_into_hf,
    implied_head_dim,
    is_int,
    is_number,
    read_json_object,
    refuse_rope_scaling,
    token_ids,
    updated_source,
)

DTYPES = ("bfloat16", "float32", "float16")
GLM_4_6_CONTEXT = 202_752  # what tells GLM-4.6 from 4.5

_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "moe_intermediate_size",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "n_group",
    "topk_group",
    "max_position_embeddings",
)
# Beyond these: a damaged file, not a model.
_MOST = {**dict.fromkeys(_SIZES, 2**31 - 1), "num_hidden_layers": 4096, "n_routed_experts": 65_536}
_COUNTS = ("first_k_dense_replace", "num_nextn_predict_layers")
_POSITIVE = ("routed_scaling_factor", "partial_rotary_factor", "rope_theta", "rms_norm_eps")
_FRACTIONS = ("attention_dropout", "initializer_range")
_SWITCHES = ("norm_topk_prob", "use_qk_norm", "attention_bias", "tie_word_embeddings")
_SPECIAL_TOKENS = ("eos_token_id", "pad_token_id", "bos_token_id")


@dataclass(frozen=True, kw_only=True)
class GLMConfig:
    """The shape of one model. Hashable, so it can be a static argument of `jax.jit`.

    Defaults are those of GLM-4.5-Air where the family's models differ; sizes must be given.
    Construction raises ConfigError naming the field that cannot be right.

    `extra` holds the keys of config.json that mean nothing to glmkit; `source` the config.json itself and
    what was read from it, kept where `to_hf` would otherwise write another form. Both count for equality and
    not for the hash, and neither is to be changed in place.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int  # the multi-token-prediction layer not counted
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int  # of the dense layers
    moe_intermediate_size: int  # of one expert
    n_routed_experts: int
    num_experts_per_tok: int
    n_shared_experts: int = 1
    first_k_dense_replace: int = 1
    n_group: int = 1
    topk_group: int = 1
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 1.0
    use_qk_norm: bool = False
    attention_bias: bool = True
    partial_rotary_factor: float = 0.5
    rope_theta: float = 1_000_000.0
    rope_scaling: Mapping[str, Any] | None = None  # None once constructed: the family has no scaled RoPE
    rms_norm_eps: float = 1e-5
    max_position_embeddings: int = 131_072
    tie_word_embeddings: bool = False
    num_nextn_predict_layers: int = 1
    hidden_act: str = "silu"
    attention_dropout: float = 0.0
    initializer_range: float = 0.02
    eos_token_id: tuple[int, ...] = ()
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    dtype: str = "bfloat16"  # of the stored weights; `torch_dtype` in the released files
    extra: dict[str, Any] = field(default_factory=dict, hash=False)
    source: tuple[dict[str, Any], GLMConfig] | None = field(default=None, hash=False, repr=False)

    def __post_init__(self):
        self._check_values()
        self._check_attention()
        self._check_experts()
        refuse_rope_scaling("rope_scaling", self.rope_scaling)
        object.__setattr__(self, "rope_scaling", None)
        object.__setattr__(self, "eos_token_id", token_ids("eos_token_id", self.eos_token_id))

    @classmethod
    def preset(cls, name: str) -> GLMConfig:
        """The configuration of a released model, one of `PRESETS`. Raises ConfigError for another name."""
        if not isinstance(name, str) or name not in PRESETS:
            raise ConfigError(f"unknown preset {name!r}; expected one of {', '.join(PRESETS)}")
        return cls(**PRESETS[name])

    @classmethod
    def from_hf(cls, source: Mapping[str, Any] | str | PathLike[str]) -> GLMConfig:
        """Read a config.json: its dictionary, its path, or the folder that holds it.

        The released form and that of transformers v5 are both understood. An absent key means what it means
        to the reference implementation (rope_theta 10000, no attention bias, head_dim = hidden_size / heads),
        save that without num_nextn_predict_layers there is no such layer. Raises ConfigError naming the file
        and the key.
        """
        if isinstance(source, Mapping):
            return cls._from_dict(dict(source))
        path = Path(source) / "config.json" if Path(source).is_dir() else Path(source)
        hf = read_json_object(path)
        try:
            return cls._from_dict(hf)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def _from_dict(cls, hf: dict[str, Any]) -> GLMConfig:
        values = fields_from_hf(hf, _FIELDS)
        missing = [name for name in _REQUIRED if values.get(name) is None]
        if missing:
            raise ConfigError(f"{', '.join(missing)} missing; every {MODEL_TYPE} config.json states them")
        config = cls(**values)
        # Compared as text: the order of keys, and 1 instead of 1.0, are part of the form to give back.
        same_form = json.dumps(config.to_hf()) == json.dumps(hf)
        return config if same_form else replace(config, source=(copy.deepcopy(hf), config))

    def to_hf(self) -> dict[str, Any]:
        """The dictionary to write as config.json, so that `from_hf(d).to_hf() == d`.

        A config that was read keeps the form and the keys it was read with, and states there what was
        replaced since. Any other config takes the released form.
        """
        if self.source is None:
            every = {name: as_json(getattr(self, name)) for name in _FIELDS}
            unset = [name for name in _SPECIAL_TOKENS if every[name] is None]
            stated = {name: value for name, value in every.items() if name not in unset}
            return fields_into_hf(IDENTITY, stated) | copy.deepcopy(self.extra)
        hf = updated_source(self, _FIELDS)
        if (hf.get("head_dim") or implied_head_dim(hf)) != self.head_dim:
            hf["head_dim"] = self.head_dim  # it was only implied, and what implied it has changed
        return hf

    @property
    def rotary_dim(self) -> int:
        """Leading dimensions of each head that RoPE turns; the rest passes through."""
        return int(self.head_dim * self.partial_rotary_factor)

    @property
    def q_per_kv(self) -> int:
        """Query heads that share one key/value head."""
        return self.num_attention_heads // self.num_key_value_heads

    @property
    def shared_intermediate_size(self) -> int:
        """Width of the shared experts, which are one SwiGLU."""
        return self.moe_intermediate_size * self.n_shared_experts

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Numbers of the layers with routed experts, the multi-token-prediction layer not among them."""
        return tuple(range(self.first_k_dense_replace, self.num_hidden_layers))

    @property
    def num_moe_layers(self) -> int:
        """How many layers `moe_layers` names."""
        return len(self.moe_layers)

    def context(self, max_len: int | None) -> int:
        """`max_len`, or by default the model's own context. Raises `ConfigError` for one the model cannot have."""
        if max_len is None:
            return self.max_position_embeddings
        if not is_integer(max_len) or not 1 <= max_len <= self.max_position_embeddings:
            raise ConfigError(
                f"max_len is {max_len!r}; expected 1 to {self.max_position_embeddings}, the model's context"
            )
        return max_len

    def is_moe(self, layer: int) -> bool:
        """Whether the checkpoint's `layer` has routed experts; multi-token prediction is the last layer."""
        count = self.num_hidden_layers + self.num_nextn_predict_layers
        if not 0 <= layer < count:
            raise ConfigError(f"layer {layer} does not exist; expected 0 to {count - 1}")
        return layer >= self.first_k_dense_replace

    def kv_bytes_per_token(self, dtype_bytes: int = 2) -> int:
        """Bytes of keys and values that a token keeps over all layers, multi-token prediction not counted."""
        return self.num_hidden_layers * 2 * self.num_key_value_heads * self.head_dim * dtype_bytes

    def num_parameters(self, mtp: Literal["own", "shared"] | None = "own") -> int:
        """Numbers in the checkpoint, the routers' correction biases among them.

        `mtp` says how the multi-token-prediction layer counts, if the config announces one: with its "own"
        copies of embedding and head (GLM-4.5 and Air as released), with "shared" ones (4.6), or not (None).
        """
        if mtp not in ("own", "shared", None):
            raise ConfigError(f"mtp is {mtp!r}; expected 'own', 'shared' or None")
        dense_layers = self.num_hidden_layers - self.num_moe_layers
        dense, moe = self._layer_parameters(moe=False), self._layer_parameters(moe=True)
        embed_and_head = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        total = embed_and_head + dense_layers * dense + self.num_moe_layers * moe + self.hidden_size
        if mtp is None or self.num_nextn_predict_layers == 0:
            return total
        norms_and_projection = 3 * self.hidden_size + 2 * self.hidden_size**2
        own = 2 * self.vocab_size * self.hidden_size if mtp == "own" else 0
        return total + moe + norms_and_projection + own

    def _layer_parameters(self, *, moe: bool) -> int:
        q, kv = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        attention = self.hidden_size * (2 * q + 2 * kv)
        attention += (q + 2 * kv) * self.attention_bias + 2 * self.head_dim * self.use_qk_norm
        experts = self.n_routed_experts * self.moe_intermediate_size + self.shared_intermediate_size
        width = experts if moe else self.intermediate_size
        router = self.n_routed_experts * (self.hidden_size + 1) if moe else 0
        return attention + 3 * self.hidden_size * width + router + 2 * self.hidden_size

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ConfigError(f"{name} is {getattr(self, name)!r}; expected {expected}")

    def _check_values(self) -> None:
        value = {name: getattr(self, name) for name in _FIELDS}
        for name in _SIZES:
            self._require(name, is_int(value[name], 1), "a positive integer")
        for name, most in _MOST.items():
            self._require(name, value[name] <= most, f"at most {most}")
        for name in _COUNTS:
            self._require(name, is_int(value[name], 0), "an integer of at least 0")
        for name in _POSITIVE:
            self._require(name, is_number(value[name]) and value[name] > 0, "a positive number")
        for name in _FRACTIONS:
            self._require(name, is_number(value[name]) and 0 <= value[name] < 1, "a number in [0, 1)")
        for name in _SWITCHES:
            self._require(name, isinstance(value[name], bool), "true or false")
        for name in ("pad_token_id", "bos_token_id"):
            self._require(name, value[name] is None or is_int(value[name], 0), "a token id or none")
        self._require("num_nextn_predict_layers", self.num_nextn_predict_layers <= 1, "0 or 1")
        self._require("hidden_act", self.hidden_act == "silu", "'silu'")
        self._require("dtype", self.dtype in DTYPES, f"one of {', '.join(DTYPES)}")

    def _check_attention(self) -> None:
        heads = self.num_attention_heads
        divides = heads % self.num_key_value_heads == 0
        self._require("num_key_value_heads", divides, f"a divisor of num_attention_heads, {heads}")
        fits = self.partial_rotary_factor <= 1 and self.rotary_dim > 0 and self.rotary_dim % 2 == 0
        self._require("partial_rotary_factor", fits, f"an even part of head_dim, {self.head_dim}")

    def _check_experts(self) -> None:
        layers, experts = self.num_hidden_layers, self.n_routed_experts
        dense_fit = self.first_k_dense_replace <= layers
        self._require("first_k_dense_replace", dense_fit, f"at most num_hidden_layers, {layers}")
        # A group's score is the sum of its two best experts, so that a lone expert has none.
        grouped = experts % self.n_group == 0 and (self.n_group == 1 or experts >= 2 * self.n_group)
        self._require("n_group", grouped, f"equal groups of 2 or more of the n_routed_experts, {experts}")
        self._require("topk_group", self.topk_group <= self.n_group, f"at most n_group, {self.n_group}")
        allowed = experts // self.n_group * self.topk_group
        chosen_fit = self.num_experts_per_tok <= allowed
        self._require("num_experts_per_tok", chosen_fit, f"at most {allowed}, all of topk_group groups")


_REQUIRED = tuple(f.name for f in fields(GLMConfig) if f.default is MISSING and f.default_factory is MISSING)
_FIELDS = tuple(f.name for f in fields(GLMConfig) if f.name not in ("extra", "source"))

_FAMILY = {
    "vocab_size": 151_552,
    "num_attention_heads": 96,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "num_experts_per_tok": 8,
    "eos_token_id": (151_329, 151_336, 151_338),
    "pad_token_id": 151_329,
}
_GLM_4_5 = _FAMILY | {
    "hidden_size": 5120,
    "num_hidden_layers": 92,
    "first_k_dense_replace": 3,
    "intermediate_size": 12_288,
    "moe_intermediate_size": 1536,
    "n_routed_experts": 160,
    "routed_scaling_factor": 2.5,
    "use_qk_norm": True,
}
_GLM_4_5_AIR = _FAMILY | {
    "hidden_size": 4096,
    "num_hidden_layers": 46,
    "intermediate_size": 10_944,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 128,
}
# The Base models' eos ids and 4.6's rope_theta are their siblings'; a checkpoint's own config.json decides.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "glm-4.5": _GLM_4_5,
    "glm-4.5-base": _GLM_4_5,
    "glm-4.5-air": _GLM_4_5_AIR,
    "glm-4.5-air-base": _GLM_4_5_AIR,
    "glm-4.6": _GLM_4_5 | {"max_position_embeddings": GLM_4_6_CONTEXT},
}
