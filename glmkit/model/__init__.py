"""The network and nothing else: no text, no files, no scheduling."""

from glmkit.model.cache import KVCache, LayerCache
from glmkit.model.params import Buffer
from glmkit.model.transformer import GLM, Output

__all__ = ["GLM", "Buffer", "KVCache", "LayerCache", "Output"]
