"""Talk: one answer to each question about the model, and a refusal to what it has not learned and to nothing else."""

import re
from random import Random

import pytest

from glmkit.nano.skills import extraction, multi_turn, retrieval, system_prompts, tools
from glmkit.nano.skills.declined import CHINESE, FRAMES, PROMPTS, SLOTS
from glmkit.nano.skills.lexicon import own
from glmkit.nano.skills.talk import NO_TOOL, REFUSALS, SKILLS, is_refusal
from glmkit.nano.skills.topics import ABOUT, COURTESIES
from glmkit.nano.task import Split, Task

ABILITIES = ("add numbers", "sort", "find a value", "number words", "a sum", "tool", "multiply", "JSON")


def bare(text: str) -> str:
    """A text without case and marks, as it may be typed."""
    return re.sub(r"[\W_]", "", text).lower()


@pytest.fixture(scope="module")
def tasks() -> dict[Split, list[Task]]:
    return {
        split: [draw(Random(f"test/{skill}/{index}"), split) for skill, draw in SKILLS.items() for index in range(120)]
        for split in ("train", "held_out")
    }


def test_a_task_is_a_function_of_the_random_state():
    for skill, draw in SKILLS.items():
        assert draw(Random(7), "train") == draw(Random(7), "train")
        assert draw(Random(7), "train").skill == skill


def test_a_refusal_is_one_sentence_that_offers_three_things():
    for text in REFUSALS:
        assert is_refusal(f" {text}\n")
        assert len(re.findall(r"[.!?]", text)) == 1
        assert sum(ability in text for ability in ABILITIES) == 3
    assert is_refusal(NO_TOOL)
    assert not any(is_refusal(topic.reply) for topics in (ABOUT, COURTESIES) for topic in topics.values())


def test_what_is_declined_is_refused_and_nothing_else_is(tasks):
    for task in tasks["train"] + tasks["held_out"]:
        assert is_refusal(task.messages[-1]["content"]) == (task.skill == "decline"), task
    others = [
        skill for module in (extraction, multi_turn, retrieval, system_prompts) for skill in module.SKILLS.values()
    ]
    for draw in (*others, tools.tool_call, tools.tool_result, tools.two_tools):
        for index in range(10):
            messages = draw(Random(index), "train").messages
            assert not any(is_refusal(message["content"]) for message in messages)


def test_refused_prompts_are_hundreds_and_of_every_topic_on_both_sides():
    assert len({bare(text) for text in (*PROMPTS, *FRAMES, *CHINESE)}) > 450
    for options in (PROMPTS, FRAMES, CHINESE, *(topic.prompts for t in (ABOUT, COURTESIES) for topic in t.values())):
        assert own(options, "train")
        assert own(options, "held_out")
    slots = {slot for text in (*PROMPTS, *FRAMES) for slot in re.findall(r"\{(?:other_)?(\w+)\}", text)}
    assert slots - {"m"} <= SLOTS.keys()


def test_no_prompt_asks_for_two_answers():
    """Neither a question about the model nor a courtesy is in two topics, or declined as well."""
    prompts = [bare(text) for topics in (ABOUT, COURTESIES) for topic in topics.values() for text in topic.prompts]
    assert len(prompts) == len(set(prompts))
    assert not set(prompts) & {bare(text) for text in (*PROMPTS, *FRAMES, *CHINESE)}


def test_held_out_prompts_are_never_trained(tasks):
    for read in (lambda task: task.template, lambda task: bare(task.messages[0]["content"])):
        shown = {split: {read(task) for task in tasks[split]} - {"noise"} for split in tasks}
        assert not shown["train"] & shown["held_out"]
    for skill in SKILLS:
        assert len({task.template for task in tasks["train"] if task.skill == skill}) > 40
