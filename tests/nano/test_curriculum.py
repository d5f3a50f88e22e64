"""The curriculum of glm-nano: what it teaches is right, repeatable, and never what is evaluated."""

import re
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from glmkit.nano.arithmetic import Problem, draw_problem, held_out
from glmkit.nano.curriculum import END_OF_TURN, example
from glmkit.nano.evaluation import THINKING_MODES, evaluate, held_out_sums
from glmkit.nano.packing import batch, encode
from glmkit.nano.tokenizer import build_tokenizer, curriculum_texts
from glmkit.text.parser import parse
from glmkit.text.template import render
from glmkit.text.tokenizer import GLM_SPECIAL_TOKENS, Tokenizer

EXAMPLES = [example(0, index) for index in range(3000)]
SUM_OR_DIFFERENCE = re.compile(r"(\d+)([+-])(\d+)")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build_tokenizer(curriculum_texts(examples=5000), vocab_size=640, max_length=1024)


def test_examples_depend_on_seed_and_index_alone():
    assert EXAMPLES[17] == example(0, 17)
    assert [example(1, index) for index in range(20)] != EXAMPLES[:20]


def test_held_out_pairs_are_a_tenth_and_do_not_depend_on_order():
    rng = Random(0)
    pairs = [(rng.randrange(100, 1000), rng.randrange(100, 1000)) for _ in range(20_000)]
    # Ten standard deviations of a tenth of 20,000 are 0.021.
    assert abs(np.mean([held_out(*pair) for pair in pairs]) - 0.1) < 0.021
    assert all(held_out(a, b) == held_out(b, a) for a, b in pairs[:1000])
    assert not any(held_out(a, b) for a, b in [(5, 999), (99, 100), (1000, 100), (100, 1000)])


def test_no_held_out_pair_is_ever_shown():
    """Wherever two numbers meet in what is said or thought, and in the follow-ups' second operations."""
    for item in EXAMPLES:
        for message in item.messages:
            numbers = [int(n) for n in re.findall(r"\d+", message["content"])]
            assert len(numbers) != 2 or not held_out(*numbers), message
            for left, _, right in SUM_OR_DIFFERENCE.findall(message.get("reasoning_content", "")):
                assert not held_out(int(left), int(right)), message
        *_, before, question, _ = [{"content": ""}, *item.messages]
        if re.fullmatch(r"\d+", before["content"]) and len(re.findall(r"\d+", question["content"])) == 1:
            assert not held_out(int(before["content"]), int(re.search(r"\d+", question["content"])[0]))
    rng = Random(1)
    assert not any(held_out(p.left, p.right) for p in (draw_problem(rng, (3, 3)) for _ in range(2000)))


def test_held_out_sums_are_held_out_and_worded():
    sums = held_out_sums(300, seed=3)
    assert len({problem for _, problem in sums}) == 300
    for question, problem in sums:
        assert held_out(problem.left, problem.right)
        assert {str(problem.left), str(problem.right)} <= set(re.findall(r"\d+", question))


@pytest.mark.parametrize(
    ("problem", "reasoning"),
    [
        (Problem(345, "+", 678), "345+678\n5+8=13→3\n4+7+1=12→23\n3+6+1=10→1023"),
        (Problem(7, "+", 45), "07+45\n7+5=12→2\n0+4+1=5→52"),
        (Problem(4, "+", 5), "4+5\n4+5=9→9"),
        (Problem(103, "-", 98), "103-098\n13-8=5→5\n10-9-1=0→05\n1-0-1=0→005"),
        (Problem(5, "-", 19), "5<19\n19-05\n9-5=4→4\n1-0=1→14\n-14"),
    ],
)
def test_reasoning_by_hand(problem: Problem, reasoning: str):
    assert problem.reasoning == reasoning


def test_reasoning_is_right_line_by_line():
    """Each column's operation holds, and the last line leads to the answer, over many random problems."""
    rng = Random(2)
    for _ in range(3000):
        problem = draw_problem(rng, (rng.randint(1, 4), rng.randint(1, 4)))
        lines = problem.reasoning.splitlines()
        columns = [line for line in lines if "→" in line]
        for line in columns:
            operation, value = line.split("→")[0].split("=")
            assert sum(map(int, re.findall(r"(?:^|[+-])\d+", operation))) == int(value)
        written = [line.split("→")[1] for line in columns]
        assert all(later.endswith(earlier) for earlier, later in pairwise(written))
        last = written[-1] if problem.answer >= 0 else lines[-1]
        assert int(last) == problem.answer


def test_answers_in_the_examples_are_right():
    """Every bare question followed by a number: the number is the sum or difference."""
    checked = 0
    for item in EXAMPLES:
        *_, question, answer = item.messages
        terms = SUM_OR_DIFFERENCE.findall(question["content"].replace(" ", ""))
        if len(terms) == 1 and re.fullmatch(r"-?\d+", answer["content"]):
            left, operator, right = terms[0]
            assert int(answer["content"]) == Problem(int(left), operator, int(right)).answer
            checked += 1
    assert checked > 500


