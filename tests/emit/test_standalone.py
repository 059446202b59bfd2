"""The generated file: torch alone, clean, and the same numbers and messages as the package."""

import ast
import builtins
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from maspo_dsl.trainers.columns import COLUMNS

import maspo_dsl

from ..batches import as_torch, given_advantage, packed, rows_of
from ..graph.family import NAMED, batch, objective

METRICS = {name for name, column in COLUMNS.items() if column.by == "loss"}


@cache
def text(name: str) -> str:
    return objective(name).torch_source()


@cache
def standalone(name: str) -> ModuleType:
    module = ModuleType("generated")
    exec(builtins.compile(text(name), f"{name}.py", "exec"), module.__dict__)
    return module


@cache
def package(name: str) -> maspo_dsl.ObjectiveLoss:
    return maspo_dsl.compile(objective(name), backend="eager")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Every generated file."""
    path = tmp_path_factory.mktemp("generated")
    for name in NAMED:
        (path / f"{name.replace('@', '_at_')}.py").write_text(text(name))
    return path


@pytest.mark.parametrize("name", NAMED)
def test_torch_is_the_only_import(name):
    nodes = list(ast.walk(ast.parse(text(name))))
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import torch"]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert not names & {"__import__", "eval", "exec", "open"}


@pytest.mark.parametrize("name", NAMED)
def test_every_name_is_defined(name):
    """What a function reads is global to the file, a builtin, or its own."""
    module = standalone(name)
    for function in ast.parse(text(name)).body:
        if isinstance(function, ast.FunctionDef):
            known = {
                *vars(module),
                *vars(builtins),
                *(a.arg for a in ast.walk(function) if isinstance(a, ast.arg)),
            }
            stored = {
                n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
            }
            inner = {n.name for n in ast.walk(function) if isinstance(n, ast.FunctionDef)}
            read = {
                n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
            }
            assert not read - known - stored - inner, function.name


def test_files_are_clean(folder):
    ruff = [sys.executable, "-m", "ruff"]
    lint = subprocess.run([*ruff, "check", "--isolated", str(folder)], capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout
    ours = ["--config", str(Path(__file__).parents[2] / "pyproject.toml")]
    shipped = [str(folder / f"{name}.py") for name in ("grpo", "dapo", "maspo")]
    lint = subprocess.run([*ruff, "check", *ours, *shipped], capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout
    line_length = ["--isolated", "--check", "--line-length", "110"]
    form = subprocess.run([*ruff, "format", *line_length, str(folder)], capture_output=True, text=True)
    assert form.returncode == 0, form.stdout


def test_files_run_where_the_package_is_not(folder, tmp_path):
    """In a process that can import torch and not maspo_dsl, every file gives the package's loss and gradient."""
    names = ["grpo", "dapo", "maspo", "stapo", "gspo", "bapo"]
    tensors = {key: value.detach() for key, value in as_torch(batch(1)).items()}
    torch.save(tensors, tmp_path / "batch.pt")
    code = f"""
import importlib.util, json, sys, torch
sys.modules["maspo_dsl"] = None
assert importlib.util.find_spec("torch")
batch = torch.load({str(tmp_path / "batch.pt")!r})
results = {{}}
for name in {names!r}:
    spec = importlib.util.spec_from_file_location(name, {str(folder)!r} + f"/{{name}}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    logp = batch["logp"].clone().requires_grad_()
    out = module.Loss()({{**batch, "logp": logp}})
    out.loss.backward()
    results[name] = [out.loss.item(), logp.grad.tolist(), {{k: v.item() for k, v in out.metrics.items()}}]
print(json.dumps(results))
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    for name in names:
        inside = as_torch(batch(1))
        out = package(name)(inside)
        out.loss.backward()
        loss, gradient, metrics = results[name]
        assert loss == out.loss.item()
        assert gradient == inside["logp"].grad.tolist()
        assert metrics == {key: value.item() for key, value in out.metrics.items()}


@pytest.mark.parametrize("name", NAMED)
def test_everything_is_the_package_s(name):
    """Loss, gradient, metrics, window, advantage and keep: bit for bit, since the code is the same."""
    mine, theirs = standalone(name).Loss(), package(name)
    for arrays in (batch(2), packed(batch(2))):
        tensors = [as_torch(arrays), as_torch(arrays)]
        outs = [module(x) for module, x in zip((mine, theirs), tensors, strict=True)]
        for out in outs:
            out.loss.backward()
        assert torch.equal(outs[0].loss, outs[1].loss)
        assert torch.equal(tensors[0]["logp"].grad, tensors[1]["logp"].grad)
        assert outs[0].metrics.keys() == outs[1].metrics.keys()
        assert set(outs[0].metrics) <= METRICS | {f"outside_{key}" for key in objective(name).resolved.own}
        for key, value in outs[0].metrics.items():
            torch.testing.assert_close(value, outs[1].metrics[key], rtol=0, atol=0, equal_nan=True)
        assert torch.equal(mine.advantage(tensors[0]), theirs.advantage(tensors[1]))
        assert torch.equal(mine.keep(tensors[0]), theirs.keep(tensors[1]))
        windows = [module.window([x]) for module, x in zip((mine, theirs), tensors, strict=True)]
        assert windows[0].keys() == windows[1].keys()
        assert all(torch.equal(windows[0][key], windows[1][key]) for key in windows[0])


@pytest.mark.parametrize("name", NAMED)
def test_the_loss_is_a_straight_line_for_a_tracer(name):
    """torch.fx traces the function of the loss of a padded batch; a search maps over candidates, which it does not."""
    if "least(" in text(name):
        return
    loss, x = standalone(name).Loss(), as_torch(batch(2))
    d = loss.window([x])
    x = loss.prepare(x, "loss")
    p, d = loss.parameters_in(x), loss.with_invariants(x, loss.parameters_in(x), d)
    traced = torch.fx.symbolic_trace(standalone(name).loss)
    assert torch.equal(traced(x, p, d)["loss"], standalone(name).loss(x, p, d)["loss"])


@pytest.mark.parametrize("name", NAMED)
def test_denominators_of_one_serve_the_other(name):
    arrays = given_advantage(3, extreme=False, columns=5, spread=0.4)
    halves = [rows_of(arrays, range(7)), rows_of(arrays, range(7, 16))]
    denominators = standalone(name).Loss().window([as_torch(half) for half in halves])
    for half in halves:
        mine = standalone(name).Loss()(as_torch(half), denominators=denominators).loss
        assert torch.equal(mine, package(name)(as_torch(half), denominators=denominators).loss)


def with_garbage() -> dict[str, dict[str, torch.Tensor]]:
    good = as_torch(given_advantage(0, extreme=False))
    return {
        "no mask": {k: v for k, v in good.items() if k != "mask"},
        "no logp_old": {k: v for k, v in good.items() if k != "logp_old"},
        "no logp": {k: v for k, v in good.items() if k != "logp"},
        "no reward": {k: v for k, v in good.items() if k not in ("reward", "advantage")},
        "no group": {k: v for k, v in good.items() if k not in ("group", "advantage")},
        "too few rows": {**good, "logp_old": good["logp_old"][:-1]},
        "too few columns": {**good, "logp_old": good["logp_old"][:, :-1]},
        "one axis": {**good, "logp": good["logp"][:, 0]},
        "advantage of another size": {**good, "advantage": good["advantage"][:3]},
        "weights for a mask": {**good, "mask": good["mask"].double()},
        "fractional groups": {**good, "group": good["group"] + 0.5, "advantage": good["advantage"]},
        "a list": {**good, "reward": [1.0, 2.0]},
    }


@pytest.mark.parametrize("kind", with_garbage())
@pytest.mark.parametrize("name", ["grpo", "maspo", "gspo"])
def test_messages_are_the_package_s(name, kind):
    said = []
    for call, error in (
        (standalone(name).Loss(), standalone(name).BatchError),
        (package(name), maspo_dsl.BatchError),
    ):
        with pytest.raises(error) as caught:
            call(with_garbage()[kind])
        assert isinstance(caught.value, ValueError)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["grpo", "maspo"])
def test_wrong_use_of_a_window(name):
    for loss, error in (
        (standalone(name).Loss(), standalone(name).BatchError),
        (package(name), maspo_dsl.BatchError),
    ):
        with pytest.raises(error, match="list of micro-batches"):
            loss.window(as_torch(batch()))
        with pytest.raises(error, match="at least one"):
            loss.window([])
        with pytest.raises(error, match="denominators lack sequences, tokens"):
            loss(as_torch(batch()), denominators={})


@pytest.mark.parametrize("name", NAMED)
def test_spec_and_hash(name):
    module = standalone(name)
    assert objective(name).hash == module.HASH
    assert maspo_dsl.parse(module.SPEC).hash == module.HASH
    assert maspo_dsl.parse(module.SPEC).torch_source() == text(name)


@pytest.mark.parametrize("name", NAMED)
def test_the_same_text_every_time(name):
    assert maspo_dsl.load(NAMED[name]).torch_source() == text(name)


def test_file_says_what_it_is():
    first, *_ = text("maspo").split("\n\n")
    assert first.startswith('"""maspo: Mass-Adaptive Soft Policy Optimization')
    assert "edit the spec, not this file" in text("maspo").split('"""')[1]
    assert "arXiv:2602.17550" in text("maspo").split('"""')[1]


