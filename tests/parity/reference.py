"""The reference implementation, Hugging Face transformers' Glm4MoeForCausalLM, as NumPy functions. Needs PyTorch."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers import Glm4MoeForCausalLM
from transformers.modeling_layers import MtpModel
from transformers.models.glm4_moe.modeling_glm4_moe import Glm4MoeTopkRouter

from golden.cases import Inputs

# Silences the table of tensors it has no use for: the multi-token-prediction layer's.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Scores:
    """What the reference computes: all float32 but the ids."""

    logits: np.ndarray  # [B, T, V]
    experts: np.ndarray  # [moe_layer, B, T, k], each token's ids in ascending order
    margins: np.ndarray  # [moe_layer, B, T]: by how much the closest choice of a group or an expert was decided


class Reference:
    """The model of a checkpoint folder, with plain attention and experts computed one by one.

    Raises ValueError when its weights are not those of the checkpoint: the library fuses the experts' tensors while it
    loads them, and has been reported to leave them random where that did not happen.
    """

    def __init__(self, folder: Path, dtype: str = "float32"):
        self.model = Glm4MoeForCausalLM.from_pretrained(
            folder, dtype=DTYPES[dtype], attn_implementation="eager", experts_implementation="eager"
        ).eval()
        stored = {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}
        for name, value in self.model.state_dict().items():
            if not torch.equal(value, fused(stored, name, like=value).to(value.dtype)):
                raise ValueError(f"{folder}: transformers loaded {name} with other values than the checkpoint's")

    @torch.inference_mode()
    def __call__(self, inputs: Inputs) -> Scores:
        """One forward pass over whole rows."""
        with self._recorded_routers() as calls:
            logits = self.model(**_arguments(inputs), use_cache=False).logits
        shape = inputs.tokens.shape
        ids = [np.sort(ids, axis=-1).reshape(*shape, -1) for ids, _ in calls]
        margins = [margins.reshape(shape) for _, margins in calls]
        return Scores(logits.float().numpy(), np.stack(ids), np.stack(margins))

    @torch.inference_mode()
    def greedy(self, inputs: Inputs, count: int) -> np.ndarray:
        """The `count` likeliest tokens, `[B, count]`, one after the other through the model's cache."""
        arguments, mask = _arguments(inputs), torch.from_numpy(inputs.valid.astype(np.int64))
        cache, chosen = None, []
        for _ in range(count):
            out = self.model(**arguments, past_key_values=cache, use_cache=True)
            cache, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
            chosen.append(token)
            mask = torch.cat([mask, torch.ones_like(token)], dim=1)
            position_ids = arguments["position_ids"][:, -1:] + 1
            arguments = {"input_ids": token, "attention_mask": mask, "position_ids": position_ids}
        return torch.cat(chosen, dim=1).numpy().astype(np.int32)

    @property
    def has_mtp(self) -> bool:
        """Whether `mtp_logits` works: the library finds the prediction layer in models of 46 and 92 layers only."""
        return bool(self.model.config.num_mtp_layers) and self.model.config.num_hidden_layers in (46, 92)

    @torch.inference_mode()
    def mtp_logits(self, inputs: Inputs) -> np.ndarray:
        """Logits `[B, T - 1, V]` of the token after next, by the multi-token-prediction layer."""
        mtp = MtpModel.from_pretrained(self.model).eval()
        arguments = _arguments(inputs)
        hidden = self.model(**arguments, output_hidden_states=True, use_cache=False).hidden_states[-1]
        state = mtp.forward_layer(
            0, hidden[:, :-1], arguments["position_ids"][:, 1:], None, arguments["input_ids"][:, 1:]
        )
        return self.model.lm_head(state).float().numpy()

    @contextmanager
    def _recorded_routers(self):
        """Lists chosen experts and margins of each router call, in the order of the layers."""
        calls: list[tuple[np.ndarray, np.ndarray]] = []

        def record(router, _, output):
            router_logits, _, ids = output
            choice = router_logits.sigmoid() + router.e_score_correction_bias
            margins = selection_margin(choice.numpy(), router.top_k, router.num_group, router.topk_group)
            calls.append((ids.numpy(), margins))

        hooks = [m.register_forward_hook(record) for m in self.model.modules() if isinstance(m, Glm4MoeTopkRouter)]
        try:
            yield calls
        finally:
            for hook in hooks:
                hook.remove()


def selection_margin(choice: np.ndarray, top_k: int, groups: int, top_groups: int) -> np.ndarray:
    """How close the selection scores `[N, E]` come to another choice, `[N]`.

    The k-th less the (k+1)-th score in the groups that are kept, or the same difference between groups, whose score is
    the sum of their two best experts, where that is smaller.
    """
    grouped = choice.reshape(len(choice), groups, -1)
    worth = np.sort(grouped, axis=-1)[..., -2:].sum(-1)
    left_out = np.argsort(-worth, axis=-1)[:, top_groups:]
    kept = grouped.copy()
    np.put_along_axis(kept, left_out[..., None], -np.inf, axis=1)
    return np.minimum(_gap(kept.reshape(choice.shape), top_k), _gap(worth, top_groups))


def closest_expert(scores: Scores, valid: np.ndarray) -> float:
    """The smallest margin of a routing decision that counts."""
    return float(scores.margins[:, valid].min())


def closest_token(scores: Scores, greedy: np.ndarray) -> float:
    """By how much the closest of the `greedy` tokens that end the inputs was decided, relative to the largest logit.

    Raises ValueError when another token has the highest logit: the model's cache and its whole forward pass disagree.
    """
    if not greedy.size:
        return float("inf")
    logits = scores.logits[:, -1 - greedy.shape[1] : -1]
    ordered = np.sort(logits, axis=-1)
    if not np.array_equal(logits.argmax(-1), greedy):
        raise ValueError("the reference's greedy tokens are not the likeliest in its forward pass over them")
    return float((ordered[..., -1] - ordered[..., -2]).min() / np.abs(logits).max())


def _gap(scores: np.ndarray, k: int) -> np.ndarray:
    """The k-th less the (k+1)-th highest of each row; infinite when there are only k."""
    if k == scores.shape[-1]:
        return np.full(len(scores), np.inf, scores.dtype)
    ordered = np.sort(scores, axis=-1)
    return ordered[:, -k] - ordered[:, -k - 1]


def fused(stored: dict[str, torch.Tensor], name: str, like: torch.Tensor) -> torch.Tensor:
    """What the reference's parameter `name` has to be, from the checkpoint's tensors: one per expert and projection."""
    if name == "lm_head.weight" and name not in stored:
        return stored["model.embed_tokens.weight"]
    prefix, _, fused = name.rpartition(".")
    if fused not in ("gate_up_proj", "down_proj"):
        return stored[name]
    parts = ("gate_proj", "up_proj") if fused == "gate_up_proj" else ("down_proj",)
    experts = range(len(like))
    return torch.stack([torch.cat([stored[f"{prefix}.{e}.{part}.weight"] for part in parts]) for e in experts])


def _arguments(inputs: Inputs) -> dict[str, torch.Tensor | None]:
    """As a user of the library would pass them: a mask for padding, positions alone for packed segments."""
    packed = inputs.segment_ids.max() > 0
    return {
        "input_ids": torch.from_numpy(inputs.tokens.astype(np.int64)),
        "attention_mask": None if packed else torch.from_numpy(inputs.valid.astype(np.int64)),
        "position_ids": torch.from_numpy(inputs.positions.astype(np.int64)),
    }
