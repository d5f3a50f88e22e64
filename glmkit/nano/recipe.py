"""How glm-nano is trained: its shape and every number of its run. Follows GLM-4.5's report (arXiv 2508.06471).

Muon for matrices, a cosine schedule, a multi-token-prediction loss, and load balance by moving the routers' correction
biases (arXiv 2408.15664). The run itself is `pipeline`.
"""

from dataclasses import dataclass
from typing import Any

from glmkit.config import GLMConfig
from glmkit.text import Tokenizer
from glmkit.train import Change, Objective

__all__ = ["CONTEXT", "Recipe", "RunFacts", "nano_config"]

CONTEXT = 40_960  # sixteen rows: how far beyond what it was trained on it still looks up is measured


@dataclass(frozen=True)
class Recipe:
    """Every number a run depends on. Two runs of one recipe see the same data in the same order.

    A step takes `rows` rows of `length` tokens, the longest example of the curriculum and a little more. `workers`
    processes draw the examples, each a share; without any, the one that trains.
    """

    tokens: int = 26_000_000
    first_lessons: float = 0.1  # the share of the tokens that are of `mixture.FIRST_LESSONS`
    seed: int = 0
    rows: int = 2
    length: int = 2560
    workers: int = 0
    vocab_size: int = 1536
    learning_rate: float = 5e-3
    warmup: float = 0.03  # the share of all steps
    weight_decay: float = 0.1
    mtp_weights: tuple[float, float] = (0.3, 0.1)  # in the first two thirds of the steps, and after them
    bias_rate: float = 1e-3
    balance_weight: float = 1e-4

    @property
    def command(self) -> str:
        """What makes glm-nano by this recipe."""
        options = (
            name for name in ("tokens", "rows", "workers", "seed") if getattr(self, name) != getattr(Recipe, name)
        )
        given = [f"--{name} {getattr(self, name)}" for name in options]
        return " ".join(("glmkit train nano", *given)) if given else "make nano"

    @property
    def steps(self) -> int:
        """Optimiser steps; `tokens` counts the little padding too."""
        return max(1, self.tokens // (self.rows * self.length))

    @property
    def first_tokens(self) -> int:
        """How many tokens are of the first lessons."""
        return round(self.first_lessons * self.tokens)

    @property
    def objective(self) -> Objective:
        before, after = self.mtp_weights
        return Objective(
            mtp_weight=Change(before, 2 / 3, after), bias_rate=self.bias_rate, balance_weight=self.balance_weight
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of `glmkit.train.fit`."""
        return {
            "batch_size": self.rows,
            "length": self.length,
            "steps": self.steps,
            "optimizer": "muon",
            "learning_rate": self.learning_rate,
            "warmup": self.warmup,
            "shuffle": False,
            "workers": self.workers,
            "weight_decay": self.weight_decay,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class RunFacts:
    """What came of a run. Tokens are counted without padding; minutes are those of its steps, all restarts together."""

    tokens: int
    learned_tokens: int
    steps: int
    minutes: float
    hardware: str
    digest: str  # of the data
    loss: float  # of the next token, in nats, over the last steps


def nano_config(tokenizer: Tokenizer, context: int = CONTEXT) -> GLMConfig:
    """GLM-4.5's shape made small, every feature of the large one switched on.

    The rotary base is small enough that the slowest of the 16 frequencies turns once within a trained row (2,130
    tokens): no angle beyond it is new, which is what lets it read on there (arXiv 2310.05209).
    """
    ids = {token: tokenizer.token_id(token) for token in ("<|endoftext|>", "<|user|>", "<|observation|>")}
    return GLMConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=256,
        num_hidden_layers=5,
        first_k_dense_replace=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        intermediate_size=512,
        moe_intermediate_size=96,
        n_routed_experts=16,
        num_experts_per_tok=4,
        routed_scaling_factor=2.5,
        use_qk_norm=True,
        rope_theta=500.0,
        max_position_embeddings=context,
        eos_token_id=tuple(ids.values()),
        pad_token_id=ids["<|endoftext|>"],
    )
