"""Do families of tasks need the experts that are chosen for them? `python benchmarks/causal.py`.

For every seed, problems of each family of glm-nano's curriculum but retrieval, whose contexts are long: on the first
half all experts are taken out one by one, and those that a family's answers lose most without, beyond what the others
lose, are its experts; on the other half they are taken out together, and as a control others of the same layers that
are as busy. A family needs its experts where the 95% interval of the difference, over problems and controls, is above
zero. The last line is a JSON object.
"""

import argparse
import json
from typing import Any

import glmkit as gk
from glmkit.nano.conversations import SHORT_FAMILIES, conversations

CHOOSE, TEST = 8, 16  # problems of each family
LONGEST = 640  # tokens of a problem
EXPERTS, CONTROLS, HOW = 3, 6, "drop"


def needs(lm: gk.LM, seed: int) -> dict[str, Any]:
    """Which families need their experts, and what those lose, without them and without the controls, in nats."""
    names, chosen_by, tested_on = SHORT_FAMILIES, [], []
    fits = {"tokenizer": lm.tokenizer, "most_tokens": LONGEST}
    for name in names:
        chosen_by += (first := conversations(name, CHOOSE, seed=f"chosen {seed}", **fits))
        tested_on += conversations(name, TEST, seed=f"tested {seed}", unlike=first, **fits)
    effects = gk.expert_effects(lm, chosen_by, by="family", how=HOW)
    stats = gk.collect(lm, chosen_by, by="family", phases=("think", "answer", "tool"), batch_size=8)
    experts = {name: effects.specialists(name, EXPERTS) for name in names}
    found = gk.knockout(lm, tested_on, stats, by="family", experts=experts, how=HOW, controls=CONTROLS)
    print(found.to_pandas().round(3).to_string(), flush=True)
    rows = {name: found.excess(name) for name in names}
    lost = {name: [round(row.own, 3), round(row.control, 3)] for name, row in rows.items()}
    return {"needed": found.needed, "of": len(names), "own_and_control": lost}


def main() -> None:
    parser = argparse.ArgumentParser(description="Experts that families of tasks need, beside controls.")
    parser.add_argument("--model", default="nano", help="a bundled name or a folder (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="(default: %(default)s)")
    args = parser.parse_args()
    with gk.load(args.model, max_len=768) as lm:
        print(json.dumps({seed: needs(lm, seed) for seed in args.seeds}))


if __name__ == "__main__":
    main()
