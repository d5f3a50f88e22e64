"""GLMConfig: sizes of the releases, both forms of config.json, one clear error per impossible value."""

import json
import pickle
from dataclasses import replace

import jax
import pytest

from glmkit.config import PRESETS, GLMConfig
from glmkit.errors import ConfigError

SMALL = {
    "vocab_size": 512,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
}

# A config.json as the releases have it, with keys that glmkit does not know.
RELEASED = {
    "architectures": ["Glm4MoeForCausalLM"],
    "model_type": "glm4_moe",
    "attention_bias": True,
    "attention_dropout": 0.0,
    "pad_token_id": 151329,
    "eos_token_id": [151329, 151336, 151338],
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "partial_rotary_factor": 0.5,
    "initializer_range": 0.02,
    "intermediate_size": 10944,
    "max_position_embeddings": 131072,
    "num_attention_heads": 96,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 8,
    "norm_topk_prob": True,
    "n_routed_experts": 128,
    "n_shared_experts": 1,
    "moe_intermediate_size": 1408,
    "num_hidden_layers": 46,
    "num_key_value_heads": 8,
    "first_k_dense_replace": 1,
    "num_nextn_predict_layers": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "routed_scaling_factor": 1.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.54.0",
    "use_cache": True,
    "use_qk_norm": False,
    "vocab_size": 151552,
}

