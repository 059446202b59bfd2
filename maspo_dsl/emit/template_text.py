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
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            segment = ast.get_source_segment(text, node)
            assert segment is not None
            found[node.name] = segment
    return found
