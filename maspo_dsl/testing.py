"""For tests of one's own: a fork proves that its loss is still the paper's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from maspo_dsl.objective import Objective

    SideLike: TypeAlias = str | Path | Objective | Callable[..., Any]


def assert_same(loss: SideLike, spec: SideLike, *, params: Mapping[str, float] | None = None) -> None:
    """Raise AssertionError unless two losses agree in value and gradient on every batch that they are compared on.

    Each is a shipped name, a path, an Objective, `trl:key=value,…`, `verl:key=value,…`, `python:module.function`, or a
    function: of one batch (its tensors by name), or with the signature of verl's policy losses. `params` are values of
    the spec's parameters. Raises SpecError, and NotComparableError for a function that cannot be called.
    """
    from maspo_dsl.comparison.compare import compare
    from maspo_dsl.comparison.named import side_of
    from maspo_dsl.comparison.report import comparison_lines

    found = compare(side_of(loss), side_of(spec, params))
    if not found.same:
        raise AssertionError("\n".join(comparison_lines(found)))
