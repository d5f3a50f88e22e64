"""The network in plain NumPy, float64, from the published description: one function per part, no batching tricks.

Takes checkpoint tensors by released names (`[out, in]`) and the keys of config.json. Slow, and meant to be read: the
tests hold the prediction layer, which the reference implementation knows in two sizes only, against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from golden.cases import Inputs

Config = Mapping[str, Any]
Tensors = Mapping[str, np.ndarray]


class States(NamedTuple):
    """Hidden states after the final norm, `[B, T, D]`, and each MoE layer's chosen experts, `[B, T, k]` ascending."""

    hidden: np.ndarray
    experts: list[np.ndarray]


class Inside(NamedTuple):
    """What goes on in one layer: the residual stream before attention, before the MLP and after it, `[B, T, D]`; how
    heads attend, `[B, H, T, T]`; and of an MoE layer the router's scores `[N, E]`, the chosen experts `[N, k]`, best
    first, their weights, and what each puts out, `[N, k, D]`."""

    resid_pre: np.ndarray
    resid_mid: np.ndarray
    resid_post: np.ndarray
    attention: np.ndarray
    scores: np.ndarray | None
    chosen: np.ndarray | None
    weights: np.ndarray | None
    expert_out: np.ndarray | None


def inside(config: Config, tensors: Tensors, inputs: Inputs) -> list[Inside]:
    """The same pass, layer by layer."""
    x = _wide(tensors["model.embed_tokens.weight"])[inputs.tokens]
    layers = []
    for number in range(config["num_hidden_layers"]):
        layer = _under(tensors, f"model.layers.{number}.")
        attention, mlp = _under(layer, "self_attn."), _under(layer, "mlp.")
        normed = _rms_norm(x, layer["input_layernorm.weight"], config)
        mid = x + _attention(config, attention, normed, inputs)
        pattern = _attention_weights(config, *_queries_and_keys(config, attention, normed, inputs), inputs)
        rows = _rms_norm(mid, layer["post_attention_layernorm.weight"], config).reshape(-1, x.shape[-1])
        post, _ = _block(config, layer, x, inputs)
        routed = _routed(config, mlp, rows) if "gate.weight" in mlp else (None,) * 4
        layers.append(Inside(x, mid, post, pattern, *routed))
        x = post
    return layers


def forward(config: Config, tensors: Tensors, inputs: Inputs) -> States:
    """The decoder up to and including its last norm."""
    x = _wide(tensors["model.embed_tokens.weight"])[inputs.tokens]
    experts = []
    for layer in range(config["num_hidden_layers"]):
        x, chosen = _block(config, _under(tensors, f"model.layers.{layer}."), x, inputs)
        experts += [] if chosen is None else [chosen]
    return States(_rms_norm(x, tensors["model.norm.weight"], config), experts)


