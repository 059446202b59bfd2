"""`maspo-dsl show`: a spec at each stage of its compilation."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from maspo_dsl.cli.output import InputError, counted, invalid_input_exits, print_file, print_line
from maspo_dsl.cli.overrides import OverridesArgument, SpecArgument, load_with
from maspo_dsl.objective import Objective
from maspo_dsl.semantics.resolve import find_source


class StageName(StrEnum):
    """What a spec becomes on its way to torch."""

    tree = "tree"
    resolved = "resolved"
    graph = "graph"
    torch = "torch"


def show(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    stage: Annotated[
        StageName,
        typer.Option(help="tree: the file as read; resolved: one flat objective; graph; torch: what runs."),
    ] = StageName.resolved,
    variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="A variant that the spec declares.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="With --stage graph: before the graph is simplified.")
    ] = False,
) -> None:
    """Print an objective at a stage.

    Its file as a tree, the flat objective, its graph, or the torch code it becomes.
    """
    with invalid_input_exits():
        if raw and stage is not StageName.graph:
            raise InputError("--raw is about the graph: add --stage graph")
        if stage is StageName.tree:
            _show_tree(spec, overrides, variant)
            return
        objective = load_with(spec, overrides, variant)
        match stage:
            case StageName.graph:
                _show_graph(objective, raw)
            case StageName.torch:
                print_file(objective.torch_source())
            case _:
                print_file(objective.text)


def _show_tree(spec: str, overrides: list[str] | None, variant: str | None) -> None:
    from maspo_dsl.cli.sources import parse_file
    from maspo_dsl.cli.tree_text import tree_lines

    if overrides or variant:
        raise InputError(
            "the tree is of the file as it is written; values and variants belong to --stage resolved"
        )
    source, _ = find_source(spec)
    for line in tree_lines(parse_file(source)):
        print_line(line)


def _show_graph(objective: Objective, raw: bool) -> None:
    from maspo_dsl.cli.graph_text import graph_lines
    from maspo_dsl.graph.build import build

    before = build(objective.resolved.parts)
    shown = before if raw else objective.graph
    print_line(f"# {objective.name}@{objective.hash}")
    if raw:
        print_line(f"# before simplification: {counted(len(before.nodes), 'operation')}")
    else:
        number = counted(len(shown.nodes), "operation")
        print_line(f"# {number}, {len(before.nodes)} before simplification (--raw)")
    for line in graph_lines(shown):
        print_line(line)
