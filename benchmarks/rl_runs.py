"""What RL does to glm-nano: `python benchmarks/rl_runs.py hero|thinking|tools|collapse`.

hero: sums longer than any that was learned, of which `DEMONSTRATIONS` were shown worked out, up to the first step after
which `ENOUGH` of others come out right when drawn. From there three arms for each seed: rewards of a verifier; rewards
drawn at random; and the demonstrations again, for as many seconds as the steps of the first arm took. thinking: sums
and differences that were learned, right answers worth more the shorter they are; accuracy and tokens before and after.
tools: two turns, a call and what to say to its result. collapse: hero's first arm at its learning rate and at ten times
that, step by step; `log` is a folder for `gk.widgets.TrainingDashboard`.

Accuracy is of `HELD_OUT` held-out problems, greedy and drawn at temperature 1. Settings are the constants below, the
same for all seeds. Every step counts as many seconds as the median one, so that compiling does not count. `stopped` is
what the guard said, if it ended a run. The last line is a JSON object.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import glmkit as gk
from glmkit.errors import TrainingError

HELD_OUT, DEMONSTRATIONS, ENOUGH = 512, 8, 0.1
SETTINGS = {"prompts": 16, "n": 8, "learning_rate": 2e-4, "eval_count": 0, "measure_kl": False}
SUPERVISED = {"batch_size": 8, "length": 160, "steps": 10**6, "learning_rate": 5e-5, "warmup": 0.0, "weight_decay": 0.0}
NEXT_TOKEN = gk.train.Objective(mtp_weight=0.0, bias_rate=0.0, balance_weight=0.0)  # moves what RL does, and no more
STEPS = {"hero": 24, "thinking": 40, "tools": 40, "collapse": 16}
MOST_TOKENS = {"hero": 128, "thinking": 128, "tools": 96, "collapse": 128}

Reward = Callable[[gk.rl.Sample], Any]


def at_random(sample: gk.rl.Sample) -> float:
    """Decided by what was said and where, whatever was asked."""
    return float(Random(f"{sample.index}{sample.content}").random() < 0.3)


def short_and_right(sample: gk.rl.Sample) -> float:
    """1 for a right answer of no tokens, half for one that takes all."""
    return gk.rl.rewards.Number()(sample) * (1 - 0.5 * min(1.0, sample.tokens / MOST_TOKENS["thinking"]))


def figures(lm: gk.LM, task: gk.rl.Task, most: int) -> dict[str, float]:
    """Of held-out problems."""
    with gk.rl.Policy(lm) as policy:
        found = gk.rl.accuracy(policy, task, HELD_OUT, max_tokens=most)
    names = ("greedy", "sampled", "greedy_tokens", "sampled_tokens")
    return {name: round(getattr(found, name), 4) for name in names}


def reinforced(
    lm: gk.LM,
    task: gk.rl.Task,
    kind: str,
    seed: int,
    reward: Reward | None = None,
    rate: float = 1.0,
    logs: Sequence[gk.train.Log] = (),
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Accuracy after learning from a reward, by default the task's, with the seconds of its steps and what stopped it,
    if anything did; and the metrics of each step."""
    learned = gk.rl.Task(
        task.name,
        task.problems,
        reward=task.reward if reward is None else reward,
        episode=task.episode,
        thinking=task.thinking,
    )
    settings = {**SETTINGS, "learning_rate": rate * SETTINGS["learning_rate"], "max_tokens": MOST_TOKENS[kind]}
    metrics: list[dict[str, float]] = []
    stopped = {}
    with gk.rl.Policy(lm) as policy:
        run = gk.rl.train(policy, learned, steps=STEPS[kind], seed=seed, logs=logs, progress=False, **settings)
        try:
            for step in run:
                metrics.append(dict(step.metrics))
        except TrainingError as error:
            stopped = {"stopped": str(error)}
        seconds = len(metrics) * statistics.median([each["seconds"] for each in metrics] or [0.0])
        return {**figures(policy.lm, task, MOST_TOKENS[kind]), "seconds": round(seconds), **stopped}, metrics


