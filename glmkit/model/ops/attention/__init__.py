"""Attention: `reference.py` is the definition, `tiled.py` takes whole sequences, `blocked.py` a cache as far as filled.

`api.py` chooses between the first two.
"""

from glmkit.model.ops.attention.api import attention
from glmkit.model.ops.attention.blocked import attention_blocked
from glmkit.model.ops.attention.reference import attention_reference, attention_weights
from glmkit.model.ops.attention.tiled import attention_tiled

__all__ = ["attention", "attention_blocked", "attention_reference", "attention_tiled", "attention_weights"]
