"""Weights in and out: the released Hugging Face layout, Orbax, and the Hub."""

from glmkit.weights.hf import load_hf, save_hf

__all__ = ["load_hf", "save_hf"]
