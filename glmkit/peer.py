"""transformers as the peer of a benchmark: its fastest way through the same work. Needs torch."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from glmkit.errors import GLMKitError

EXPERTS = ("eager", "batched_mm", "grouped_mm")
# Not batched_mm, which keeps a copy of the expert's matrices for each token and expert: some 8 GB a layer.
TRAINING = {f"transformers float32 {experts}": experts for experts in ("eager", "grouped_mm")}


def transformers_rounds(
    folder: Path, what: str, prompts: np.ndarray, tokens: int
) -> Iterator[tuple[str, Callable[[], float]]]:
    """A round in tokens per second for each dtype and expert implementation of `Glm4MoeForCausalLM`."""
    torch, Glm4MoeForCausalLM = _libraries()
    ids = torch.from_numpy(prompts)
    for dtype, experts in itertools.product((torch.float32, torch.bfloat16), EXPERTS):
        model = Glm4MoeForCausalLM.from_pretrained(folder, dtype=dtype, experts_implementation=experts).eval()
        name = f"transformers {str(dtype).removeprefix('torch.')} {experts}"
        yield name, lambda model=model: _round(model, what, ids, tokens)


def training_rounds(
    folder: Path, tokens: np.ndarray, only: str | None = None
) -> Iterator[tuple[str, Callable[[], float]]]:
    """AdamW steps in tokens per second, for each expert implementation or the one named of `TRAINING`."""
    torch, Glm4MoeForCausalLM = _libraries()
    ids = torch.from_numpy(tokens)
    for name, experts in TRAINING.items():
        if only in (None, name):
            model = Glm4MoeForCausalLM.from_pretrained(
                folder, dtype=torch.float32, experts_implementation=experts
            ).train()
            # Fused, the fastest of the three ways.
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
            yield name, lambda model=model, optimizer=optimizer: _training_round(model, optimizer, ids)


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
