"""transformers as the peer of a benchmark: its fastest way through the same work. Needs torch."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from glmkit.errors import GLMKitError

EXPERTS = ("eager", "batched_mm", "grouped_mm")


def transformers_rounds(
    folder: Path, what: str, prompts: np.ndarray, tokens: int
) -> Iterator[tuple[str, Callable[[], float]]]:
    """A round in tokens per second for each dtype and expert implementation of `Glm4MoeForCausalLM`."""
    try:
        import torch
        from transformers import Glm4MoeForCausalLM
    except ImportError as error:
        raise GLMKitError('--vs-transformers needs torch and transformers: pip install "glmkit[parity]"') from error

    ids = torch.from_numpy(prompts)
    for dtype, experts in itertools.product((torch.float32, torch.bfloat16), EXPERTS):
        model = Glm4MoeForCausalLM.from_pretrained(folder, dtype=dtype, experts_implementation=experts).eval()
        name = f"transformers {str(dtype).removeprefix('torch.')} {experts}"
        yield name, lambda model=model: _round(model, what, ids, tokens)


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
