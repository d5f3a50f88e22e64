"""`glmkit eval WHAT`: measurements of a model, one subcommand each; so far what glm-nano was taught."""

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from glmkit.checks import check_integer

if TYPE_CHECKING:
    from glmkit.nano.evaluation import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    whats = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    summary = "Held-out tasks of the bundled model's curriculum, each figure beside its goal."
    nano = whats.add_parser("nano", help=summary, description=summary)
    nano.add_argument("--model", default="nano", help="a bundled name, a folder, or a Hub id (default: %(default)s)")
    nano.add_argument("--per-skill", type=int, default=200, help="tasks of each skill (default: %(default)s)")
    nano.add_argument("--seed", type=int, default=0, help="of the tasks that are drawn (default: %(default)s)")
    nano.add_argument("--skills", default="", metavar="A,B", help="only these skills (default: all)")
    nano.add_argument("--long", action="store_true", help="retrieval from up to 16 times the trained length too")
    nano.add_argument("--json", action="store_true", help="print one object, name -> accuracy, count, goal, holds")
    nano.set_defaults(measure=_nano)


def run(args: argparse.Namespace) -> int:
    """Measure what the subcommand names."""
    return args.measure(args)


def _nano(args: argparse.Namespace) -> int:
    """Ask the questions with a progress bar on stderr; print a table, or with `--json` one object as the last line."""
    check_integer("--per-skill", args.per_skill, 1)
    from glmkit.nano.evaluation import check_skills, evaluate

    skills = check_skills([skill for skill in args.skills.split(",") if skill])
    from glmkit.loading import load

    lm = load(args.model)
    results = evaluate(lm, per_skill=args.per_skill, seed=args.seed, skills=skills, long=args.long)
    print(json.dumps({name: result.record for name, result in results.items()}) if args.json else _table(results))
    return 0


def _table(results: Mapping[str, "Result"]) -> str:
    """A line for each figure: its name, value, goal, count, and whether the goal is reached."""
    verdicts = {True: "yes", False: "NO", None: ""}
    rows = [("", "reached", "goal", "count", "holds", "")]
    rows += [
        (name, result.said, result.goal_said, f"{result.count:,}", verdicts[result.holds], result.note)
        for name, result in results.items()
    ]
    name, *columns = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = (
        row[0].ljust(name) + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:5], columns, strict=False))
        + f"  {row[5]}"
        for row in rows
    )  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)
