"""transformers as the peer of a benchmark: its fastest way through the same work. Needs torch."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from glmkit.errors import GLMKitError

_EXPERTS = ("eager", "batched_mm", "grouped_mm")
GENERATING = {
    f"transformers {dtype} {experts}": (dtype, experts)
    for dtype, experts in itertools.product(("float32", "bfloat16"), _EXPERTS)
}
# Not batched_mm, which keeps a copy of the expert's matrices for each token and expert: some 8 GB a layer.
TRAINING = {f"transformers float32 {experts}": experts for experts in ("eager", "grouped_mm")}


def generating_round(folder: Path, name: str, what: str, prompts: np.ndarray, tokens: int) -> Callable[[], float]:
    """A round in tokens per second of the way of `Glm4MoeForCausalLM` that `GENERATING` names."""
    torch, Glm4MoeForCausalLM = _libraries()
    dtype, experts = GENERATING[name]
    model = Glm4MoeForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), experts_implementation=experts
    ).eval()
    ids = torch.from_numpy(prompts)
    return lambda: _round(model, what, ids, tokens)


def training_round(folder: Path, name: str, tokens: np.ndarray) -> Callable[[], float]:
    """An AdamW step in tokens per second, for the expert implementation that `TRAINING` names."""
    torch, Glm4MoeForCausalLM = _libraries()
    model = Glm4MoeForCausalLM.from_pretrained(
        folder, dtype=torch.float32, experts_implementation=TRAINING[name]
    ).train()
    # Fused, the fastest of the three ways.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    ids = torch.from_numpy(tokens)
    return lambda: _training_round(model, optimizer, ids)


def _training_round(model, optimizer, ids) -> float:
    import torch

    started = time.perf_counter()
    model(ids, labels=ids, use_cache=False).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return ids.numel() / (time.perf_counter() - started)


def _libraries():
    """torch, and the reference's class."""
    try:
        import torch
        from transformers import Glm4MoeForCausalLM
    except ImportError as error:
        raise GLMKitError('--vs-transformers needs torch and transformers: pip install "glmkit[parity]"') from error
    return torch, Glm4MoeForCausalLM


def _round(model, what: str, ids, tokens: int) -> float:
    import torch

    with torch.inference_mode():
        started = time.perf_counter()
        out = model(ids, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1:].argmax(-1)
        if what == "prefill":
            return ids.numel() / (time.perf_counter() - started)
        started = time.perf_counter()
        for _ in range(tokens):
            out = model(token, past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[:, -1:].argmax(-1)
        return ids.shape[0] * tokens / (time.perf_counter() - started)
