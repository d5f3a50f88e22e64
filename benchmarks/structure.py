"""What it costs to hold an answer to a schema, and whether it holds: `python benchmarks/structure.py`.

Random bounded schemas. With a vocabulary of GLM-4.5's size, 151,552 made-up tokens: the time to make the vocabulary
known, to compile a schema, to make a mask and to go on by a token. With glm-nano's: how many documents a grammar lets
pass, of those that its schema validates and of others; and how many answers of networks with random weights, of both
GLM shapes, end within `--tokens` tokens at temperature 1. Those that end are validated. The last line is a JSON object.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import jsonschema
import numpy as np
from flax import nnx

import glmkit as gk
from glmkit.nano.recipe import nano_config
from glmkit.text import Tokenizer
from glmkit.text.grammar import GrammarVocabulary, answer_grammar

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from schemas import Schema, instance, random_document_schema, spoiled, text

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


def nano_files() -> dict[str, bytes]:
    folder = Path(__file__).parents[1] / "checkpoints" / "glm-nano"
    return {name: (folder / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}


def json_format(schema: Schema) -> dict:
    return {"type": "json_schema", "json_schema": {"schema": schema}}


def allowed(mask: np.ndarray) -> np.ndarray:
    """The tokens that a mask lets come."""
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))


def seconds(function, *arguments) -> tuple[float, object]:
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def cost(schemas: list[Schema], tokens: int) -> dict[str, float]:
    """Of masks at GLM-4.5's vocabulary, over answers of tokens drawn at random from those that may come."""
    tokenizer = Synthetic(nano_files())
    stop = tokenizer.token_id("<|user|>")
    vocabulary = GrammarVocabulary(tokenizer, VOCAB_SIZE, [stop])
    known, _ = seconds(vocabulary.matcher, answer_grammar(response_format={"type": "json_object"}), "warm-up")
    draws, compiled, masks, steps, ended = np.random.default_rng(0), [], [], [], 0
    mask = np.zeros(VOCAB_SIZE // 32, np.int32)
    for schema in schemas:
        spent, match = seconds(
            vocabulary.matcher, answer_grammar(response_format=json_format(schema)), "schema", "over"
        )
        compiled.append(spent)
        answer: list[int] = []
        while len(answer) < tokens:
            masks.append(seconds(match.fill, mask)[0])
            token = int(draws.choice(allowed(mask)))
            if token == stop:
                jsonschema.validate(json.loads(b"".join(map(tokenizer.token_bytes, answer))), schema)
                ended += 1
                break
            answer.append(token)
            steps.append(seconds(match.take, token)[0])
    return {
        "ended": round(ended / len(schemas), 3), "tokens": len(steps), "vocabulary_s": round(known, 2),
        "schema_ms": round(1e3 * statistics.median(compiled), 2),
        "mask_ms_median": round(1e3 * statistics.median(masks), 4),
        "mask_ms_p95": round(1e3 * float(np.percentile(masks, 95)), 4),
        "token_ms_median": round(1e3 * statistics.median(steps), 4),
    }  # fmt: skip


def let_pass(schemas: list[Schema], each: int = 20) -> dict[str, float]:
    """The shares of `each` valid and `each` invalid documents of every schema that its grammar lets pass."""
    tokenizer, rng = Tokenizer(nano_files()), Random(1)
    stop = tokenizer.token_id("<|user|>")
    vocabulary = GrammarVocabulary(tokenizer, tokenizer.vocab_size, [stop])
    mask = np.zeros(-(-tokenizer.vocab_size // 32), np.int32)
    counts = {True: [0, 0], False: [0, 0]}
    for schema in schemas:
        validator = jsonschema.Draft202012Validator(schema)
        start = vocabulary.matcher(answer_grammar(response_format=json_format(schema)), "schema", "over")
        found = {True: 0, False: 0}
        for _ in range(100 * each):
            document = instance(rng, schema)
            document = document if found[True] < each else spoiled(rng, document)
            valid = validator.is_valid(document)
            if found[valid] == each:
                continue
            match, passed = start.copy(), True
            for token in [*tokenizer.encode(text(document)), stop]:
                match.fill(mask)
                if not (passed := token in allowed(mask)):
                    break
                if token != stop:
                    match.take(token)
            counts[valid][0] += passed
            counts[valid][1] += 1
            found[valid] += 1
            if min(found.values()) == each:
                break
    return {
        "valid": counts[True][1], "valid_let_pass": round(counts[True][0] / counts[True][1], 4),
        "invalid": counts[False][1], "invalid_let_pass": round(counts[False][0] / counts[False][1], 4),
    }  # fmt: skip


def answered(schemas: list[Schema], tokens: int, **shape) -> dict[str, float]:
    """How many answers of a network with random weights end; those that do are valid, or this raises."""
    tokenizer = Tokenizer(nano_files())
    config = dataclasses.replace(nano_config(tokenizer, context=tokens + 512), num_hidden_layers=2, **shape)
    with gk.LM(gk.GLM(config, rngs=nnx.Rngs(0)), tokenizer) as lm:

        def answer(number: int) -> tuple[bool, int]:
            done = lm.chat(
                "Answer.", thinking="disabled", response_format=json_format(schemas[number]), max_tokens=tokens,
                temperature=1.0, seed=number,
            )  # fmt: skip
            if done.finish_reason == "stop":
                jsonschema.validate(json.loads(done.content), schemas[number])
            return done.finish_reason == "stop", done.usage.completion_tokens

        began = time.perf_counter()
        with ThreadPoolExecutor(32) as pool:
            results = list(pool.map(answer, range(len(schemas))))
    return {
        "ended": round(sum(ended for ended, _ in results) / len(results), 3),
        "tokens_of_an_answer": statistics.median(length for _, length in results),
        "tokens_per_s": round(sum(length for _, length in results) / (time.perf_counter() - began)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Masks at GLM-4.5's vocabulary, and what is answered under them.")
    parser.add_argument("--schemas", type=int, default=300, help="(default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=1024, help="of an answer at most (default: %(default)s)")
    args = parser.parse_args()
    rng = Random(0)
    schemas = [random_document_schema(rng) for _ in range(args.schemas)]
    found = {"schemas": len(schemas), "cost": cost(schemas, args.tokens), "documents": let_pass(schemas)}
    for name, use_qk_norm in (("GLM-4.5", True), ("GLM-4.5-Air", False)):
        found[f"random weights, shape of {name}"] = answered(schemas, args.tokens, use_qk_norm=use_qk_norm)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
