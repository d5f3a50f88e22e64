"""The layers of a model by the checkpoint's numbers, and where each lies in the arrays of a forward pass."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from glmkit.checks import is_integer
from glmkit.errors import RequestError
from glmkit.model import GLM

__all__ = ["Layers", "in_words"]


def in_words(numbers: Sequence[int]) -> str:
    """Ascending numbers, such as "0 to 45" where none between is missing."""
    if len(numbers) > 1 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers)) or "none"


@dataclass(frozen=True)
class Layers:
    """Numbers of the layers that a model holds, and of those with routed experts, both ascending."""

    numbers: tuple[int, ...]
    moe: tuple[int, ...]
    experts: int  # of each MoE layer
    top_k: int

    @classmethod
    def of(cls, model: GLM) -> Self:
        """Those of a model, of which some may have been left out."""
        config, numbers = model.config, model.layer_numbers
        moe = tuple(number for number in numbers if config.is_moe(number))
        return cls(numbers, moe, config.n_routed_experts, config.num_experts_per_tok)

    def number(self, layer: Any) -> int:
        """A layer by its number or, if negative, counted from the end. Raises RequestError for one that is not held."""
        count = self.numbers[-1] + 1
        number = layer + count if is_integer(layer) and layer < 0 else layer
        if not is_integer(number) or number not in self.numbers:
            raise RequestError(f"there is no layer {layer!r}; this model holds {in_words(self.numbers)}")
        return int(number)

    def moe_number(self, layer: Any) -> int:
        """As `number`; also raises RequestError for a dense layer."""
        number = self.number(layer)
        if number not in self.moe:
            raise RequestError(
                f"layer {number} is dense: it has no router and no experts; layers with experts: {in_words(self.moe)}"
            )
        return number

    def block(self, number: int) -> int:
        """The place of a layer among the blocks."""
        return self.numbers.index(number)

    def row(self, number: int) -> int:
        """The place of an MoE layer among those."""
        return self.moe.index(number)

    def several(self, layers: Any, *, moe: bool) -> tuple[int, ...]:
        """The numbers of one layer, several, a slice of the checkpoint's, or None for all; ascending, each once.

        Raises RequestError for layers that there are not, and for none.
        """
        every = self.moe if moe else self.numbers
        if layers is None:
            return every
        if isinstance(layers, slice):
            picked: Iterable[Any] = [n for n in range(self.numbers[-1] + 1)[layers] if n in every]
        else:
            picked = [layers] if is_integer(layers) else layers
        if isinstance(picked, str) or not isinstance(picked, Iterable):
            raise RequestError(f"layers are {layers!r}; expected a number, several, or a slice")
        numbers = tuple(sorted({(self.moe_number if moe else self.number)(layer) for layer in picked}))
        if not numbers:
            raise RequestError(f"{layers!r} names none of the layers {list(every)}")
        return numbers

    def expert(self, expert: Any) -> int:
        """Raises RequestError for an expert that does not exist."""
        if not is_integer(expert) or not 0 <= expert < self.experts:
            raise RequestError(f"there is no expert {expert!r}; a layer has experts 0 to {self.experts - 1}")
        return int(expert)
