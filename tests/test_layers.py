"""Who may import whom. Each layer imports itself and the layers before it, lazily or not."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    "language",
    "semantics",
    "graph",
    "analysis",
    "notation",
    "pictures",
    "editor",
    "importing",
    "emit",
    "runtime",
    "verification",
    "comparison",
    "playground",
    "hosts",
    "trainers",
    "ablation",
    "cli",
)
WITHOUT_TORCH = {"language", "semantics", "graph", "analysis", "notation", "importing", "playground"}
DATA = {"grammars", "objectives"}
FACADE = {"__init__", "objective", "testing"}
"""Modules that name the package to its users: they import the first two layers, and others in functions."""

MODULES = sorted((ROOT / "maspo_dsl").rglob("*.py")) + sorted((ROOT / "trainers").rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    """The tree of a module."""
    return ast.parse(path.read_text())


def layer_of(path: Path) -> str:
    """First folder below the package, or the module's own name at its top."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "trainers" else parts[1]


def dotted_name(path: Path) -> str:
    """The name that a module is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("maspo_dsl", *parts) if parts[0] == "trainers" else parts)


def imports(path: Path, nodes: Iterator[ast.AST]) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything that a file imports."""
    package = dotted_name(path).split(".")
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: -node.level] if node.level else ()
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"


def at_import_time(tree: ast.Module, *, for_types: bool = False) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported, not those of functions; `for_types`: `if TYPE_CHECKING`, too."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        yield node
        checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if (for_types or not checking) and not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        ):
            pending.extend(ast.iter_child_nodes(node))


def target(name: str) -> str | None:
    """The layer, data folder or facade that a dotted name belongs to; None outside the package."""
    first, *rest = name.split(".")
    if first != "maspo_dsl":
        return None
    if rest and rest[0] in {*LAYERS, *DATA, *FACADE}:
        return rest[0]
    return "__init__"


def upwards(path: Path) -> Iterator[str]:
    """What a module imports that it may not, with its line."""
    layer, tree = layer_of(path), parsed(path)
    facade = layer in FACADE
    assert facade or layer in LAYERS, f"{path.name} is in no layer; the layers are {', '.join(LAYERS)}"
    nodes = at_import_time(tree) if facade else ast.walk(tree)
    reach = LAYERS.index("semantics" if facade else layer)
    for line, name in imports(path, nodes):
        layer_there = target(name)
        if layer_there in FACADE:
            # The facade stands on semantics, and names what runtime compiles: later layers are its users.
            wrong = not facade and LAYERS.index(layer) <= LAYERS.index("semantics")
        else:
            wrong = layer_there in LAYERS and LAYERS.index(layer_there) > reach
        if wrong:
            yield f"{path.relative_to(ROOT)}, line {line}: {name}"


def test_imports_go_one_way():
    wrong = [found for path in MODULES for found in upwards(path)]
    assert not wrong, f"a module imports only layers before its own, {' → '.join(LAYERS)}: {'; '.join(wrong)}"


def importing() -> dict[str, set[str]]:
    """For each module those that it imports, under `TYPE_CHECKING`, too; what a function loads is not counted."""
    names = {dotted_name(path): path for path in MODULES}
    packages = {name.removesuffix(".__init__"): name for name in names}
    found = {}
    for module, path in names.items():
        there = {name for _, name in imports(path, at_import_time(parsed(path), for_types=True))}
        owners = (name if name in packages else name.rpartition(".")[0] for name in there)
        found[module] = {packages[owner] for owner in owners if owner in packages}
    return found


def test_no_module_imports_itself_through_others():
    pending = importing()
    size = -1
    while len(pending) != size:
        size, used = len(pending), set().union(*pending.values())
        pending = {
            m: needs & set(pending) for m, needs in pending.items() if m in used and needs & set(pending)
        }
    assert not pending, "; ".join(f"{m} imports {', '.join(sorted(n))}" for m, n in pending.items())


def test_heavy_libraries_stay_where_they_are_used():
    for path in MODULES:
        layer = layer_of(path)
        forbidden = set()
        if layer != "trainers":
            forbidden |= {"lightning", "pytorch_lightning", "transformers"}
        if layer in WITHOUT_TORCH or path == ROOT / "trainers" / "config.py":
            forbidden.add("torch")
        names = {name.split(".")[0] for _, name in imports(path, ast.walk(parsed(path)))}
        assert not names & forbidden, f"{path.relative_to(ROOT)} imports {', '.join(names & forbidden)}"


@pytest.mark.parametrize(
    "statement",
    [
        "import maspo_dsl.language, maspo_dsl.semantics",
        "import maspo_dsl; assert maspo_dsl.load('maspo').inputs",
        "import maspo_dsl.cli",
        "import maspo_dsl.trainers.config",
    ],
)
def test_reading_a_spec_loads_no_torch(statement):
    code = f"import sys; {statement}; assert not {{'torch', 'lightning', 'transformers'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("spec", ["grpo", "dapo", "maspo"])
def test_check_needs_no_torch(spec):
    code = (
        "import sys\n"
        f"sys.argv = ['maspo-dsl', 'check', '{spec}']\n"
        "from maspo_dsl.cli import main\n"
        "try:\n    status = main()\n"
        "except SystemExit as stop:\n    status = stop.code\n"
        "assert not status, status\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# The same thing twice: for numpy in the oracle, for torch in every generated file.
COUNTERPARTS = {"Segments"}


def test_a_class_name_means_one_thing():
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    twice = {name: files for name, files in homes.items() if len(files) > 1 and name not in COUNTERPARTS}
    assert not twice, "; ".join(f"class {name} is in {' and '.join(files)}" for name, files in twice.items())
