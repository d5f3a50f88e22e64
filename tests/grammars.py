"""For tests of grammars: what may come, whether an answer passes, and answers at random; tools to be called."""

import numpy as np

from glmkit.errors import RequestError
from glmkit.text import normalize_tools
from glmkit.text.grammar import GrammarVocabulary, TurnMatcher, answer_grammar
from tiny import CONFIG, tokenizer

STOPS = CONFIG.eos_token_id
VOCABULARY = GrammarVocabulary(tokenizer(), CONFIG.vocab_size, STOPS)
WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 5},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "unit": {"type": "string", "enum": ["C", "F"]},
            "code": {"type": "string", "pattern": "^[A-Z]{2}$"},
            "near": {"$ref": "#/$defs/point"},
            "wind": {
                "anyOf": [{"type": "string", "maxLength": 3}, {"type": "integer", "minimum": 5}, {"type": "null"}]
            },
        },
        "required": ["city", "days"],
        "$defs": {"point": {"type": "array", "items": {"type": "integer", "maximum": 9}, "maxItems": 2}},
    },
}
TOOLS = normalize_tools([WEATHER, {"name": "now"}])


def json_format(schema) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def matcher(thought="over", **grammar) -> TurnMatcher:
    return VOCABULARY.matcher(answer_grammar(**grammar), "test", thought)


def may_come(match: TurnMatcher) -> np.ndarray:
    """The tokens that may come next."""
    mask = np.zeros(-(-CONFIG.vocab_size // 32), np.int32)
    match.fill(mask)
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))


def passes(match: TurnMatcher, answer: str) -> bool:
    """Whether a whole answer is let pass, and may end there."""
    try:
        for token in tokenizer().encode(answer):
            if token not in may_come(match):
                return False
            match.take(token)
    except RequestError:
        return False
    return set(STOPS) <= set(may_come(match).tolist())


def at_random(match: TurnMatcher, rng: np.random.Generator, most: int = 1500) -> str | None:
    """An answer of tokens drawn at random from those that may come; None if it had not ended after `most`."""
    tokens: list[int] = []
    while len(tokens) < most:
        options = may_come(match)
        token = int(rng.choice(options))
        if token in STOPS:
            return tokenizer().decode(tokens)
        tokens.append(token)
        match.take(token)
    return None


def call(*arguments: tuple[str, str], name: str = "get_weather") -> str:
    said = "".join(f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n" for key, value in arguments)
    return f"<tool_call>{name}\n{said}</tool_call>"
