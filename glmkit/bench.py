"""`glmkit bench`: speed of decoding, prefill and training steps, alone or beside transformers in the same run.

Each figure is the median over rounds in which the contenders take turns, because machines are noisy; between them
is a pause, because threads look out for more work for a while after their last. A way of transformers' that takes ten
times as long as its fastest is measured once, not in every round. Training is AdamW in float32 with gradients clipped;
its memory is the largest ever resident in a process of its own that takes two steps.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from glmkit.checks import check_integer
from glmkit.config import GLMConfig

Round = Callable[[], float]  # runs once and returns tokens per second
ROUNDS = 11
_PAUSE = 0.3  # seconds
_HOPELESS = 10  # times slower than the fastest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("decode", "prefill", "train"))
    parser.add_argument("--model", default="nano", help="a bundled name, or a folder, which needs no tokenizer")
    parser.add_argument("--batch", type=int, default=1, help="rows (default: %(default)s)")
    parser.add_argument("--prompt", type=int, default=64, help="prompt tokens of each row (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to decode (default: %(default)s)")
    parser.add_argument("--length", type=int, default=512, help="tokens of a row in training (default: %(default)s)")
    parser.add_argument(
        "--vs-transformers", action="store_true", help="measure transformers too (needs the parity extra)"
    )
    parser.add_argument("--json", action="store_true", help="print only the last line, an object")


def run(args: argparse.Namespace) -> int:
    """Print a line for each contender, and as the last line an object with `tokens_per_s` and the ratios."""
    for name in ("batch", "prompt", "tokens", "length"):
        check_integer(f"--{name}", getattr(args, name), 1)
    training = args.what == "train"
    if training:
        folder = _folder(args.model)
        memory = _training_memory(folder, args)  # before this process grows: a new one counts what its parent held
    medians = _measure(dict(_training(folder, args) if training else _contenders(args)))
    if not args.json:
        for name, speed in medians.items():
            print(f"{name:40s} {speed:10.1f} tokens/s" + (f" {memory[name]:8,d} MiB" if training else ""))
    result = {"tokens_per_s": round(medians["glmkit"], 1), "what": args.what, "batch": args.batch}
    result |= {"length": args.length, "mib": memory["glmkit"]} if training else {"prompt": args.prompt}
    for dtype in ("float32", "bfloat16"):
        theirs = {name: speed for name, speed in medians.items() if name.startswith("transformers") and dtype in name}
        if theirs:
            best = max(theirs, key=lambda name: theirs[name])
            result[f"transformers_{dtype}"] = {"best": best, "tokens_per_s": round(theirs[best], 1)}
            result[f"ratio_{dtype}"] = round(medians["glmkit"] / theirs[best], 2)
            if training:
                result[f"transformers_{dtype}"]["mib"] = memory[best]
                result[f"memory_ratio_{dtype}"] = round(memory["glmkit"] / memory[best], 2)
    print(json.dumps(result))
    return 0


def _measure(contenders: dict[str, Round]) -> dict[str, float]:
    """The median speed of each contender, in tokens per second."""
    first = {name: round_() for name, round_ in contenders.items()}  # compiles, and warms caches
    hopeful = [name for name, speed in first.items() if speed * _HOPELESS > max(first.values()) or name == "glmkit"]
    speeds: dict[str, list[float]] = {name: [] for name in hopeful}
    for _ in range(ROUNDS):
        for name in hopeful:
            if len(hopeful) > 1:
                time.sleep(_PAUSE)
            speeds[name].append(contenders[name]())
    return {name: statistics.median(speeds[name]) if name in speeds else first[name] for name in contenders}


def _contenders(args: argparse.Namespace) -> Iterator[tuple[str, Round]]:
    from glmkit.loading import load

    lm = load(args.model, max_len=args.prompt + args.tokens + 1)
    prompts = np.random.default_rng(0).integers(0, lm.config.vocab_size, (args.batch, args.prompt))
    yield "glmkit", lambda: _glmkit(lm, args, prompts)
    if args.vs_transformers:
        from glmkit.peer import transformers_rounds

        yield from transformers_rounds(_folder(args.model), args.what, prompts, args.tokens)


def _glmkit(lm, args: argparse.Namespace, prompts: np.ndarray) -> float:
    from glmkit.engine import Request, Sampling

    wanted = args.tokens + 1 if args.what == "decode" else 1
    requests = [Request(tuple(map(int, row)), Sampling(temperature=0.0), wanted, frozenset()) for row in prompts]
    tokens = lm.engine.generate(requests)
    started = time.perf_counter()
    next(tokens)  # the end of prefill
    if args.what == "prefill":
        return prompts.size / (time.perf_counter() - started)
    started = time.perf_counter()
    for _ in tokens:
        pass
    return args.batch * args.tokens / (time.perf_counter() - started)


def _folder(model: str) -> Path:
    from glmkit.loading import resolve_source

    return resolve_source(model)


def _training(folder: Path, args: argparse.Namespace, only: str | None = None) -> Iterator[tuple[str, Round]]:
    """Steps of each contender, or of the one that is named: what only the others need, JAX say, is not imported."""
    vocab_size = GLMConfig.from_hf(folder).vocab_size
    tokens = np.random.default_rng(0).integers(0, vocab_size, (args.batch, args.length))
    if only in (None, "glmkit"):
        yield "glmkit", _glmkit_training(folder, tokens)
    if args.vs_transformers and only != "glmkit":
        from glmkit.peer import training_rounds

        yield from training_rounds(folder, tokens, only)


def _glmkit_training(folder: Path, tokens: np.ndarray) -> Round:
    import jax

    from glmkit.train import Objective, TrainState, compiled_step, make_optimizer
    from glmkit.train.data import Batch
    from glmkit.weights.hf import load_hf

    optimizer, objective = make_optimizer("adamw", 1e-4), Objective(mtp_weight=0.0, bias_rate=0.0, balance_weight=0.0)
    state = TrainState.start(load_hf(folder, dtype=np.float32), optimizer)
    step = compiled_step(objective, optimizer)
    rows = tokens[None].astype(np.int32)
    batch = Batch(rows, np.ones(rows.shape, bool), np.zeros_like(rows))

    def round_() -> float:
        nonlocal state
        started = time.perf_counter()
        state, metrics = step(state, batch)
        jax.block_until_ready((state, metrics))
        return tokens.size / (time.perf_counter() - started)

    return round_


def _training_memory(folder: Path, args: argparse.Namespace) -> dict[str, int]:
    """The most that a process of each contender's own held, in MiB."""
    from glmkit.peer import TRAINING

    names = ["glmkit", *(TRAINING if args.vs_transformers else ())]
    alone = {"max_workers": 1, "mp_context": multiprocessing.get_context("spawn")}
    memory = {}
    for name in names:
        with ProcessPoolExecutor(**alone) as pool:
            memory[name] = pool.submit(_resident_after_two_steps, folder, args, name).result()
    return memory


def _resident_after_two_steps(folder: Path, args: argparse.Namespace, name: str) -> int:
    ((_, round_),) = _training(folder, args, only=name)
    round_()
    round_()
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
