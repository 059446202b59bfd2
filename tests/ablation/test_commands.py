"""`ablate` and `report` on the command line: what is printed, what is refused, and that nothing is written then."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from maspo_dsl.ablation.changes import GridError
from maspo_dsl.ablation.launchers import SlurmJobs
from maspo_dsl.cli.ablate import default_folder
from maspo_dsl.cli.app import app
from maspo_dsl.cli.launching import SLURM_OPTIONS, SUBMITIT_OPTIONS

RESULT = {"key": "x", "point": "dapo", "seed": 0, "steps": 4, "cpu_seconds": 1.5, "wall_seconds": 2.5}
STAYED = {"own.obj", "broken.obj", "picky.obj", "other", "two_seeds", "thesis"}


def command(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments), prog_name="maspo-dsl")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with specs of one's own, two grids, and a folder that is something else."""
    folder = tmp_path_factory.mktemp("workplace")
    with contextlib.chdir(folder):
        Path("own.obj").write_text("objective own extends grpo\nvariant wide { swap clip |> clip(0.5, 2) }\n")
        Path("broken.obj").write_text(
            "objective broken extends grpo\nratio = policy / old |> clp(0.8, 1.2)\n"
        )
        Path("thesis").mkdir()
        Path("thesis/chapter.tex").write_text("mine")
        Path("picky.obj").write_text("objective picky extends grpo\nprompt = mean(reward, group)\n")
        assert command("ablate", "dapo", "-o", "other").exit_code == 0
        assert (
            command("ablate", "dapo", "--against", "sapo", "--seeds", "2", "-o", "two_seeds").exit_code == 0
        )
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch, workplace):
    """Runs a command in a copy of that folder."""
    shutil.copytree(workplace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("maspo --vary alpa=0.1", "did you mean `alpha`"),
        ("maspo --swap gat=clip(0.8,1.2)", "did you mean `gate`"),
        ("maspo --swap gate=clpp(0.8,1.2)", "did you mean `clip`"),
        ("maspo --swap gate=clip(0.8,1.2", "expected `)`"),
        ("maspo --vary alpha", "expected NAME=VALUE,VALUE"),
        ("maspo --vary alpha=", "expected NAME=VALUE,VALUE"),
        ("maspo --vary alpha=,0.2,,", "expected NAME=VALUE,VALUE"),
        ("maspo --swap gate=clip(0.8,1.2),", "expected NAME=VALUE,VALUE"),
        ("maspo --against ,", "expected NAME,NAME"),
        ("maspo --against dapo,,sapo", "expected NAME,NAME"),
        ("maspo --against=", "expected NAME,NAME"),
        ("maspo --against dapo --against sapo,dapo", "--against dapo is given twice"),
        ("maspo --vary=alpha=0.2~bind~group_size", "expected one number"),
        ("maspo --vary alpha=0.1 --vary alpha=0.2", "given twice"),
        ("maspo --vary alpha=0.1,1.5", "`alpha` = 1.5 is outside [0, 1]"),
        ("maspo params.alpha=1.5", "is outside [0, 1]"),
        ("maspo params.alfa=0.5", "did you mean `alpha`"),
        ("maspo --against maspo@hart", "did you mean `hard`"),
        ("maspo --against spao", "did you mean `sapo`"),
        ("maspoo", "did you mean `maspo`"),
        ("maspo@hart", "did you mean `hard`"),
        ("broken.obj", "did you mean `clip`"),
        ("missing.obj", "missing.obj"),
        ("own.obj --own -o other", "other holds another grid, of `dapo`"),
        ("maspo -o thesis", "is not empty and holds no grid"),
        ("maspo -o own.obj", "is a file"),
        ("maspo -o own.obj/grid", "cannot be written"),
        ("maspo --vary alpha=0.3", "nothing but `maspo` itself\n  maspo_alpha_0_3: the same objective"),
        ("maspo --vary lambda=0.3", "known: alpha, beta_neg, beta_pos, sigma_base\n"),
        ("group_ppo --ladder", "nothing but `group_ppo` itself\n  ladder: `group_ppo` extends nothing"),
        ("opo --pairs", "parts that can be dropped, and a pair needs two"),
        ("opo --pairs", "it can be replaced, not dropped"),
        ("picky.obj --own", "own: `picky` has no `variant` and no `sweep` lines"),
        ("maspo --zip", "--zip needs factors"),
        ("maspo --zip --product --vary alpha=0.1", "give one of them"),
        ("maspo --seeds 0", "--seeds"),
        ("maspo --vary alpha=+0.5", "numbers are written as 0.5"),
        ("maspo --vary alpha=.5", "numbers are written as 0.5"),
        ("maspo --output=", "-o names no folder"),
        ("maspo --dry-run --run", "give one of them"),
        ("maspo --dry-run slurm.foo=1", "means nothing with launcher=local"),
        ("maspo --dry-run launcher=ray ray.adress=auto", "did you mean `ray.address`"),
        ("maspo --dry-run launcher=slurm slurm.partion=gpu", "did you mean `slurm.partition`"),
        ("maspo --run launcher=slurm slurm.timeout_min=soon", "a whole number was expected"),
        ("maspo --dry-run launcher=slurm slurm.cluster=locl", "did you mean `local`"),
        ("maspo --workers 2", "without --run"),
        ("maspo trainer.max_steps=3", "without --run"),
        ("maspo --run trainer.max_stepz=3", "did you mean `trainer.max_steps`"),
        ("maspo --run trainer.max_steps=-3", "trainer.max_steps"),
        ("maspo --run run=here", "-o names the grid's own"),
        ("maspo --run launcher=rai", "did you mean `ray`"),
        ("maspo --run slurm.partition=gpu", "means nothing with launcher=local"),
        ("maspo --run launcher=slurm ray.address=auto", "means nothing with launcher=slurm"),
        ("maspo --run launcher=ray ray.adress=auto", "did you mean `ray.address`"),
        ("maspo --run launcher=ray --workers 2", "launcher=ray decides"),
        ("maspo --run seed=5", "set by --seeds"),
        ("maspo --run task=nosuch.jsonl", "nosuch.jsonl"),
        ("maspo --run task=srot", "did you mean `sort`"),
        ("maspo --run task_options.digitz=6", "has no option `digitz`"),
        ("maspo --run reward=nosuch.score", "there is no module `nosuch`"),
        ("picky.obj --against grpo --run", "the `prompt` of objective `picky` reads `reward`"),
        ("grpo --against picky.obj --run", "the `prompt` of objective `picky` reads `reward`"),
        ("dapo --against sapo -o two_seeds", "with --seeds 2"),
    ],
)
def test_bad_input_writes_nothing(run, arguments, message):
    result = run("ablate", *[word.replace("~", " ") for word in arguments.split()])
    assert result.exit_code == 2
    assert message in result.stderr and not result.stdout
    assert "Traceback" not in result.output
    assert {path.name for path in Path().iterdir()} == STAYED
    assert Path("own.obj").is_file() and [path.name for path in Path("thesis").iterdir()] == ["chapter.tex"]
    assert json.loads(Path("other/manifest.json").read_text())["spec"] == "dapo"
    assert json.loads(Path("two_seeds/manifest.json").read_text())["seeds"] == 2


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nothing", "holds no grid"),
        ("own.obj", "holds no grid"),
        ("thesis", "holds no grid"),
        ("damaged", "holds no grid"),
        ("other", "has not been run"),
    ],
)
def test_what_cannot_be_reported(run, folder, message):
    Path("damaged").mkdir()
    Path("damaged/manifest.json").write_text('{"seeds": 1, "points": []}')
    before = sorted(Path().rglob("*"))
    result = run("report", folder)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert sorted(Path().rglob("*")) == before


