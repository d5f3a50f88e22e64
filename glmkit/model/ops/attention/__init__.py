"""Attention: `reference.py` is the definition, `tiled.py` takes whole sequences, `blocked.py` a cache as far as filled.

Kernels: `flash_gpu.py` and `splash_tpu.py` take whole sequences, `paged_cpu.py`, `paged_gpu.py` and `paged_tpu.py` a
cache. `api.py` chooses.
"""

from glmkit.model.ops.attention.api import attention, attention_cached, kernels
from glmkit.model.ops.attention.blocked import attention_blocked
from glmkit.model.ops.attention.reference import attention_reference, attention_weights
from glmkit.model.ops.attention.tiled import attention_tiled

__all__ = [
    "attention",
    "attention_blocked",
    "attention_cached",
    "attention_reference",
    "attention_tiled",
    "attention_weights",
    "kernels",
]