def test_quotes_and_backslashes_of_a_spec():
    spec = 'objective example extends grpo\n"A back\\slash and \\"\nsource "C:\\new"\n'
    written = maspo_dsl.parse(spec)
    module = ModuleType("generated")
    exec(builtins.compile(written.torch_source(), "example.py", "exec"), module.__dict__)
    assert written.text == module.SPEC
    assert module.__doc__.startswith("example: A back\\slash")


def test_names_of_python_are_no_trouble():
    """A spec may use names that Python, torch or the generated file reserve."""
    spec = (
        "objective example extends grpo\n"
        "param lambda = 0.5, torch = 2, x = 3, one = 1.5, mask = 0.1\n"
        "let class = lambda * torch\nlet masked = x + one + mask\nlet min_ = old ^ lambda\n"
        "weight import = class * masked * min_ / min_ as del\n"
    ).replace(" as del", "")
    loss = maspo_dsl.compile(maspo_dsl.parse(spec), backend="eager")
    plain = maspo_dsl.compile("grpo", params={"kl": 0}, backend="eager")
    alone = maspo_dsl.compile(maspo_dsl.parse(spec + "drop kl\n"), backend="eager")
    arrays = batch(4)
    assert loss(as_torch(arrays)).loss.isfinite()
    expected = plain(as_torch(arrays)).loss.item() * 0.5 * 2 * (3 + 1.5 + 0.1)
    assert alone(as_torch(arrays)).loss.item() == pytest.approx(expected, rel=1e-12)