def changed(**keys) -> str:
    return json.dumps(json.loads(Path("other/manifest.json").read_text()) | keys)


@pytest.mark.parametrize(
    "manifest",
    [
        lambda: changed(runs=5),
        lambda: changed(runs=[3]),
        lambda: changed(runs=None),
        lambda: changed(seeds=True),
        lambda: changed(seeds=0),
        lambda: changed(points={}),
        lambda: changed(points=[{"name": "dapo", "hash": "x"}] * 2),
        lambda: changed(impossible=[5]),
        lambda: changed(spec=["dapo"]),
        lambda: "[" * 100_000,
        lambda: "[]",
        lambda: '"points"',
        lambda: "\udcff",
    ],
)
def test_a_broken_manifest_is_no_grid(run, manifest):
    Path("other/manifest.json").write_text(manifest(), errors="surrogateescape")
    for arguments in (["report", "other"], ["ablate", "dapo", "-o", "other"]):
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "holds no grid" in result.stderr


@pytest.mark.parametrize(
    ("metrics", "why"),
    [
        (None, "it has none of metrics.jsonl, trainer_state.json"),
        ("", "it is empty"),
        ('{"step": 0, "rew', "line 1"),
        ("3\n", "a row has no step"),
        ('{"reward": 0.5}\n', "a row has no step"),
    ],
)
def test_a_finished_run_that_lost_its_metrics(run, metrics, why):
    manifest = json.loads(Path("other/manifest.json").read_text())
    Path("other/manifest.json").write_text(json.dumps(manifest | {"runs": ["runs/dapo-s0"]}))
    Path("other/runs/dapo-s0").mkdir(parents=True)
    Path("other/runs/dapo-s0/result.json").write_text(json.dumps(RESULT))
    if metrics is not None:
        Path("other/runs/dapo-s0/metrics.jsonl").write_text(metrics)
    result = run("report", "other")
    assert (
        result.exit_code == 2
        and "metrics of other/runs/dapo-s0 cannot be read" in result.stderr
        and why in result.stderr
    )
    assert "earlier report" not in result.stderr
    Path("other/report.md").write_text("dapo is best")
    assert "still there from an earlier report: report.md" in run("report", "other").stderr


