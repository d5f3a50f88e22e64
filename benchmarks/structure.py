"""What it costs to hold an answer to a schema, at GLM-4.5's vocabulary: `python benchmarks/structure.py`.

Random bounded schemas, a vocabulary of 151,552 made-up tokens, and answers of tokens drawn at random from those that
may come: the time to make the vocabulary known, to compile a schema, to make a mask and to go on by a token, and how
many of the answers ended within `--tokens` tokens; those that did are validated. The last line is a JSON object.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from random import Random

import jsonschema
import numpy as np

from glmkit.text import Tokenizer
from glmkit.text.grammar import GrammarVocabulary, answer_grammar

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from schemas import random_document_schema

VOCAB_SIZE = 151_552


class Synthetic(Tokenizer):
    """glm-nano's tokenizer with made-up words after its own tokens, up to GLM-4.5's number of them."""

    def __init__(self, files: dict[str, bytes], seed: int = 0):
        super().__init__(files)
        rng, letters = Random(seed), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789 .,-_'"
        self._made = ["".join(rng.choices(letters, k=rng.randint(2, 10))).encode() for _ in range(VOCAB_SIZE)]

    @property
    def vocab_size(self) -> int:
        return VOCAB_SIZE

    def token_bytes(self, token_id: int) -> bytes:
        return super().token_bytes(token_id) or self._made[token_id]


def seconds(function, *arguments) -> tuple[float, object]:
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost of masks at GLM-4.5's vocabulary.")
    parser.add_argument("--schemas", type=int, default=300, help="(default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=1024, help="of an answer at most (default: %(default)s)")
    args = parser.parse_args()
    folder = Path(__file__).parents[1] / "checkpoints" / "glm-nano"
    tokenizer = Synthetic({name: (folder / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")})
    stop = tokenizer.token_id("<|user|>")
    vocabulary = GrammarVocabulary(tokenizer, VOCAB_SIZE, [stop])
    known, _ = seconds(vocabulary.matcher, answer_grammar(response_format={"type": "json_object"}), "warm-up")
    rng, draws = Random(0), np.random.default_rng(0)
    compiled, masks, steps, ended = [], [], [], 0
    mask = np.zeros(VOCAB_SIZE // 32, np.int32)
    for _ in range(args.schemas):
        schema = random_document_schema(rng)
        form = {"type": "json_schema", "json_schema": {"schema": schema}}
        spent, match = seconds(vocabulary.matcher, answer_grammar(response_format=form), "schema", "over")
        compiled.append(spent)
        answer: list[int] = []
        while len(answer) < args.tokens:
            masks.append(seconds(match.fill, mask)[0])
            token = int(draws.choice(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))))
            if token == stop:
                jsonschema.validate(json.loads(b"".join(map(tokenizer.token_bytes, answer))), schema)
                ended += 1
                break
            answer.append(token)
            steps.append(seconds(match.take, token)[0])
    found = {
        "schemas": args.schemas, "ended": round(ended / args.schemas, 3), "tokens": len(steps),
        "vocabulary_s": round(known, 2), "schema_ms": round(1e3 * statistics.median(compiled), 2),
        "mask_ms_median": round(1e3 * statistics.median(masks), 4),
        "mask_ms_p95": round(1e3 * float(np.percentile(masks, 95)), 4),
        "token_ms_median": round(1e3 * statistics.median(steps), 4),
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
