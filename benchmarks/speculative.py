"""What drafting gives: `python benchmarks/speculative.py`.

Held-out problems of glm-nano itself, one at a time, without drafts and with 1 to `--most` of them, in turns: tokens per
second, and the share of drafts that were right, with both readings of the hidden state, greedily and at temperature 1.
Answers are checked to be those without drafts, but for near ties. The last line is a JSON object.
"""

import argparse
import json
import statistics
import time

import glmkit as gk
from glmkit.engine.answer import Completion
from glmkit.nano.evaluation.questions import Question, draw_questions

SKILLS = ("hard", "word_problem", "multi_step")


def answers(lm: gk.LM, questions: list[Question], temperature: float) -> tuple[float, list[Completion]]:
    """Tokens per second, and what was answered."""
    started, done = time.perf_counter(), []
    for question in questions:
        messages = list(question.conversation)
        done.append(lm.chat(messages, thinking="forced", max_tokens=256, temperature=temperature, seed=0))
    return sum(len(each.tokens) for each in done) / (time.perf_counter() - started), done


def same_answers(one: list, other: list) -> int:
    return sum(a.tokens == b.tokens for a, b in zip(one, other, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and acceptance of drafts.")
    parser.add_argument("--questions", type=int, default=12, help="of each skill (default: %(default)s)")
    parser.add_argument("--most", type=int, default=3, help="drafts at a time (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    questions = [question for skill in SKILLS for question in draw_questions(skill, args.questions)]
    questions = [question for question in questions if question.thinking == "forced"]
    makers = {"none": {}}
    makers |= {f"{n} normed": {"speculative_tokens": n} for n in range(1, args.most + 1)}
    makers |= {"1 raw": {"speculative_tokens": 1, "draft_hidden": "raw"}}
    models = {name: gk.load("nano", max_len=1024, **options) for name, options in makers.items()}
    result = {}
    for temperature in (0.0, 1.0):
        speeds: dict[str, list[float]] = {name: [] for name in models}
        said = {}
        for round_ in range(args.rounds + 1):
            for name, lm in models.items():
                speed, said[name] = answers(lm, questions, temperature)
                if round_:  # the first compiles
                    speeds[name].append(speed)
        for name, done in said.items():
            drafted = sum(each.usage.drafted_tokens for each in done)
            found = {
                "tokens_per_s": round(statistics.median(speeds[name]), 1),
                "ratio": round(statistics.median(speeds[name]) / statistics.median(speeds["none"]), 2),
                "accepted": round(sum(each.usage.accepted_tokens for each in done) / drafted, 3) if drafted else None,
                "same_answers": f"{same_answers(done, said['none'])} of {len(done)}",
            }
            result[f"{name}, temperature {temperature:g}"] = found
            print(f"{name}, temperature {temperature:g}: {found}", flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
