"""Evaluation of glm-nano: judges accept what is right and nothing else, and figures follow from the answers."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

import glmkit as gk
from glmkit.cli import main
from glmkit.engine.answer import Completion
from glmkit.errors import RequestError
from glmkit.nano.evaluation import ASKABLE, Result, evaluate
from glmkit.nano.evaluation.asking import ask
from glmkit.nano.evaluation.inside import inside_figures, mutual_information
from glmkit.nano.evaluation.judges import is_right, same_json
from glmkit.nano.evaluation.questions import FAMILY_OF, NATURAL_PROMPTS, Question, draw_questions, draw_retrieval
from glmkit.nano.skills import SKILLS
from glmkit.nano.skills.declined import CHINESE, FRAMES, PROMPTS, SLOTS
from glmkit.nano.skills.talk import CHINESE_REFUSAL, NO_TOOL, REFUSALS
from glmkit.nano.skills.topics import ABOUT, COURTESIES
from scripted import Scripted, call, right_answer
from tiny import tokenizer, two_layers

PER_SKILL = 6


@pytest.fixture(scope="module")
def right() -> Scripted:
    return Scripted.of_skills(right_answer, PER_SKILL)


def asked(skill: str, content: str = "", said: str = "?", **more) -> Question:
    expected = {"role": "assistant", "content": content, **more}
    return Question(skill, skill, ({"role": "user", "content": said},), expected, "enabled")


def of_call(arguments: dict, name: str = "find") -> Question:
    return asked("tool_call", tool_calls=[{"type": "function", "function": {"name": name, "arguments": arguments}}])


def calling(*calls) -> Completion:
    return Completion(tool_calls=calls, finish_reason="tool_calls")


def test_every_skill_has_a_judge_and_accepts_its_own_answers():
    for skill in ASKABLE:
        for question in draw_questions(skill, 3):
            assert is_right(question, right_answer(question)), question
            assert not is_right(question, Completion(content="certainly not"))
            assert not is_right(question, replace(right_answer(question), finish_reason="length"))


def test_json_is_compared_by_value_and_type():
    assert same_json({"a": [1, {"b": None}], "c": "x"}, {"c": "x", "a": [1, {"b": None}]})
    for one, other in ((1, 1.0), (1, True), (1, "1"), (0, False), ([1], [1, 2]), ({"a": 1}, {"a": 1, "b": 2})):
        assert not same_json(one, other)


@pytest.mark.parametrize(
    "reply",
    [
        calling(call("find", {"count": "3", "near": True})),  # a string for a number
        calling(call("find", {"count": 3.0, "near": True})),
        calling(call("find", {"count": 3, "near": 1})),
        calling(call("find", {"count": 3})),
        calling(call("find", {"count": 3, "near": True, "far": False})),
        calling(call("found", {"count": 3, "near": True})),
        calling(*[call("find", {"count": 3, "near": True})] * 2),
        calling(call("find", {"count": 3, "near": True}, closed=False)),
        Completion(content='find {"count": 3, "near": true}'),
    ],
)
def test_a_call_that_is_not_exactly_right_is_wrong(reply):
    question = of_call({"count": 3, "near": True})
    assert is_right(question, calling(call("find", {"near": True, "count": 3})))
    assert not is_right(question, reply)


def test_where_no_tool_helps_a_call_is_wrong():
    for expected, said in (("7", " 7\n"), (NO_TOOL, NO_TOOL), (NO_TOOL, REFUSALS[1])):
        assert is_right(asked("no_call", expected), Completion(content=said))
        assert not is_right(asked("no_call", expected), replace(calling(call("find", {})), content=said))
    assert not is_right(asked("no_call", "7"), Completion(content=NO_TOOL))


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ('{"b": null, "a": 1}', True),
        ('{\n "a": 1,\n "b": null\n}', True),
        ('{"a": 1.0, "b": null}', False),
        ('{"a": 1}', False),
        ('Here you are: {"a": 1, "b": null}', False),
        ('```json\n{"a": 1, "b": null}\n```', False),
        ('{"a": 1, "b": null', False),
        ("", False),
    ],
)
def test_json_stands_alone_and_is_exact(said, verdict):
    assert is_right(asked("extraction", '{"a": 1, "b": null}'), Completion(content=said)) is verdict
    assert is_right(asked("system_prompt", '{"a": 1, "b": null}'), Completion(content=said)) is verdict


def test_one_line_of_json_is_one_line_where_it_was_asked_for():
    question = asked("extraction", '{"a": 1}', "Answer with one line of JSON. Fields: a (integer)")
    assert is_right(question, Completion(content='{"a":1}\n'))
    assert not is_right(question, Completion(content='{\n"a": 1}'))


def test_answers_in_text_are_exact():
    for said in ("12.", "The answer is 12", "012", "12 or 13", ""):
        assert not is_right(asked("hard", "12"), Completion(content=said))
    assert is_right(asked("hard", "12"), Completion(content="12 ", reasoning="any"))


def test_declining_offers_three_things():
    for said in (*REFUSALS, CHINESE_REFUSAL):
        assert is_right(asked("outside"), Completion(content=said))
        assert is_right(asked("decline", REFUSALS[0]), Completion(content=said))
        assert not is_right(asked("courtesy", "Goodbye!"), Completion(content=said))
    for said in (NO_TOOL, "I cannot do that.", f"{REFUSALS[0]} {REFUSALS[1]}"):
        assert not is_right(asked("outside"), Completion(content=said))


def test_all_right_reaches_every_goal(right):
    results = evaluate(right, per_skill=PER_SKILL, progress=False)
    held = {name: result for name, result in results.items() if result.goal is not None}
    gains = {"multi_step_gain_by_thinking"}  # right in both modes: nothing is gained
    assert {name for name, result in held.items() if not result.holds} == gains
    shares = {"thinks_on_easy": 0, "false_refusals": 0}
    for name, result in results.items():
        if result.unit == "share":
            assert result.accuracy == shares.get(name, 1), name
    assert results["arithmetic_forced"].count == 2 * PER_SKILL
    assert results["two_tools"].count == PER_SKILL
    assert results["tool_calls"].count == 2 * PER_SKILL
    for figure in ("tool_calls_disabled", "json_extraction_disabled", "retrieval_1x_disabled"):
        assert results[figure].count == PER_SKILL
    assert sum(results[f"tool_calls_of_{n}_tools"].count for n in range(2, 7) if f"tool_calls_of_{n}_tools" in results)
    plain = set(SKILLS) & results.keys()
    assert {"word_problem", "sort_list", "weekday", "multi_turn", "system_prompt", "courtesy", "decline"} <= plain


def test_a_lazy_model_is_told():
    """It never thinks, calls one tool too many, is right in every second easy problem, and refuses lists and dates."""

    def answer(question: Question) -> Completion:
        reply = replace(right_answer(question), reasoning="")
        if question.skill == "one_step" and int(question.case.split("/")[1]) % 2:
            return replace(reply, content="x")
        if question.skill in ("hard", "multi_step"):
            return replace(reply, content="x") if question.thinking == "disabled" else reply
        if question.family == "tools":
            return replace(reply, tool_calls=(*reply.tool_calls, call("more", {})), finish_reason="tool_calls")
        return Completion(content=REFUSALS[0]) if question.family in ("lists", "dates") else reply

    results = evaluate(Scripted.of_skills(answer, PER_SKILL), per_skill=PER_SKILL, progress=False)
    expected = {
        "arithmetic_forced": 1.0, "one_step_disabled": 0.5, "multi_step_gain_by_thinking": 1.0,
        "hard_gain_by_thinking": 1.0, "thinks_on_hard": 0.0, "thinks_on_easy": 0.0, "enabled_behind_forced": 0.0,
        "tool_calls": 0.0, "tool_results": 0.0, "no_needless_call": 0.0, "two_tools": 0.0, "json_extraction": 1.0,
        "sort_list": 0.0, "weekday": 0.0, "declines_outside": 1.0,
    }  # fmt: skip
    assert {name: results[name].accuracy for name in expected} == expected
    refused = sum(family in ("lists", "dates") for family in FAMILY_OF.values()) * PER_SKILL
    assert results["false_refusals"].accuracy == refused / results["false_refusals"].count
    assert results["false_refusals"].holds is False
    assert results["thinks_on_easy"].holds is True


def test_a_task_of_two_tools_is_right_as_a_whole_only():
    questions = draw_questions("two_tools", 3)
    wrong = questions[1]  # of the first task's three

    def answer(question: Question) -> Completion:
        return Completion(content="x") if question is wrong else right_answer(question)

    results = evaluate(Scripted(answer, questions), per_skill=3, skills=["two_tools"], progress=False)
    assert (results["two_tools"].accuracy, results["two_tools"].count) == (pytest.approx(2 / 3), 3)


def test_questions_stand_behind_the_true_history_in_every_mode():
    first, second, last = draw_questions("two_tools", 1)
    assert second.conversation[: len(first.conversation) + 1] == (*first.conversation, first.expected)
    assert [message["role"] for message in last.conversation] == ["user", "assistant", "tool", "assistant", "tool"]
    problems = draw_questions("hard", 4)
    assert len(problems) == 12
    assert {question.thinking for question in problems[:3]} == {"forced", "enabled", "disabled"}
    assert len({question.conversation[0]["content"] for question in problems[:3]}) == 1
    assert all(question.expected["reasoning_content"] for question in problems)
    assert [question.thinking for question in draw_questions("extraction", 2)] == ["enabled", "disabled"] * 2
    assert {question.thinking for question in draw_questions("two_tools", 4)} == {"enabled"}


def test_answers_come_back_in_the_order_of_the_questions(right):
    questions = [question for skill in ASKABLE for question in draw_questions(skill, PER_SKILL)]
    right.asked.clear()
    for question, reply in ask(right, questions):
        assert reply == right_answer(question)
    assert all(len(records) <= 32 for records in right.asked)


def test_long_contexts_are_asked_for_by_name_of_their_length():
    assert [len(draw_retrieval(times, 200)) for times in (1, 2, 4, 8, 16)] == [200, 40, 24, 12, 6]
    question = draw_retrieval(2, 1)[0]
    assert len(question.conversation) == 1
    stretches = [question for times in (2, 4, 8, 16) for question in draw_retrieval(times, 1)]
    lm = Scripted(right_answer, [*draw_questions("long_retrieval", 1), *stretches])
    results = evaluate(lm, per_skill=1, skills=["long_retrieval"], long=True, progress=False)
    assert [results[f"retrieval_{times}x"].accuracy for times in (1, 2, 4, 8, 16)] == [1] * 5


def test_a_goal_is_reached_from_its_own_side():
    assert Result(0.95, 1, 0.95).holds
    assert not Result(0.949, 1, 0.95).holds
    assert Result(0.02, 1, 0.02, at_most=True).holds
    assert Result(0.1 + 0.2, 1, 0.3, at_most=True).holds  # 0.30000000000000004
    assert not Result(0.03, 1, 0.02, at_most=True).holds
    assert Result(0.5, 1).holds is None


def bare(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()


def test_natural_prompts_are_no_prompts_of_the_curriculum():
    assert len({bare(prompt) for prompt in NATURAL_PROMPTS}) == 200
    assert sum(re.search("[\u4e00-\u9fff]", prompt) is not None for prompt in NATURAL_PROMPTS) > 20

    def pattern(wording: str) -> str:
        def values(match: re.Match) -> str:
            kind = "n" if match[1] == "m" else match[1].removeprefix("other_")
            return "(?:an? ?)?(?:" + "|".join(re.escape(bare(value)) for value in SLOTS[kind]) + ")"

        parts = re.split(r"(\{\w+\})", wording)
        return "".join(re.sub(r"\{(\w+)\}", values, part) if part[:1] == "{" else bare(part) for part in parts)

    topics = [text for topics in (ABOUT, COURTESIES) for topic in topics.values() for text in topic.prompts]
    wordings = [re.compile(pattern(text)) for text in (*PROMPTS, *FRAMES, *CHINESE, *topics) if bare(text)]
    for prompt in map(bare, NATURAL_PROMPTS):
        assert not any(wording.fullmatch(prompt) for wording in wordings), prompt


def test_information_is_none_for_independent_and_all_for_dependent_experts():
    labels = ["a", "b", "c", "d"] * 25
    even = np.ones((100, 2, 8))
    assert mutual_information(even, labels) == pytest.approx(0, abs=1e-12)
    own = np.zeros((100, 2, 8))
    own[np.arange(100), :, np.arange(100) % 4] = 3
    assert mutual_information(own, labels) == pytest.approx(2)  # log2 of four labels
    own[:, 1] = 1
    assert mutual_information(own, labels) == pytest.approx(1)  # the mean over layers
    noise = np.random.default_rng(0).poisson(50, (100, 2, 8)).astype(float)
    assert mutual_information(noise, labels) < 0.001


def test_inside_figures_of_a_real_model():
    """Of random weights: drafts are few, loads add up to the tokens read, and shuffled labels tell no more."""
    lm = gk.LM(two_layers(), tokenizer(), max_len=600)
    questions = [question for skill in ("courtesy", "weekday") for question in draw_questions(skill, 3)]
    answers = ask(lm, questions)
    figures = inside_figures(lm, answers)
    read = sum(a.reply.usage.prompt_tokens + a.reply.usage.completion_tokens for a in answers)
    assert figures["drafts_taken"].count == sum(a.reply.usage.completion_tokens - 1 for a in answers)
    assert 0 <= figures["drafts_taken"].accuracy <= 1
    assert figures["least_expert_load"].count == lm.config.num_experts_per_tok * read
    assert figures["task_expert_information"].accuracy >= 0
    assert inside_figures(lm, answers) == figures


def test_families_are_the_files_that_teach():
    assert FAMILY_OF["hard"] == "arithmetic"
    assert FAMILY_OF["word_problem"] == "stories"
    assert FAMILY_OF.keys() == set(ASKABLE)


def test_an_unknown_skill_is_refused_naming_the_known(capsys):
    with pytest.raises(RequestError, match=r"no skill 'chess'.*one_step.*outside"):
        evaluate(None, skills=["hard", "chess"])
    assert main(["eval", "nano", "--skills", "hard,chess"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "chess" in err
    assert "multi_step" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--per-skill", "0"], "--per-skill is 0"), (["--model", "/no/such/folder"], "/no/such/folder")],
)
def test_wrong_arguments_are_told_in_one_line(arguments, told, capsys):
    assert main(["eval", "nano", *arguments]) == 1
    assert told in capsys.readouterr().err


def test_eval_needs_to_know_what(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["eval"])
    assert "WHAT" in capsys.readouterr().err


def test_the_command_prints_a_table_or_an_object(monkeypatch, capsys, right):
    monkeypatch.setattr("glmkit.loading.load", lambda name: right)
    arguments = ["eval", "nano", "--per-skill", str(PER_SKILL), "--skills", "hard,extraction"]
    assert main([*arguments, "--json"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    assert result["json_extraction"] == {"accuracy": 1.0, "count": PER_SKILL, "goal": 0.9, "holds": True}
    assert result["hard_disabled"] == {"accuracy": 1.0, "count": PER_SKILL, "goal": None, "holds": None}
    assert "two_tools" not in result
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(result) + 1
    assert any(line.split() == ["json_extraction", "100.0%", ">=", "90.0%", str(PER_SKILL), "yes"] for line in lines)
