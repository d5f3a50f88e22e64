"""`glmkit bench`: speed of decoding and prefill, alone or beside transformers in the same run.

Each figure is the median over rounds in which the contenders take turns, because machines are noisy. A way of
transformers' that takes ten times as long as its fastest is measured once, not in every round.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from glmkit.checks import check_integer

Round = Callable[[], float]  # runs once and returns tokens per second
ROUNDS = 5
_HOPELESS = 10  # times slower than the fastest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("decode", "prefill"))
    parser.add_argument("--model", default="nano", help="a bundled name, or a folder, which needs no tokenizer")
    parser.add_argument("--batch", type=int, default=1, help="rows (default: %(default)s)")
    parser.add_argument("--prompt", type=int, default=64, help="prompt tokens of each row (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens to decode (default: %(default)s)")
    parser.add_argument(
        "--vs-transformers", action="store_true", help="measure transformers too (needs the parity extra)"
    )
    parser.add_argument("--json", action="store_true", help="print only the last line, an object")


def run(args: argparse.Namespace) -> int:
    """Print a line for each contender, and as the last line an object with `tokens_per_s` and the ratios."""
    for name in ("batch", "prompt", "tokens"):
        check_integer(f"--{name}", getattr(args, name), 1)
    medians = _measure(dict(_contenders(args)))
    if not args.json:
        for name, speed in medians.items():
            print(f"{name:40s} {speed:10.1f} tokens/s")
    result = {
        "tokens_per_s": round(medians["glmkit"], 1),
        "what": args.what,
        "batch": args.batch,
        "prompt": args.prompt,
    }
    for dtype in ("float32", "bfloat16"):
        theirs = {name: speed for name, speed in medians.items() if name.startswith("transformers") and dtype in name}
        if theirs:
            best = max(theirs, key=lambda name: theirs[name])
            result[f"transformers_{dtype}"] = {"best": best, "tokens_per_s": round(theirs[best], 1)}
            result[f"ratio_{dtype}"] = round(medians["glmkit"] / theirs[best], 2)
    print(json.dumps(result))
    return 0


def _measure(contenders: dict[str, Round]) -> dict[str, float]:
    """The median speed of each contender, in tokens per second."""
    first = {name: round_() for name, round_ in contenders.items()}  # compiles, and warms caches
    hopeful = [name for name, speed in first.items() if speed * _HOPELESS > max(first.values()) or name == "glmkit"]
    speeds: dict[str, list[float]] = {name: [] for name in hopeful}
    for _ in range(ROUNDS):
        for name in hopeful:
            speeds[name].append(contenders[name]())
    return {name: statistics.median(speeds[name]) if name in speeds else first[name] for name in contenders}


def _contenders(args: argparse.Namespace) -> Iterator[tuple[str, Round]]:
    from glmkit.loading import load

    lm = load(args.model, max_len=args.prompt + args.tokens + 1)
    prompts = np.random.default_rng(0).integers(0, lm.config.vocab_size, (args.batch, args.prompt))
    yield "glmkit", lambda: _glmkit(lm, args, prompts)
    if args.vs_transformers:
        from glmkit.loading import resolve_source
        from glmkit.peer import transformers_rounds

        yield from transformers_rounds(resolve_source(args.model), args.what, prompts, args.tokens)


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
