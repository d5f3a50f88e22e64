"""Writes a checkpoint with random weights in the released layout: `python benchmarks/write_model.py OUT`.

The default is the 106M-parameter model every published ratio is measured on.
"""

import argparse

from flax import nnx

from glmkit import GLM, GLMConfig, save_hf

CONFIG = GLMConfig(
    vocab_size=8192,
    hidden_size=512,
    num_hidden_layers=8,
    first_k_dense_replace=1,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=64,
    intermediate_size=1536,
    moe_intermediate_size=256,
    n_routed_experts=32,
    num_experts_per_tok=4,
    max_position_embeddings=16_384,
    num_nextn_predict_layers=0,
    dtype="float32",
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    out = parser.parse_args().out
    save_hf(GLM(CONFIG, rngs=nnx.Rngs(0)), out, overwrite=True)
    print(f"{out}: {CONFIG.num_parameters(mtp=None):,} parameters")
