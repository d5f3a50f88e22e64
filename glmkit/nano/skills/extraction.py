"""JSON out of a text: the fields that are asked for, in their order and types, with null for what is not said.

A thought copies each sentence and says in plain words what it is about, and the value; then it says of each field in
the same words what it is about: its value is above, behind these words, or there is none.
"""

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
    with_article,
)
from glmkit.nano.skills.tool_values import VALUES
from glmkit.nano.task import Split, Task, assistant, pick, user

__all__ = ["SKILLS"]

WORDINGS = (
    "(Extract|Get|Find|Pull|Take|Read) {schema} (from|out of) (this|the|my) (text|note|message|passage)"
    "( as JSON| in JSON|, as JSON)(: |:\n|\n|\n\n){text}",
    "(Give me|Make|Write|Return|Output|I need|Produce|Create) (a JSON object|JSON|one line of JSON) with (the fields |"
    "the keys |fields |){schema} (from|out of|for) (this|the following) (text|note|message)(: |:\n|\n\n){text}",
    "{text}\n(\n|)(Give me|Write|Return|Output|Reply with|Answer with|I need|Now make|Make) "
    "(JSON|a JSON object|one line of "
    "JSON) with (the fields |the keys |these fields: |){schema}",
    "{text}\n(\n|---\n|)(Fields|Schema|Keys|Form|Extract|As JSON|JSON|Fill in|Fill in this form|Wanted): {schema}"
    "(\nJSON:|\nOutput:|\nAnswer:|)",
    "(Text|Note|Message|Input|Document|Data)(: |:\n){text}\n(\n|)(Fields|Schema|Keys|Form|Extract|JSON keys|Wanted): "
    "{schema}(\nJSON:|\nOutput:|\nAnswer:|)",
    "(Fields|Schema|Keys|Form|Extract as JSON|JSON fields|Wanted as JSON|Fill in): {schema}\n(\n|)"
    "(Text|Note|Message|Input|Read|Source)(: |:\n){text}(\nJSON:|)",
    "{schema}\n(\n|---\n|***\n|As JSON: |From: |JSON of: ){text}", "{text}\n"
    "(\n|---\n|***\n|As JSON: |JSON: |Find: ){schema}",
    "(Turn|Convert|Put|Transform) (this|the following|this text|my text|this note) into JSON"
    "( with| with the fields|"
    " with the keys|, fields|:) {schema}(: |:\n|\n\n){text}",
    "(Turn|Convert|Parse|Put) this (text |note |message |)into JSON ({schema})(: |:\n|\n){text}",
    "(Which|What) {schema} (are|do you find|do you see|can you find) in this (text|note|message)?( |\n){text}"
    "( Answer in JSON.| JSON, please.|\nJSON:)",
    "What (does this (text|note|message) say|do you learn from this (text|note))?( |\n){text}\n(Answer|Reply|Respond) "
    "(as|in) JSON: {schema}",
    '(From|Using|Given|With) (the|this|my) (note|text|message) "{text}"(,|) '
    '(make|give|write|return) JSON with {schema}(.|)',
    "(Can|Could|Will|Would) you (please |)(extract|find|get|give me|return) {schema} (from|out of) (this|the following)"
    "(?|, as JSON?)( |\n){text}",
    "(Read this|See this|Take this|Here is a|Here is my|This is the|Look at this) (text|note|message)(: |:\n){text}\n"
    "(Answer in|Reply in|Make|Write|Give me|Summarize it as|Put it into) JSON with (the fields |the keys |){schema}",
    "{text}( |\n)(Tell me|Give me|Extract|Find|I want|I need) {schema} (in|as) JSON(.|, please.|)",
    "(JSON|JSON, please|JSON only|One line of JSON|As JSON): {schema}\n(\n|){text}",
    "(I want|I need|We need|Please give me|Tell me) {schema}( as| in) JSON"
    "(. |.\n|. The text: |. Text:\n|. Read this: ){text}",
    "(Answer with|Reply with|Write|Output) (one line of |)JSON( only|)(. |.\n)(Fields|Keys|Schema): {schema}\n"
    "(Text: |Note: |From: |){text}",
)  # fmt: skip
SYSTEM_WORDINGS = (
    "(Turn|Convert|Put) (what the user writes|each message|every text|the user's text) into JSON with "
    "(the fields |the keys |)"
    "{schema}(.|)",
    "(You extract|Extract|Always extract|Find|Take|You read out) {schema}"
    "( from each message| from the text| from what is said|)"
    "(, as JSON.|. Answer in JSON.|. Reply in JSON.|. JSON only.)",
    "(Fields|Schema|Keys|JSON fields|JSON schema|Form to fill in|Schema of your answers|Output JSON"
    "|Extract as JSON): {schema}",
    "(Always answer|Answer|Reply|Respond|Always reply) (with|in) (one line of |)JSON (that has|with|of) "
    "(the fields |){schema}(.|)",
    "(Read|Take) (the user's text|each text|each message|what you get) and "
    "(fill in|give as JSON|answer in JSON with): {schema}",
    "(Output|Write|Say|Return) (JSON only|only JSON|nothing but JSON)(. |.\n)(Schema|Fields|Keys): {schema}",
    "You are (a parser|an extractor|a form filler|a JSON machine)(. |.\n)(Keys|Fields|Schema|Your fields): {schema}",
    "(Your answer|The answer|Each answer|Every reply) is (a JSON object|JSON|one line of JSON) with "
    "(the fields |){schema}(.|)",
)  # fmt: skip
USER_WORDINGS = (
    "{text}(\n| |\n\n)(JSON, please.|As JSON, please.|That is the text.|JSON?|Fill in the form."
    "|Thanks.|That is all.|JSON:)",
    "(Text|Note|Message|Here it is|Read this|Next text|Next|Input|I send you this|Now this one|Please|The text|My text)"
    "(: |:\n| - ){text}",
    "(Please read|Please use|Please take|Use|Take|Here is|Read) (this|the following|my)( text| note| message)"
    "(: |:\n){text}",
    '(Text: |Read |Note: |Message: |This: |Next: |Please read |)"{text}"(.|)', "{text}(|\n| )",
)  # fmt: skip

