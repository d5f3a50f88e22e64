"""PEFT's `adapter_config.json` for plain LoRA: which modules are adapted, by what rank and scale. No tensors.

A module is called by its path in the reference, such as `model.layers.3.self_attn.q_proj`. Routed experts are
parameters there, not modules, and called `model.layers.3.mlp.experts.down_proj`.
"""

import collections
import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from glmkit.checks import is_integer, parse_json
from glmkit.errors import CheckpointError
from glmkit.hf_config import is_int, is_number

CONFIG_FILE = "adapter_config.json"
# Keys that are read, say nothing about what an adapter computes, or name what an error would be raised for anyway.
_UNDERSTOOD = {
    *("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "bias", "init_lora_weights"),
    *("target_modules", "target_parameters", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("auto_mapping", "base_model_name_or_path", "inference_mode", "lora_dropout", "peft_version", "revision"),
    *("ensure_weight_tying", "megatron_core", "qalora_group_size", "runtime_config", "task_type"),
}
# Beginnings that leave the base model's weights as they are; the others change them too.
_BEGINNINGS = (True, False, None, "gaussian", "orthogonal", "eva")


@dataclasses.dataclass(frozen=True)
class Update:
    """The rank of a low-rank update, and the factor it is scaled by."""

    rank: int
    scale: float


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """The configuration, as the file states it."""

    hf: Mapping[str, Any]

    @classmethod
    def of(cls, updates: Mapping[str, Update], modules: Collection[str], base_model: str | None) -> Self:
        """What states `updates` of some of a model's `modules`.

        Attention is named in `target_modules`. All else is in `target_parameters`, because PEFT takes `gate_proj`,
        `up_proj` and `down_proj` among modules of this model for its routed experts.
        """
        usual = collections.Counter(updates.values()).most_common(1)[0][0]
        unusual = {re.escape(_key(module)): update for module, update in updates.items() if update != usual}
        attention = [module for module in updates if _in_attention(module)]
        others = [module for module in updates if not _in_attention(module)]
        return cls(
            {
                "peft_type": "LORA",
                "task_type": "CAUSAL_LM",
                "base_model_name_or_path": base_model,
                "inference_mode": True,
                "r": usual.rank,
                "lora_alpha": _alpha(usual),
                "rank_pattern": {key: update.rank for key, update in unusual.items()},
                "alpha_pattern": {key: _alpha(update) for key, update in unusual.items()},
                "target_modules": _shortened(attention, modules),
                "target_parameters": _shortened(others, modules),
                "lora_dropout": 0.0,
                "bias": "none",
                "fan_in_fan_out": False,
                "init_lora_weights": True,
                "use_dora": False,
                "use_rslora": False,
            }
        )

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Self:
        """The configuration in an adapter's folder.

        Raises `CheckpointError` when there is none, and naming the key that makes it anything but plain LoRA.
        """
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise CheckpointError(f"adapter is {folder!r}; expected the folder of an adapter as PEFT writes it")
        file = Path(folder) / CONFIG_FILE
        try:
            content = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CheckpointError(f"{file} not found; expected the folder of an adapter as PEFT writes it") from error
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{str(file)!r} cannot be read: {error}") from error
        try:
            hf = parse_json(content)
        except ValueError as error:
            raise CheckpointError(f"{file} is not valid JSON: {error}") from error
        if not isinstance(hf, dict):
            raise CheckpointError(f"{file} holds a {type(hf).__name__}; expected a JSON object")
        if hf.get("peft_type") != "LORA":
            raise CheckpointError(
                f"{file}: peft_type is {hf.get('peft_type')!r}; expected 'LORA', the one glmkit reads"
            )
        _check_kinds(file, hf)
        _refuse_variants(file, hf)
        return cls(hf)

    def to_json(self) -> bytes:
        """The file's content."""
        return (json.dumps(self.hf, indent=2, ensure_ascii=False) + "\n").encode()

    @property
    def targets(self) -> tuple[str, ...]:
        """All that it names, modules before parameters."""
        return (*self._modules, *self._parameters)

    def unmatched(self, modules: Collection[str]) -> list[str]:
        """What it names that none of the `modules` is."""
        paths = [module for module in modules if not routed(module)]
        parameters = [module if routed(module) else f"{module}.weight" for module in modules]
        targets = self.hf.get("target_modules") or ()
        unmatched = [name for name in self._parameters if not any(_matches(path, [name]) for path in parameters)]
        if isinstance(targets, str):
            return unmatched if any(_matches(path, targets) for path in paths) else [targets, *unmatched]
        return [name for name in targets if not any(_matches(path, [name]) for path in paths)] + unmatched

    @property
    def _parameters(self) -> Collection[str]:
        return self.hf.get("target_parameters") or ()

    @property
    def _modules(self) -> Collection[str]:
        """The names of modules, or the one expression the file holds in their place."""
        modules = self.hf.get("target_modules") or ()
        return (modules,) if isinstance(modules, str) else modules

    def names(self, module: str) -> bool:
        """Whether it names a module, or the parameter in it, as PEFT decides that.

        Modules by an expression for their path or by its end, in all layers or some; parameters by the end alone.
        """
        if routed(module):
            return _matches(module, self._parameters)
        return self._names_module(module) or _matches(f"{module}.weight", self._parameters)

    def _names_module(self, module: str) -> bool:
        layers = self.hf.get("layers_to_transform")
        layers = [layers] if is_integer(layers) else layers
        targets, excluded = (self.hf.get(key) or () for key in ("target_modules", "exclude_modules"))
        in_layers = not layers or int(module.split(".")[2]) in layers  # model.layers.N
        return in_layers and _matches(module, targets) and not _matches(module, excluded)

    def update(self, module: str) -> Update:
        """The rank and scale for a module."""
        rank = self._setting("r", "rank_pattern", module)
        alpha = self._setting("lora_alpha", "alpha_pattern", module)
        return Update(rank, alpha / (math.sqrt(rank) if self.hf.get("use_rslora") else rank))

    def _setting(self, name: str, pattern: str, module: str):
        for key, value in (self.hf.get(pattern) or {}).items():
            if any(re.fullmatch(rf"(.*\.)?({key})", path) for path in (module, _key(module))):
                return value
        return self.hf[name]


def _check_kinds(file: Path, hf: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` naming a key whose value is of another kind than PEFT writes there."""
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "r": (_is_rank, "a positive integer"),
        "lora_alpha": (is_number, "a finite number"),
        "rank_pattern": (_patterns(_is_rank), "an object of expressions and positive integers"),
        "alpha_pattern": (_patterns(is_number), "an object of expressions and finite numbers"),
        "target_modules": (lambda x: _is_names(x) or _is_expression(x), "an expression or a list of names"),
        "exclude_modules": (lambda x: _is_names(x) or _is_expression(x), "an expression or a list of names"),
        "target_parameters": (_is_names, "a list of names"),
        "layers_to_transform": (lambda x: is_integer(x) or _is_list(x, is_integer), "a layer's number or a list"),
        "layers_pattern": (lambda x: x in ([], "layers", ["layers"]), "'layers', as this model calls them"),
    }
    for key, (holds, expected) in checks.items():
        value = hf.get(key)
        if not holds(value) and (value is not None or key in ("r", "lora_alpha")):
            raise CheckpointError(f"{file}: {key} is {value!r}; expected {expected}")


def _is_rank(value: Any) -> bool:
    return is_int(value, 1) and value < 2**31


def _is_list(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(holds, value))


def _is_names(value: Any) -> bool:
    return _is_list(value, lambda name: isinstance(name, str))


def _is_expression(value: Any) -> bool:
    try:
        return isinstance(value, str) and re.compile(value) is not None
    except re.error:
        return False


def _patterns(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value maps expressions to what `holds`."""
    return lambda x: isinstance(x, dict) and all(map(_is_expression, x)) and all(map(holds, x.values()))


def _refuse_variants(file: Path, hf: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` for what is not LoRA as glmkit computes it."""
    variants = {key: value for key, value in hf.items() if value and key not in _UNDERSTOOD}
    if hf.get("bias", "none") != "none":
        variants["bias"] = hf["bias"]
    if hf.get("init_lora_weights") not in _BEGINNINGS:
        variants["init_lora_weights"] = hf["init_lora_weights"]
    if variants:
        asked = ", ".join(f"{key}={value!r}" for key, value in variants.items())
        raise CheckpointError(
            f"{file} asks for {asked}; glmkit reads plain LoRA only: merge the adapter with PEFT and load the result"
        )


def _in_attention(module: str) -> bool:
    return ".self_attn." in module


def routed(module: str) -> bool:
    """Whether it is a parameter of a layer's routed experts."""
    return ".mlp.experts." in module


def _matches(path: str, names: str | Iterable[str]) -> bool:
    """Whether a path fits an expression, or ends in one of several names."""
    if isinstance(names, str):
        return re.fullmatch(names, path) is not None
    return any(f".{path}".endswith(f".{name}") for name in names)


def _key(module: str) -> str:
    """What PEFT matches with the names it is given: a module, or the path of a parameter."""
    return module if _in_attention(module) or routed(module) else f"{module}.weight"


def _shortened(targets: Iterable[str], modules: Collection[str]) -> list[str]:
    """`targets` as PEFT is to be told them: what is adapted in every layer that has it, without the layer."""
    targets, names = set(targets), set()
    for module in targets:
        within = module.split(".", 3)[3]  # after model.layers.N
        alike = {other for other in modules if other.split(".", 3)[3] == within}
        short = within.rpartition(".")[2] if _in_attention(module) else within
        names.add(_key(module) if alike - targets else short if _key(module) == module else f"{short}.weight")
    return sorted(names)


def _alpha(update: Update) -> float | int:
    alpha = update.scale * update.rank
    return int(alpha) if alpha == int(alpha) else alpha
