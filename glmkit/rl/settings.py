"""The numbers of an RL run."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from glmkit.checks import check_integer, check_number
from glmkit.engine.sampling import Sampling
from glmkit.errors import ConfigError
from glmkit.rl.task import modes_of
from glmkit.text import thinking_mode

__all__ = ["Settings"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Two runs of the same settings, task, loss and model see the same problems and take the same steps.

    A step asks `prompts` problems `n` times each and makes `updates` updates on what was said; from the second on, the
    ratio to the policy that sampled moves away from 1. `thinking` is by default the task's mode, and may be several
    that the samples of a group take in turn. `replay` has every token go where it went when it was sampled.
    `measure_kl` has the LM that the policy began as, which stays open, score what was said too: one more forward pass,
    where an update takes about three, and none where the loss needs it anyway. `learning_rate` is constant after
    `warmup` steps; `master_weights` are as for `glmkit.train.fit`. `eval_count` held-out problems are asked before the
    first step, every `eval_every` steps and after the last, in each mode of thinking, greedily and by `temperature` and
    `top_p`; 0 asks none.
    """

    steps: int = 100
    prompts: int = 32
    n: int = 8
    updates: int = 1
    thinking: str | Sequence[str] | None = None
    budget: int | None = None
    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    replay: bool = True
    measure_kl: bool = True
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-4
    warmup: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    master_weights: bool = True
    eval_every: int = 25
    eval_count: int = 512
    seed: int = 0

    def __post_init__(self):
        counts = ("steps", "prompts", "n", "updates", "max_tokens", "eval_every")
        least = dict.fromkeys(counts, 1) | dict.fromkeys(("warmup", "eval_count", "seed"), 0)
        for name, value in least.items():
            object.__setattr__(self, name, check_integer(name, getattr(self, name), value))  # NumPy's become Python's
        for name in ("learning_rate", "temperature", "clip", "weight_decay"):
            value = check_number(name, getattr(self, name), positive=name != "weight_decay")
            object.__setattr__(self, name, value)
        Sampling(self.temperature, self.top_p)  # which checks them
        if self.thinking is not None:
            if not (modes := modes_of(self.thinking)):
                raise ConfigError("thinking is empty; expected a mode, or several")
            for mode in modes:
                thinking_mode(mode)
            object.__setattr__(self, "thinking", modes[0] if isinstance(self.thinking, str) else modes)
