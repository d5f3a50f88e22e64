"""Meshes of devices, and what fits on them."""

from glmkit.parallel.meshes import mesh

__all__ = ["mesh"]
