"""How far the scorer of RL is from its sampler, by dtype and replay of routes: `python benchmarks/rl_mismatch.py`.

A policy answers problems with a thought, and each answer is scored in one parallel pass, with every token sent to the
experts that it went to when it was sampled, and with routes chosen anew. As the policy was given, and once more after
updates, in each of which it learns from what it said. The last line is a JSON object: of log-probabilities, the largest
and the mean difference in nats; of routes, the share of tokens with another set of experts in any layer.
"""

import argparse
import json

import optax

import glmkit as gk

UPDATES = 5
RATE = 1e-3


def measured(lm: gk.LM, problems: int, samples: int) -> dict[str, float]:
    """By name: "given" or "updated", "replay" or "free", and what was measured."""
    task = gk.rl.tasks.arithmetic(thinking="forced")
    optimizer, found = optax.adam(RATE), {}
    with gk.rl.Policy(lm) as policy:
        for when in ("given", "updated"):
            rollout = policy.sample(task.batch(problems, when), samples, thinking="forced", max_tokens=96)
            for name, replay in (("replay", True), ("free", False)):
                values = policy.score(rollout, replay=replay).measures
                for key in ("mismatch_max", "mismatch_mean", "route_flips"):
                    found[f"{when} {name} {key}"] = values[key]
            found[f"{when} tokens"] = int(rollout.mask.sum())
            if when == "given":
                for number in range(UPDATES):
                    rollout = policy.sample(task.batch(8, number), 8, thinking="forced", max_tokens=96)
                    learned = rollout.rewarded(task.reward).with_advantage(gk.rl.advantage.dr_grpo)
                    policy.update(learned, gk.rl.PPO(), optimizer)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Sampler against scorer, with and without replayed routes.")
    parser.add_argument("--model", default="nano", help="a bundled name or a folder (default: %(default)s)")
    parser.add_argument("--problems", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--samples", type=int, default=8, help="of each problem (default: %(default)s)")
    args = parser.parse_args()
    found = {}
    for dtype in ("float32", "bfloat16"):
        with gk.load(args.model, dtype=dtype, max_len=256) as lm:
            found[dtype] = measured(lm, args.problems, args.samples)
        for when in ("given", "updated"):
            for name in ("replay", "free"):
                values = ", ".join(
                    f"{key} {found[dtype][f'{when} {name} {key}']:.2e}"
                    for key in ("mismatch_max", "mismatch_mean", "route_flips")
                )
                print(
                    f"{dtype}, as {when}, {'routes replayed' if name == 'replay' else 'routes chosen anew'}: {values}"
                )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
