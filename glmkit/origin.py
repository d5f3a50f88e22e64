"""Where the weights of a model came from, for as long as they are those."""

import weakref
from collections.abc import Mapping
from typing import Any

import jax

from glmkit.model import GLM

__all__ = ["Origin"]


class Origin:
    """What `glmkit.load` was given for a model."""

    def __init__(self, given: Mapping[str, Any], model: GLM):
        self._given = dict(given)
        self._arrays = [weakref.ref(leaf) for leaf in jax.tree.leaves(model)]  # which are to go when the model does

    def of(self, model: GLM | None) -> Mapping[str, Any] | None:
        """That, unless the model was changed in place; of one that was closed, too."""
        leaves = () if model is None else jax.tree.leaves(model)
        same = all(known() is leaf for known, leaf in zip(self._arrays, leaves, strict=False))
        return self._given if same else None
