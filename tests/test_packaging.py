"""What ships is what stands in the folders, under the shipped names and no others."""

import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

import maspo_dsl  # noqa: F401  (what importing it does to sys.modules is tested here)

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
MAPPED = ("grammars", "objectives", "trainers")


def shipped_name(folder: Path) -> str:
    """Dotted name under which a folder of the repository ships."""
    parts = folder.relative_to(ROOT).parts
    return ".".join(("maspo_dsl", *parts) if parts[0] in MAPPED else parts)


def test_every_folder_with_an_init_is_listed():
    folders = [path.parent for top in ("maspo_dsl", *MAPPED) for path in (ROOT / top).rglob("__init__.py")]
    assert sorted(SETUPTOOLS["packages"]) == sorted(map(shipped_name, folders))


def test_every_folder_with_modules_has_an_init():
    folders = {path.parent for top in ("maspo_dsl", *MAPPED) for path in (ROOT / top).rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize("suffix", [".obj", ".lark"])
def test_specs_and_grammar_ship(suffix):
    sources = [path for top in MAPPED for path in (ROOT / top).rglob(f"*{suffix}")]
    assert sources
    for path in sources:
        package = shipped_name(path.parent)
        assert f"*{suffix}" in SETUPTOOLS["package-data"].get(package, []), f"{path} does not ship"
        assert (files(package) / path.name).read_text() == path.read_text()


@pytest.mark.parametrize("name", MAPPED)
def test_folders_are_imported_under_their_shipped_names_alone(name):
    """A second copy, as `trainers` beside `maspo_dsl.trainers`, would have classes of its own."""
    assert [module for module in sys.modules if module.split(".")[0] == name] == []