@pytest.mark.parametrize("broken", [{"seed": "0"}, {"cpu_seconds": None}, {"point": 3}, {"more": 1}])
def test_a_result_of_another_shape_is_none(run, broken):
    """A file that someone has changed is that of a run that has not finished: it is made again."""
    manifest = json.loads(Path("other/manifest.json").read_text())
    Path("other/manifest.json").write_text(json.dumps(manifest | {"runs": ["runs/dapo-s0"]}))
    Path("other/runs/dapo-s0").mkdir(parents=True)
    for text in (json.dumps(RESULT | broken), json.dumps(RESULT)[:-9], "[]"):
        Path("other/runs/dapo-s0/result.json").write_text(text)
        result = run("report", "other")
        assert result.exit_code == 2 and "no run of dapo, the base, has finished" in result.stderr


def test_dry_run_shows_the_table_and_writes_nothing(run):
    result = run("ablate", "maspo", "--seeds", "3", "--dry-run", "trainer.max_steps=60")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    # 3 seeds, 60 steps, 64 prompts with 8 completions of at most 10 tokens.
    row = ["maspo_without_mass", "e869cf21e0a681b5", "0.922", "million", "drop", "mass"]
    assert lines[2].split() == row
    assert "maspo_ladder_3_mass: the same objective, no point of its own" in result.stdout
    assert "`reduce` cannot be one value a token" in result.stdout
    # 9 points, 3 seeds, 60 steps, 64 prompts with 8 completions of at most 10 tokens.
    assert "27 runs of 60 steps with 512 completions, at most 8.29 million sampled tokens" in lines[-1]
    assert {path.name for path in Path().iterdir()} == STAYED


def test_a_keep_rule_may_sample_more(run):
    """`keep` refills a rollout at most `rollout.max_resamples` times; without its rule a point samples once."""
    shown = run(
        "ablate", "dapo", "--leave-one-out", "--dry-run", "trainer.max_steps=60", "rollout.max_resamples=4"
    )
    rows = {line.split()[0]: line.split()[2:4] for line in shown.stdout.splitlines() if "million " in line}
    assert rows["dapo"] == rows["dapo_without_overlong"] == ["1.54", "million"]
    assert rows["dapo_without_mixed"] == ["0.307", "million"]
    assert "refills of `keep` rules among them" in shown.stdout.splitlines()[-1]


def test_the_default_folder_is_called_like_the_base(run):
    for spec, name in {"own.obj@wide": "own_wide", "./own.obj": "own", "maspo@hard": "maspo_hard"}.items():
        assert default_folder(spec) == Path("grids") / name


def test_an_empty_folder_is_written_into(run, monkeypatch):
    Path("real").mkdir()
    Path("link").symlink_to("real")
    before = Path("real").stat().st_ino
    assert run("ablate", "dapo", "-o", "link").exit_code == 0
    assert Path("link").is_symlink() and Path("real").stat().st_ino == before
    assert {path.name for path in Path("real").iterdir()} == {path.name for path in Path("other").iterdir()}
    Path("here").mkdir()
    monkeypatch.chdir("here")
    assert run("ablate", "dapo", "-o", ".").exit_code == 0
    assert Path("manifest.json").is_file()
    assert run("ablate", "dapo", "-o", ".", "--seeds", "2").exit_code == 0


def test_an_empty_folder_stays_empty_if_one_file_cannot_be_written(run, monkeypatch):
    Path("real").mkdir()
    replace = Path.replace

    def full(self, target):
        if Path(target).name == "manifest.json" and Path(target).parent.name == "real":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    result = run("ablate", "dapo", "-o", "real")
    assert result.exit_code == 2 and "cannot be written: no space left" in result.stderr
    assert not any(Path("real").iterdir())


def test_json_is_the_manifest(run):
    shown = json.loads(run("ablate", "own.obj", "--own", "--json").stdout)
    assert shown == json.loads(Path("grids/own/manifest.json").read_text())
    assert [point["name"] for point in shown["points"]] == ["own", "own_wide"]


def test_options_given_again_add_up(run):
    shown = run("ablate", "maspo", "--against", "dapo,grpo", "--against", "sapo", "--dry-run", "--json")
    points = json.loads(shown.stdout)["points"]
    assert [point["name"] for point in points] == ["maspo", "dapo", "grpo", "sapo"]


def test_what_is_asked_for_twice_is_one_point(run):
    result = run("ablate", "maspo", "--own", "--leave-one-out", "--vary", "alpha=0.1,0.1", "--dry-run")
    assert result.stdout.count("maspo_without_mass") == result.stdout.count("maspo_alpha_0_1 ") == 1


def test_slurm_options_are_those_of_submitit():
    submitit = pytest.importorskip("submitit")
    assert set(SUBMITIT_OPTIONS) <= set(submitit.AutoExecutor._typed_parameters())
    assert set(SLURM_OPTIONS) <= submitit.SlurmExecutor._valid_parameters()


def test_slurm_where_there_is_none(tmp_path):
    """It must not run here instead, which submitit would do by itself."""
    pytest.importorskip("submitit")
    with pytest.raises(GridError, match="no Slurm here"):
        SlurmJobs(tmp_path / "slurm").launch([], lambda job, code: None)
