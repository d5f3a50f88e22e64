"""How much sooner a conversation goes on when its context is known: `python benchmarks/cache.py`.

A conversation of about `--tokens` tokens with glm-nano, and a second turn after its answer: the time to the first token
with the pages that the first turn left behind, and without, in turns. The last line is a JSON object.
"""

import argparse
import json
import statistics
import time

import glmkit as gk
from glmkit.engine import Request, Sampling

ROUNDS = 5


def seconds_to_first_token(lm: gk.LM, prompt: list[int]) -> tuple[float, int]:
    """How long it took, and how many tokens were known."""
    request = Request(tuple(prompt), Sampling(temperature=0.0), 1, frozenset())
    started = time.perf_counter()
    for _ in lm.engine.generate([request]):
        pass
    return time.perf_counter() - started, request.cached_tokens


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to the first token of a second turn.")
    parser.add_argument("--model", default="nano", help="a bundled name or a folder (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=8192, help="of the first turn (default: %(default)s)")
    args = parser.parse_args()
    lm = gk.load(args.model, max_len=args.tokens + 1024)
    line = lm.tokenizer.encode("A small bird waited quietly by the sea. ")
    first = (line * (args.tokens // len(line) + 1))[: args.tokens]
    second = [*first, *lm.tokenizer.encode(" And then?")]
    seconds_to_first_token(lm, second)  # compiles
    known, unknown = [], []
    for _ in range(ROUNDS):
        lm.engine.release()
        unknown.append(seconds_to_first_token(lm, second)[0])
        lm.engine.release()
        seconds_to_first_token(lm, first)
        spent, cached = seconds_to_first_token(lm, second)
        known.append(spent)
    found = {
        "tokens": len(second), "cached_tokens": cached, "seconds_known": round(statistics.median(known), 4),
        "seconds_unknown": round(statistics.median(unknown), 4),
        "ratio": round(statistics.median(unknown) / statistics.median(known), 1),
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