# As transformers 5 writes a small model: `dtype`, `rope_parameters`, no head_dim, no partial_rotary_factor.
V5 = {
    "architectures": ["Glm4MoeForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "bos_token_id": None,
    "dtype": "float32",
    "eos_token_id": 3,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "max_position_embeddings": 131072,
    "model_type": "glm4_moe",
    "moe_intermediate_size": 32,
    "n_group": 2,
    "num_local_experts": 8,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 8,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "pad_token_id": None,
    "rms_norm_eps": 1e-05,
    "rope_parameters": {"rope_theta": 50000.0, "rope_type": "default"},
    "routed_scaling_factor": 1.0,
    "tie_word_embeddings": False,
    "topk_group": 1,
    "transformers_version": "5.23.0",
    "use_qk_norm": True,
    "vocab_size": 512,
}


@pytest.mark.parametrize(
    ("name", "mtp", "count"),
    [
        ("glm-4.5", "own", 358_337_791_296),
        ("glm-4.5", None, 351_245_931_424 + 2 * 775_946_240 + 5120),
        ("glm-4.5-air", "own", 110_468_824_832),
        ("glm-4.5-air", "shared", 109_227_310_848),
        ("glm-4.5-air", None, 105_610_733_184 + 2 * 620_756_992 + 4096),
        ("glm-4.6", "shared", 356_785_898_816),
    ],
)
def test_presets_have_the_released_number_of_parameters(name, mtp, count):
    assert GLMConfig.preset(name).num_parameters(mtp) == count


def test_cache_bytes_per_token_are_the_released_models():
    assert GLMConfig.preset("glm-4.5-air").kv_bytes_per_token() == 188_416
    assert GLMConfig.preset("glm-4.5").kv_bytes_per_token() == 376_832
    assert GLMConfig.preset("glm-4.5").kv_bytes_per_token(dtype_bytes=4) == 2 * 376_832


def test_presets_differ_from_the_reference_class_defaults_where_the_releases_do():
    for name in PRESETS:
        config = GLMConfig.preset(name)
        assert config.rope_theta == 1e6
        assert config.attention_bias
        assert config.rotary_dim == 64
        assert config.q_per_kv == 12
        assert config.eos_token_id == (151_329, 151_336, 151_338)
        assert config.use_qk_norm == ("air" not in name)
    assert GLMConfig.preset("glm-4.6").max_position_embeddings == 202_752
    assert GLMConfig.preset("glm-4.5-base") == GLMConfig.preset("glm-4.5")


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown preset 'glm-5'; expected one of glm-4\.5, .*glm-4\.6"):
        GLMConfig.preset("glm-5")


def test_a_tied_head_and_an_absent_mtp_layer_are_not_counted():
    config = GLMConfig(**SMALL)
    table = 512 * 64
    tied = replace(config, tie_word_embeddings=True)
    assert config.num_parameters(None) - tied.num_parameters(None) == table
    assert config.num_parameters("own") - config.num_parameters("shared") == 2 * table
    assert replace(config, num_nextn_predict_layers=0).num_parameters("own") == config.num_parameters(None)


def test_layers_with_experts():
    config = GLMConfig(**SMALL, first_k_dense_replace=3)
    assert config.moe_layers == (3,)
    assert config.num_moe_layers == 1
    assert [config.is_moe(layer) for layer in range(5)] == [False, False, False, True, True]
    with pytest.raises(ConfigError, match="layer 5 does not exist; expected 0 to 4"):
        config.is_moe(5)
    dense = replace(config, first_k_dense_replace=4, num_nextn_predict_layers=0)
    assert dense.moe_layers == ()


@pytest.mark.parametrize("hf", [RELEASED, V5], ids=["released", "v5"])
def test_what_is_read_is_written_back_in_the_same_form(hf):
    written = GLMConfig.from_hf(hf).to_hf()
    assert json.dumps(written) == json.dumps(hf)


def test_the_released_form_is_read_as_the_preset():
    config = GLMConfig.from_hf(RELEASED)
    assert config.extra == {"transformers_version": "4.54.0", "use_cache": True}
    assert replace(config, extra={}, source=None) == GLMConfig.preset("glm-4.5-air")


def test_the_v5_form_is_understood():
    config = GLMConfig.from_hf(V5)
    assert config.rope_theta == 50000.0
    assert config.partial_rotary_factor == 0.5  # absent
    assert config.head_dim == 16  # absent: 128 / 8
    assert config.n_routed_experts == 8
    assert config.num_nextn_predict_layers == 0  # absent
    assert config.dtype == "float32"
    assert config.eos_token_id == (3,)


def test_absent_keys_mean_what_the_reference_takes_them_for():
    hf = {**SMALL, "model_type": "glm4_moe"}
    config = GLMConfig.from_hf(hf)
    assert config.rope_theta == 10000.0
    assert config.attention_bias is False
    assert config.to_hf() == hf


def test_replaced_fields_are_written_where_the_form_keeps_them():
    config = GLMConfig.from_hf(V5)
    changed = replace(
        config,
        rope_theta=1e6,
        n_routed_experts=16,
        hidden_size=256,  # which would imply another head_dim
        attention_bias=False,
        eos_token_id=(3, 4),
        extra={"note": "pruned"},
    )
    hf = changed.to_hf()
    assert hf["rope_parameters"]["rope_theta"] == 1e6
    assert "rope_theta" not in hf
    assert hf["num_local_experts"] == 16
    assert "n_routed_experts" not in hf
    assert hf["eos_token_id"] == [3, 4]
    assert hf["note"] == "pruned"
    assert "transformers_version" not in hf
    again = GLMConfig.from_hf(hf)
    assert replace(again, source=None) == replace(changed, source=None)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_a_round_trip_through_a_folder(name, tmp_path):
    preset = GLMConfig.preset(name)
    (tmp_path / "config.json").write_text(json.dumps(preset.to_hf()))
    assert GLMConfig.from_hf(tmp_path) == preset
    assert GLMConfig.from_hf(tmp_path / "config.json") == preset


def test_it_is_a_static_argument_of_jit():
    traced = []

    def double(config, x):
        traced.append(config)
        return x * config.hidden_size

    jitted = jax.jit(double, static_argnums=0)
    config = GLMConfig.from_hf(V5)
    same = pickle.loads(pickle.dumps(config))
    assert jitted(config, 2) == jitted(same, 2) == 256
    assert len(traced) == 1
    assert jitted(replace(config, hidden_size=64), 2) == 128
    assert config != replace(config, extra={})


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("hidden_size", 0, "a positive integer"),
        ("hidden_size", "64", "a positive integer"),
        ("vocab_size", True, "a positive integer"),
        ("num_key_value_heads", 3, "a divisor of num_attention_heads, 8"),
        ("partial_rotary_factor", 0.1, "an even part of head_dim, 16"),
        ("partial_rotary_factor", 1.5, "an even part of head_dim, 16"),
        ("partial_rotary_factor", 1e308, "an even part of head_dim, 16"),
        ("rope_theta", 10**400, "a positive number"),
        ("rms_norm_eps", 10**400, "a positive number"),
        ("head_dim", 10**400, "at most 2147483647"),
        ("rope_theta", float("nan"), "a positive number"),
        ("rms_norm_eps", 0, "a positive number"),
        ("n_group", 3, "equal groups of 2 or more of the n_routed_experts, 8"),
        ("n_group", 8, "equal groups of 2 or more"),
        ("topk_group", 2, "at most n_group, 1"),
        ("num_experts_per_tok", 9, "at most 8"),
        ("first_k_dense_replace", 5, "at most num_hidden_layers, 4"),
        ("n_shared_experts", 0, "a positive integer"),
        ("first_k_dense_replace", -1, "at least 0"),
        ("num_nextn_predict_layers", 2, "0 or 1"),
        ("hidden_act", "gelu", "'silu'"),
        ("attention_dropout", 1.0, r"a number in \[0, 1\)"),
        ("norm_topk_prob", 1, "true or false"),
        ("eos_token_id", "</s>", "a token id or a list of them"),
        ("pad_token_id", -1, "a token id or none"),
        ("num_hidden_layers", 10**7, "at most 4096"),
        ("n_routed_experts", 10**7, "at most 65536"),
        ("dtype", "float8", "one of bfloat16, float32, float16"),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4}, "'default'"),
    ],
)
def test_an_impossible_value_is_refused_by_name(field, value, expected):
    with pytest.raises(ConfigError, match=rf"^{field} .*{expected}"):
        GLMConfig(**{**SMALL, field: value})