MORE_WORDINGS = (
    "(Now|Next|And now|And|Then|Also|Again) (extract|get|find|give me|return|I need|I want|make JSON with) {schema}",
    "(The same|Same|From the same|From this|Again the same|For the same) (text|note|message)"
    "(: |, now: |, other fields: |, new fields: |: now ){schema}",
    "(Fields|Schema|Keys|Other fields|New fields|New schema|Next form|JSON fields|Wanted|Now): {schema}",
    "(And|Now|Next|Also|Again) (as JSON|JSON|in JSON|the fields|these fields|the keys): {schema}",
    "(What|How) about {schema}(?| in JSON?)",
    "(Can|Could|Will|Would) you (also |now |please |)(extract|find|get|give me|return) {schema}(?| in JSON?)",
    "{schema}(.|, please.|, again as JSON.| as JSON, please.|, from the same text.|)",
)  # fmt: skip
"""What asks for other fields of the same text."""

_PREFIXES = ("my", "the", "first", "main", "new", "full", "a", "that")


class Field(NamedTuple):
    name: str
    kind: str
    about: str  # in plain words
    explained: bool  # whether the schema says what it is about, as where the name does not tell
    value: Any  # None when the text does not say it

    @property
    def plain(self) -> str:
        """What it is about, and the value."""
        return f"{self.about}: {json.dumps(self.value, ensure_ascii=False)}"


class Statement(NamedTuple):
    sentence: str
    field: Field  # which has what it says


class Document(NamedTuple):
    statements: list[Statement]  # in the order of the text
    fields: list[Field]  # all that may be asked for
    wordings: list[str]


def extraction(rng: Random, split: Split) -> Task:
    """Two to five fields of a short text, as one line of JSON; in training, others of the same text after them."""
    document = (_attributes if rng.random() < 0.35 else _record)(rng, split)
    fields, text = _asked(rng, document), " ".join(statement.sentence for statement in document.statements)
    if rng.random() < 0.2:
        wordings = [pick(rng, SYSTEM_WORDINGS, split), pick(rng, USER_WORDINGS, split)]
        rule = wordings[0].format(schema=_schema(rng, wordings[0], fields))
        asked = [{"role": "system", "content": rule}, user(wordings[1].format(text=text))]
    else:
        wordings = [pick(rng, WORDINGS, split)]
        asked = [user(wordings[0].format(schema=_schema(rng, wordings[0], fields), text=text))]
    mode = rng.choices(("enabled", "disabled", "forced"), weights=(75, 21, 4))[0]
    messages = [*asked, assistant(_json(fields), "" if mode == "disabled" else _thought(document.statements, fields))]
    if split == "train" and mode == "disabled" and asked[0]["role"] == "user":
        for _ in range(rng.randint(1, 5)):
            wordings.append(wording := pick(rng, MORE_WORDINGS, split))
            fields = _asked(rng, document)
            messages += [user(wording.format(schema=_schema(rng, wording, fields))), assistant(_json(fields))]
    return Task("extraction", " | ".join(wordings + document.wordings), tuple(messages), mode)


