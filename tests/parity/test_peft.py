"""Adapters opened by PEFT on the reference model, and PEFT's own opened by glmkit, give the same logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flax import nnx
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Glm4MoeForCausalLM

import tiny
from glmkit import save_hf
from glmkit.train.lora import add_lora, merge_lora
from glmkit.weights import load_adapter, save_adapter
from golden.compare import relative_error

TOKENS = np.random.default_rng(0).integers(0, 256, (2, 12), np.int32)
# PEFT adds what it computes in an order of its own, and for experts forms the whole weight; float32.
TOLERANCE = 1e-4

TARGETS = {
    "attention": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "dense and shared": ["gate_proj", "up_proj", "down_proj"],
    "routed experts": ["experts"],
    "router": ["router"],
    "all": tiny.ADAPTABLE,
}
# As its users write them; of this model PEFT takes gate_proj, up_proj and down_proj for the routed experts.
CONFIGS = {
    "modules": {"target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]},
    "all-linear": {"target_modules": "all-linear"},
    "an expression": {"target_modules": r".*\.self_attn\.(q|o)_proj"},
    "one layer": {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]},
    "patterns": {
        "target_modules": ["q_proj", "v_proj"],
        "rank_pattern": {"v_proj": 2},
        "alpha_pattern": {"layers.1.self_attn.v_proj": 5},
    },
    "one parameter of experts": {"target_parameters": ["experts.down_proj"]},
    "the other, and attention": {"target_modules": ["k_proj"], "target_parameters": ["experts.gate_up_proj"]},
    "rank-stabilised": {"target_modules": ["q_proj"], "use_rslora": True},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "model"
    save_hf(tiny.model(), folder)
    return folder


def reference(folder):
    return Glm4MoeForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    ).eval()


@torch.inference_mode()
def their_logits(model):
    return model(torch.from_numpy(TOKENS).long()).logits.numpy()


def our_logits(model):
    return np.asarray(model.logits(model(TOKENS).hidden))


@pytest.mark.parametrize("targets", TARGETS)
def test_peft_opens_what_glmkit_saves(targets, base, tmp_path):
    model = tiny.with_updates(add_lora(tiny.model(), 4, 8, TARGETS[targets], rngs=nnx.Rngs(0)))
    save_adapter(model, tmp_path / "ours", base_model=str(base))
    before = their_logits(reference(base))
    adapted = PeftModel.from_pretrained(reference(base), tmp_path / "ours").eval()
    expected = their_logits(adapted)
    assert relative_error(our_logits(model), expected) < TOLERANCE
    assert relative_error(before, expected) > 0.1
    adapted.save_pretrained(tmp_path / "theirs")
    back = load_adapter(tiny.model(), tmp_path / "theirs")
    np.testing.assert_array_equal(our_logits(back), our_logits(model))


@pytest.mark.parametrize("config", CONFIGS)
def test_glmkit_opens_what_peft_saves(config, base, tmp_path):
    torch.manual_seed(0)
    adapted = get_peft_model(
        reference(base), LoraConfig(r=4, lora_alpha=8, init_lora_weights=False, **CONFIGS[config])
    ).eval()
    adapted.save_pretrained(tmp_path / "theirs")
    expected = their_logits(adapted)
    model = load_adapter(tiny.model(), tmp_path / "theirs")
    assert relative_error(our_logits(model), expected) < TOLERANCE
    save_adapter(model, tmp_path / "ours", base_model=str(base))
    again = PeftModel.from_pretrained(reference(base), tmp_path / "ours").eval()
    np.testing.assert_array_equal(their_logits(again), expected)


def test_the_reference_reads_a_merged_model(base, tmp_path):
    model = merge_lora(tiny.with_updates(add_lora(tiny.model(), 4, 8, rngs=nnx.Rngs(0))))
    save_hf(model, tmp_path / "merged")
    assert relative_error(our_logits(model), their_logits(reference(tmp_path / "merged"))) < TOLERANCE
