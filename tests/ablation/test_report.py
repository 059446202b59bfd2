"""Reports: statistics against closed forms, and pages made of runs that were written by hand."""

import csv
import json
import math
import re
from itertools import product
from statistics import mean
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from maspo_dsl.ablation.changes import GridError
from maspo_dsl.ablation.folder import read_grid, record_runs, write_grid
from maspo_dsl.ablation.report.comparison import compare, remaining
from maspo_dsl.ablation.report.facts import facts
from maspo_dsl.ablation.report.figures import broken
from maspo_dsl.ablation.report.page import html, markdown
from maspo_dsl.ablation.report.pictures import pictures
from maspo_dsl.ablation.report.results import read_results
from maspo_dsl.ablation.report.statistics import (
    _T,
    holm,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
    two_sided_p,
)
from maspo_dsl.ablation.report.tables import csv_table, latex_table
from maspo_dsl.ablation.request import Request
from maspo_dsl.cli.app import app


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
    assert paired_difference([0.9], [0.1]).verdict == "one pair: nothing can be said"
    # Two equal differences: any spread is 0, and both intervals would be the one point.
    both_up = paired_difference([0.75, 0.625], [0.5, 0.375])
    assert both_up.mean == 0.25 and both_up.verdict == "two pairs: nothing can be said"
    assert (both_up.low, both_up.high, both_up.p_value) == (None, None, 1)


def test_false_winners_are_rare():
    """Without any difference, three seeds name a winner in at most about 5 of 100 comparisons."""
    random = np.random.default_rng(1)
    trials = [paired_difference(*random.normal(size=(2, 3))).verdict for _ in range(1000)]
    named = sum(verdict in ("higher", "lower") for verdict in trials) / 1000
    assert 0.01 < named < 0.07


def test_tail_of_student_against_the_table_and_an_integral():
    for freedom, quantile in enumerate(_T, start=1):
        assert two_sided_p(quantile, freedom) == pytest.approx(0.05, rel=2e-3)
    assert two_sided_p(0, 4) == 1 and two_sided_p(-3, 4) == two_sided_p(3, 4)
    for freedom in (1, 2, 3, 4, 9):
        points = np.linspace(-1.3, 1.3, 100_001)
        scale = math.gamma((freedom + 1) / 2) / math.sqrt(freedom * math.pi) / math.gamma(freedom / 2)
        density = scale * (1 + points**2 / freedom) ** (-(freedom + 1) / 2)
        assert two_sided_p(1.3, freedom) == pytest.approx(1 - np.trapezoid(density, points), abs=1e-6)
    assert paired_difference([0.5, 0.7, 0.6], [0.4, 0.4, 0.7]).p_value == pytest.approx(0.4778, abs=1e-4)


def test_holm_stops_at_the_first_that_does_not_hold():
    # 0.01 <= 0.05 / 4, 0.015 <= 0.05 / 3, 0.03 > 0.05 / 2: the last ones are not looked at.
    assert holm([0.03, 0.01, 0.04, 0.015]) == [False, True, False, True]
    assert holm([0.02, 0.02, 0.02]) == [False] * 3 and holm([0.04]) == [True] and holm([]) == []


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
    record_runs(grid, folders)
    return read_grid(grid.path)


def write_run(folder, point, seed, final):
    rows = [{"step": 0, "reward": 0.1, "eval/greedy": 0.5}]
    for step in range(1, 21):
        row = {"step": step, "reward": final * step / 20, "eval/greedy": None, "entropy": 1 - step / 40}
        row |= {"gated_pos": 0.1, "gated_neg": 0.2, "mass_pos": -0.3, "mass_neg": -0.9 - step / 40}
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
    assert gateless.measures["final_greedy"].mean == pytest.approx(0.3, abs=0.02)
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
    told = facts(grid, results)
    text = markdown(rows, told, grid.manifest)
    assert "n = 4 seeds a point" in text and "| maspo_without_gate | 4 | 0.2" in text
    assert re.search(r"\| `maspo_without_gate` \| .* \| `drop gate` \| 30 \| 40 \|", text)
    # One table with every measure: the base has no differences, and only what is shown has a word.
    (base, _, gateless) = (line for line in text.splitlines() if re.match(r"\| maspo\w* \| 4", line))
    assert re.fullmatch(r"\| maspo \| 4 (\| 0\.\d{3} \|  ){3}\|", base)
    assert re.fullmatch(r"\| maspo_without_gate \| 4 (\| 0\.\d{3} \| −0\.\d+ \[.*?\] lower ){3}\|", gateless)
    assert text.count("## Comparison") == 1 and "no difference shown" not in text
    assert "maspo_without_risk: no run has finished." in text
    page = html(rows, pictures(rows, results), told, grid.manifest)
    assert page.count("</table>") == 3 and all(
        f'id="{name}"' in page for name in re.findall(r'href="#([\w-]+)"', page)
    )
    assert not re.search(r"(src|href)=\"(?!#)", page.replace('xlink:href="#', "")), "the page loads nothing"
    found = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(found) == 6
    for picture in found:
        words = {element.text for element in ElementTree.fromstring(picture).iter() if element.text}
        assert {"maspo_without_gate", "maspo_without_mass"} <= words, "text of the figures is text"


