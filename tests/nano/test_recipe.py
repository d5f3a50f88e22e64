"""The recipe of glm-nano: the shape of its model, and the whole way to a checkpoint on a model of a few thousand."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import glmkit as gk
from glmkit.cli import main
from glmkit.config import GLMConfig
from glmkit.errors import TrainingError
from glmkit.nano import data, pipeline, routing_history
from glmkit.nano.evaluation import Result
from glmkit.nano.recipe import CONTEXT, Recipe, nano_config
from glmkit.nano.routing_history import MEASUREMENTS, measured_steps
from glmkit.nano.skills import FAMILIES
from glmkit.nano.tokenizer import build_tokenizer, curriculum_texts
from glmkit.text import Tokenizer

SMALL = Recipe(tokens=4 * 2 * 1024, rows=2, length=1024)
FILES = {
    *("README.md", "chat_template.jinja", "config.json", "evaluation.json", "generation_config.json"),
    *("model.safetensors", "routing_history.npz", "tokenizer.json", "tokenizer_config.json", "training_log.jsonl"),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build_tokenizer(curriculum_texts(characters=1_000_000), Recipe.vocab_size, CONTEXT)


def tiny_config(tokenizer: Tokenizer, context: int = CONTEXT) -> GLMConfig:
    return dataclasses.replace(
        nano_config(tokenizer, context), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, intermediate_size=32, moe_intermediate_size=16, n_routed_experts=4,
        num_experts_per_tok=2,
    )  # fmt: skip


def test_every_feature_of_the_large_model_is_on_and_the_file_is_small(tokenizer: Tokenizer):
    config = nano_config(tokenizer)
    assert config.use_qk_norm
    assert config.attention_bias
    assert config.q_per_kv > 1
    assert config.moe_layers == (1, 2, 3, 4)
    assert config.n_shared_experts == config.num_nextn_predict_layers == 1
    assert config.routed_scaling_factor != 1  # a forgotten factor would go unnoticed
    assert [tokenizer.decode([i]) for i in config.eos_token_id] == ["<|endoftext|>", "<|user|>", "<|observation|>"]
    assert config.n_routed_experts >= 16
    assert config.num_experts_per_tok == 4
    idle_experts = (config.n_routed_experts - config.num_experts_per_tok) * config.num_moe_layers
    active = config.num_parameters(mtp=None) - idle_experts * 3 * config.hidden_size * config.moe_intermediate_size
    assert 3e6 < active < 4e6
    assert 2 * config.num_parameters(mtp="own") < 24e6


def test_the_default_budget_is_what_is_said_of_it():
    assert Recipe().steps * Recipe.rows * Recipe.length <= Recipe.tokens
    assert Recipe(tokens=1).steps == 1
    assert Recipe().command == "make nano"
    assert Recipe(rows=12, workers=13).command == "glmkit train nano --rows 12 --workers 13"


@pytest.mark.parametrize("last", [1, 4, 1562, 100_000])
def test_routing_is_measured_at_the_first_and_the_last_step_and_more_often_early(last: int):
    steps = measured_steps(last)
    assert {0, last} <= steps <= {*range(last + 1)}
    assert len(steps) <= MEASUREMENTS
    assert last < MEASUREMENTS or len([step for step in steps if step < last / 10]) > MEASUREMENTS / 4


class Killed(Exception):
    pass


@pytest.fixture
def small(tokenizer, monkeypatch):
    """The pipeline on a tiny model; what a model is worth is measured elsewhere."""
    monkeypatch.setattr(pipeline, "build_tokenizer", lambda *_: tokenizer)
    monkeypatch.setattr(pipeline, "nano_config", tiny_config)
    monkeypatch.setattr(pipeline, "evaluate", lambda lm, long: {"hard": Result(0.5, 4)})
    monkeypatch.setattr(pipeline, "model_card", lambda config, recipe, results, about, **_: f"{about}")
    monkeypatch.setattr(data, "MEASURED", 4)
    monkeypatch.setattr(routing_history, "TASKS", 8)


@pytest.fixture
def made(small, tmp_path) -> Path:
    """The folder of a whole run."""
    pipeline.make_nano(tmp_path / "straight" / "nano", SMALL)
    return tmp_path / "straight" / "nano"


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]


def test_the_whole_way_to_a_checkpoint_and_the_same_bits_after_an_interruption(made, tmp_path, monkeypatch):
    assert [path.name for path in made.parent.iterdir()] == ["nano"]  # nothing of the run is left beside it
    assert {path.name for path in made.iterdir()} == FILES
    check_what_is_told(made)
    check_that_it_loads(made, tmp_path / "saved")

    record = pipeline.RoutingHistory.record

    def record_until_killed(self, step, model):
        if step == 3:
            raise Killed
        record(self, step, model)

    resumed = tmp_path / "resumed" / "nano"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "SAVE_EVERY", 0.0)  # after every step
        patch.setattr(pipeline.RoutingHistory, "record", record_until_killed)
        with pytest.raises(Killed):
            pipeline.make_nano(resumed, SMALL)
    assert not resumed.exists()
    pipeline.make_nano(resumed, SMALL)
    for name in ("model.safetensors", "routing_history.npz", "tokenizer.json"):
        assert (resumed / name).read_bytes() == (made / name).read_bytes(), name
    assert [line["loss"] for line in log_of(resumed)] == [line["loss"] for line in log_of(made)]


def test_what_was_learned_is_kept_when_measuring_is_interrupted(small, tmp_path, monkeypatch):
    def killed(lm, long):
        raise Killed

    out = tmp_path / "nano"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "evaluate", killed)
        with pytest.raises(Killed):
            pipeline.make_nano(out, SMALL)
    monkeypatch.setattr(pipeline, "trained", None)  # it is not asked for again
    with pytest.raises(TrainingError, match="another recipe"):
        pipeline.make_nano(out, dataclasses.replace(SMALL, seed=1))
    pipeline.make_nano(out, SMALL)
    assert {path.name for path in out.iterdir()} == FILES
    check_what_is_told(out)
    check_that_it_loads(out, tmp_path / "saved")


def check_what_is_told(folder: Path) -> None:
    """The log, the card's facts, the evaluation and the routing history."""
    log = log_of(folder)
    assert [line["step"] for line in log] == [1, 2, 3, 4]
    assert f"tokens={sum(line['tokens'] for line in log):.0f}, " in (folder / "README.md").read_text()
    assert json.loads((folder / "evaluation.json").read_text()) == {"hard": Result(0.5, 4).record}
    history = dict(np.load(folder / "routing_history.npz"))
    assert history["load"].shape == (5, len(FAMILIES), 2, 4)
    assert history["families"].tolist() == list(FAMILIES)
    assert (history["steps"].tolist(), history["layers"].tolist()) == ([0, 1, 2, 3, 4], [1, 2])
    assert np.allclose(history["load"].sum(axis=-1, dtype=np.float32), 1, atol=2e-3)  # four numbers in float16


def check_that_it_loads(folder: Path, copy: Path) -> None:
    with gk.load(folder, max_len=64) as lm:
        assert lm.config == tiny_config(lm.tokenizer)
        assert lm.generation.eos_token_id == lm.config.eos_token_id
        assert lm.model.mtp is not None
        lm.save(copy)
    # What tells of the run stays with what it made: a copy may be another model by then.
    of_the_run = {"evaluation.json", "training_log.jsonl", "routing_history.npz"}
    assert {path.name for path in copy.iterdir()} == FILES - of_the_run


def test_the_command_hands_its_arguments_to_the_recipe(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(pipeline, "make_nano", lambda out, recipe: made.append((out, recipe)))
    assert (
        main(
            [
                "train",
                "nano",
                "--tokens",
                "1000",
                "--seed",
                "3",
                "--rows",
                "4",
                "--workers",
                "2",
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    assert main(["train", "nano", "--out", str(tmp_path)]) == 0
    assert made == [(tmp_path, Recipe(tokens=1000, seed=3, rows=4, workers=2)), (tmp_path, Recipe())]
    assert capsys.readouterr().out.split() == [str(tmp_path)] * 2
