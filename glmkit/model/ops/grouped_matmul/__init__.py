"""Grouped matrix product: rows sorted by group, each multiplied by its group's matrix.

`api.py` chooses a backend; `reference.py` is the definition; `loop.py` serves CPU, `ragged.py` TPU, `pallas.py` GPU.
"""

from glmkit.model.ops.grouped_matmul.api import Implementation, backend, grouped_matmul

__all__ = ["Implementation", "backend", "grouped_matmul"]