def test_prompt_and_completion_are_the_rendered_conversation():
    for item in EXAMPLES[:400]:
        mode = "enabled" if item.thinking == "forced" else item.thinking
        whole = render(list(item.messages), thinking=mode, add_generation_prompt=False)
        assert item.prompt + item.completion == whole + END_OF_TURN


def test_what_the_model_learns_to_say_parses_to_the_message():
    opened = {"enabled": "", "disabled": "", "forced": "\n<think>"}
    for item in EXAMPLES[:400]:
        message = item.messages[-1]
        said = parse(opened[item.thinking] + item.completion.removesuffix(END_OF_TURN))
        assert said.content == message["content"]
        assert (said.reasoning or "") == message["reasoning_content"]


def test_every_mode_and_an_empty_thought_occur():
    assert {item.thinking for item in EXAMPLES} == set(THINKING_MODES)
    free = [item for item in EXAMPLES if item.thinking == "enabled"]
    assert any(item.completion.startswith("\n<think></think>\n") for item in free)
    assert all(item.messages[-1]["reasoning_content"] for item in EXAMPLES if item.thinking == "forced")


def test_special_tokens_close_the_vocabulary_in_order(tokenizer: Tokenizer):
    ids = [tokenizer.token_id(token) for token in GLM_SPECIAL_TOKENS]
    assert ids == list(range(640 - 36, 640))
    assert tokenizer.vocab_size == 640
    assert {i for i, flag in zip(ids, GLM_SPECIAL_TOKENS.values(), strict=True) if flag} == tokenizer.special_ids


def test_digits_and_newline_are_single_tokens(tokenizer: Tokenizer):
    digits = [tokenizer.token_id(digit) for digit in "0123456789"]
    assert tokenizer.encode("9876543210") == digits[::-1]
    assert tokenizer.encode("1 + 23\n4")[-2:] == [*tokenizer.encode("\n"), digits[4]]
    assert not any(re.search(r"\d.|.\d", tokenizer.decode([i])) for i in range(604))


def test_tokenizer_gives_any_text_back_and_is_reproducible(tokenizer: Tokenizer):
    for text in ("What is 3 + 4?", "  two\tblanks \n\n", "héllo, 你好 🙂", "a→b"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    again = build_tokenizer(curriculum_texts(examples=5000), vocab_size=640, max_length=1024)
    assert again.files == tokenizer.files


def test_loss_mask_covers_exactly_what_the_model_says(tokenizer: Tokenizer):
    rows = batch(tokenizer, seed=5, step=2, batch_size=4, length=256)
    pool = {}
    for index in range(2 * 2**24, 2 * 2**24 + 200):
        item = example(5, index)
        pool[item.prompt + item.completion] = item.completion
    seen = 0
    for tokens, mask, segments in zip(*rows, strict=True):
        for segment in range(segments.max() + 1):
            own = segments == segment
            whole, learned = (tokenizer.decode(tokens[part].tolist()) for part in (own, own & mask))
            assert learned == pool[whole]
            seen += 1
    assert seen > 8
    assert not rows.loss_mask[rows.segment_ids < 0].any()


def test_batches_are_a_function_of_seed_and_step_and_well_filled(tokenizer: Tokenizer):
    first = batch(tokenizer, seed=0, step=7, batch_size=8, length=256)
    again = batch(tokenizer, seed=0, step=7, batch_size=8, length=256)
    other = batch(tokenizer, seed=0, step=8, batch_size=8, length=256)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.tokens, other.tokens)
    assert np.mean(first.segment_ids >= 0) > 0.9  # measured: 0.97; the rest is too short for another example


def test_encoding_prompt_and_completion_apart_loses_no_merge(tokenizer: Tokenizer):
    for item in EXAMPLES[:100]:
        prompt, completion = encode(tokenizer, item)
        assert prompt + completion == tokenizer.encode(item.prompt + item.completion)


def test_evaluate_counts_exact_answers_only():
    class Reply:
        def __init__(self, content: str):
            self.content = content

    def generate(conversations, thinking):
        answers = {question: problem.answer for question, problem in held_out_sums(40)}
        right = [answers[conversation[-1]["content"]] for conversation in conversations]
        if thinking == "forced":
            return [Reply(f" {answer}\n") for answer in right]
        if thinking == "enabled":
            return [Reply(str(answer + index % 2)) for index, answer in enumerate(right)]
        return [Reply(f"The answer is {answer}") for answer in right]

    assert evaluate(generate, 40) == {"forced": 1.0, "enabled": 0.5, "disabled": 0.0}
