"""The shapes that steps are compiled for."""

from collections.abc import Iterator
from dataclasses import dataclass

from glmkit.model.ops.attention.blocked import PAGE

__all__ = ["MAX_ROWS", "REPRODUCIBLE", "Ladder"]

MAX_ROWS = 32  # of a step, on each part of a mesh


@dataclass(frozen=True)
class Ladder:
    """The shapes that steps are compiled for.

    Where it is `reproducible` there is one row count and one chunk, which begins at the same places of every prompt,
    and an answer that is computed again goes by the programs that computed it first: a request has the same bits
    whatever else runs, and whatever is known of it.
    """

    chunks: tuple[int, ...] = (32, 128, 512, 1024)  # tokens of each row of a prefill step
    prefill: int = 2048  # tokens of all its rows
    reproducible: bool = False

    def rows(self, count: int, size: int) -> int:
        """The rows of a step of `size` tokens each that `count` requests want."""
        if self.reproducible:
            return MAX_ROWS if size not in self.chunks else 1
        return min(1 << max(0, count - 1).bit_length(), self.most_rows(size))

    def most_rows(self, size: int) -> int:
        return max(1, min(MAX_ROWS, self.prefill // size))

    def chunk(self, length: int) -> int:
        """The chunk that `length` tokens are begun with: the largest that they fill by two thirds."""
        return max((chunk for chunk in self.chunks if 3 * length >= 2 * chunk), default=self.chunks[0])

    def plan(self, length: int) -> Iterator[int]:
        """The chunks that `length` tokens are taken in."""
        while length > 1:
            yield self.chunk(length)
            length -= self.chunk(length)


REPRODUCIBLE = Ladder(chunks=(PAGE,), prefill=PAGE, reproducible=True)
