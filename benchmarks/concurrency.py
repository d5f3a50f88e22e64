"""Tokens per second of one request and of several at once: `python benchmarks/concurrency.py`.

Requests are of `--prompt` random tokens and `--tokens` answered ones, greedy, through `Engine.submit`; the counts take
turns over `--rounds` rounds, after every shape has been compiled. The last line is a JSON object.
"""

import argparse
import json
import statistics
import time

import numpy as np

import glmkit as gk
from glmkit.engine import Engine, Request, Sampling

COUNTS = (1, 8, 32)


def requests(count: int, prompt: int, tokens: int, vocab_size: int, seed: int) -> list[Request]:
    drawn = np.random.default_rng(seed).integers(0, vocab_size, (count, prompt))
    return [Request(tuple(map(int, row)), Sampling(temperature=0.0), tokens, frozenset()) for row in drawn]


def tokens_per_second(engine: Engine, asked: list[Request]) -> float:
    """Of all requests together, prompts included in the time and not in the count."""
    started = time.perf_counter()
    for ticket in [engine.submit(request) for request in asked]:
        ticket.wait()
    return sum(len(request.tokens) for request in asked) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description="Throughput of one request and of several.")
    parser.add_argument("--model", default="nano", help="a bundled name or a folder (default: %(default)s)")
    parser.add_argument("--prompt", type=int, default=16, help="tokens of a prompt (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of an answer (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--speculative-tokens", type=int, default=0)
    args = parser.parse_args()
    max_len = args.prompt + args.tokens + 64
    lm = gk.load(args.model, max_len=max_len, speculative_tokens=args.speculative_tokens)
    speeds: dict[int, list[float]] = {count: [] for count in COUNTS}
    for round_ in range(args.rounds + 1):
        for count in COUNTS:
            asked = requests(count, args.prompt, args.tokens, lm.config.vocab_size, seed=100 * round_ + count)
            speed = tokens_per_second(lm.engine, asked)
            if round_:  # the first compiles
                speeds[count].append(speed)
    found = {str(count): round(statistics.median(each), 1) for count, each in speeds.items()}
    for count, speed in found.items():
        print(f"{count:>3s} at a time: {speed:8.1f} tokens/s")
    print(json.dumps({"tokens_per_s": found, "ratio": round(found["32"] / found["1"], 2)}))


if __name__ == "__main__":
    main()
