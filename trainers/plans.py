"""Plans of runs that another framework makes, by the name of its row in `frameworks`."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from .config import RunConfig


class Plan(Protocol):
    """A run that could start: checked, and nothing written."""

    def lines(self) -> list[str]:
        """What would run, a line each."""

    def start(self) -> str:
        """Run it; the last line, for the user. Raises ConfigError."""


def plan(config: RunConfig, objective_source: str) -> Plan:
    """The plan of the framework that a run names: `plan` of the module NAME_run. Raises ConfigError and SpecError."""
    module = import_module(f".{config.engine}_run", __package__)
    return cast("Plan", module.plan(config, objective_source))
