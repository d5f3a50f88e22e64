"""Whether an accelerator computes what a CPU computes, and how fast: `python benchmarks/gpu.py`.

The model is that of `write_model.py`. A process on the CPU gives the reference: float32 logits, which the accelerator
gives again in float32 and in bfloat16. Speeds are those of `glmkit bench`, in its default dtype; the attention kernels
are also compared by themselves (`attention.py`). The last line is an object, which is also written to
`benchmarks/results/DEVICE.json`; on a machine without an accelerator nothing is.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from attention import measured

from glmkit import load_hf

RESULTS = Path(__file__).with_name("results")
TOKENS = 512
SPEEDS = {
    **{f"decode, batch {rows}": ("decode", "--batch", str(rows)) for rows in (1, 8, 32)},
    **{f"prefill, {tokens} tokens": ("prefill", "--prompt", str(tokens)) for tokens in (1024, 8192)},
    **{f"training step, {rows} x 512 tokens": ("train", "--batch", str(rows)) for rows in (4, 32)},
}


def logits(folder: Path, dtype: str) -> np.ndarray:
    """Float32 logits of the same random tokens, `[1, TOKENS, V]`."""
    model = load_hf(folder, dtype=dtype)
    tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, (1, TOKENS), np.int32)
    return np.asarray(model.logits(model(tokens).hidden))


def on_the_cpu(folder: Path) -> np.ndarray:
    """The reference, from a process that sees no accelerator: kernels are chosen by JAX's default platform."""
    file = folder / "reference.npy"
    command = [sys.executable, __file__, "--reference", str(file), "--model", str(folder)]
    subprocess.run(command, env=os.environ | {"JAX_PLATFORMS": "cpu"}, check=True)
    return np.load(file)


def divergence(reference: np.ndarray, other: np.ndarray) -> float:
    """Mean KL divergence of the next-token distributions, in nats."""
    p, q = (jax.nn.log_softmax(jnp.asarray(x), axis=-1) for x in (reference, other))
    return float((jnp.exp(p) * (p - q)).sum(-1).mean())


def speed(folder: Path, what: str, *options: str) -> float:
    """Tokens per second, by `glmkit bench` in a process of its own."""
    command = [sys.executable, "-m", "glmkit", "bench", what, "--model", str(folder), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])["tokens_per_s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a folder (default: one that is made for this)")
    parser.add_argument("--reference", type=Path, help="write the reference there, and nothing else")
    args = parser.parse_args()
    if args.reference:
        np.save(args.reference, logits(args.model, "float32"))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = args.model or Path(made) / "model"
        if args.model is None:
            subprocess.run([sys.executable, Path(__file__).with_name("write_model.py"), folder], check=True)
        speeds = {name: speed(folder, *options) for name, options in SPEEDS.items()}  # before this process takes memory
        reference, single = on_the_cpu(folder), logits(folder, "float32")
        found = {
            "device": jax.devices()[0].device_kind,
            "jax": jax.__version__,
            "float32_error": float(np.abs(single - reference).max() / np.abs(reference).max()),
            "bfloat16_kl": divergence(reference, logits(folder, "bfloat16")),
            "tokens_per_s": speeds,
            "attention": measured(),
        }
    print(json.dumps(found))
    if jax.default_backend() != "cpu":
        RESULTS.mkdir(exist_ok=True)
        name = re.sub(r"\W+", "-", found["device"].lower())
        (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