def test_experts_must_be_enough_in_the_groups_that_are_kept():
    GLMConfig(**{**SMALL, "n_group": 4, "topk_group": 1, "num_experts_per_tok": 2})
    with pytest.raises(ConfigError, match="num_experts_per_tok is 3; expected at most 2"):
        GLMConfig(**{**SMALL, "n_group": 4, "topk_group": 1, "num_experts_per_tok": 3})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "glm4v_moe"}, "model_type is 'glm4v_moe'; expected 'glm4_moe'"),
        ({"model_type": None}, "model_type is None; expected 'glm4_moe'"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "'compressed-tensors'.*bfloat16 release"),
        ({"quantization_config": {"quant_method": "awq"}}, "'awq'.*bfloat16 release"),
        ({"quantization_config": {"quant_method": "gptq"}}, "'gptq'.*bfloat16 release"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope_scaling asks for rope_type 'linear'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters asks for rope_type 'yarn'"),
        ({"num_experts": 64}, "num_experts is 64, but another key for n_routed_experts is 128; keep one"),
        ({"scoring_func": "softmax"}, "scoring_func is 'softmax'; expected 'sigmoid'"),
        ({"topk_method": "greedy"}, "topk_method is 'greedy'; expected 'noaux_tc'"),
        ({"rope_interleave": True}, "rope_interleave is True; expected False"),
        ({"sliding_window": 128}, "sliding_window is 128; expected None"),
        ({"layer_types": ["sliding_attention"]}, "layer_types is .* expected a list with 'full_attention'"),
        ({"layer_types": 5}, "layer_types is 5; expected a list"),
        ({"layer_types": True}, "layer_types is True; expected a list"),
        ({"hidden_size": None}, "hidden_size missing"),
        ({"head_dim": None, "hidden_size": 5120}, "head_dim missing"),
    ],
)
def test_a_config_that_cannot_be_read_right_is_refused(change, message, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**RELEASED, **change}))
    with pytest.raises(ConfigError, match=message) as refusal:
        GLMConfig.from_hf(tmp_path)
    assert str(path) in str(refusal.value)


def test_plain_rope_under_the_older_key_is_read_and_written_there():
    hf = {**RELEASED, "rope_scaling": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.25}}
    config = GLMConfig.from_hf(hf)
    assert (config.rope_theta, config.partial_rotary_factor) == (100.0, 0.25)
    assert config.to_hf() == hf
    assert replace(config, rope_theta=50.0).to_hf()["rope_scaling"]["rope_theta"] == 50.0


def test_what_other_models_choose_may_be_said_as_it_is_here():
    said = {"scoring_func": "sigmoid", "topk_method": "noaux_tc", "rope_interleave": False, "sliding_window": None}
    hf = {**RELEASED, **said, "layer_types": ["full_attention"] * 46}
    assert GLMConfig.from_hf(hf).to_hf() == hf


def test_default_rope_scaling_is_no_scaling():
    hf = {**RELEASED, "rope_scaling": {"rope_type": "default"}}
    config = GLMConfig.from_hf(hf)
    assert config.rope_scaling is None
    assert config.to_hf() == hf


def test_files_that_are_no_config(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json not found"):
        GLMConfig.from_hf(tmp_path)
    path = tmp_path / "config.json"
    refused = {b"{": "not valid JSON", b"\xff\xfe": "not valid JSON", b"[]": "holds a list"}
    refused |= {b"[" * 100_000: "nested too deeply", b"[" + b"9" * 5000 + b"]": "not valid JSON"}
    for content, message in refused.items():
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            GLMConfig.from_hf(path)
