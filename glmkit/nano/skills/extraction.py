"""JSON out of a text: the fields that are asked for, in their order and types, with null for what is not said."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

from glmkit.nano.skills.facts import ATTRIBUTE_SAID, RECORDS, Fact
from glmkit.nano.skills.lexicon import (
    capital,
    enumerated,
    made_up_word,
    own,
    pick_several,
    thinking_mode,
    with_article,
)
from glmkit.nano.skills.tool_values import VALUES
from glmkit.nano.task import Split, Task, assistant, pick, user

__all__ = ["SKILLS"]

WORDINGS = (
    "Extract JSON with the fields {schema} from this text: {text}", "{text}\n\nGive me JSON with {schema}.",
    "Text: {text}\nFields: {schema}\nJSON:", "Read the text and fill in the fields.\n{schema}\n\n{text}",
    "{text}\nFill in this form: {schema}", "Turn this into JSON ({schema}): {text}",
    "Which {schema} are in this text? {text}", "Please read: {text}\nThen answer in JSON with {schema}.",
    "Fields:\n{schema}\n\nText:\n{text}", "{schema}\n\n{text}",
    "Answer with one line of JSON. Fields: {schema}\nText: {text}",
    "Find {schema} in the text. {text} Answer in JSON.", "I need JSON with {schema}. Here is the text: {text}",
    'From the note "{text}" make JSON with {schema}.', "Note: {text}\nWrite it as JSON with these fields: {schema}",
    "Use the schema {schema} on the text: {text}", "{text}\n\nSchema: {schema}\nOutput:",
    "Convert to JSON.\nSchema: {schema}\nInput: {text}", "What does this say? {text}\nReply as JSON: {schema}",
    "Put the facts into JSON.\nFacts: {text}\nFields: {schema}", "Here is a text.\n{text}\nGive {schema} as JSON.",
    "Parse this: {text}\nInto: {schema}", "Return {schema} as a JSON object.\n\n{text}",
    "JSON, please: {schema}\n{text}", "Could you extract {schema} from the following? {text}",
    "Summarize as JSON with the keys {schema}: {text}",
    "Keys: {schema}\nRead this and give their values as JSON: {text}",
    "My text is: {text}\nMy fields are: {schema}\nMake JSON of it.", "{text} Tell me {schema} in JSON.",
    "Get {schema} out of this. Answer with JSON only.\n{text}", "Message: {text}\nJSON object with {schema}:",
)  # fmt: skip
SYSTEM_WORDINGS = (
    "Turn what the user writes into JSON with the fields {schema}.", "You extract {schema}. Answer in JSON.",
    "Fields: {schema}", "Always answer with one line of JSON that has {schema}.",
    "Read the user's text and fill in: {schema}", "Output JSON only. Schema: {schema}",
    "You are a parser. Keys: {schema}", "Reply with this JSON: {schema}", "Respond in JSON with {schema}.",
    "Form to fill in: {schema}", "The answer is a JSON object with {schema}.",
    "Take {schema} from each message, as JSON.", "JSON schema of your answers: {schema}",
)  # fmt: skip
USER_WORDINGS = (
    "{text}", "Text: {text}", "Here it is: {text}", "Read this: {text}", "{text}\nJSON, please.", "Next text: {text}",
    "Message: {text}", "I send you this: {text}", "Now this one: {text}", "Please: {text}",
)  # fmt: skip

_PREFIXES = ("my", "the", "first", "main", "new", "full", "a", "that")


class Field(NamedTuple):
    name: str
    kind: str
    about: str  # said in the schema, where the name does not tell
    value: Any  # None when the text does not say it


class Document(NamedTuple):
    sentences: list[str]
    fields: list[Field]
    wordings: list[str]


def extraction(rng: Random, split: Split) -> Task:
    """Two to five fields of a short text, as one line of JSON."""
    document = (_attributes if rng.random() < 0.35 else _record)(rng, split)
    fields = document.fields
    answer = json.dumps({field.name: field.value for field in fields}, ensure_ascii=False)
    text = " ".join(document.sentences)
    if rng.random() < 0.2:
        wordings = [pick(rng, SYSTEM_WORDINGS, split), pick(rng, USER_WORDINGS, split)]
        rule = wordings[0].format(schema=_schema(rng, wordings[0], fields))
        asked = [{"role": "system", "content": rule}, user(wordings[1].format(text=text))]
    else:
        wordings = [pick(rng, WORDINGS, split)]
        asked = [user(wordings[0].format(schema=_schema(rng, wordings[0], fields), text=text))]
    mode = thinking_mode(rng)
    thought = "\n".join(f"{field.name}: {json.dumps(field.value, ensure_ascii=False)}" for field in fields)
    messages = (*asked, assistant(answer, thought if mode == "forced" else ""))
    return Task("extraction", " | ".join(wordings + document.wordings), messages, mode)


SKILLS: dict[str, Callable[[Random, Split], Task]] = {"extraction": extraction}


def _record(rng: Random, split: Split) -> Document:
    """Facts about a person, an order, an event or a pet, some of which are not asked for, and some not said."""
    record = rng.choice(RECORDS)
    who, lead = pick(rng, record.subjects, split), pick(rng, record.leads, split)
    facts = rng.sample(record.facts, rng.randint(2, 6))
    count_said = rng.randint(1, len(facts))
    sentences, wordings = [], [lead]
    fields = [_field(rng, split, (), record.about, record.names, "string", who)]
    for place, fact in enumerate(facts):
        value = None
        if place < count_said or rng.random() < 0.7:
            value, sentence, wording = _stated(rng, split, fact, who)
            sentences.append(sentence)
            wordings.append(wording)
        fields.append(_field(rng, split, fields, fact.about, fact.names, fact.kind, value))
    asked = rng.sample(fields, min(len(fields), rng.randint(2, 5)))
    return Document([with_article(lead.format(who=who)), *rng.sample(sentences, len(sentences))], asked, wordings)


def _stated(rng: Random, split: Split, fact: Fact, who: str) -> tuple[Any, str, str]:
    """A value for the fact, the sentence that says it, and its wording."""
    value = _draw_value(rng, split, fact)
    wordings = own(fact.denied if value is False else fact.said, split)
    if not wordings or rng.random() < 0.15:
        wordings = own(ATTRIBUTE_SAID, split)
    wording = rng.choice(wordings)
    sentence = with_article(wording.format(who=who, what=fact.about, v=_said(value)))
    return value, sentence if wording.startswith("{v}") else capital(sentence), wording


def _draw_value(rng: Random, split: Split, fact: Fact) -> Any:
    match fact.kind, fact.source:
        case "boolean", _:
            return rng.random() < 0.5
        case "integer", (low, high):
            return rng.randint(low, high)
        case "number", (low, high):
            return round(rng.uniform(low, high), 2 if high < 10 else 1)
        case "array", options:
            return pick_several(rng, options, split, rng.randint(1, 3))
        case "string", str() as made:
            return VALUES[made](rng, split).json
        case _, options:
            return pick(rng, options, split)


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return enumerated(value) if isinstance(value, list) else str(value)


def _field(rng: Random, split: Split, taken: Sequence[Field], about: str, names: str, kind: str, value: Any) -> Field:
    """A field under a telling name, or under one that says nothing and is explained."""
    telling = names.split()
    if rng.random() < 0.25:
        telling = [f"{prefix}_{name}" for prefix in _PREFIXES for name in telling]
    used = {field.name for field in taken}
    telling = [name for name in own(telling, split) if name not in used]
    if telling and rng.random() < 0.75:
        return Field(rng.choice(telling), kind, f"the {about}" if rng.random() < 0.15 else "", value)
    while (name := made_up_word(rng, split)) in used:
        pass
    return Field(name, kind, f"the {about}", value)


def _attributes(rng: Random, split: Split) -> Document:
    """Facts whose names are made-up words, so that only the text tells what they are."""
    sentences, fields, wordings = [], [], []
    pattern = pick(rng, ATTRIBUTE_SAID, split)
    count = rng.randint(2, 6)
    while len(fields) < count:
        what = made_up_word(rng, split)
        if any(what == field.name for field in fields):
            continue
        kind = rng.choice(("string", "string", "integer", "integer", "number", "boolean", "array"))
        value = VALUES[kind](rng, split)
        said = not fields or rng.random() < 0.9
        if said:
            wording = pattern if rng.random() < 0.6 else pick(rng, ATTRIBUTE_SAID, split)
            sentences.append(wording.format(what=what, v=value.said))
            wordings.append(wording)
        fields.append(Field(what, kind, "", value.json if said else None))
    asked = rng.sample(fields, min(count, rng.randint(2, 5)))
    return Document(rng.sample(sentences, len(sentences)), asked, wordings)


def _schema(rng: Random, wording: str, fields: Sequence[Field]) -> str:
    """The fields in one of several notations; as lines where the wording leaves room for them."""
    room = "{schema}\n" in wording or wording.endswith("{schema}")
    return rng.choice((*_IN_LINE, _lines) if room else _IN_LINE)(fields)


def _listed(fields: Sequence[Field]) -> str:
    return ", ".join(f"{field.name} ({_type(field)})" for field in fields)


def _lines(fields: Sequence[Field]) -> str:
    return "\n" + "\n".join(f"- {field.name}: {_type(field)}" for field in fields)


def _example(fields: Sequence[Field]) -> str:
    return json.dumps({field.name: _type(field) for field in fields})


def _json_schema(fields: Sequence[Field]) -> str:
    properties = {}
    for field in fields:
        schema: dict[str, Any] = {"type": field.kind}
        if field.kind == "array":
            schema["items"] = {"type": "string"}
        if field.about:
            schema["description"] = field.about
        properties[field.name] = schema
    return json.dumps({"type": "object", "properties": properties})


def _typed_list(fields: Sequence[Field]) -> str:
    return "; ".join(f"{field.name}: {_type(field)}" for field in fields)


def _type(field: Field) -> str:
    kind = "array of strings" if field.kind == "array" else field.kind
    return f"{kind}, {field.about}" if field.about else kind


_IN_LINE = (_listed, _listed, _typed_list, _example, _json_schema)
