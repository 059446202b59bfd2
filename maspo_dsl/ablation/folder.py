"""The folder of a grid: one `.obj` a point, and `manifest.json`, which describes them for machines."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from maspo_dsl.ablation.changes import GridError
from maspo_dsl.ablation.grid import Grid, make_grid
from maspo_dsl.ablation.manifest import read_manifest
from maspo_dsl.ablation.request import Request
from maspo_dsl.language.writing import whole_folder, write_whole

MANIFEST = "manifest.json"
# Raises for the file of a point that must not be in a grid.
PointCheck: TypeAlias = Callable[[Path], None]


@dataclass(frozen=True)
class GridFolder:
    """A grid that was written: its folder and its manifest."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def points(self) -> list[Mapping[str, Any]]:
        """Records of the points: name, file, hash, keeps, edits, kind, doc, axes, same_as."""
        return list(self.manifest["points"])


def manifest(grid: Grid, spec: str, seeds: int) -> dict[str, Any]:
    """The grid as a document."""
    return {
        "spec": spec,
        "base": grid.base.name,
        "seeds": seeds,
        "points": [
            {
                "name": point.name,
                "file": point.file,
                "hash": point.hash,
                "keeps": point.keeps,
                "edits": list(point.candidate.edits),
                "kind": point.candidate.kind,
                "doc": point.candidate.doc,
                "axes": dict(point.candidate.axes),
                "same_as": list(point.same_as),
            }
            for point in grid.points
        ],
        "impossible": [{"name": name, "reason": why} for name, why in grid.impossible],
        "idle": [{"name": name, "reason": why} for name, why in grid.idle],
    }


def plan(
    spec: str, request: Request, params: Mapping[str, float], seeds: int, check: PointCheck | None = None
) -> dict[str, Any]:
    """The manifest of a grid that is written nowhere. Raises as `write_grid` does for a new folder."""
    with tempfile.TemporaryDirectory(prefix="maspo-grid-") as scratch:
        return _staged(spec, request, params, seeds, Path(scratch), check)


def write_grid(
    spec: str,
    request: Request,
    params: Mapping[str, float],
    seeds: int,
    folder: Path,
    check: PointCheck | None = None,
) -> GridFolder:
    """Write a grid into a new or empty folder, or find the same one there, whose runs go on.

    The folder appears whole or not at all. `check` raises for the file of a point that must not be in it. Raises
    that, SpecError and GridError, then nothing is written: the grid cannot be, or the folder holds another one, the
    same one with more seeds, or something else.
    """
    with tempfile.TemporaryDirectory(prefix="maspo-grid-") as scratch:
        staged = Path(scratch)
        document = _staged(spec, request, params, seeds, staged, check)
        known = _known(folder)
        if known is None:
            _place(staged, folder)
        elif _identity(known) != _identity(document):
            raise GridError(f"{folder} holds another grid, of `{known.get('spec')}`; name another folder")
        elif seeds < known["seeds"]:
            raise GridError(
                f"{folder} holds this grid with --seeds {known['seeds']}; give as many or more, or name another folder"
            )
        else:
            document = {**known, **document}
            _replace_manifest(folder, document)
    return GridFolder(folder, document)


def read_grid(folder: Path) -> GridFolder:
    """The grid of a folder. Raises GridError: there is none."""
    document = read_manifest(folder / MANIFEST)
    if document is None:
        raise GridError(f"{folder} holds no grid; `maspo-dsl ablate SPEC -o DIR` makes one in a new folder")
    return GridFolder(folder, document)


def record_runs(grid: GridFolder, folders: Sequence[Path], ran: str = "", command: str | None = None) -> None:
    """Write into the manifest which runs belong to the grid as it was last run, and by what.

    `ran` is the command line that ran them, `command` the program of each run if it is somebody's own.
    """
    document = {**grid.manifest, "runs": [os.path.relpath(folder, grid.path.resolve()) for folder in folders]}
    told = {"ran": ran, "command": command or ""}
    _replace_manifest(grid.path, {**document, **told})


def _staged(
    spec: str,
    request: Request,
    params: Mapping[str, float],
    seeds: int,
    folder: Path,
    check: PointCheck | None,
) -> dict[str, Any]:
    """The manifest of a grid whose files, itself among them, are written into an empty folder."""
    grid = make_grid(spec, request, params, folder)
    document = manifest(grid, spec, seeds)
    for name, text in {**grid.texts, MANIFEST: json.dumps(document, indent=2) + "\n"}.items():
        (folder / name).write_text(text, encoding="utf-8")
    if check is not None:
        for point in grid.points:
            check(folder / point.file)
    return document


def _identity(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What makes two grids the same: their points; the number of seeds may grow."""
    return [(point["name"], point["hash"]) for point in document["points"]]


def _known(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder; None if the folder is new or empty. Raises GridError for anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not folder.is_dir():
        raise GridError(f"{folder} is a file; name a folder")
    document = read_manifest(folder / MANIFEST)
    if document is None:
        raise GridError(f"{folder} is not empty and holds no grid; name another folder")
    return document


def _place(staged: Path, folder: Path) -> None:
    """Put the files of a folder into a new or empty one.

    A new one takes its name when all are there; in one that others may be using, as the present folder, the manifest
    comes last, and without it there is no grid.
    """
    target = folder.resolve()
    try:
        if target.exists():
            _fill(staged, target)
        else:
            with whole_folder(target) as whole:
                for file in staged.iterdir():
                    shutil.copyfile(file, whole / file.name)
    except OSError as error:
        raise GridError(f"{folder} cannot be written: {(error.strerror or str(error)).lower()}") from None


def _fill(staged: Path, target: Path) -> None:
    """Copy files into an empty folder, the manifest last; all of them, or none if one cannot be written."""
    names = sorted((file.name for file in staged.iterdir()), key=lambda name: name == MANIFEST)
    try:
        for name in names:
            shutil.copyfile(staged / name, target / f".{name}.partial")
        for name in names:
            (target / f".{name}.partial").replace(target / name)
    except OSError:
        for name in names:
            (target / f".{name}.partial").unlink(missing_ok=True)
            (target / name).unlink(missing_ok=True)
        raise


def _replace_manifest(folder: Path, document: Mapping[str, Any]) -> None:
    write_whole(folder / MANIFEST, json.dumps(document, indent=2) + "\n")