def test_functions_read_like_the_spec():
    """Names of the spec name the lines; nothing is computed twice within a function."""
    functions = {n.name: n for n in ast.parse(text("maspo")).body if isinstance(n, ast.FunctionDef)}
    lines = [ast.unparse(line) for line in functions["loss"].body]
    assert {"mass", "risk", "gate"} <= {line.split(" = ")[0] for line in lines}
    right = [line.split(" = ", 1)[1] for line in lines if " = " in line]
    assert len(set(right)) == len(right)


@pytest.mark.parametrize("name", NAMED)
def test_no_token_computes_what_is_one_number_for_all(name):
    """An inverse or an exponential of parameters and statistics would be computed for every token again."""
    functions = {n.name: n for n in ast.parse(text(name)).body if isinstance(n, ast.FunctionDef)}
    slow = [
        node
        for node in ast.walk(functions["loss"])
        if (isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Pow)))
        or (isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.exp", "torch.log", "torch.sqrt"))
    ]
    read = [{each.id for each in ast.walk(node) if isinstance(each, ast.Name)} for node in slow]
    assert all(names - {"p", "d", "torch"} for names in read)


def test_numbers_of_the_whole_batch_have_names():
    """Those computed once are named after what they are of."""
    functions = {n.name: n for n in ast.parse(text("gmpo")).body if isinstance(n, ast.FunctionDef)}
    returned = [key.value for key in functions["once"].body[-1].value.keys]
    assert returned == ["exp_eps_high", "exp_minus_eps_low", "inverse_sequences"]


def test_longest_line():
    assert all(len(line) <= 120 for name in NAMED for line in text(name).split('"""', 4)[-1].splitlines())
    assert np.mean([len(line) for line in text("maspo").splitlines()]) < 60
