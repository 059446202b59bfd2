"""The page of the MASPO study: its command makes its grid, and its numbers are those of the runs it lists."""

import csv
import importlib.util
import json
import re
import shlex
from collections import defaultdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maspo_dsl.ablation.report.statistics import (
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
)
from maspo_dsl.cli.app import app

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "maspo_study"
PAGE = (ROOT / "docs" / "maspo-study.md").read_text()
MEASURES = {"final_reward": "Final reward", "mean_reward": "Mean reward", "final_greedy": "Held-out greedy"}


@pytest.fixture(scope="module")
def runs() -> dict[str, dict[str, list[float]]]:
    """Values of each point by column, in the order of the seeds."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with (FOLDER / "results.csv").open() as file:
        for row in csv.DictReader(file):
            for column, text in row.items():
                if column != "point":
                    found[row["point"]][column].append(float(text))
    return found


def interval(ours: list[float], base: list[float]) -> str:
    found = paired_difference(ours, base)
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]".replace("-", "−")


def called(ours: list[float], base: list[float]) -> str:
    """As in the page's own tables: the interval, and a verdict if there is one."""
    verdict = paired_difference(ours, base).verdict
    return interval(ours, base) + (f" {verdict}" if verdict in ("higher", "lower") else "")


def test_the_command_makes_the_grid(runs, monkeypatch):
    monkeypatch.chdir(ROOT)
    command = re.search(
        r"^\$ maspo-dsl (ablate examples/maspo_study.*?)$\n\$", PAGE, re.MULTILINE | re.DOTALL
    )
    assert command is not None
    words = [word for word in shlex.split(command[1].replace("\\\n", " ")) if word != "--run"]
    result = CliRunner().invoke(app, [*words, "--dry-run", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [point["name"] for point in document["points"]] == list(runs) and document["seeds"] == 5
    assert all(point["seed"] == [0, 1, 2, 3, 4] for point in runs.values())


@pytest.mark.parametrize("measure", MEASURES)
def test_tables_are_those_of_the_runs(runs, measure):
    section = PAGE.split(f"### {MEASURES[measure]}\n")[1].split("\n#")[0]
    base = runs["maspo_study"][measure]
    for name, columns in runs.items():
        ours = columns[measure]
        cells = [name, "5", f"{sum(ours) / 5:.3f}", f"{interquartile_mean(ours):.3f}"]
        if name != "maspo_study":
            verdict, chance = paired_difference(ours, base).verdict, probability_of_improvement(ours, base)
            cells += [interval(ours, base), verdict, f"{chance:.2f}"]
        assert f"| {' | '.join(cells)} |" in section


def test_answers_are_those_of_the_runs(runs):
    module = importlib.util.spec_from_file_location("answers", FOLDER / "answers.py")
    assert module is not None and module.loader is not None
    answers = importlib.util.module_from_spec(module)
    module.loader.exec_module(answers)
    base = runs["maspo_study"]
    for one, other in (*answers.RUNGS, *answers.STACKING):
        cells = [called(runs[one][measure], runs[other][measure]) for measure in MEASURES]
        assert f"| {' | '.join(cells)} |" in PAGE
    for name in ("stapo", "sapo", "dgpo", "soft_exponential"):
        cells = [called(runs[name][measure], base[measure]) for measure in MEASURES]
        assert f"| `{name}` | {' | '.join(cells)} |" in PAGE
    for measure in MEASURES:
        assert interval(runs["maspo_study_bilateral"][measure], base[measure]) in PAGE
        assert runs["stapo"][measure] == runs["maspo_study_hard"][measure]
    assert f"{interval(base['mass_pos'], base['mass_neg'])} | [+0.924, +1.052] |" in PAGE
