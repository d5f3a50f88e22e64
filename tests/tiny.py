"""A model small enough to compile in a moment, with every feature of GLM-4.5 switched on, and a tokenizer for it."""

import dataclasses
import functools
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tokenizers import Tokenizer as Backend, decoders, pre_tokenizers
from tokenizers.models import BPE

from glmkit import GLM, GLMConfig
from glmkit.model.adapter import adapted_places
from glmkit.text import GLM_SPECIAL_TOKENS, Tokenizer

CONFIG = GLMConfig(
    vocab_size=320,
    hidden_size=32,
    num_hidden_layers=3,
    first_k_dense_replace=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    intermediate_size=48,
    moe_intermediate_size=16,
    n_routed_experts=8,
    num_experts_per_tok=2,
    n_group=2,
    topk_group=1,
    routed_scaling_factor=2.5,
    use_qk_norm=True,
    initializer_range=0.3,
    max_position_embeddings=600,
    eos_token_id=(256, 263, 265),
    pad_token_id=256,
    dtype="float32",
)


def randomised(model: GLM, seed: int = 0) -> GLM:
    """`model` with norms, biases and correction biases off their initial ones and zeros."""
    rng = np.random.default_rng(seed)
    for _, variable in nnx.iter_graph(model):
        if isinstance(variable, nnx.Variable) and variable.hf.contract == 0:
            variable[...] = variable[...] + jnp.asarray(0.2 * rng.standard_normal(variable.shape), variable.dtype)
    return model


@functools.cache
def model() -> GLM:
    """The model that most tests share; not to be changed."""
    return randomised(GLM(CONFIG, rngs=nnx.Rngs(0)))


@functools.cache
def small_model(mtp: bool = False, dtype: str = "float32") -> GLM:
    """A dense layer and a mixture of experts, for programs that take long to compile."""
    config = dataclasses.replace(CONFIG, num_hidden_layers=2, num_nextn_predict_layers=int(mtp))
    return randomised(GLM(config, rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype)))


@functools.cache
def tokenizer() -> Tokenizer:
    """Bytes as tokens 0 to 255, then GLM's special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Backend(BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    data = json.loads(backend.to_str())
    data["added_tokens"] = [
        {"id": 256 + i, "content": token, "special": special, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
        for i, (token, special) in enumerate(GLM_SPECIAL_TOKENS.items())
    ]  # fmt: skip
    return Tokenizer({"tokenizer.json": json.dumps(data).encode()})


@functools.cache
def two_layers() -> GLM:
    """A dense layer and one of experts, with the prediction layer, for tests that compile much; not to be changed."""
    return randomised(GLM(replace(CONFIG, num_hidden_layers=2), rngs=nnx.Rngs(0)))


@functools.cache
def one_layer(dtype: str = "float32") -> GLM:
    """One layer, of experts, for tests whose programs are compiled with gradients; not to be changed."""
    config = replace(CONFIG, num_hidden_layers=1, first_k_dense_replace=0)
    return randomised(GLM(config, rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype)))


ADAPTABLE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "experts", "router")


def with_updates(adapted: GLM, seed: int = 0) -> GLM:
    """A model with an adapter, its B's off their initial zeros by so much that every update is felt."""
    rng = np.random.default_rng(seed)
    for place in adapted_places(adapted):
        b = place.parameter.b
        b[...] = jax.device_put((0.05 * rng.standard_normal(b.shape)).astype(b.dtype), b[...].sharding)
    return adapted
