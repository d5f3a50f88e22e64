"""The numbers of a run, and whether its data and its model go with them."""

import dataclasses
from typing import get_args

from glmkit.checks import check_integer, check_number, is_number
from glmkit.errors import ConfigError, DataError
from glmkit.model import GLM
from glmkit.model.transformer import Remat
from glmkit.text import Tokenizer
from glmkit.train.data import Source
from glmkit.train.optimizer import Optimizer, batch_warmup

__all__ = ["Settings", "check_data", "check_shares"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The numbers of a run. Two runs of the same settings, data and model see the same batches and take the same steps.

    A step takes `accumulate` micro-batches of `batch_size` rows of `length` tokens; in the first `batch_warmup` steps
    their number grows to that from a quarter, as GLM-4.5's batch did. `steps` defaults to `epochs` passes over the
    data. `freeze` names parameters that stay, by patterns of their path such as "embed" or "blocks.0.*".
    With `master_weights`, parameters narrower than float32 have float32 copies, which are what is optimised.
    `remat="block"` trades time for memory, see `GLM.__call__`. Without `shuffle` the data are taken in their own order:
    a curriculum. With `workers` so many other processes read them, each a share: for accelerators that take batches
    faster than one process makes them.
    """

    batch_size: int = 8
    length: int = 1024
    accumulate: int = 1
    batch_warmup: int = 0
    epochs: int = 1
    shuffle: bool = True
    workers: int = 0
    steps: int | None = None
    optimizer: Optimizer = "adamw"
    learning_rate: float = 1e-4
    warmup: float = 0.03  # the share of all steps
    weight_decay: float = 0.1
    clip: float | None = 1.0
    master_weights: bool = True
    remat: Remat = "none"
    freeze: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "freeze", (self.freeze,) if isinstance(self.freeze, str) else tuple(self.freeze))
        counts = ("batch_size", "length", "accumulate", "epochs", *(() if self.steps is None else ("steps",)))
        least = dict.fromkeys(counts, 1) | dict.fromkeys(("batch_warmup", "workers", "seed"), 0)
        for name, value in least.items():
            object.__setattr__(self, name, check_integer(name, getattr(self, name), value))  # NumPy's become Python's
        for name, kind in (("optimizer", Optimizer), ("remat", Remat)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(get_args(kind))}")
        if not (is_number(self.warmup) and 0 <= self.warmup <= 1):
            raise ConfigError(f"warmup is {self.warmup!r}; expected the share of all steps, from 0 to 1")
        for name in ("warmup", "learning_rate", "weight_decay"):
            object.__setattr__(self, name, check_number(name, getattr(self, name)))
        if self.clip is not None:
            clip = check_number("clip", self.clip, positive=True, expected="a norm above 0, or None")
            object.__setattr__(self, "clip", clip)

    def micro_batches(self, step: int) -> int:
        """How many micro-batches the step after `step` steps takes."""
        return batch_warmup(max(1, self.accumulate // 4), self.accumulate, self.batch_warmup)(step)


def check_data(data: Source, model: GLM, tokenizer: Tokenizer | None, settings: Settings) -> None:
    """Raise `DataError` or `ConfigError` for rows too short for the data, a context too short for the rows, rows that
    the devices cannot share, or another tokenizer's data.
    """
    if not isinstance(data, Source):
        raise DataError(
            f"the data is a {type(data).__name__}; expected a TokenDataset: glmkit.train.TokenDataset.encode(records, "
            "lm.tokenizer, length), or read(path, ...)"
        )
    check_shares(settings.batch_size, model)
    if tokenizer is not None and getattr(data, "vocabulary", tokenizer.digest) != tokenizer.digest:
        raise DataError(
            "the data were encoded with another tokenizer than the model's; encode them again with lm.tokenizer"
        )
    if data.length > settings.length:
        raise DataError(
            f"the data has examples of {data.length} tokens, a row length={settings.length}; encode it again, with that"
        )
    if settings.length > model.config.max_position_embeddings:
        raise ConfigError(f"length is {settings.length}; the model's context is {model.config.max_position_embeddings}")
    if data.largest_token >= model.config.vocab_size:
        raise DataError(
            f"the data holds token {data.largest_token}, the model has {model.config.vocab_size}: it was encoded with "
            "another tokenizer"
        )


def check_shares(batch_size: int, model: GLM) -> None:
    """Raise `ConfigError` for rows that do not divide among the devices."""
    shares = model.embed[...].sharding.mesh.shape["data"]
    if batch_size % shares:
        raise ConfigError(f"batch_size is {batch_size}; the mesh divides rows among {shares} (its data axis)")
