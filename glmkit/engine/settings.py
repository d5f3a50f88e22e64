"""What an engine is asked to be: checked of a model in shapes alone too, so that no weights are read for nothing."""

import dataclasses
from typing import get_args

from glmkit.checks import check_integer, is_integer
from glmkit.engine.compute import DraftHidden, Drafting
from glmkit.engine.pool import pages_for
from glmkit.errors import RequestError
from glmkit.model import GLM
from glmkit.model.ops.attention.blocked import PAGE
from glmkit.parallel.planner import cache_bytes_per_device

__all__ = ["Settings"]

_MOST_DRAFTS = 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """As `Engine` takes them; `max_len` in tokens, `kv_memory` in bytes of each device."""

    max_len: int
    kv_memory: int | None = None
    reproducible: bool = False
    speculative_tokens: int = 0
    draft_hidden: DraftHidden = "normed"

    @property
    def drafting(self) -> Drafting:
        """What is drafted."""
        return Drafting(self.speculative_tokens, self.draft_hidden)

    @property
    def longest(self) -> int:
        """Tokens of a row, with drafts beyond its end."""
        return self.max_len + 2 * self.speculative_tokens

    def check(self, model: GLM) -> None:
        """Raise `RequestError` for what no engine of this model, abstract or not, can be."""
        if self.max_len < 1:
            raise RequestError(f"max_len is {self.max_len}; expected at least 1 token")
        self._check_drafting(model)
        if self.kv_memory is not None:
            self._check_memory(model)

    def _check_drafting(self, model: GLM) -> None:
        tokens, hidden = self.speculative_tokens, self.draft_hidden
        if not is_integer(tokens) or not 0 <= tokens <= _MOST_DRAFTS:
            raise RequestError(f"speculative_tokens is {tokens!r}; expected an integer of 0 to {_MOST_DRAFTS}")
        if hidden not in get_args(DraftHidden):
            raise RequestError(f"draft_hidden is {hidden!r}; expected one of {', '.join(get_args(DraftHidden))}")
        if tokens and model.mtp is None:
            raise RequestError(f"speculative_tokens is {tokens}, but this model has no multi-token-prediction layer")
        if tokens and self.reproducible:
            raise RequestError(
                "speculative_tokens and reproducible exclude each other: a verified token has other bits"
            )

    def _check_memory(self, model: GLM) -> None:
        """One request of the longest context has to fit."""
        page_bytes = cache_bytes_per_device(model, PAGE, mtp=self.speculative_tokens > 0)
        held = check_integer("kv_memory", self.kv_memory, 1, "a positive integer of bytes") // page_bytes
        if held < (needed := pages_for(self.longest)):
            raise RequestError(
                f"kv_memory is {self.kv_memory} bytes, in which {held * PAGE} tokens fit; expected at least "
                f"{needed * page_bytes}, for the {needed * PAGE} of one longest context, or a smaller max_len"
            )
