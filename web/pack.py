"""What the page needs of the package, written into a folder: its Python as one archive, what ships, the words.

`python web/pack.py FOLDER`. The archive holds the layers that need no torch, lark, and the part of numpy in Python that
stands beside this file.
"""

import json
import sys
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import lark

import maspo_dsl
from maspo_dsl.language.diagnostics import SpecError
from maspo_dsl.notation.latex_lines import latex_formula, paper_lines
from maspo_dsl.playground import answers

HERE = Path(__file__).parent
LAYERS = (
    "language",
    "semantics",
    "graph",
    "analysis",
    "notation",
    "emit",
    "editor",
    "comparison",
    "playground",
)
GALLERY_OLDS = (0.9, 0.1, 0.001)
STAMP = (2020, 1, 1, 0, 0, 0)


def sources() -> Iterator[tuple[str, bytes]]:
    """Names in the archive, and what is there."""
    package = Path(maspo_dsl.__file__).parent
    for path in (package / "__init__.py", package / "objective.py"):
        yield f"maspo_dsl/{path.name}", path.read_bytes()
    for layer in LAYERS:
        for path in sorted((package / layer).rglob("*.py")):
            yield f"maspo_dsl/{path.relative_to(package)}", path.read_bytes()
    for name in ("grammars", "objectives"):
        yield from _resources(files(f"maspo_dsl.{name}"), f"maspo_dsl/{name}")
    yield from _resources(files(lark), "lark", keep=(".py", ".lark"))
    for path in sorted((HERE / "python").rglob("*.py")):
        yield str(path.relative_to(HERE / "python")), path.read_bytes()


def _resources(folder, name, keep=(".py", ".lark", ".obj")) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name not in {"__pycache__", "__pyinstaller"}:
            yield from _resources(entry, f"{name}/{entry.name}", keep)
        elif entry.name.endswith(keep):
            yield f"{name}/{entry.name}", entry.read_bytes()


def gallery() -> Iterator[dict[str, object]]:
    """Of each objective what a card shows: its meaning, formula, and curves at every other ratio."""
    for row in answers.shipped():
        objective = maspo_dsl.load(row["name"])
        try:
            found = answers.curves(row["text"], {}, GALLERY_OLDS)
        except SpecError as error:
            raise SystemExit(f"{row['name']}: {error}") from None
        thinned = [{**curve, "weights": curve["weights"][::2]} for curve in found["curves"]]
        yield {
            **row,
            "hash": objective.hash,
            "formula": "\n".join(paper_lines(latex_formula(objective.resolved))[1:]),
            "ratios": found["ratios"][::2],
            "curves": thinned,
            "why": found["why"],
        }


def main(folder: Path) -> None:
    """Write everything."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "python.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sources():
            archive.writestr(zipfile.ZipInfo(name, STAMP), content, zipfile.ZIP_DEFLATED)
    for name, found in (
        ("shipped", answers.shipped()),
        ("words", answers.words()),
        ("gallery", list(gallery())),
    ):
        (folder / f"{name}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
