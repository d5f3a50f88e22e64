"""Weights in and out: the released Hugging Face layout, Orbax, PEFT, the Hub. The file layer imports without JAX."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmkit.weights.hf import load_hf as load_hf, save_hf as save_hf
    from glmkit.weights.orbax import restore as restore, save as save
    from glmkit.weights.peft import load_adapter as load_adapter, save_adapter as save_adapter

_HOME = {
    "load_adapter": "glmkit.weights.peft",
    "load_hf": "glmkit.weights.hf",
    "restore": "glmkit.weights.orbax",
    "save": "glmkit.weights.orbax",
    "save_adapter": "glmkit.weights.peft",
    "save_hf": "glmkit.weights.hf",
}

__all__ = ["load_adapter", "load_hf", "restore", "save", "save_adapter", "save_hf"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'glmkit.weights' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
