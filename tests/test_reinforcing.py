"""The command `glmkit rl`: what it refuses before computing, and the figures it tells of a run."""

import json

import pytest

from glmkit.cli import main
from glmkit.reinforcing import _TASKS, _figures, _line


def test_the_tasks_it_offers_are_those_there_are():
    from glmkit.rl.tasks import TASKS

    assert set(_TASKS) == set(TASKS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning-rate", "-1"], "learning_rate is -1.0; expected a positive number"),
        (["--no-master-weights", "--steps", "0"], "steps is 0; expected an integer of at least 1"),
    ],
)
def test_wrong_settings_are_told_in_a_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("glmkit.loading.load", lambda name: pytest.fail("nothing was to be loaded"))
    assert main(["rl", "--task", "arithmetic", "--out", str(tmp_path / "run"), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_finished_run_is_not_written_over(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert main(["rl", "--task", "lookup", "--out", str(tmp_path)]) == 1
    assert "exists" in capsys.readouterr().err


def test_figures_are_of_all_steps_whichever_start_took_them(tmp_path):
    measured = {"entropy": 0.5, "mismatch_max": 1e-6, "route_flips": 0.0, "routes_held": 0.25, "seconds": 2.0}
    lines = [
        {"begin": {}},
        {"step": 0, "held_out/greedy": 0.2, "held_out/sampled": 0.1},
        {"step": 1, "reward": 0.1, **measured},
        {"step": 2, "reward": 0.9, **measured},
        {"begin": {}},  # taken again from a checkpoint
        {"step": 2, "reward": 0.3, "held_out/greedy": 0.4, "held_out/sampled": 0.3, **measured},
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert _figures(tmp_path / "log.jsonl") == {
        **{"steps": 2, "seconds": 4.0, "reward_first": 0.1, "reward_last": 0.3, "mismatch_max": 1e-6},
        **{"entropy_first": 0.5, "entropy_last": 0.5, "route_flips": 0.0, "routes_held": 0.25},
        **{"greedy_before": 0.2, "greedy_after": 0.4, "sampled_before": 0.1, "sampled_after": 0.3},
    }
    assert _line(2, lines[-1]) == (
        "step 2: reward 0.3, entropy 0.5, mismatch_max 1e-06, route_flips 0, routes_held 0.25, held_out/greedy 0.4, "
        "held_out/sampled 0.3"
    )
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"step": 3, "reward": 0.3, **measured}))  # whose measuring was broken off
    assert "greedy_before" in (figures := _figures(tmp_path / "log.jsonl"))
    assert "greedy_after" not in figures
