"""What keeping the routes costs while tokens are written: pairs of answers with and without, and the median of them.

    python benchmarks/probe.py [--model nano] [--tokens 200] [--pairs 15]

The last line is JSON: the medians in seconds, and the median of the pairs' quotients.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import glmkit as gk


def loaded(name: str, max_len: int) -> gk.LM:
    """A model without a tokenizer is given glm-nano's: which text its tokens stand for does not matter here."""
    if Path(name).is_dir() and not (Path(name) / "tokenizer.json").exists():
        return gk.LM(gk.load_hf(name), gk.load("nano").tokenizer, max_len=max_len)
    return gk.load(name, max_len=max_len)


def main() -> None:
    """Answers of as many tokens, one of each kind in turn; the first of each is not counted."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", default="nano")
    arguments.add_argument("--tokens", type=int, default=200)
    arguments.add_argument("--pairs", type=int, default=15)
    asked = arguments.parse_args()
    with loaded(asked.model, asked.tokens + 64) as lm:
        settings = {"max_tokens": asked.tokens, "temperature": 1.0, "seed": 0}

        def plain(prompt: list[int]) -> int:
            return len(lm.complete(prompt, **settings).tokens)

        def kept(prompt: list[int]) -> int:
            return len(lm.run(prompt, keep=gk.keep("router"), **settings).completion.tokens)

        def seconds(write, prompt: list[int]) -> float:
            began = time.perf_counter()
            count = write(prompt)
            return (time.perf_counter() - began) / count

        # A prompt of its own for each pair: what was computed before would be known without capture alone.
        prompts = [list(range(first, first + 30)) for first in range(10, 11 + asked.pairs)]
        plain(prompts[0]), kept(prompts[0])
        pairs = [(seconds(plain, prompt), seconds(kept, prompt)) for prompt in prompts[1:]]
    without, with_routes = (statistics.median(column) for column in zip(*pairs, strict=True))
    cost = statistics.median(second / first - 1 for first, second in pairs)
    print(f"{without * 1e3:.3f} ms a token, {with_routes * 1e3:.3f} ms with its routes: {cost:+.1%} (median of pairs)")
    print(json.dumps({"plain_s": without, "router_s": with_routes, "cost": cost}))


if __name__ == "__main__":
    main()
