"""Writes `trl_losses.npz`: what TRL's `GRPOTrainer` computes from log-probabilities, and the gradient it gives them.

Needs PyTorch and TRL (`pip install 'glmkit[parity]'`). From the folder `tests`: `python -m golden.trl_losses`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

PATH = Path(__file__).with_name("trl_losses.npz")
MOST_TOKENS = 12  # TRL's max_completion_length
CASES: dict[str, dict[str, Any]] = {
    "grpo": {},
    "dapo": {"loss_type": "dapo", "epsilon_high": 0.28},
    "bnpo": {"loss_type": "bnpo"},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "dual_clip": {"delta": 1.5},
    "gspo": {"importance_sampling_level": "sequence", "epsilon_low": 0.03, "epsilon_high": 0.04},
    "cispo": {"loss_type": "cispo", "epsilon_high": 1.28},  # TRL's is the bound itself
    "kl": {"beta": 0.4},
    "corrected_kl": {"beta": 0.4, "use_bias_correction_kl": True},
    "first_update": {"old": False},
}
"""Settings of TRL's trainer by case; `old` says whether there are log-probabilities from before the update."""


def inputs() -> dict[str, np.ndarray]:
    """Five samples, one of a single token and one cut short, whose ratios reach beyond every bound."""
    rng = np.random.default_rng(0)
    shape = (5, 9)
    logprobs = -rng.exponential(1.0, shape)
    return {
        "logprobs": logprobs.astype(np.float32),
        "old": (logprobs + rng.normal(0, 0.4, shape)).astype(np.float32),
        "reference": (logprobs + rng.normal(0, 0.5, shape)).astype(np.float32),
        "advantages": np.array([1.2, -0.7, 0.4, -1.6, 0.9], np.float32),
        "mask": np.arange(shape[1]) < np.array([9, 4, 1, 7, 6])[:, None],
    }


def make() -> dict[str, np.ndarray]:
    """The inputs, and by case `loss` and `gradient`, `[5, 9]`."""
    arrays = inputs()
    for name, settings in CASES.items():
        arrays[f"{name}/loss"], arrays[f"{name}/gradient"] = _by_trl(inputs(), **settings)
    return arrays


def _by_trl(
    arrays: dict[str, np.ndarray],
    *,
    old: bool = True,
    loss_type: str = "grpo",
    importance_sampling_level: str = "token",
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    beta: float = 0.0,
    delta: float | None = None,
    use_bias_correction_kl: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Its own method, called on what of a trainer it reads."""
    import torch
    from trl import GRPOTrainer

    given = {name: torch.from_numpy(array) for name, array in arrays.items()}
    logprobs, mask = given["logprobs"].requires_grad_(), given["mask"].float()
    whole = SimpleNamespace(reduce=lambda x, reduction: x, gather=lambda x: x, num_processes=1)
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (logprobs, torch.zeros_like(logprobs), None),
        loss_type=loss_type,
        importance_sampling_level=importance_sampling_level,
        epsilon_low=epsilon_low,
        epsilon_high=epsilon_high,
        beta=beta,
        max_completion_length=MOST_TOKENS,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        aux_loss_enabled=False,
        use_vllm=False,
        current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
        model=SimpleNamespace(training=True),
        accelerator=whole,
        args=SimpleNamespace(delta=delta, use_bias_correction_kl=use_bias_correction_kl, steps_per_generation=1),
    )
    batch = {
        "prompt_ids": torch.zeros((len(mask), 1), dtype=torch.long),
        "prompt_mask": torch.ones((len(mask), 1), dtype=torch.long),
        "completion_ids": torch.zeros(mask.shape, dtype=torch.long),
        "completion_mask": mask,
        "advantages": given["advantages"],
        "old_per_token_logps": given["old"] if old else None,
        "ref_per_token_logps": given["reference"],
        "num_items_in_batch": mask.sum(),
    }
    loss = GRPOTrainer._compute_loss(trainer, trainer.model, batch)
    loss.backward()
    return loss.detach().numpy(), logprobs.grad.numpy()


if __name__ == "__main__":
    np.savez_compressed(PATH, **make())
    print(f"{PATH.name}: {PATH.stat().st_size / 1000:.0f} kB")
