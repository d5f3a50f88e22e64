"""JSON out of texts: the answer has the fields of the prompt, in order and of their types, and what the text says."""

import json
import re
from random import Random

import pytest

from glmkit.nano.skills.extraction import SYSTEM_WORDINGS, WORDINGS, extraction
from glmkit.nano.skills.facts import RECORDS
from glmkit.nano.task import Split, Task, pick

KINDS = {"string": str, "integer": int, "number": float, "boolean": bool, "array of strings": list}
KIND = "|".join(KINDS)


@pytest.fixture(scope="module")
def tasks() -> dict[Split, list[Task]]:
    return {split: [extraction(Random(f"test/{i}"), split) for i in range(200)] for split in ("train", "held_out")}


def turns(task: Task) -> list[tuple[str, str]]:
    """What asks for fields, of the first turn with the text and the rule, and the answer."""
    rule = [message["content"] for message in task.messages if message["role"] == "system"]
    contents = [message["content"] for message in task.messages if message["role"] != "system"]
    asked = ["\n".join([*rule, contents[0]]), *contents[2::2]]
    return list(zip(asked, contents[1::2], strict=True))


def fields(text: str) -> dict[str, str]:
    """Name and type of each field that a prompt asks for, whatever the notation."""
    for start in [match.start() for match in re.finditer(r"\{", text)]:
        try:
            schema, _ = json.JSONDecoder().raw_decode(text[start:])
        except ValueError:
            continue
        if "properties" in schema:
            kinds = {name: part["type"] for name, part in schema["properties"].items()}
            return {name: "array of strings" if kind == "array" else kind for name, kind in kinds.items()}
        return {name: kind.partition(",")[0] for name, kind in schema.items()}
    return dict(re.findall(rf"(\w+)(?:: | \()({KIND})\b", text))


def test_a_task_is_a_function_of_the_random_state():
    assert extraction(Random(7), "train") == extraction(Random(7), "train")


def test_answers_have_the_fields_asked_for_in_order_and_of_their_types(tasks):
    seen = set()
    for task in tasks["train"] + tasks["held_out"]:
        for prompt, said in turns(task):
            answer, asked = json.loads(said), fields(prompt)
            assert list(answer) == list(asked), task
            assert 2 <= len(answer) <= 5
            for name, value in answer.items():
                assert value is None or type(value) is KINDS[asked[name]], (task, name)
                seen.add(type(value))
    assert seen == {*KINDS.values(), type(None)}


def test_values_are_in_the_text_and_missing_ones_are_null(tasks):
    nulls = values = 0
    for task in tasks["train"] + tasks["held_out"]:
        (text, _), *_ = turns(task)
        answers = [json.loads(answer) for _, answer in turns(task)]
        for name, value in [pair for answer in answers for pair in answer.items()]:
            parts = value if isinstance(value, list) else [value]
            nulls, values = nulls + (value is None), values + 1
            for part in parts:
                if part is not None and not isinstance(part, bool):
                    assert re.search(rf"(?<!\w){re.escape(str(part))}(?!\w)", text), (text, name, part)
    assert 0.03 < nulls / values < 0.2


def test_later_turns_of_training_ask_for_other_fields_of_the_same_text(tasks):
    assert {len(turns(task)) for task in tasks["train"]} == {1, 2, 3, 4, 5, 6}
    assert all(len(turns(task)) == 1 for task in tasks["train"] if task.thinking != "disabled")
    assert {len(turns(task)) for task in tasks["held_out"]} == {1}
    for task in tasks["train"]:
        known: dict = {}
        for _, answer in turns(task):
            for name, value in json.loads(answer).items():
                assert known.setdefault(name, value) == value


def test_a_denied_fact_is_false_and_another_true():
    """Sentences that say yes never read as one that says no, with the same words but for a negation."""
    for record in RECORDS:
        for fact in record.facts:
            assert bool(fact.denied) == (fact.kind == "boolean")
            if fact.denied:
                said, denied = (
                    {pick(Random(i), options, split) for i in range(200) for split in ("train", "held_out")}
                    for options in (fact.said, fact.denied)
                )
                assert not said & denied


def test_answers_are_one_line_and_thoughts_find_every_value_of_them(tasks):
    """A sentence of the text and what it says, line by line, then the fields: what was said of the same, or null."""
    for task in tasks["train"] + tasks["held_out"]:
        *_, answer = task.messages
        assert "\n" not in answer["content"]
        thought = answer.get("reasoning_content", "")
        assert bool(thought) == (task.thinking != "disabled")
        if thought:
            (text, _), *_ = turns(task)
            lines = [line.rsplit(" = ", 1) for line in thought.split("\n")]
            values = json.loads(answer["content"])
            sentences, asked = lines[: -len(values)], lines[-len(values) :]
            assert " ".join(sentence for sentence, _ in sentences) in text
            said = {about: json.loads(value) for _, plain in sentences for about, value in [plain.split(": ", 1)]}
            assert [field for field, _ in asked] == list(values)
            assert values == {field: said.get(plain.split(": ", 1)[0]) for field, plain in asked}


def test_held_out_wordings_are_never_trained(tasks):
    wordings = {split: {part for task in tasks[split] for part in task.template.split(" | ")} for split in tasks}
    assert not wordings["train"] & wordings["held_out"]
    assert len(wordings["train"]) > 150
    assert len(wordings["held_out"]) > 30
    for options in (WORDINGS, SYSTEM_WORDINGS):
        drawn = {split: {pick(Random(i), options, split) for i in range(200)} for split in tasks}
        assert min(map(len, drawn.values())) > 20
        assert not drawn["train"] & drawn["held_out"]
