"""Looking up: every answer is in the context once, behind its key, and contexts are as long as was asked."""

import re
from random import Random

import pytest

from glmkit.nano.skills.retrieval import (
    FRAMES,
    HOPS,
    LINES,
    QUESTIONS,
    SENTENCES,
    SKILLS,
    long_retrieval,
    retrieval,
)
from glmkit.nano.task import Split, Task, pick

Tasks = dict[Split, list[Task]]


@pytest.fixture(scope="module")
def tasks() -> Tasks:
    return {split: [retrieval(Random(f"test/{i}"), split) for i in range(120)] for split in ("train", "held_out")}


def turns(task: Task) -> list[tuple[str, list[str]]]:
    """What is asked, the first time with the context, and the values in the answer."""
    contents = [message["content"] for message in task.messages]
    return list(zip(contents[::2], (answer.split(", ") for answer in contents[1::2]), strict=True))


def pairs(task: Task) -> dict[str, str]:
    """Key and value of each pair in the context, read by its layout."""
    _, layout, *_ = task.template.split(" | ")
    pattern = re.escape(layout).replace(r"\{key\}", r"(?P<key>[\w-]+)").replace(r"\{value\}", r"(?P<value>\w+)")
    if not layout.endswith("."):  # a line of a list, no sentence
        pattern = f"^{pattern}$"
    found = re.finditer(pattern, task.messages[0]["content"], flags=re.MULTILINE)
    return {match["key"]: match["value"] for match in found}


def test_a_task_is_a_function_of_the_random_state():
    for skill, draw in SKILLS.items():
        assert draw(Random(7), "train") == draw(Random(7), "train")
        assert draw(Random(7), "train").skill == skill


def test_every_answer_is_in_the_context_once_behind_its_key(tasks):
    for task in tasks["train"] + tasks["held_out"]:
        known = pairs(task)
        context = task.messages[0]["content"]
        for asked, answers in turns(task):
            keys = [key for key in known if re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", asked)]
            assert {known[key] for key in keys} >= set(answers), (task, keys)
            assert len(set(answers)) == len(answers)
            for answer in answers:
                assert len(re.findall(rf"\b{re.escape(answer)}\b", context)) == 1, task


def test_a_thought_copies_what_the_context_says_of_each_key_that_is_asked_for(tasks):
    kinds = set()
    for task in tasks["train"] + tasks["held_out"]:
        known, asked = pairs(task), task.messages[-1].get("reasoning_content", "")
        assert bool(asked) == (task.thinking != "disabled")
        if asked:
            ((prompt, answers),) = turns(task)
            keys = [max((key for key in known if line.startswith(key)), key=len) for line in asked.split("\n")]
            assert all(line in prompt for line in asked.split("\n"))
            assert [known[key] for key in keys] == answers
            question = prompt.replace(task.template.split(" | ")[0], "")
            places = [question.rfind(key) for key in keys]
            assert min(places) >= 0
            kinds.add(len(keys) > 1)
    assert kinds == {True, False}


def test_many_keys_are_asked_for_of_a_context_at_once_or_in_turn_and_all_fit_a_row():
    counts, lengths = {True: [], False: []}, []
    for index in range(60):
        task = long_retrieval(Random(f"test/{index}"), "train")
        counts[task.thinking == "disabled"].append(sum(len(answers) for _, answers in turns(task)))
        said = [m["content"] + m.get("reasoning_content", "") for m in task.messages]
        lengths.append(sum(len(re.findall(r"\d|\n|[^\W\d]+|[^\w\s]", text)) for text in said))
        assert len({asked for asked, _ in turns(task)}) == len(turns(task))
    for asked in counts.values():
        assert min(asked) < 16 < 34 < max(asked) <= 40
    assert min(counts[True] + counts[False]) == 1
    assert max(lengths) < 2560


def test_two_hops_are_followed():
    for split in ("train", "held_out"):
        for index in range(100):
            task = SKILLS["follow"](Random(f"test/{index}"), split)
            known = pairs(task)
            thought, answer = task.messages[1]["reasoning_content"], task.messages[1]["content"]
            one, two = thought.splitlines()
            assert one in task.messages[0]["content"]
            assert two in task.messages[0]["content"]
            (middle,) = (key for key in known if two.startswith(key))
            assert middle in one
            assert known[middle] == answer


@pytest.mark.parametrize("tokens", [1024, 2048, 8192])
def test_long_contexts_have_the_length_asked_for_and_the_needle_anywhere(tokens: int):
    places = []
    for index in range(25):
        task = long_retrieval(Random(f"test/{index}"), "held_out", tokens, questions=1)
        prompt, answer = (message["content"] for message in task.messages)
        pieces = re.findall(r"\d|\n|[^\W\d]+|[^\w\s]", prompt)
        assert 0.6 < len(pieces) / tokens < 1.05  # a new word is several tokens
        assert len(pairs(task)) > 40
        places.append(prompt.rindex(answer) / len(prompt))
    assert min(places) < 0.25 < 0.75 < max(places)


def test_held_out_keys_and_wordings_are_never_trained(tasks):
    for read in (lambda task: pairs(task).keys(), lambda task: set(task.template.split(" | "))):
        shown = {split: {text for task in tasks[split] for text in read(task)} for split in tasks}
        assert not shown["train"] & shown["held_out"]
    for options in (LINES, SENTENCES, QUESTIONS, FRAMES, HOPS):
        drawn = {split: {pick(Random(i), options, split) for i in range(200)} for split in tasks}
        assert min(map(len, drawn.values())) > 20
        assert not drawn["train"] & drawn["held_out"]
