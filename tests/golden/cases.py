"""The models and inputs that glmkit is compared on: small configurations, and weights computed from tensor names.

Needs NumPy and safetensors only. `make.py` runs the reference implementation on these cases, the tests run glmkit.
Tensor names, shapes and order of dimensions are those of the released checkpoints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

GREEDY_TOKENS = 64

# Closer choices than these are near ties, which rounding may decide either way: of experts, by the difference of their
# selection scores; of tokens, by the difference of their logits relative to the largest logit.
NEAR_TIE_EXPERTS = 1e-5
NEAR_TIE_TOKENS = 1e-4

# Every feature at its plainest; a case names what it changes. The query width, 6 * 16, differs from the hidden size.
BASE: dict[str, Any] = {
    "architectures": ["Glm4MoeForCausalLM"],
    "model_type": "glm4_moe",
    "vocab_size": 96,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "partial_rotary_factor": 0.5,
    "rope_theta": 1_000_000,
    "rope_scaling": None,
    "rms_norm_eps": 1e-5,
    "intermediate_size": 80,
    "moe_intermediate_size": 24,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "num_experts_per_tok": 4,
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    "first_k_dense_replace": 1,
    "use_qk_norm": False,
    "attention_bias": False,
    "tie_word_embeddings": False,
    "num_nextn_predict_layers": 0,
    "max_position_embeddings": 131_072,
    "hidden_act": "silu",
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "eos_token_id": None,
    "pad_token_id": None,
    "torch_dtype": "float32",
}


@dataclass(frozen=True)
class Inputs:
    """Token ids with their positions and segments, all int32 `[B, T]`; segment -1 is padding."""

    tokens: np.ndarray
    positions: np.ndarray
    segment_ids: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        return self.segment_ids >= 0

    def followed_by(self, tokens: np.ndarray) -> Inputs:
        """These inputs with `tokens`, `[B, N]`, appended to each row, whose last token must not be padding."""
        steps = np.arange(1, tokens.shape[1] + 1, dtype=np.int32)
        return Inputs(
            np.concatenate([self.tokens, tokens], axis=1),
            np.concatenate([self.positions, self.positions[:, -1:] + steps], axis=1),
            np.concatenate([self.segment_ids, np.repeat(self.segment_ids[:, -1:], tokens.shape[1], axis=1)], axis=1),
        )


@dataclass(frozen=True)
class Routing:
    """How decided the routers are: the spread of their logits, and mean and spread of the correction bias."""

    logit_scale: float = 1.0
    bias_scale: float = 0.05
    bias_mean: float = 0.0


@dataclass(frozen=True)
class Case:
    """One model and its input: `lengths` are those of the rows, or of the segments of one row when `packed`."""

    changes: dict[str, Any]
    lengths: tuple[int, ...] = (48,)
    padding: Literal["left", "right"] = "left"
    packed: bool = False
    first_position: int = 0
    routing: Routing = field(default_factory=Routing)
    mtp: Literal["own", "shared"] | None = None
    stored: Literal["float32", "bfloat16"] = "bfloat16"
    bfloat16: bool = False  # whether to compare the model in bfloat16 too
    seed: int = 0

    @property
    def config(self) -> dict[str, Any]:
        """The config.json of the released form."""
        announced = {"num_nextn_predict_layers": int(self.mtp is not None), "torch_dtype": self.stored}
        return BASE | self.changes | announced

    @property
    def greedy(self) -> bool:
        """Whether greedy tokens can be appended: not to packed segments, nor after padding."""
        return not self.packed and (self.padding == "left" or len(set(self.lengths)) == 1)

    @property
    def inputs(self) -> Inputs:
        """Random tokens in rows of these lengths."""
        rng = _generator("tokens", self.seed)
        rows = [rng.integers(self.config["vocab_size"], size=n, dtype=np.int32) for n in self.lengths]
        places = [np.arange(n, dtype=np.int32) + self.first_position for n in self.lengths]
        if self.packed:
            segments = [np.full(n, i, np.int32) for i, n in enumerate(self.lengths)]
            return Inputs(*(np.concatenate(parts)[None] for parts in (rows, places, segments)))
        segments = [np.zeros(n, np.int32) for n in self.lengths]
        return Inputs(*(self._padded(*parts) for parts in ((rows, 0), (places, 0), (segments, -1))))

    def _padded(self, rows: list[np.ndarray], fill: int) -> np.ndarray:
        pads = [np.full(max(self.lengths) - len(row), fill, np.int32) for row in rows]
        pairs = zip(pads, rows, strict=True) if self.padding == "left" else zip(rows, pads, strict=True)
        return np.stack([np.concatenate(pair) for pair in pairs])


GLM_AIR = {"attention_bias": True}
GLM_FULL = {
    "attention_bias": True,
    "use_qk_norm": True,
    "first_k_dense_replace": 3,
    "num_hidden_layers": 5,
    "routed_scaling_factor": 2.5,
}
TWO_GROUPS = {
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 0,
    "n_shared_experts": 2,
    "tie_word_embeddings": True,
    "norm_topk_prob": False,
    "use_qk_norm": True,
}
FOUR_GROUPS = {"n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5, "attention_bias": True}
NARROW_LAYERS = {
    "num_hidden_layers": 46,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "attention_bias": True,
}
# Heads as released: 128 channels, 64 of them rotated.
WIDE_HEADS = {
    "head_dim": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "attention_bias": True,
    "use_qk_norm": True,
}

# Cases of one configuration, weights' dtype and input shape share a compiled program: [1, 112] and [3, 112] with the
# greedy tokens.
CASES: dict[str, Case] = {
    "air": Case(GLM_AIR, bfloat16=True),
    "full": Case(GLM_FULL, mtp="shared", bfloat16=True),
    "two_groups": Case(TWO_GROUPS, stored="float32"),
    "four_groups": Case(FOUR_GROUPS, mtp="own", stored="float32"),
    "many_layers": Case(NARROW_LAYERS, mtp="shared", seed=6),
    "wide_heads": Case(WIDE_HEADS, bfloat16=True),
    "long": Case(GLM_AIR | {"num_hidden_layers": 2}, lengths=(2048,)),
    "far": Case(WIDE_HEADS, first_position=130_000, bfloat16=True),
    "left_padded": Case(GLM_AIR, lengths=(48, 17, 1)),
    "right_padded": Case(GLM_AIR, lengths=(112, 17, 1), padding="right"),
    "packed": Case(GLM_AIR, lengths=(61, 1, 50), packed=True),
    "decided_router": Case(GLM_AIR, routing=Routing(logit_scale=8.0, bias_scale=0.5)),
    "undecided_router": Case(FOUR_GROUPS, routing=Routing(0.05, 0.005), mtp="own", stored="float32"),
    # A trained bias can lie far from zero with little spread (6.8 to 7.06 in a sibling): bfloat16 would level it.
    "offset_bias": Case(GLM_AIR, routing=Routing(bias_mean=6.9, bias_scale=0.05), bfloat16=True),
}


def random_tensors(
    config: dict[str, Any],
    seed: int,
    routing: Routing = Routing(),
    mtp: Literal["own", "shared"] | None = None,
    stored: Literal["float32", "bfloat16"] = "bfloat16",
) -> dict[str, np.ndarray]:
    """The checkpoint of a random model by released names; a tensor depends on nothing but its name, shape and `seed`.

    Norms vary around 1, biases around 0. `mtp` adds the multi-token-prediction layer, with embedding and head of its
    own ("own") or without.
    """
    dtype = np.dtype(ml_dtypes.bfloat16 if stored == "bfloat16" else np.float32)
    tensors = {}
    for name, shape in tensor_shapes(config, mtp):
        normal = _generator(name, seed).standard_normal(shape, np.float32)
        if name.endswith("e_score_correction_bias"):
            tensors[name] = np.float32(routing.bias_mean) + np.float32(routing.bias_scale) * normal
        elif name.endswith("norm.weight"):
            tensors[name] = (1 + np.float32(0.2) * normal).astype(dtype)
        elif name.endswith(".bias"):
            tensors[name] = (np.float32(0.3) * normal).astype(dtype)
        else:
            tensors[name] = (np.float32(_matrix_scale(name, shape, routing)) * normal).astype(dtype)
    return tensors


def fingerprint(tensors: dict[str, np.ndarray]) -> int:
    """A number that tells whether two sets of tensors are the same, bit for bit."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].tobytes())
    return int.from_bytes(digest.digest()[:7], "little")


