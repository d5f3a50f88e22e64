"""The card says what was measured and what was missed, and its examples are Python."""

import ast
import re
from types import SimpleNamespace

import pytest

from glmkit.config import GLMConfig
from glmkit.nano.card import MEANINGS, model_card
from glmkit.nano.evaluation import Result
from glmkit.nano.recipe import Recipe
from tiny import CONFIG

RECIPE = Recipe(tokens=50_000_000, seed=3)
ABOUT = SimpleNamespace(
    tokens=49_000_123, learned_tokens=12_000_000, steps=1234, minutes=187.4, hardware="2 CPU cores",
    digest="0123456789abcdef", loss=0.0421,
)  # fmt: skip
RESULTS = {
    "arithmetic_forced": Result(0.9625, 400, 0.95),
    "thinks_on_easy": Result(0.25, 200, 0.2, at_most=True),
    "multi_step_gain_by_thinking": Result(0.412, 200, 0.25, unit="points"),
    "retrieval_2x": Result(0.5, 40, note="prompts of 3,900 to 4,100 tokens"),
    "task_expert_information": Result(0.1234, 20_000, unit="bits"),
    "task_expert_information_shuffled": Result(0.01, 20_000, unit="bits"),
    "least_expert_load": Result(0.31, 20_000, 0.2, unit="fair share"),
}


@pytest.fixture(scope="module")
def card() -> str:
    return model_card(CONFIG, RECIPE, RESULTS, ABOUT, mixture={"hard": 3.0, "tool_call": 1.0})


def test_every_figure_stands_beside_its_goal(card):
    assert "| arithmetic forced | 96.2% | >= 95.0% | yes | 400 |" in card
    assert "| thinks on easy | 25.0% | <= 20.0% | **no** | 200 |" in card
    assert "| multi step gain by thinking | 41.2 points | >= 25.0 points | yes | 200 |" in card
    assert "| retrieval 2x | 50.0% |  |  | 40 | prompts of 3,900 to 4,100 tokens |" in card
    assert "| least expert load | 0.31 of fair share | >= 0.20 of fair share | yes | 20,000 |" in card
    assert "3 of 4 goals are reached; missed: thinks on easy." in card


def test_how_it_was_made_is_told(card):
    told = " ".join(card.split())
    for part in ("49,000,123 tokens", "seed 3", "0123456789ab", "12,000,000", "1,234 steps", "187 minutes on 2 CPU"):
        assert part in told
    assert "hard 75.0, tool call 25.0" in told
    assert "`glmkit train nano --tokens 50000000 --seed 3`" in told


def test_it_is_a_card_without_open_places(card):
    front = card.split("---")[1]
    assert "license: apache-2.0" in front
    assert "- zh" in front
    assert not re.search(r"\{\w*\}|\{\{|None", card)
    tables = [line for line in card.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} <= {3, 7}


def test_its_examples_are_python(card):
    blocks = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        ast.parse(block)


def test_ways_to_balance_are_compared_and_the_one_of_the_file_is_named():
    def found(weight: float, information: float) -> dict:
        names = ("task_expert_information", "task_expert_information_shuffled", "least_expert_load")
        values = (information, 0.01, 0.31)
        return {
            "balance_weight": weight,
            "figures": {name: {"accuracy": value} for name, value in zip(names, values, strict=True)},
        }

    ways = {"biases": found(0.0, 0.123), "biases and loss": found(1e-4, 0.2)}
    balance = {"tokens": 800_000, "conversations": 288, "ways": ways}
    card = " ".join(model_card(CONFIG, RECIPE, RESULTS, ABOUT, balance=balance).split())
    assert "| biases | 0.123 bits | 0.010 bits | 0.31 of fair share |" in card
    assert "| biases and loss | 0.200 bits | 0.010 bits | 0.31 of fair share |" in card
    assert "with 800,000 tokens, over 288 held-out conversations" in card
    assert "balanced by biases and loss." in card


def test_sizes_are_those_of_the_configuration(card):
    total = GLMConfig.num_parameters(CONFIG, mtp="shared") / 1e6
    assert f"{total:.1f}M parameters" in card
    assert all(meaning for meaning in MEANINGS.values())
