"""`glmkit train`: a checkpoint and a file of conversations in, a checkpoint that says where it came from out."""

import json

import numpy as np

import glmkit as gk
from glmkit.cli import main
from tiny import small_model, tokenizer


def test_a_run_ends_in_a_checkpoint_with_a_card_and_names_what_is_wrong_before(tmp_path, capsys):
    gk.LM(small_model(), tokenizer(), name="base").save(tmp_path / "base")
    record = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    (tmp_path / "data.jsonl").write_text(f"{json.dumps(record)}\n" * 8)
    command = ["train", "sft", "--model", str(tmp_path / "base"), "--length", "32", "--batch-size", "2", "--steps", "2"]
    out = ["--out", str(tmp_path / "run"), "--learning-rate", "0.01"]

    assert main([*command, *out, "--data", str(tmp_path / "none.jsonl")]) == 1
    assert "none.jsonl: No such file" in capsys.readouterr().err
    assert main([*command, *out, "--data", str(tmp_path / "data.jsonl")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run" / "model")

    trained = gk.load(tmp_path / "run" / "model").model
    assert not np.array_equal(trained.embed[...], small_model().embed[...])
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "| base model | base |" in card
    assert "| steps | 2 |" in card
    assert main([*command, *out, "--data", str(tmp_path / "data.jsonl")]) == 1
    assert "model exists" in capsys.readouterr().err


def test_pretraining_may_start_from_a_configuration_and_a_tokenizer_alone(tmp_path, capsys):
    gk.LM(small_model(), tokenizer(), name="base").save(tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").unlink()
    (tmp_path / "data.jsonl").write_text(json.dumps({"text": "abc" * 20}) + "\n")
    command = ["--model", str(tmp_path / "base"), "--from-scratch", "--length", "32", "--batch-size", "2"]
    files = ["--data", str(tmp_path / "data.jsonl"), "--out", str(tmp_path / "run")]
    assert main(["train", "sft", *command, *files]) == 1
    assert "--from-scratch is for pretrain" in capsys.readouterr().err
    assert main(["train", "pretrain", "--no-master-weights", *command, *files]) == 0
    assert gk.load(tmp_path / "run" / "model").config == small_model().config
    assert "| base model | not stated |" in (tmp_path / "run" / "model" / "README.md").read_text()
