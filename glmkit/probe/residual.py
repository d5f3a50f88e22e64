"""Interventions in the residual stream: vectors added, and values of another run put in its place."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from glmkit.errors import RequestError
from glmkit.model.intervene import RESIDUAL_SITES
from glmkit.probe.plan import BoundPart, Target
from glmkit.probe.selectors import TokenSelector
from glmkit.probe.written import call

__all__ = ["Added", "Patched"]


@dataclass(frozen=True, eq=False)
class Added:
    """See `glmkit.probe.intervene.add`."""

    site: str
    layer: int
    vector: Float[np.ndarray, " d"]
    scale: float
    tokens: TokenSelector

    def bind(self, target: Target) -> BoundPart:
        return _BoundAddition(self, target)

    def code(self) -> str | None:
        more = {} if self.scale == 1 else {"scale": self.scale}
        return call("add", self.site, self.layer, self.vector, **more, tokens=self.tokens.code())

    def __str__(self) -> str:
        return f"add({self.site}, layer={self.layer}, scale={self.scale:g}{self.tokens})"


class _InResidual(BoundPart):
    def __init__(self, part, target: Target, width: int):
        super().__init__(part, target)
        if width != target.width:
            raise RequestError(f"{self.name}: {width} numbers for each token; the residual stream has {target.width}")
        self.part, self.block = part, target.layers.block(target.layers.number(part.layer))
        self.site = RESIDUAL_SITES.index(part.site)


class _BoundAddition(_InResidual):
    def __init__(self, part: Added, target: Target):
        super().__init__(part, target, part.vector.shape[-1])

    def content(self) -> bytes:
        return self.part.vector.tobytes() + repr(self.part.scale).encode()

    def steering(self):
        return self.block, self.site, self.part.vector, self.part.scale


@dataclass(frozen=True, eq=False)
class Patched:
    """See `glmkit.probe.intervene.patch`."""

    site: str
    layer: int
    values: Float[np.ndarray, "step d"]
    tokens: TokenSelector
    source_tokens: tuple[int, ...] | None  # for each of the positions of `tokens`
    prompt: int = 0  # tokens of the source's prompt, if it has one

    def bind(self, target: Target) -> BoundPart:
        return _BoundPatch(self, target)

    def code(self) -> str | None:
        more = {} if self.source_tokens is None else {"source_tokens": self.source_tokens}
        return call("patch", self.site, self.layer, self.values, **more, tokens=self.tokens.code())

    def __str__(self) -> str:
        return f"patch({self.site}, layer={self.layer}{self.tokens})"


class _BoundPatch(_InResidual):
    def __init__(self, part: Patched, target: Target):
        super().__init__(part, target, part.values.shape[-1])
        count, steps = len(part.values), target.steps
        if part.source_tokens is None and part.tokens.positions is None and steps is not None and count != steps:
            raise RequestError(
                f"{self.name}: values of {count} tokens, and there are {steps}; name tokens= and source_tokens="
            )
        self._values, self._of = part.values, None
        if part.source_tokens is not None:
            self._of = dict(zip(self.tokens.positions, part.source_tokens, strict=True))
        else:
            self.limit(count, part.prompt)

    def content(self) -> bytes:
        return self._values.tobytes() + repr(self._of).encode()

    def patch(self, positions: Int[np.ndarray, "B T"], mask: Bool[np.ndarray, "B T"]):
        of = positions if self._of is None else np.vectorize(lambda p: self._of.get(p, 0), otypes=[np.int64])(positions)
        return self.block, self.site, self._values[np.where(mask, of, 0)], mask
