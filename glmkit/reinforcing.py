"""`glmkit rl`: train a model by reinforcement learning on a task that comes with glmkit."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from glmkit.training import add_master_weights

_SETTINGS = (
    *("steps", "prompts", "n", "thinking", "budget", "max_tokens", "replay", "measure_kl"),
    *("learning_rate", "master_weights", "eval_every", "eval_count", "seed"),
)
_TASKS = ("arithmetic", "long_sums", "lookup")  # as glmkit.rl.tasks names them, which imports JAX
_ADVANTAGES = ("dr_grpo", "grpo", "rloo", "maxrl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", choices=_TASKS, required=True, help="what is asked, and rewarded")
    parser.add_argument("--model", default="nano", help="a folder, a bundled name, or a Hub id (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder; its model ends up in OUT/model")
    parser.add_argument("--steps", type=int, default=100, help="(default: %(default)s)")
    parser.add_argument("--prompts", type=int, default=32, help="problems of a step (default: %(default)s)")
    parser.add_argument("--n", type=int, default=8, help="samples of each (default: %(default)s)")
    parser.add_argument("--thinking", choices=("enabled", "disabled", "forced"), help="(default: the task's)")
    parser.add_argument("--budget", type=int, help="tokens after which a thought is closed")
    parser.add_argument("--max-tokens", type=int, default=128, help="of a turn (default: %(default)s)")
    parser.add_argument("--advantage", choices=_ADVANTAGES, default="dr_grpo", help="(default: %(default)s)")
    parser.add_argument("--router", choices=("train", "freeze", "bias"), default="train", help="(default: %(default)s)")
    parser.add_argument("--reproducible", action="store_true", help="go on to the same bits after a stop; slower")
    parser.add_argument("--no-replay", dest="replay", action="store_false", help="let routes be chosen anew")
    parser.add_argument(
        "--no-kl", dest="measure_kl", action="store_false", help="do not measure KL from the model given"
    )
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="(default: %(default)s)")
    add_master_weights(parser)
    parser.add_argument("--eval-every", type=int, default=25, help="steps (default: %(default)s)")
    parser.add_argument("--eval-count", type=int, default=512, help="held-out problems, 0: none (default: %(default)s)")
    parser.add_argument("--save-every", type=int, default=25, help="steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of problems and samples (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one object as the last line: figures of the run")


def run(args: argparse.Namespace) -> int:
    """Train; the same command goes on where it was stopped. Prints the folder of the model, or one object."""
    from glmkit.loading import load, resolve_source
    from glmkit.rl import Policy, Settings, advantage, tasks, train
    from glmkit.weights.atomic import refuse_existing

    result = args.out / "model"
    refuse_existing(result, overwrite=False)
    settings = {name: getattr(args, name) for name in _SETTINGS}
    Settings(**settings)  # what is wrong with them is told before anything is loaded
    lm, task = load(args.model), tasks.TASKS[args.task]()
    with Policy(lm, router=args.router, reproducible=args.reproducible) as policy:
        steps = train(
            policy,
            task,
            advantage=getattr(advantage, args.advantage),
            out=args.out,
            save_every=args.save_every,
            **settings,
        )
        for step in steps:
            print(_line(step.number, step.metrics), file=sys.stderr)
        policy.save(result, card=_card(args, resolve_source(args.model)))
    figures = _figures(args.out / "log.jsonl")
    print(json.dumps({"model": str(result), **figures}) if args.json else result)
    return 0


def _line(number: int, metrics: Any) -> str:
    """A step in a line; held-out accuracy where it was measured."""
    measured = ("reward", "entropy", "kl", "length_mean", "mismatch_max", "route_flips", "routes_held")
    shown = (*measured, "held_out/greedy", "held_out/sampled")
    return f"step {number}: " + ", ".join(f"{name} {metrics[name]:.3g}" for name in shown if name in metrics)


def _figures(log: Path) -> dict[str, Any]:
    """Of all steps, those before the run was started again among them: the first and last of what matters."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    by_step = {line["step"]: line for line in lines if "step" in line}
    steps = [by_step[number] for number in sorted(by_step)]
    learned = [line for line in steps if line["step"]]
    evaluated = [line for line in steps if "held_out/greedy" in line]
    figures: dict[str, Any] = {"steps": len(learned), "seconds": sum(line["seconds"] for line in learned)}
    for name in ("reward", "entropy"):
        figures |= {f"{name}_first": learned[0][name], f"{name}_last": learned[-1][name]}
    for name in ("mismatch_max", "route_flips", "routes_held"):
        figures |= {name: max(line[name] for line in learned)} if name in learned[0] else {}
    for kind in ("greedy", "sampled") if evaluated else ():
        figures[f"{kind}_before"] = evaluated[0][f"held_out/{kind}"]
        if evaluated[-1] is steps[-1]:
            figures[f"{kind}_after"] = evaluated[-1][f"held_out/{kind}"]
    return figures


def _card(args: argparse.Namespace, folder: Path) -> bytes:
    from glmkit.weights.card import derived_card, licence_of

    facts = {"task": args.task, "steps": args.steps, "problems of a step": args.prompts, "samples of each": args.n}
    base = folder.name if Path(args.model).is_dir() else args.model
    about = "Trained by `glmkit rl`."
    return derived_card(
        args.out.name, about, library="glmkit", base_model=base, licence=licence_of(folder), facts=facts
    )
