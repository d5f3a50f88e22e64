"""Attention: `reference.py` is the definition, `blocked.py` reads a cache only as far as it is filled."""

from glmkit.model.ops.attention.blocked import attention_blocked
from glmkit.model.ops.attention.reference import attention_reference

__all__ = ["attention_blocked", "attention_reference"]
