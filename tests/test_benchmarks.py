"""What the benchmarks compare computes the same thing, and their pages can be written; no time is looked at."""

import pytest
import torch

import maspo_dsl
from benchmarks import __main__ as command
from benchmarks import growth
from benchmarks.from_log_probs import Problem as LogProbs
from benchmarks.from_log_probs import pairs_of
from benchmarks.head import Problem, Size, rows
from benchmarks.measure import peak_bytes
from benchmarks.table import Row, markdown

SMALL = Size(sequences=4, length=32, hidden=8, words=64)


@pytest.mark.parametrize("clipped", [0.0, 0.5])
def test_the_head_and_plain_logits_give_the_same_gradients(clipped):
    problem, loss = Problem(SMALL, clipped=clipped), maspo_dsl.compile("dapo", backend="eager")
    for found, wanted in zip(problem.by_head(loss)(), problem.by_logits(loss)(), strict=True):
        assert wanted.abs().max() > 1e-4
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    used = (problem.by_head(loss)()[0].abs().sum(-1) > 0).float().mean()
    assert used == pytest.approx(1 - clipped, abs=0.1)


@pytest.mark.parametrize("name", ["dapo", "maspo", "grpo"])
def test_the_compiled_loss_and_the_eager_formula_have_one_gradient(name):
    compiled, eager, _ = pairs_of(LogProbs(8, 64))[name]
    assert eager().abs().max() > 1e-5
    torch.testing.assert_close(compiled(), eager(), rtol=1e-3, atol=1e-8)


def test_the_tables_are_made_of_ratios(tmp_path, monkeypatch):
    found = rows(SMALL, turns=1)
    assert len(found) >= 5 and all(row.ratio > 0 for row in found)
    text = markdown([*found, Row("a", "b", 3e6, 1e6, 2.0, unit="MB")])
    assert text.splitlines()[-1] == "| a | b | 3 MB | 1 MB | 3.000 | 2 | **not met** |"
    monkeypatch.setattr(growth, "FOLDER", tmp_path / "images")
    point = growth.measured(SMALL, 128, turns=1)
    assert growth.draw("tokens", [point]).read_text().startswith("<?xml")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- end of table -->\nafter\n")
    monkeypatch.setattr(command, "PAGE", page)
    command.write("table", text)
    assert page.read_text() == f"before\n<!-- table -->\n\n{text}\n<!-- end of table -->\nafter\n"


def test_memory_is_what_a_candidate_holds_at_its_peak():
    # Above 32 MiB, malloc gives memory back at once.
    assert 100e6 < peak_bytes(lambda: [torch.ones(16_000_000), torch.ones(16_000_000)][0]) < 160e6
