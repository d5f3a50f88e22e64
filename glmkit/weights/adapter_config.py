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
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from glmkit.checks import is_integer, is_number, parse_json
from glmkit.errors import CheckpointError

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
        file = Path(folder) / CONFIG_FILE
        try:
            hf = parse_json(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CheckpointError(f"{file} not found; expected the folder of an adapter as PEFT writes it") from error
        except ValueError as error:
            raise CheckpointError(f"{file} is not valid JSON: {error}") from error
        if not isinstance(hf, dict):
            raise CheckpointError(f"{file} holds a {type(hf).__name__}; expected a JSON object")
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
        paths = [module for module in modules if not _routed(module)]
        parameters = [module if _routed(module) else f"{module}.weight" for module in modules]
        return [name for name in self._modules if not any(_ends_in_any(path, (name,)) for path in paths)] + [
            name for name in self._parameters if not any(_ends_in_any(path, (name,)) for path in parameters)
        ]

    @property
    def _parameters(self) -> Collection[str]:
        return self.hf.get("target_parameters") or ()

    @property
    def _modules(self) -> Collection[str]:
        """The names of modules; none where the file holds an expression in their place."""
        modules = self.hf.get("target_modules") or ()
        return () if isinstance(modules, str) else modules

    def names(self, module: str) -> bool:
        """Whether it names a module, or the parameter in it, in full or by the end of its path."""
        if _routed(module):
            return _ends_in_any(module, self._parameters)
        return _ends_in_any(module, self._modules) or _ends_in_any(f"{module}.weight", self._parameters)

    @property
    def selects_layers(self) -> bool:
        """Whether what it names is adapted in some layers only."""
        return any(self.hf.get(key) for key in ("exclude_modules", "layers_to_transform"))

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


def _refuse_variants(file: Path, hf: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` for what is not LoRA as glmkit computes it."""
    if hf.get("peft_type") != "LORA":
        raise CheckpointError(f"{file}: peft_type is {hf.get('peft_type')!r}; expected 'LORA', the one glmkit reads")
    ranks = (hf.get("r"), *(hf.get("rank_pattern") or {}).values())
    alphas = (hf.get("lora_alpha"), *(hf.get("alpha_pattern") or {}).values())
    if not all(is_integer(rank) and rank > 0 for rank in ranks) or not all(map(is_number, alphas)):
        raise CheckpointError(f"{file}: r is {hf.get('r')!r} and lora_alpha {hf.get('lora_alpha')!r}; expected numbers")
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


def _routed(module: str) -> bool:
    return ".mlp.experts." in module


def _ends_in_any(path: str, names: Iterable[str]) -> bool:
    return any(f".{path}".endswith(f".{name}") for name in names)


def _key(module: str) -> str:
    """What PEFT matches with the names it is given: a module, or the path of a parameter."""
    return module if _in_attention(module) or _routed(module) else f"{module}.weight"


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