def test_tables_have_the_numbers_of_the_page(grid):
    rows = compare(read_results(grid))
    cells = list(csv.DictReader(csv_table(rows).splitlines()))
    assert len(cells) == len(rows) * len({cell["measure"] for cell in cells})
    for row in rows:
        (cell,) = [c for c in cells if (c["measure"], c["point"]) == ("final_reward", row.name)]
        found = row.measures["final_reward"]
        assert float(cell["mean"]) == found.mean != 0
        assert cell["difference"] == ("" if found.difference is None else str(found.difference.mean))
    text = latex_table(rows, {"model": "tiny"})
    assert text.startswith("% model: tiny\n% \\usepackage{booktabs}\n")
    columns = text.splitlines()[2].split("{")[2].rstrip("}")
    assert text.count(r"\\") == len(rows) + 1
    assert all(line.count("&") == len(columns) - 1 for line in text.splitlines() if line.endswith(r"\\"))
    assert r"maspo\_without\_gate" in text and r"\;[" in text


def test_verdicts_of_many_points_are_counted(grid):
    rows = compare(read_results(grid))
    assert remaining(rows, "final_reward") == (["maspo_without_gate"], ["maspo_without_gate"])
    text = markdown(rows, {}, grid.manifest)
    assert "Final reward: of 2 comparisons 1 are called" in text and "Held-out greedy: of 2" in text


def test_what_the_runs_were_made_with(grid):
    results = read_results(grid)
    bare = {"steps": "20", "finished runs": "12 of 12"}
    assert facts(grid, results) == bare
    folders = [grid.path.resolve() / name for name in grid.manifest["runs"]]
    settings = (
        "model: tiny\ntask: sort\nrollout: {prompts: 8, samples: 4}\ntrainer: {learning_rate: 3.0e-05}\n"
    )
    (folders[5] / "config.yaml").write_text(settings)
    record_runs(grid, folders, "maspo-dsl ablate 'a b.obj' --run")
    grid, results = read_grid(grid.path), read_results(read_grid(grid.path))
    told = {
        "model": "tiny",
        "task": "sort",
        "completions a step": "4 for each of 8 prompts",
        "learning rate": "3e-05",
    }
    assert facts(grid, results) == {"command": "maspo-dsl ablate 'a b.obj' --run", **told, **bare}
    rows = compare(results)
    text = markdown(rows, facts(grid, results), grid.manifest)
    assert "\n\n* command: `maspo-dsl ablate 'a b.obj' --run`\n* model: tiny\n" in text
    # A folder of somebody else's: what it calls config.yaml may be anything.
    for text in ("- a\n", "trainer: hf\nmodel: [1]\n", "a: [", ""):
        (folders[5] / "config.yaml").write_text(text)
        assert facts(grid, results).keys() - {"command"} == bare.keys()


def test_the_highest_learning_rate_that_was_measured(grid):
    file = next((grid.path / "runs").glob("maspo-s1-*/metrics.jsonl"))
    file.write_text(file.read_text() + json.dumps({"step": 21, "reward": 0.5, "actor/lr": 2e-6}) + "\n")
    told = facts(grid, read_results(grid))
    assert (told["learning rate"], told["steps"]) == ("up to 2e-06", "20 to 21")


def test_long_names_are_broken():
    assert broken("maspo_without_gate", 28) == "maspo_without_gate"
    assert broken("maspo_without_gate", 12) == "maspo_\nwithout_gate"
    assert broken("mean log-prob under the old policy", 20) == "mean log-prob under\nthe old policy"
    assert broken("a" * 25, 10) == "a" * 10 + "\n" + "a" * 10 + "\n" + "aaaaa"
    for name in ("maspo_swap_gate_clip_0_8_1_2__alpha_0_3", "x" * 70, "__", "a__b"):
        assert broken(name, 9).replace("\n", "") == name and max(map(len, broken(name, 9).split("\n"))) <= 9


def test_figures_as_files(grid, tmp_path):
    result = CliRunner().invoke(app, ["report", str(grid.path), "--figures", str(tmp_path / "a" / "figures")])
    assert result.exit_code == 0, result.output
    files = {path.name for path in (tmp_path / "a" / "figures").iterdir()}
    assert len(files) == 12 and {"differences.svg", "differences.pdf", "mass.svg", "mass.pdf"} <= files
    for path in (tmp_path / "a" / "figures").glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    for path in (tmp_path / "a" / "figures").glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF")
    (tmp_path / "taken").write_text("")
    result = CliRunner().invoke(app, ["report", str(grid.path), "--figures", str(tmp_path / "taken")])
    assert result.exit_code == 2 and "cannot be made" in result.stderr


