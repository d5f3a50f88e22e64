"""Checkpoints that the tests of this folder read and write, and what is in one, by the format's own library."""

import json

from safetensors.numpy import load_file, save_file

from golden.cases import Case

SMALL = {"vocab_size": 32, "hidden_size": 16, "head_dim": 8, "num_attention_heads": 4, "intermediate_size": 24}
SMALL |= {"moe_intermediate_size": 8, "n_routed_experts": 4, "num_experts_per_tok": 2}
FULL = {"attention_bias": True, "use_qk_norm": True}
ROUND_TRIPS = {
    "float32": Case(SMALL | FULL),
    "bfloat16": Case(SMALL | FULL, stored="bfloat16"),
    "own tables, bfloat16": Case(SMALL | FULL, mtp="own", stored="bfloat16"),
    "own tables, float32": Case(SMALL, mtp="own"),
    "shared tables": Case(SMALL | FULL, mtp="shared", stored="bfloat16"),
    "tied": Case(SMALL | {"tie_word_embeddings": True}, stored="bfloat16"),
    "no dense layer, two shared experts": Case(SMALL | {"first_k_dense_replace": 0, "n_shared_experts": 2}),
    "dense layers only": Case(SMALL | {"first_k_dense_replace": 3}),
}
SAMPLE = ROUND_TRIPS["own tables, bfloat16"]
EXPERT = "model.layers.1.mlp.experts.2.up_proj.weight"
BIAS = "model.layers.1.mlp.gate.e_score_correction_bias"
GATE = "model.layers.1.mlp.gate.weight"


def write(folder, tensors, config=SAMPLE.config):
    """A checkpoint of one file, as the format's own library writes it."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def stored(folder):
    """Every tensor below a folder, read by the format's own library."""
    return {name: array for file in folder.glob("*.safetensors") for name, array in load_file(file).items()}


def assert_same(written, tensors):
    assert sorted(written) == sorted(tensors)
    for name, array in tensors.items():
        assert (written[name].dtype, written[name].shape) == (array.dtype, array.shape), name
        assert written[name].tobytes() == array.tobytes(), name
