"""What keeping the routes costs while tokens are written: pairs of answers with and without, and the median of them.

    python benchmarks/probe.py [--model nano] [--tokens 200] [--pairs 15]

The last line is JSON: the medians in seconds, and the median of the pairs' quotients.
"""

import argparse
import json
import statistics
import time

import glmkit as gk


def main() -> None:
    """Answers of as many tokens, one of each kind in turn; the first of each is not counted."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", default="nano")
    arguments.add_argument("--tokens", type=int, default=200)
    arguments.add_argument("--pairs", type=int, default=15)
    asked = arguments.parse_args()
    with gk.load(asked.model, max_len=asked.tokens + 64) as lm:
        prompt = list(range(10, 40))
        settings = {"max_tokens": asked.tokens, "temperature": 1.0, "seed": 0}

        def plain() -> int:
            return len(lm.complete(prompt, **settings).tokens)

        def kept() -> int:
            return len(lm.run(prompt, keep=gk.keep("router"), **settings).completion.tokens)

        def seconds(write) -> float:
            began = time.perf_counter()
            count = write()
            return (time.perf_counter() - began) / count

        plain(), kept()
        pairs = [(seconds(plain), seconds(kept)) for _ in range(asked.pairs)]
    without, with_routes = (statistics.median(column) for column in zip(*pairs, strict=True))
    cost = statistics.median(second / first - 1 for first, second in pairs)
    print(f"{without * 1e3:.3f} ms a token, {with_routes * 1e3:.3f} ms with its routes: {cost:+.1%} (median of pairs)")
    print(json.dumps({"plain_s": without, "router_s": with_routes, "cost": cost}))


if __name__ == "__main__":
    main()