def test_json_has_only_numbers_of_json(grid):
    runs = [name for name in grid.manifest["runs"] if "-s0-" in name]
    record_runs(grid, [grid.path.resolve() / name for name in runs])
    result = CliRunner().invoke(app, ["report", str(grid.path), "--json"])
    points = json.loads(result.stdout, parse_constant=pytest.fail)["points"]
    assert [point["name"] for point in points] == list(REWARDS)
    difference = points[2]["measures"]["final_reward"]["difference"]
    assert difference["low"] is None and difference["margin"] is None and difference["pairs"] == 1


def test_one_seed_says_nothing(grid):
    runs = [grid.path.resolve() / name for name in grid.manifest["runs"] if "-s0-" in name]
    for folder in runs:
        rows = (folder / "metrics.jsonl").read_text().splitlines()
        (folder / "metrics.jsonl").write_text("\n".join(rows[:7]) + "\n")
    record_runs(grid, runs)
    grid = read_grid(grid.path)
    results = read_results(grid)
    text = markdown(compare(results), facts(grid, results), grid.manifest)
    assert "n = 1 seed a point" in text and "\n\n\n" not in text
    # A difference, without an interval or a word.
    assert re.search(r"\| maspo_without_gate \| 1 \| 0\.\d+ \| −0\.\d+ \|", text)
    # One measurement, at step 5; the 0.5 before training is not averaged in.
    gateless = next(point for point in results if point.name == "maspo_without_gate")
    assert gateless.values("final_greedy") == [pytest.approx(0.3, abs=0.03)]


def test_only_seeds_that_both_have_are_paired(grid):
    runs = [name for name in grid.manifest["runs"] if not name.startswith("runs/maspo-s3")]
    record_runs(grid, [grid.path.resolve() / name for name in runs])
    document = read_grid(grid.path)
    results = read_results(document)
    rows = {row.name: row for row in compare(results)}
    base, gateless = rows["maspo"], rows["maspo_without_gate"]
    assert (base.seeds, base.pairs, gateless.seeds, gateless.pairs) == (3, 3, 4, 3)
    assert gateless.measures["final_reward"].difference.pairs == 3
    text = markdown([*rows.values()], {}, document.manifest)
    assert "n = 3 seeds a point: those that maspo has finished too" in text
    assert "| maspo_without_gate | 3 | 0.2" in text and "\nmaspo: seed 3 not finished." in text


def test_half_a_grid_states_its_pairs(grid):
    """Of one point two runs have finished, of another a seed that the base has not."""
    gone = {"maspo": {3}, "maspo_without_gate": {0, 1}, "maspo_without_mass": {0, 1, 2}}
    for point, seeds in gone.items():
        for seed in seeds:
            (grid.path / "runs" / f"{point}-s{seed}-00000000" / "result.json").unlink()
    write_run(grid.path / "runs" / "maspo_without_gate-s2-00000000", "maspo_without_gate", 2, 0.1)
    write_run(grid.path / "runs" / "maspo_without_gate-s3-00000000", "maspo_without_gate", 3, 0.9)
    text = markdown(compare(read_results(grid)), {}, grid.manifest)
    assert "n = 0 to 3 seeds a point" in text
    assert re.search(r"\| maspo \| 3 \|", text)
    assert re.search(r"\| maspo_without_gate \| 1 \| 0.48[78] \| [−+]0.\d+ \|", text)
    assert re.search(r"\| maspo_without_mass \| 0 (\| 0\.\d+ \|  ){3}\|", text)
    assert "maspo_without_gate: seeds 0, 1 not finished." in text


def test_chance_is_of_the_pairs(grid):
    """A fourth run, far above, without a run of the base beside it."""
    (grid.path / "runs" / "maspo-s3-00000000" / "result.json").unlink()
    write_run(grid.path / "runs" / "maspo_without_gate-s3-00000000", "maspo_without_gate", 3, 9.0)
    gateless = compare(read_results(grid))[2].measures["final_reward"]
    assert gateless.mean > 2 and gateless.difference.mean < 0 and gateless.improvement == 0


def test_nothing_to_report(tmp_path):
    grid = write_grid("maspo", Request(leave_one_out=True), {}, 1, tmp_path / "grid")
    with pytest.raises(GridError, match="has not been run"):
        read_results(grid)
    record_runs(grid, [grid.path / "runs" / "nothing"])
    with pytest.raises(GridError, match="nothing to compare with"):
        read_results(read_grid(grid.path))
