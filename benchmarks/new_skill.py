"""What it takes to teach glm-nano a new operation, and what that costs it: `python benchmarks/new_skill.py`.

Fine-tunes the bundled model on a few hundred examples of "zib" among replayed tasks of its curriculum, in memory, and
prints the accuracy of zib and every figure of its other skills before and after. The last line is a JSON object.
"""

import argparse
import json
import time

import glmkit as gk
from glmkit.nano.evaluation import Result, evaluate
from glmkit.nano.new_skill import EXAMPLES, REPLAYED, accuracy, fine_tune, records

GAIN, LOSS = 0.30, 0.03  # of the new skill at least, of any other at most


def shares(results: dict[str, Result]) -> dict[str, Result]:
    """The figures of which more is better, in shares of answers."""
    return {name: result for name, result in results.items() if result.unit == "share" and not result.at_most}


def tell(name: str, before: float, after: float, remark: str = "") -> None:
    print(f"{name:34s} {before:7.1%} {after:7.1%} {100 * (after - before):+6.1f} points {remark}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Teach glm-nano a new operation.")
    parser.add_argument("--per-skill", type=int, default=100, help="tasks of each other skill (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="of the new skill (default: %(default)s)")
    parser.add_argument("--replayed", type=int, default=REPLAYED, help="tasks of the old (default: %(default)s)")
    args = parser.parse_args()
    lm = gk.load("nano")
    zib_before, before = accuracy(lm), shares(evaluate(lm, per_skill=args.per_skill))
    started = time.perf_counter()
    tuned = fine_tune(lm, records(args.examples, args.replayed), tell=print)
    seconds = time.perf_counter() - started
    zib_after, after = accuracy(tuned), shares(evaluate(tuned, per_skill=args.per_skill))
    for name, result in before.items():
        tell(name, result.accuracy, after[name].accuracy, f"of {result.count:,}")
    tell("zib", zib_before, zib_after)
    lost = {name: round(result.accuracy - after[name].accuracy, 4) for name, result in before.items()}
    worst = max(lost, key=lambda name: lost[name])
    found = {
        "seconds": round(seconds, 1), "examples": args.examples, "replayed": args.replayed, "zib_before": zib_before,
        "zib_after": zib_after, "largest_loss": {worst: lost[worst]},
        "holds": zib_after - zib_before >= GAIN and lost[worst] <= LOSS and seconds < 120,
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