def write_checkpoint(folder: Path, case: Case) -> dict[str, np.ndarray]:
    """Write config.json and model.safetensors of a case as released, one tensor per expert; returns the tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = random_tensors(case.config, case.seed, case.routing, case.mtp, case.stored)
    (folder / "config.json").write_text(json.dumps(case.config, indent=2))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return tensors


def tensor_shapes(
    config: dict[str, Any], mtp: Literal["own", "shared"] | None = None
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each tensor of a released checkpoint."""
    table = (config["vocab_size"], config["hidden_size"])
    layers = config["num_hidden_layers"]
    yield "model.embed_tokens.weight", table
    for layer in range(layers):
        yield from _block_shapes(config, f"model.layers.{layer}.", moe=layer >= config["first_k_dense_replace"])
    yield "model.norm.weight", table[1:]
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", table
    if mtp is not None:
        yield from _mtp_shapes(config, f"model.layers.{layers}.", own_tables=mtp == "own")


def _block_shapes(c: dict[str, Any], prefix: str, moe: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, channels = c["hidden_size"], c["head_dim"]
    q, kv = c["num_attention_heads"] * channels, c["num_key_value_heads"] * channels
    yield prefix + "input_layernorm.weight", (hidden,)
    yield prefix + "post_attention_layernorm.weight", (hidden,)
    for name, width in (("q", q), ("k", kv), ("v", kv)):
        yield f"{prefix}self_attn.{name}_proj.weight", (width, hidden)
        if c["attention_bias"]:
            yield f"{prefix}self_attn.{name}_proj.bias", (width,)
    yield prefix + "self_attn.o_proj.weight", (hidden, q)
    if c["use_qk_norm"]:
        yield prefix + "self_attn.q_norm.weight", (channels,)
        yield prefix + "self_attn.k_norm.weight", (channels,)
    if not moe:
        yield from _mlp_shapes(prefix + "mlp.", hidden, c["intermediate_size"])
        return
    yield prefix + "mlp.gate.weight", (c["n_routed_experts"], hidden)
    yield prefix + "mlp.gate.e_score_correction_bias", (c["n_routed_experts"],)
    for expert in range(c["n_routed_experts"]):
        yield from _mlp_shapes(f"{prefix}mlp.experts.{expert}.", hidden, c["moe_intermediate_size"])
    yield from _mlp_shapes(prefix + "mlp.shared_experts.", hidden, c["moe_intermediate_size"] * c["n_shared_experts"])


def _mlp_shapes(prefix: str, hidden: int, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield prefix + "gate_proj.weight", (width, hidden)
    yield prefix + "up_proj.weight", (width, hidden)
    yield prefix + "down_proj.weight", (hidden, width)


def _mtp_shapes(c: dict[str, Any], prefix: str, own_tables: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, table = c["hidden_size"], (c["vocab_size"], c["hidden_size"])
    yield from _block_shapes(c, prefix, moe=True)
    yield prefix + "enorm.weight", (hidden,)
    yield prefix + "hnorm.weight", (hidden,)
    yield prefix + "eh_proj.weight", (hidden, 2 * hidden)
    yield prefix + "shared_head.norm.weight", (hidden,)
    if own_tables:
        yield prefix + "shared_head.head.weight", table
        yield prefix + "embed_tokens.weight", table


def _matrix_scale(name: str, shape: tuple[int, ...], routing: Routing) -> float:
    """The spread of a matrix's values: layers outweigh embeddings, so that what is generated depends on the context."""
    if name.endswith("embed_tokens.weight"):
        return 0.3
    gain = {"mlp.gate.weight": routing.logit_scale, "head.weight": 1.0}
    return next((g for end, g in gain.items() if name.endswith(end)), 1.5) * shape[-1] ** -0.5


def _generator(name: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
