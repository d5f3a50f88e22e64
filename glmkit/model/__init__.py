"""The network and nothing else: no text, no files, no scheduling."""

from glmkit import heap
from glmkit.model.cache import KVCache, LayerCache
from glmkit.model.capture import Keep, Kept
from glmkit.model.intervene import ExpertTables, Interventions, Patches, Steering, Substitutes
from glmkit.model.params import Buffer
from glmkit.model.transformer import GLM, Output

__all__ = [
    "GLM",
    "Buffer",
    "ExpertTables",
    "Interventions",
    "KVCache",
    "Keep",
    "Kept",
    "LayerCache",
    "Output",
    "Patches",
    "Steering",
    "Substitutes",
]

heap.keep()  # here, since JAX has hardly begun, and nothing that computes does without this package
