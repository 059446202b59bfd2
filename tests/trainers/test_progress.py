"""What a run prints and draws."""

import io

import pytest
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.curves import draw_curves
from maspo_dsl.trainers.progress import Progress
from maspo_dsl.trainers.run import train
from rich.console import Console

ROW = {"step": 7, "reward": 0.25, "loss": -0.01, "gated_pos": 0.14, "gated_neg": 0.02, "entropy": 1.5}


def test_a_line_has_what_was_measured():
    progress = Progress(120, Console(file=io.StringIO()))
    line = progress.line({**ROW, "eval/greedy": 0.5, "tokens_per_second": 1234.5})
    assert line == (
        "step   7/120  reward 0.250  greedy 0.500  loss -0.010  entropy 1.50  gated 14%|2%  1234 tok/s"
    )
    assert progress.line({"step": 7, "gated_neg": 0.02}) == "step   7/120  gated 0%|2%"
    assert progress.line({"step": 0, "reward": 0.25, "eval/greedy": None}) == "step   0/120  reward 0.250"


def test_off_a_terminal_rows_with_a_held_out_reward_are_lines():
    text = io.StringIO()
    progress = Progress(120, Console(file=text, width=200))
    progress.start(0)
    progress.show(ROW)
    assert text.getvalue() == ""
    progress.show({**ROW, "eval/greedy": 0.5})
    progress.show({**ROW, "step": 120})
    progress.stop()
    assert text.getvalue().count("step") == 2


def test_on_a_terminal_a_row_is_drawn_live():
    text = io.StringIO()
    progress = Progress(120, Console(file=text, force_terminal=True, width=100))
    progress.start(0)
    progress.show(ROW)
    progress.log("a remark [with brackets]")
    progress.stop()
    progress.stop()
    assert "reward 0.250" in text.getvalue()
    assert "a remark [with brackets]" in text.getvalue()


@pytest.mark.parametrize("row", [None, ROW])
@pytest.mark.parametrize("terminal", [True, False])
def test_what_a_step_is_at_is_drawn_on_a_terminal_alone(row, terminal):
    """From the first rollout on, before there is a row; a row does not take it away."""
    text = io.StringIO()
    progress = Progress(120, Console(file=text, force_terminal=terminal, width=100))
    progress.stage("sampling, token 7")
    if row is not None:
        progress.start(3)
        progress.show(row)
    progress.stop()
    assert ("sampling, token 7" in text.getvalue()) == terminal
    assert ("reward 0.250" in text.getvalue()) == (terminal and row is not None)


def test_a_run_says_what_it_is_at(stand_in, tmp_path, monkeypatch):
    """Every stage of a step in its order, and in a log none of them."""
    said = []
    monkeypatch.setattr(Progress, "stage", lambda self, text: said.append(text))
    text = io.StringIO()
    keys = [
        "rollout.prompts=4",
        "rollout.max_new_tokens=2",
        "trainer.updates_per_rollout=2",
        "trainer.max_steps=1",
    ]
    train(read_config([*keys, f"run={tmp_path / 'run'}"]), "clip", console=Console(file=text))
    assert "sampling, token 1" in said
    order = ["sampling, token 2", "rewards", "log-probs", "update 1 of 2", "update 2 of 2"]
    assert [said.index(each) for each in order] == sorted(said.index(each) for each in order)
    assert said[-1] == "held-out prompts"
    assert "sampling" not in text.getvalue()


def test_curves_of_any_rows(tmp_path):
    rows = [
        {"step": step, "reward": step / 10, "eval/greedy": 0.5 if step % 2 else None} for step in range(9)
    ]
    for number, some in enumerate((rows, rows[:1], [{"step": 0, "reward": -3.0}])):
        path = tmp_path / f"{number}.png"
        draw_curves(some, path, "title")
        assert path.read_bytes().startswith(b"\x89PNG")