SKILLS: dict[str, Callable[[Random, Split], Task]] = {"extraction": extraction}


def _asked(rng: Random, document: Document) -> list[Field]:
    """Two to five of the fields, in any order."""
    return rng.sample(document.fields, min(len(document.fields), rng.randint(2, 5)))


def _json(fields: Sequence[Field]) -> str:
    return json.dumps({field.name: field.value for field in fields}, ensure_ascii=False)


def _thought(statements: Sequence[Statement], asked: Sequence[Field]) -> str:
    """The sentences to the letter with what each says, then the fields with what was said for each."""
    said = [f"{sentence} = {field.plain}" for sentence, field in statements]
    return "\n".join([*said, *(f"{field.name} = {field.plain}" for field in asked)])


def _record(rng: Random, split: Split) -> Document:
    """Facts about a person, an order, an event or a pet, some of which are not asked for, and some not said."""
    record = rng.choice(RECORDS)
    who, lead = pick(rng, record.subjects, split), pick(rng, record.leads, split)
    facts = rng.sample(record.facts, rng.randint(2, 6) if split == "held_out" else rng.randint(4, 6))
    count_said = rng.randint(1, len(facts))
    wordings = [lead]
    fields = [_field(rng, split, (), record.about, record.names, "string", who)]
    first, statements = Statement(with_article(lead.format(who=who)), fields[0]), []
    for place, fact in enumerate(facts):
        value = sentence = None
        if place < count_said or rng.random() < 0.7:
            value, sentence, wording = _stated(rng, split, fact, who)
            wordings.append(wording)
        fields.append(_field(rng, split, fields, fact.about, fact.names, fact.kind, value))
        if sentence is not None:
            statements.append(Statement(sentence, fields[-1]))
    return Document([first, *rng.sample(statements, len(statements))], fields, wordings)


def _stated(rng: Random, split: Split, fact: Fact, who: str) -> tuple[Any, str, str]:
    """A value for the fact, the sentence that says it, and its wording."""
    value = _draw_value(rng, split, fact)
    own_words = fact.denied if value is False else fact.said
    wording = pick(rng, ATTRIBUTE_SAID if rng.random() < 0.15 else own_words, split)
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
        return Field(rng.choice(telling), kind, about, rng.random() < 0.15, value)
    while (name := made_up_word(rng, split)) in used:
        pass
    return Field(name, kind, about, True, value)


def _attributes(rng: Random, split: Split) -> Document:
    """Facts whose names are made-up words, so that only the text tells what they are."""
    statements, fields, wordings = [], [], []
    pattern = pick(rng, ATTRIBUTE_SAID, split)
    count = rng.randint(2, 6) if split == "held_out" else rng.randint(4, 6)
    while len(fields) < count:
        what = made_up_word(rng, split)
        if any(what == field.name for field in fields):
            continue
        kind = rng.choice(("string", "string", "integer", "integer", "number", "boolean", "array"))
        value = VALUES[kind](rng, split)
        said = not fields or rng.random() < 0.9
        fields.append(Field(what, kind, what, False, value.json if said else None))
        if said:
            wording = pattern if rng.random() < 0.6 else pick(rng, ATTRIBUTE_SAID, split)
            statements.append(Statement(wording.format(what=what, v=value.said), fields[-1]))
            wordings.append(wording)
    return Document(rng.sample(statements, len(statements)), fields, wordings)


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
        if field.explained:
            schema["description"] = f"the {field.about}"
        properties[field.name] = schema
    return json.dumps({"type": "object", "properties": properties})


def _typed_list(fields: Sequence[Field]) -> str:
    return "; ".join(f"{field.name}: {_type(field)}" for field in fields)


def _type(field: Field) -> str:
    kind = "array of strings" if field.kind == "array" else field.kind
    return f"{kind}, the {field.about}" if field.explained else kind


_IN_LINE = (_listed, _listed, _typed_list, _example, _json_schema)
