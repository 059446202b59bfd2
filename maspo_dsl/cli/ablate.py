"""`maspo-dsl ablate`: every valid ablation of an objective, written as specs. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from maspo_dsl.cli.output import InputError, counted, invalid_input_exits, say, say_json
from maspo_dsl.cli.overrides import OverridesArgument, SpecArgument


def ablate(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder of the grid; grids/NAME if not given."),
    ] = None,
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Each droppable part alone. On unless points are named.")
    ] = False,
    ladder: Annotated[
        bool,
        typer.Option("--ladder", help="From the plain ancestor up, a part at a time. On like the other."),
    ] = False,
    pairs: Annotated[bool, typer.Option("--pairs", help="Every two droppable parts together.")] = False,
    product: Annotated[
        bool,
        typer.Option("--product", help="Every combination of the factors; of the parts if none is named."),
    ] = False,
    zip_: Annotated[
        bool, typer.Option("--zip", help="First value of each factor with first, second with second.")
    ] = False,
    own: Annotated[bool, typer.Option("--own", help="The spec's own variant and sweep lines.")] = False,
    vary: Annotated[
        list[str] | None, typer.Option("--vary", metavar="PARAM=V,V", help="A parameter and its values.")
    ] = None,
    swap: Annotated[
        list[str] | None,
        typer.Option("--swap", metavar="STAGE=F(..),F(..)", help="A stage and what stands in its place."),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="NAME,NAME", help="Other objectives, as they are.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each point, with seeds 0, 1, ….")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the grid; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Write every valid ablation of an objective: a short spec for each point, and manifest.json.

    KEY=VALUE sets what holds for every point.
    """
    from maspo_dsl.ablation.changes import GridError
    from maspo_dsl.ablation.folder import plan, write_grid
    from maspo_dsl.ablation.request import Request

    with invalid_input_exits(as_json=as_json):
        request = Request(
            leave_one_out=leave_one_out,
            ladder=ladder,
            pairs=pairs,
            product=product,
            zip=zip_,
            own=own,
            vary=factors(vary or [], "--vary"),
            swap=factors(swap or [], "--swap"),
            against=tuple(split_outside_brackets(against or "")),
        )
        params, _ = split_params(overrides or [])
        try:
            if dry_run:
                document = plan(spec, request, params, seeds)
            else:
                folder = output or default_folder(spec)
                document = dict(write_grid(spec, request, params, seeds, folder).manifest)
        except GridError as error:
            raise InputError(str(error)) from None
    if as_json:
        say_json(document)
        return
    for line in table(document):
        say(line)
    if not dry_run:
        say(f"written to {folder}")


def default_folder(spec: str) -> Path:
    """Where the grid of a spec is written if nobody says."""
    return Path("grids") / Path(spec).stem.replace("@", "_")


def factors(options: Sequence[str], option: str) -> dict[str, tuple[str, ...]]:
    """`NAME=VALUE,VALUE` options as a mapping. Raises InputError: no `=`, no value, a name given twice."""
    found: dict[str, tuple[str, ...]] = {}
    for text in options:
        name, equals, rest = text.partition("=")
        values = tuple(split_outside_brackets(rest))
        if not equals or not name.strip() or not values:
            raise InputError(f"{option} {text}: expected NAME=VALUE,VALUE")
        if name.strip() in found:
            raise InputError(f"{option} {name.strip()} is given twice; name all its values at once")
        found[name.strip()] = values
    return found


def split_outside_brackets(text: str) -> Iterator[str]:
    """The pieces between commas, leaving alone commas inside brackets; empty ones are left out."""
    depth, piece = 0, ""
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            if piece.strip():
                yield piece.strip()
            piece = ""
        else:
            piece += letter
    if piece.strip():
        yield piece.strip()


def split_params(overrides: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """Values of parameters, which become part of every point, and the overrides of the runs."""
    from maspo_dsl.cli.overrides import read

    params = [text for text in overrides if text.startswith("params.")]
    return read(params)[0], [text for text in overrides if not text.startswith("params.")]


def table(document: Mapping[str, Any]) -> Iterator[str]:
    """The grid for readers: name, difference from the base, hash; then what is no point, and why."""
    points: list[Mapping[str, Any]] = document["points"]
    width = max(len(point["name"]) for point in points)
    for point in points:
        change = "; ".join(point["edits"]).replace("\n", " ") or point["doc"]
        yield f"{point['name']:<{width}}  {point['hash']}  {change}"
        for name in point["same_as"]:
            yield f"{'':<{width}}  {'':<16}  the same objective as {name}"
    for title, refused in (("No such objective:", document["impossible"]), ("Not run:", document["idle"])):
        if refused:
            yield ""
            yield title
            yield from (f"  {one['name']}: {one['reason']}" for one in refused)
    yield ""
    runs = len(points) * document["seeds"]
    yield f"{counted(len(points), 'point')}, {counted(document['seeds'], 'seed')} each: {counted(runs, 'run')}"
