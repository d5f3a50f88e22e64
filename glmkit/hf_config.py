"""config.json as a dictionary and as named fields, and the way between them. Values are not judged here.

Two forms are read: the released one (flat `rope_theta`, `torch_dtype`) and the one transformers v5 writes
(`rope_parameters`, `dtype`). A key that is null counts as absent.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from glmkit.checks import parse_json
from glmkit.errors import ConfigError

MODEL_TYPE = "glm4_moe"
IDENTITY = {"architectures": ["Glm4MoeForCausalLM"], "model_type": MODEL_TYPE}

# Spellings of a field besides its own name.
ALIASES = {
    "dtype": ("torch_dtype",),
    "n_routed_experts": ("num_experts", "num_local_experts"),
    "num_nextn_predict_layers": ("num_mtp_layers",),
}
RELEASED_SPELLING = {"dtype": "torch_dtype"}
ROPE_OBJECTS = ("rope_parameters", "rope_scaling")
ROPE_FIELDS = ("rope_theta", "partial_rotary_factor")

# What the reference implementation takes an absent key for, where that is not GLMConfig's own default.
# A checkpoint that does not mention multi-token prediction has none, whatever the reference assumes.
WHEN_ABSENT = {"rope_theta": 10000.0, "attention_bias": False, "num_nextn_predict_layers": 0}

# What other models' configs choose and this architecture has one way of: another value means another model.
FIXED = {
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "rope_interleave": False,
    "rope_interleaved": False,
    "mlp_bias": False,
    "use_sliding_window": False,
    "sliding_window": None,
}


def fields_from_hf(hf: Mapping[str, Any], names: Container[str]) -> dict[str, Any]:
    """The fields, out of `names`, that a config.json states or implies, and `extra` with all its other keys.

    Raises ConfigError for another model_type, for weights that are already quantised, for scaled RoPE, and
    for two spellings of one field that disagree.
    """
    _refuse_other_models(hf)
    spelled_by = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in _with_flat_rope(hf).items():
        name = spelled_by.get(key, key)
        if name not in names:
            extra[key] = copy.deepcopy(value)
        elif value is not None and fields.setdefault(name, value) != value:
            raise ConfigError(f"{key} is {value!r}, but another key for {name} is {fields[name]!r}; keep one")
    return {**WHEN_ABSENT, "head_dim": implied_head_dim(fields), **fields, "extra": extra}


def fields_into_hf(source: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the config.json dictionary `source`, in its own form, that states the values in `changed`."""
    hf = copy.deepcopy(dict(source))
    rope = _rope_object(hf)
    for name, value in changed.items():
        spellings = [key for key in (name, *ALIASES.get(name, ())) if key in hf]
        if rope and name in ROPE_FIELDS:
            rope[name] = value
        elif not spellings:
            spellings = [RELEASED_SPELLING.get(name, name)]
        hf.update(dict.fromkeys(spellings, value))
    return hf


def updated_source(config: Any, names: Iterable[str]) -> dict[str, Any]:
    """The dictionary `config` was read from, with what changed since in `extra` and the fields `names`."""
    source, read = config.source
    changed = {name for name in names if getattr(config, name) != getattr(read, name)}
    hf = fields_into_hf(source, {name: as_json(getattr(config, name)) for name in names if name in changed})
    kept = {key: value for key, value in hf.items() if key not in read.extra or key in config.extra}
    return kept | copy.deepcopy(config.extra)


def implied_head_dim(fields: Mapping[str, Any]) -> int | None:
    """What an absent head_dim means: hidden_size / num_attention_heads. None if that is no whole number."""
    hidden, heads = fields.get("hidden_size"), fields.get("num_attention_heads")
    whole = is_int(hidden, 1) and is_int(heads, 1) and hidden % heads == 0
    return hidden // heads if whole else None


def refuse_rope_scaling(key: str, scaling: Any) -> None:
    """Raise ConfigError unless `scaling`, found under `key`, means plain RoPE."""
    if scaling is None:
        return
    if not isinstance(scaling, Mapping):
        raise ConfigError(f"{key} is {scaling!r}; expected null or an object with rope_type 'default'")
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind != "default":
        raise ConfigError(f"{key} asks for rope_type {kind!r}; expected 'default', GLM-4.5's plain RoPE")


def _refuse_other_models(hf: Mapping[str, Any]) -> None:
    model_type = hf.get("model_type")
    if model_type != MODEL_TYPE:
        raise ConfigError(f"model_type is {model_type!r}; expected {MODEL_TYPE!r} (GLM-4.5, Air, 4.6)")
    for key, only in FIXED.items():
        if hf.get(key, only) not in (only, None):
            raise ConfigError(f"{key} is {hf[key]!r}; expected {only!r}, the only one GLM-4.5 has")
    kinds = hf.get("layer_types")
    if kinds is not None and (not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds)):
        raise ConfigError(f"layer_types is {kinds!r}; expected a list with 'full_attention' for every layer")
    quantization = hf.get("quantization_config") or hf.get("compression_config")
    if quantization:
        method = quantization.get("quant_method") if isinstance(quantization, Mapping) else quantization
        raise ConfigError(
            f"quantization_config says quant_method {method!r}; weights already quantised (FP8, AWQ, GPTQ) "
            "are not read. Load the bfloat16 release instead"
        )


def _rope_object(hf: Mapping[str, Any]) -> dict[str, Any]:
    """What describes RoPE apart from the flat keys: `rope_parameters`, or its older name; empty if neither is there."""
    return next((hf[key] for key in ROPE_OBJECTS if hf.get(key)), {})


def _with_flat_rope(hf: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that describe the model, with what `rope_parameters` states in place of the flat keys.

    `rope_parameters` wins, as in the reference implementation; what is left of it means nothing.
    """
    for key in ROPE_OBJECTS:
        refuse_rope_scaling(key, hf.get(key))
    parameters = _rope_object(hf)
    stated = {name: parameters[name] for name in ROPE_FIELDS if name in parameters}
    silent = (*IDENTITY, "rope_parameters", "rope_scaling")
    return {key: value for key, value in hf.items() if key not in silent} | stated


def is_int(value: object, least: int) -> bool:
    """Whether `value` is an integer, not a bool, of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> bool:
    """Whether `value` is a number that a float can hold, finite, and not a bool."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max  # an integer may be beyond every float


def token_ids(name: str, value: object) -> tuple[int, ...]:
    """Token ids from a list, one id or None, as eos_token_id is written. Raises ConfigError naming `name`."""
    ids = () if value is None else value if isinstance(value, list | tuple) else (value,)
    if not all(is_int(i, 0) for i in ids):
        raise ConfigError(f"{name} is {value!r}; expected a token id or a list of them")
    return tuple(ids)


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ConfigError when the file is missing or holds something else."""
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(f"{path} not found; expected a folder in the Hugging Face layout") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds a {type(value).__name__}; expected a JSON object")
    return value


def as_json(value: Any) -> Any:
    """A field as JSON holds it: ids as a list, no ids as null."""
    return (list(value) or None) if isinstance(value, tuple) else value
