"""How far training has moved the routers from where they began."""

import numpy as np
from flax import nnx

from glmkit.model import GLM
from glmkit.model.adapter import Adapted
from glmkit.model.moe import MoE

__all__ = ["Drift"]


class Drift:
    """The routers of a model as they are when this is made, and how far those of another are from them."""

    def __init__(self, model: GLM):
        self._kernels, self._biases = _routers(model)

    def measured(self, model: GLM) -> dict[str, float]:
        """`router_drift`, the norm of the change of all routers' weights over their own norm, and `bias_drift`, the
        largest change of a correction bias."""
        if not self._kernels:
            return {}
        kernels, biases = _routers(model)
        moved = sum(np.square(new - old).sum() for new, old in zip(kernels, self._kernels, strict=True))
        whole = sum(np.square(old).sum() for old in self._kernels)
        bias = max(np.abs(new - old).max() for new, old in zip(biases, self._biases, strict=True))
        return {"router_drift": float(np.sqrt(moved / whole)), "bias_drift": float(bias)}


def _routers(model: GLM) -> tuple[list[np.ndarray], list[np.ndarray]]:
    routers = [module.router for _, module in nnx.iter_modules(model.blocks) if isinstance(module, MoE)]
    return [_kernel(router.kernel) for router in routers], [np.asarray(router.bias[...]) for router in routers]


def _kernel(kernel: nnx.Param | Adapted) -> np.ndarray:
    """The weights, with those of an adapter added."""
    if isinstance(kernel, Adapted):
        return _kernel(kernel.base) + kernel.scale * np.asarray(kernel.a[...]) @ np.asarray(kernel.b[...])
    return np.asarray(kernel[...], np.float32)
