"""`glmkit bench`: speed of decoding, prefill and training steps, alone or beside transformers in the same run.

Each contender works in a process of its own, so that the threads and the freed memory of one are no burden to the
next, and each figure is the median over rounds in which they take turns, because machines are noisy. A way of
transformers' that takes ten times as long as its fastest is measured once, not in every round. Training is AdamW in
float32 with gradients clipped; its memory is the largest that its process ever held.
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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from glmkit.checks import check_integer
from glmkit.config import GLMConfig

if TYPE_CHECKING:
    from glmkit.lm import LM

Round = Callable[[], float]  # runs once and returns tokens per second
ROUNDS = 11
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
    folder, training = _folder(args.model), args.what == "train"
    with ExitStack() as open_:
        contenders = {name: open_.enter_context(_process(name, folder, args)) for name in _names(args)}
        medians = _measure(contenders)
        memory = {name: process.submit(_resident_mib).result() for name, process in contenders.items()}
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


@contextmanager
def _process(name: str, folder: Path, args: argparse.Namespace) -> Iterator[ProcessPoolExecutor]:
    """A process that has the contender's model loaded, and runs `_run_round` and `_resident_mib` when asked."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(_prepare, name, folder, args).result()
        yield pool


def _measure(contenders: dict[str, ProcessPoolExecutor]) -> dict[str, float]:
    """The median speed of each contender, in tokens per second; a peer that fails is told and left out."""
    first = {}
    for name, process in contenders.items():
        try:
            first[name] = process.submit(_run_round).result()  # compiles, and warms caches
        except Exception as error:
            if name == "glmkit":
                raise
            print(f"{name} failed and is left out: {error}", file=sys.stderr)
    hopeful = [name for name, speed in first.items() if speed * _HOPELESS > max(first.values()) or name == "glmkit"]
    speeds: dict[str, list[float]] = {name: [] for name in hopeful}
    for _ in range(ROUNDS):
        for name in hopeful:
            speeds[name].append(contenders[name].submit(_run_round).result())
    return {name: statistics.median(speeds[name]) if name in speeds else first[name] for name in first}


def _names(args: argparse.Namespace) -> list[str]:
    from glmkit.peer import GENERATING, TRAINING

    theirs = TRAINING if args.what == "train" else GENERATING
    return ["glmkit", *(theirs if args.vs_transformers else ())]


# What follows runs in a contender's process, which imports what it needs and no more.

_round: Round


def _prepare(name: str, folder: Path, args: argparse.Namespace) -> None:
    global _round
    _round = _made(name, folder, args)


def _run_round() -> float:
    return _round()


def _resident_mib() -> int:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def _made(name: str, folder: Path, args: argparse.Namespace) -> Round:
    length = args.length if args.what == "train" else args.prompt
    tokens = np.random.default_rng(0).integers(0, GLMConfig.from_hf(folder).vocab_size, (args.batch, length))
    if name != "glmkit":
        from glmkit import peer

        if args.what == "train":
            return peer.training_round(folder, name, tokens)
        return peer.generating_round(folder, name, args.what, tokens, args.tokens)
    if args.what == "train":
        return _training_round(folder, tokens)
    from glmkit.loading import load

    return generating_round(load(folder, max_len=args.prompt + args.tokens + 1), args.what, tokens, args.tokens)


def generating_round(lm: "LM", what: Literal["decode", "prefill"], prompts: np.ndarray, tokens: int) -> Round:
    """Of prompts `[B, T]`, each of which `tokens` are decoded after; the time of the other half is not counted."""
    from glmkit.engine import Request, Sampling

    wanted = tokens + 1 if what == "decode" else 1

    def round_() -> float:
        requests = [Request(tuple(map(int, row)), Sampling(temperature=0.0), wanted, frozenset()) for row in prompts]
        tokens, begun = lm.engine.generate(requests), set[int]()
        started = time.perf_counter()
        while len(begun) < len(requests):  # a row's first token is the end of its prefill
            begun.add(next(tokens)[0])
        if what == "prefill":
            return prompts.size / (time.perf_counter() - started)
        left, started = sum(wanted - len(request.tokens) for request in requests), time.perf_counter()
        for _ in tokens:
            pass
        return left / (time.perf_counter() - started)

    return round_


def _training_round(folder: Path, tokens: np.ndarray) -> Round:
    import jax

    from glmkit.train import Objective, TrainState, compiled_step, make_optimizer
    from glmkit.train.data import Batch
    from glmkit.weights.hf import load_hf

    optimizer, objective = make_optimizer("adamw", 1e-4), Objective(mtp_weight=0.0, bias_rate=0.0, balance_weight=0.0)
    # A copy, as `fit` makes: what a loader hands over, the first step could not update in place.
    model = jax.tree.map(lambda leaf: leaf.copy(), load_hf(folder, dtype=np.float32))
    state = TrainState.start(model, optimizer)
    del model
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


def _folder(model: str) -> Path:
    from glmkit.loading import resolve_source

    return resolve_source(model)
