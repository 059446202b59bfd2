"""The template's modules as text: what a generated file carries along."""

from __future__ import annotations

import ast
from functools import cache
from importlib.resources import files


@cache
def source(module: str) -> str:
    """A module's text."""
    return files("maspo_dsl.emit.template").joinpath(f"{module}.py").read_text(encoding="utf-8")


@cache
def pieces(module: str) -> dict[str, str]:
    """Functions and classes of a module, as text, by name."""
    text = source(module)
    lines = text.split("\n")
    definitions = [node for node in ast.parse(text).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    # `ast.get_source_segment` splits the whole text anew for each.
    return {node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in definitions}