def logits(tensors: Tensors, hidden: np.ndarray) -> np.ndarray:
    """Next-token logits `[B, T, V]`; a tied model has no head of its own."""
    return hidden @ _wide(tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"])).T


def mtp_logits(config: Config, tensors: Tensors, hidden: np.ndarray, next_inputs: Inputs) -> np.ndarray:
    """Logits of the token after next, `[B, T, V]`, from the states of `forward` and each one's next token.

    The embedding comes first in the pair that is projected. Embedding and head are the layer's own where it has them.
    """
    layer = _under(tensors, f"model.layers.{config['num_hidden_layers']}.")
    embedded = _wide(layer.get("embed_tokens.weight", tensors["model.embed_tokens.weight"]))[next_inputs.tokens]
    pair = [_rms_norm(embedded, layer["enorm.weight"], config), _rms_norm(hidden, layer["hnorm.weight"], config)]
    x = np.concatenate(pair, axis=-1) @ _wide(layer["eh_proj.weight"]).T
    x, _ = _block(config, layer, x, next_inputs)
    x = _rms_norm(x, layer["shared_head.norm.weight"], config)
    if "shared_head.head.weight" in layer:
        return x @ _wide(layer["shared_head.head.weight"]).T
    return logits(tensors, x)


def _block(c: Config, layer: Tensors, x: np.ndarray, inputs: Inputs) -> tuple[np.ndarray, np.ndarray | None]:
    x = x + _attention(c, _under(layer, "self_attn."), _rms_norm(x, layer["input_layernorm.weight"], c), inputs)
    normed, mlp = _rms_norm(x, layer["post_attention_layernorm.weight"], c), _under(layer, "mlp.")
    if "gate.weight" not in mlp:
        return x + _swiglu(mlp, "", normed), None
    routed, chosen = _mixture(c, mlp, normed.reshape(-1, normed.shape[-1]))
    x = x + routed.reshape(x.shape) + _swiglu(mlp, "shared_experts.", normed)
    return x, np.sort(chosen, axis=-1).reshape(*x.shape[:2], -1)


def _attention(c: Config, layer: Tensors, x: np.ndarray, inputs: Inputs) -> np.ndarray:
    weights = _attention_weights(c, *_queries_and_keys(c, layer, x, inputs), inputs)
    v = _heads(c, layer, x, "v", c["num_key_value_heads"])
    v = np.repeat(v, c["num_attention_heads"] // c["num_key_value_heads"], axis=2)
    mixed = np.einsum("bhqk,bkhc->bqhc", weights, v)
    return mixed.reshape(*x.shape[:2], -1) @ _wide(layer["o_proj.weight"]).T


def _heads(c: Config, layer: Tensors, x: np.ndarray, name: str, count: int) -> np.ndarray:
    y = x @ _wide(layer[f"{name}_proj.weight"]).T + _wide(layer.get(f"{name}_proj.bias", np.zeros(1)))
    return y.reshape(*x.shape[:2], count, c["head_dim"])


def _queries_and_keys(c: Config, layer: Tensors, x: np.ndarray, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    q = _heads(c, layer, x, "q", c["num_attention_heads"])
    k = _heads(c, layer, x, "k", c["num_key_value_heads"])
    if c["use_qk_norm"]:
        q, k = _rms_norm(q, layer["q_norm.weight"], c), _rms_norm(k, layer["k_norm.weight"], c)
    k = np.repeat(k, c["num_attention_heads"] // c["num_key_value_heads"], axis=2)
    return _rotate(c, q, inputs.positions), _rotate(c, k, inputs.positions)


def _attention_weights(c: Config, q: np.ndarray, k: np.ndarray, inputs: Inputs) -> np.ndarray:
    scores = np.einsum("bqhc,bkhc->bhqk", q, k) / np.sqrt(c["head_dim"])
    steps, segments = np.arange(q.shape[1]), inputs.segment_ids
    visible = (segments[:, :, None] == segments[:, None, :]) & (steps[:, None] >= steps)
    scores = np.where(visible[:, None], scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def _rotate(c: Config, x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Turn channel i of the rotated ones with channel i + half. Angles in float32, as everyone computes them."""
    rotary = int(c["head_dim"] * c["partial_rotary_factor"])
    exponents = np.arange(0, rotary, 2, dtype=np.float32) / np.float32(rotary)
    frequencies = (1 / np.power(float(c["rope_theta"]), exponents).astype(np.float32)).astype(np.float32)
    angles = _wide(positions[..., None, None].astype(np.float32) * frequencies)
    first, second, rest = np.split(x, [rotary // 2, rotary], axis=-1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def _mixture(c: Config, mlp: Tensors, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Routed output `[N, D]` and chosen experts `[N, k]`."""
    _, chosen, weights, picked = _routed(c, mlp, x)
    return (weights[..., None] * picked).sum(1), chosen


def _routed(c: Config, mlp: Tensors, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores, chosen experts, their weights and outputs; the correction bias selects and does not weigh."""
    scores = 1 / (1 + np.exp(-(x @ _wide(mlp["gate.weight"]).T)))
    choice = scores + _wide(mlp["gate.e_score_correction_bias"])
    if c["n_group"] > 1:
        grouped = choice.reshape(len(x), c["n_group"], -1)
        worth = np.sort(grouped, axis=-1)[..., -2:].sum(-1)
        out = np.argsort(-worth, axis=-1)[:, c["topk_group"] :]
        np.put_along_axis(grouped, out[..., None], -np.inf, axis=1)
    chosen = np.argsort(-choice, axis=-1)[:, : c["num_experts_per_tok"]]
    weights = np.take_along_axis(scores, chosen, axis=-1)
    if c["norm_topk_prob"]:
        weights = weights / (weights.sum(-1, keepdims=True) + 1e-20)
    every = np.stack([_swiglu(mlp, f"experts.{e}.", x) for e in range(c["n_routed_experts"])], axis=1)
    picked = np.take_along_axis(every, chosen[..., None], axis=1)
    return scores, chosen, c["routed_scaling_factor"] * weights, picked


def _swiglu(mlp: Tensors, prefix: str, x: np.ndarray) -> np.ndarray:
    gate, up, down = (_wide(mlp[f"{prefix}{name}_proj.weight"]).T for name in ("gate", "up", "down"))
    gated = x @ gate
    return (gated / (1 + np.exp(-gated)) * (x @ up)) @ down


def _rms_norm(x: np.ndarray, weight: np.ndarray, c: Config) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + c["rms_norm_eps"]) * _wide(weight)


def _under(tensors: Tensors, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64)
