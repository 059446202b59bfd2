"""Sides by name: a spec, `trl:key=value,…`, `verl:…`, `python:module.function`, or what Python holds already."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maspo_dsl.comparison.estimators import EstimatorSide, is_estimator
from maspo_dsl.comparison.functions import FunctionSide, imported_function
from maspo_dsl.comparison.sides import ComparedLoss, NotComparableError, SpecSide
from maspo_dsl.importing.reading import value_of
from maspo_dsl.importing.trainers import TRAINERS, imported
from maspo_dsl.objective import Objective, load

_COMMA = re.compile(r",(?![^\[{]*[\]}])")
"""A comma that is not inside of brackets."""


def side_of(
    what: str | Path | Objective | Callable[..., Any], params: Mapping[str, float] | None = None
) -> ComparedLoss:
    """The side that a name, a path, an objective or a function is; `params` are values of a spec's parameters.

    Raises SpecError, SettingsError and NotComparableError.
    """
    if isinstance(what, Objective | Path):
        return SpecSide(load(what, params))
    if not isinstance(what, str):
        return _of_python(getattr(what, "__name__", "the function"), what, {})
    kind, colon, rest = what.partition(":")
    if colon and kind == "python":
        path, _, settings = rest.partition(":")
        return _of_python(path, imported_function(path), _config(settings))
    if colon and kind in TRAINERS:
        return SpecSide(imported(kind, _COMMA.split(rest) if rest else []).objective)
    return SpecSide(load(what, params))


def _of_python(name: str, function: Callable[..., Any], settings: Mapping[str, Any]) -> ComparedLoss:
    return (EstimatorSide if is_estimator(function) else FunctionSide)(name, function, settings)


def _config(settings: str) -> dict[str, Any]:
    """Values of the configuration that a function with verl's signature is given."""
    config = {}
    for setting in _COMMA.split(settings) if settings else []:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise NotComparableError(
                f"`{setting}` sets nothing; write python:module.function:clip_ratio_c=5,…"
            )
        config[name] = value_of(value)
    return config