def shown(lm: gk.LM) -> Iterator[gk.train.Step]:
    """Steps of supervised learning on sums worked out."""
    records = gk.rl.tasks.worked_long_sums(DEMONSTRATIONS)
    data = gk.train.TokenDataset.encode(records, lm.tokenizer, SUPERVISED["length"])
    return gk.train.fit(lm, data, objective=NEXT_TOKEN, progress=False, **SUPERVISED)


def begun(lm: gk.LM, task: gk.rl.Task) -> tuple[gk.LM, int]:
    """The model after the first step of what it is shown that is enough, and the number of that step."""
    for step in shown(lm):
        with gk.rl.Policy(step.lm) as policy:
            drawn = policy.sample(task.batch(64, "begun"), n=1, thinking=task.thinking, max_tokens=MOST_TOKENS["hero"])
        if drawn.rewarded(task.reward).rewards.mean() >= ENOUGH:
            return step.lm, step.number


def supervised(lm: gk.LM, task: gk.rl.Task, seconds: float) -> dict[str, Any]:
    """Accuracy after being shown the same for so long."""
    for step in shown(lm):
        if step.number == 1:
            began = time.perf_counter()
        if time.perf_counter() - began > seconds:
            break
    with step.lm as tuned:
        return {**figures(tuned, task, MOST_TOKENS["hero"]), "steps": step.number}


def hero(lm: gk.LM, seed: int) -> dict[str, Any]:
    task = gk.rl.tasks.long_sums()
    verified, _ = reinforced(lm, task, "hero", seed)
    chance, _ = reinforced(lm, task, "hero", seed, at_random)
    return {"verified": verified, "random": chance, "supervised": supervised(lm, task, verified["seconds"])}


def thinking(lm: gk.LM, seed: int) -> dict[str, Any]:
    return {"short": reinforced(lm, gk.rl.tasks.arithmetic(thinking="forced"), "thinking", seed, short_and_right)[0]}


def tools(lm: gk.LM, seed: int) -> dict[str, Any]:
    return {"verified": reinforced(lm, gk.rl.tasks.lookup(), "tools", seed)[0]}


def collapse(lm: gk.LM, seed: int) -> dict[str, Any]:
    task, names, found = gk.rl.tasks.long_sums(), ("reward", "entropy", "gradient_norm"), {}
    for arm, rate in (("normal", 1.0), ("collapsed", 10.0)):
        folder = Path(tempfile.mkdtemp(prefix=f"glmkit-{arm}-"))
        log = gk.train.JsonLog(folder / "log.jsonl")
        after, metrics = reinforced(lm, task, "collapse", seed, rate=rate, logs=[log])
        found[arm] = {**after, **{name: [round(each[name], 4) for each in metrics] for name in names}}
        found[arm]["log"] = str(folder)
    return found


RUNS = {"hero": hero, "thinking": thinking, "tools": tools, "collapse": collapse}
TASKS = {"thinking": lambda: gk.rl.tasks.arithmetic(thinking="forced"), "tools": gk.rl.tasks.lookup}


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs of reinforcement learning, before and after.")
    parser.add_argument("kind", choices=RUNS)
    parser.add_argument("--model", default="nano", help="a bundled name or a folder (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="(default: %(default)s)")
    args = parser.parse_args()
    lm = gk.load(args.model, max_len=1024)
    task = TASKS.get(args.kind, gk.rl.tasks.long_sums)()
    found: dict[str, Any] = {"kind": args.kind}
    if args.kind not in TASKS:
        lm, found["shown"] = begun(lm, task)
    found |= {"before": figures(lm, task, MOST_TOKENS[args.kind]), "seeds": {}}
    print("before", found["before"], flush=True)
    for seed in args.seeds:
        found["seeds"][seed] = RUNS[args.kind](lm, seed)
        print("seed", seed, found["seeds"][seed], flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
