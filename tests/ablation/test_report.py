"""Reports: statistics against closed forms, and pages made of runs that were written by hand."""

import json
import math
import re
from itertools import product
from statistics import mean
from xml.etree import ElementTree

import numpy as np
import pytest

from maspo_dsl.ablation.changes import GridError
from maspo_dsl.ablation.folder import note_runs, read_grid, write_grid
from maspo_dsl.ablation.report.comparison import compare
from maspo_dsl.ablation.report.page import html, markdown
from maspo_dsl.ablation.report.results import read_results
from maspo_dsl.ablation.report.statistics import (
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
)
from maspo_dsl.ablation.request import Request


def test_interval_of_three_pairs_is_of_all_27_resamples():
    ours, base = [0.5, 0.7, 0.6], [0.4, 0.4, 0.7]
    differences = [a - b for a, b in zip(ours, base, strict=True)]
    resampled = [mean(sample) for sample in product(differences, repeat=3)]
    found = paired_difference(ours, base)
    assert found.mean == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))
    assert found.margin == pytest.approx(4.303 * np.std(differences, ddof=1) / math.sqrt(3))
    assert found.verdict == "no difference shown"


def test_many_pairs_are_drawn_the_same_each_time():
    random = np.random.default_rng(0)
    ours, base = random.normal(0.1, 0.1, 20), random.normal(0, 0.1, 20)
    first, second = paired_difference(ours, base), paired_difference(ours, base)
    assert first == second and first.verdict == "higher"
    assert first.low < first.mean < first.high
    # The bootstrap's interval is close to Student's for 20 normal values.
    assert first.high - first.low == pytest.approx(2 * first.margin, rel=0.2)
    assert paired_difference(base, ours).verdict == "lower"


def test_no_winner_of_one_or_two_seeds():
    assert paired_difference([0.9], [0.1]).verdict == "one seed: nothing can be said"
    both_up = paired_difference([0.52, 0.61], [0.5, 0.55])
    assert both_up.low > 0 and both_up.verdict == "no difference shown"


def test_false_winners_are_rare():
    """Without any difference, three seeds name a winner in at most about 5 of 100 comparisons."""
    random = np.random.default_rng(1)
    trials = [paired_difference(*random.normal(size=(2, 3))).verdict for _ in range(1000)]
    named = sum(verdict in ("higher", "lower") for verdict in trials) / 1000
    assert 0.01 < named < 0.07


def test_middle_half_and_chance():
    assert interquartile_mean([0, 1, 2, 3, 4, 5, 6, 100]) == 3.5
    assert interquartile_mean([1, 2, 6]) == 3
    assert probability_of_improvement([1, 2], [1, 0]) == pytest.approx((0.5 + 1 + 1 + 1) / 4)


REWARDS = {"maspo": 0.5, "maspo_without_mass": 0.5, "maspo_without_gate": 0.3}


@pytest.fixture
def grid(tmp_path):
    """Three points and four seeds; without its gate MASPO is worse by 0.2, without mass by noise alone."""
    grid = write_grid("maspo", Request(leave_one_out=True), {}, 4, tmp_path / "grid")
    folders, random = [], np.random.default_rng(2)
    for point, seed in product(REWARDS, range(4)):
        folder = grid.path / "runs" / f"{point}-s{seed}-00000000"
        folder.mkdir(parents=True)
        write_run(folder, point, seed, REWARDS[point] + 0.01 * random.standard_normal())
        folders.append(folder)
    note_runs(grid, folders)
    return read_grid(grid.path)


def write_run(folder, point, seed, final):
    rows = [{"step": 0, "reward": 0.1, "eval/greedy": 0.5}]
    for step in range(1, 21):
        row = {"step": step, "reward": final * step / 20, "eval/greedy": None, "entropy": 1 - step / 40}
        rows.append(row | ({"eval/greedy": final} if step % 5 == 0 else {}))
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    result = {
        "key": "x",
        "point": point,
        "seed": seed,
        "steps": 20,
        "cpu_seconds": 30.0,
        "wall_seconds": 40.0,
    }
    (folder / "result.json").write_text(json.dumps(result))


def test_numbers_of_a_report(grid):
    rows = {row.name: row for row in compare(read_results(grid))}
    assert list(rows) == list(REWARDS)
    base, gateless = rows["maspo"], rows["maspo_without_gate"]
    final = gateless.measures["final_reward"]
    assert final.mean == pytest.approx(0.3 * 39 / 40, abs=0.02)  # the last two of twenty rising steps
    assert final.difference.mean == pytest.approx(-0.195, abs=0.03)
    assert final.difference.verdict == "lower" and final.improvement == 0
    assert gateless.measures["mean_reward"].mean == pytest.approx(0.3 * 21 / 40, abs=0.02)
    assert rows["maspo_without_mass"].measures["final_reward"].difference.verdict == "no difference shown"
    assert base.measures["final_reward"].difference is None
    assert (base.seeds, base.cpu_seconds, base.wall_seconds) == (4, 30, 40)


def test_pages(grid):
    results = read_results(grid)
    rows = compare(results)
    text = markdown(rows, grid.manifest)
    assert "n = 4 seeds a point" in text and "| maspo_without_gate | `drop gate` | 4 |" in text
    assert "lower" in text and "no difference shown" in text
    assert "maspo_without_risk: no run has finished." in text
    page = html(rows, results, grid.manifest)
    assert not re.search(r"(src|href)=\"(?!#)", page.replace('xlink:href="#', "")), "the page loads nothing"
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) >= 6
    for picture in pictures:
        words = {element.text for element in ElementTree.fromstring(picture).iter() if element.text}
        assert {"maspo_without_gate", "maspo_without_mass"} <= words, "text of the figures is text"


def test_only_seeds_that_both_have_are_paired(grid):
    runs = [name for name in grid.manifest["runs"] if not name.startswith("runs/maspo-s3")]
    note_runs(grid, [grid.path.resolve() / name for name in runs])
    rows = {row.name: row for row in compare(read_results(read_grid(grid.path)))}
    assert rows["maspo"].seeds == 3
    assert rows["maspo_without_gate"].measures["final_reward"].difference.pairs == 3


def test_nothing_to_report(tmp_path):
    grid = write_grid("maspo", Request(leave_one_out=True), {}, 1, tmp_path / "grid")
    with pytest.raises(GridError, match="has not been run"):
        read_results(grid)
    note_runs(grid, [grid.path / "runs" / "nothing"])
    with pytest.raises(GridError, match="nothing to compare with"):
        read_results(read_grid(grid.path))
