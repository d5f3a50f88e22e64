"""Whether an accelerator computes what a CPU computes, and how fast: `python benchmarks/gpu.py [STAGE ...]`.

Each stage runs in a process of its own, and `benchmarks/results/DEVICE.json` holds what the last run of each found (on
a machine without an accelerator nothing is written). `--seconds` ends the whole early, without the stages left.

- `parity`: logits and gradients of the model of `write_model.py` against those of a process on the CPU.
- `answers`: glm-nano's against those of a process on the CPU.
- `attention`: the kernels by themselves, see `attention.py`.
- `air`: decoding and prefill with the first layers of GLM-4.5-Air, random weights in bfloat16; a step reads `read_gb`.
- `small`: `glmkit bench` on the model of `write_model.py`.
- `nano`: steps of glm-nano's training, 16 rows of 2,560 tokens.
"""

import argparse
import dataclasses
import json
import os
import pickle
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from glmkit import GLM, LM, GLMConfig, load, load_hf

RESULTS = Path(__file__).with_name("results")
TOKENS = 512
Found = Iterator[tuple[str, Any]]
AIR_LAYERS = 9  # of which the first is dense
PROMPTS = [f"What is {a} {sign} {b}?" for a, sign, b in zip(range(17, 33), "+-" * 8, range(98, 82, -1), strict=True)]


def computed(folder: Path) -> dict[str, Any]:
    """With all products in float32: logits `[1, TOKENS, V]` and the gradient of the loss."""
    with jax.default_matmul_precision("highest"):
        model, tokens = load_hf(folder, dtype="float32"), some_tokens(folder)
        logits, gradient = logits_of(model, tokens), gradient_of(model, tokens)
    return {"logits": np.asarray(logits), "gradient": [np.asarray(g) for g in jax.tree.leaves(gradient)]}


def answered(_: Path) -> list[str]:
    """Glm-nano's answers in float32, as they are likeliest."""
    with jax.default_matmul_precision("highest"), load("nano", dtype="float32", max_len=512) as lm:
        return [done.content for done in lm.chat_batch(PROMPTS, temperature=0.0, max_tokens=120)]


@contextmanager
def on_the_cpu(compute: Callable[[Path], Any], folder: Path) -> Iterator[Callable[[], Any]]:
    """What a process on the CPU computes, where kernels are chosen for it, while this one goes on."""
    with tempfile.NamedTemporaryFile(suffix=".pickle") as out:
        command = [sys.executable, __file__, "--reference", compute.__name__, "--model", str(folder), "--out", out.name]
        process = subprocess.Popen(command, env=os.environ | {"JAX_PLATFORMS": "cpu"})

        def result() -> Any:
            if process.wait():
                raise SystemExit("the reference on the CPU failed")
            return pickle.load(out)

        yield result


def some_tokens(folder: Path) -> np.ndarray:
    return np.random.default_rng(0).integers(0, GLMConfig.from_hf(folder).vocab_size, (1, TOKENS), np.int32)


@jax.jit
def logits_of(model: GLM, tokens: np.ndarray) -> jax.Array:
    return model.logits(model(tokens).hidden)


@jax.jit
def gradient_of(model: GLM, tokens: np.ndarray) -> GLM:
    """Of the mean loss of the next token."""

    def loss(model: GLM) -> jax.Array:
        logits = jax.nn.log_softmax(logits_of(model, tokens[:, :-1]))
        return -jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1).mean()

    return jax.grad(loss)(model)


def parity(folder: Path) -> Found:
    """The largest error of a logit relative to the largest; the KL divergence is a mean over positions, in nats."""
    with on_the_cpu(computed, folder) as reference:
        own, narrow, tokens = computed(folder), load_hf(folder, dtype="bfloat16"), some_tokens(folder)
        logits, gradient = np.asarray(logits_of(narrow, tokens)), jax.tree.leaves(gradient_of(narrow, tokens))
        right = reference()
    p, q = (jax.nn.log_softmax(jnp.asarray(x), axis=-1) for x in (right["logits"], logits))
    yield "float32_error", float(np.abs(own["logits"] - right["logits"]).max() / np.abs(right["logits"]).max())
    yield "float32_gradient_error", gradient_error(own["gradient"], right["gradient"])
    yield "bfloat16_kl", float((jnp.exp(p) * (p - q)).sum(-1).mean())
    yield "bfloat16_gradient_error", gradient_error(gradient, right["gradient"])


def answers(folder: Path) -> Found:
    with on_the_cpu(answered, folder) as reference:
        yield "same", f"{sum(map(str.__eq__, answered(folder), reference()))} of {len(PROMPTS)}"


def gradient_error(found: list, right: list[np.ndarray]) -> float:
    """The norm of what is wrong over the norm of what is right, of the whole gradient."""
    pairs = [(np.asarray(mine, np.float32), theirs) for mine, theirs in zip(found, right, strict=True)]
    squares = [(((mine - theirs) ** 2).sum(), (theirs**2).sum()) for mine, theirs in pairs]
    wrong, whole = (sum(map(float, part)) for part in zip(*squares, strict=True))
    return float((wrong / whole) ** 0.5)


def attention(_: Path) -> Found:
    from attention import measured

    yield from measured()


def air(_: Path) -> Found:
    """Tokens per second, and what of the weights a step of one row has to read."""
    from glmkit.bench import generating_round

    config = dataclasses.replace(
        GLMConfig.preset("glm-4.5-air"), num_hidden_layers=AIR_LAYERS, num_nextn_predict_layers=0
    )
    yield "layers", AIR_LAYERS
    yield "read_gb", round(read_by_a_row(config) / 1e9, 3)
    model, rng = GLM(config, rngs=nnx.Rngs(0), dtype="bfloat16"), np.random.default_rng(0)
    with LM(model, None, max_len=8448) as lm:
        cases = [(f"decode, {rows} rows", "decode", (rows, 64)) for rows in (1, 8, 32)]
        for name, what, shape in [*cases, ("prefill, 8192 tokens", "prefill", (1, 8192))]:
            prompts = rng.integers(0, config.vocab_size, shape)
            yield name, median(generating_round(lm, what, prompts, 128))


def read_by_a_row(config: GLMConfig) -> int:
    """Bytes of the weights that decoding a token takes: of the table of embeddings a line, of the experts its own."""
    idle = (config.n_routed_experts - config.num_experts_per_tok) * config.num_moe_layers
    unread = idle * 3 * config.hidden_size * config.moe_intermediate_size + config.vocab_size * config.hidden_size
    return 2 * (config.num_parameters(mtp=None) - unread)


def small(folder: Path) -> Found:
    """Tokens per second, in the default dtype; training in float32."""
    options = {"decode, 1 row": ("decode",), "decode, 32 rows": ("decode", "--batch", "32")}
    options["training step, 32 x 512 tokens"] = ("train", "--batch", "32")
    for name, given in options.items():
        command = [sys.executable, "-m", "glmkit", "bench", *given, "--model", str(folder), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        yield name, json.loads(done.stdout.splitlines()[-1])["tokens_per_s"]


def nano(_: Path, steps: int = 60) -> Found:
    """Of the first `steps`, the later half; while examples are drawn by other processes."""
    from glmkit.nano.pipeline import lessons, untrained
    from glmkit.nano.recipe import Recipe
    from glmkit.train import fit

    recipe = Recipe(rows=16, workers=max(1, (os.cpu_count() or 1) - 2))
    tokenizer, data = lessons(recipe)
    settings = recipe.settings | {"steps": steps}
    run = fit(untrained(recipe, tokenizer), data, objective=recipe.objective, donate=True, **settings)
    taken = []
    for step in run:
        taken.append(step.metrics)
        if step.number == 1:
            yield "first_step_s", round(step.metrics["seconds"], 1)
    seconds = [metrics["seconds"] for metrics in taken[steps // 2 :]]
    yield "rows", recipe.rows
    yield "tokens_per_s", round(sum(metrics["tokens"] for metrics in taken[steps // 2 :]) / sum(seconds))
    yield "ms_a_step", round(1e3 * statistics.median(seconds), 1)
    yield "losses", [round(metrics["loss"], 3) for metrics in taken[:: max(1, steps // 6)]]


def median(round_: Callable[[], float], rounds: int = 3) -> float:
    round_()  # compiles
    return round(statistics.median(round_() for _ in range(rounds)), 1)


STAGES = {stage.__name__: stage for stage in (parity, answers, attention, nano, small, air)}
REFERENCES = {compute.__name__: compute for compute in (computed, answered)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)} (default: all)")
    parser.add_argument("--model", type=Path, help="a folder (default: one that is made for this)")
    parser.add_argument("--seconds", type=float, default=3600, help="for all (default: %(default)s)")
    parser.add_argument("--reference", choices=REFERENCES, help="compute it, write it to --out, and no more")
    parser.add_argument("--out", type=Path, help="of --reference")
    parser.add_argument("--stage", choices=STAGES, help="run it in this process, and print what it finds")
    args = parser.parse_args()
    if args.reference:
        args.out.write_bytes(pickle.dumps(REFERENCES[args.reference](args.model)))
    elif args.stage:
        for name, value in STAGES[args.stage](args.model):
            print(json.dumps([jax.devices()[0].device_kind, name, value]), flush=True)
    else:
        run(args)


def run(args: argparse.Namespace) -> None:
    """All stages, each in a process that has the device for itself; what one found before it was ended counts too."""
    deadline = time.monotonic() + args.seconds
    with tempfile.TemporaryDirectory() as made:
        folder = args.model or Path(made) / "model"
        if args.model is None:
            writing = [sys.executable, str(Path(__file__).with_name("write_model.py")), str(folder)]
            subprocess.run(writing, env=os.environ | {"JAX_PLATFORMS": "cpu"}, check=True)
        for stage in args.stages or STAGES:
            command, began = [sys.executable, __file__, "--stage", stage, "--model", str(folder)], time.monotonic()
            with tempfile.TemporaryFile("w+") as out:
                try:
                    subprocess.run(command, stdout=out, check=True, timeout=max(1, deadline - began))
                except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
                    print(f"{stage}: {failure}", file=sys.stderr)
                out.seek(0)
                lines = [json.loads(line) for line in out if line.startswith("[")]
            found = {name: value for _, name, value in lines} | {"seconds": round(time.monotonic() - began)}
            print(json.dumps({stage: found}), flush=True)
            if lines:
                record(lines[0][0], {"jax": jax.__version__, stage: found})


def record(device: str, found: dict[str, Any]) -> None:
    """Into the file of the device, beside what other stages found there."""
    if device.lower() == "cpu":
        return
    file = RESULTS / (re.sub(r"\W+", "-", device.lower()) + ".json")
    RESULTS.mkdir(exist_ok=True)
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({"device": device} | before | found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
