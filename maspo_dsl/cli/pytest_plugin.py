"""For pytest: `pytest --verify-objectives PATH…` makes a test of each property of every objective among the paths.

`verify_objectives = true` in pytest's configuration says the same; `verify_backend`, or `--verify-backend`, is what
the losses are compiled with.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from maspo_dsl.objective import Objective
    from maspo_dsl.runtime.loss import Backend
    from maspo_dsl.verification.subject import Subject
    from maspo_dsl.verification.verify import Check

_BACKENDS = ("inductor", "eager")


class LineError(Exception):
    """A property that does not hold."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this plugin."""
    group = parser.getgroup("maspo-dsl")
    help_text = "collect .obj files: a test for each property of the objective"
    group.addoption("--verify-objectives", action="store_true", help=help_text)
    group.addoption("--verify-backend", choices=_BACKENDS, help="what they are compiled with (inductor)")
    parser.addini("verify_objectives", help_text, type="bool", default=False)
    parser.addini("verify_backend", "what objectives are compiled with", default="inductor")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a backend that there is not."""
    if config.getini("verify_backend") not in _BACKENDS:
        raise pytest.UsageError(f"verify_backend is one of {', '.join(_BACKENDS)}")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect an objective, if that is asked for."""
    config = parent.config
    wanted = config.getoption("verify_objectives") or config.getini("verify_objectives")
    if file_path.suffix != ".obj" or not wanted:
        return None
    return cast(pytest.Collector, ObjectiveFile.from_parent(parent, path=file_path))


class ObjectiveFile(pytest.File):
    """An .obj file; a library in the language holds no tests."""

    @cached_property
    def subject(self) -> Subject:
        """What is verified, one for all lines of the file."""
        from maspo_dsl.verification.subject import Subject

        backend = self.config.getoption("verify_backend") or self.config.getini("verify_backend")
        return Subject(self._objective(), cast("Backend", backend))

    def _objective(self) -> Objective:
        import maspo_dsl

        try:
            return maspo_dsl.load(self.path)
        except maspo_dsl.SpecError as error:
            raise self.CollectError(str(error)) from None

    def collect(self) -> Iterator[pytest.Item]:
        """A test for each line of the report."""
        from maspo_dsl.language.reading import is_library
        from maspo_dsl.language.source import Source

        if is_library(Source(str(self.path), self.path.read_text(encoding="utf-8", errors="replace"))):
            return
        self._objective()
        from maspo_dsl.verification.verify import CHECKS

        for check in CHECKS:
            yield LineItem.from_parent(self, name=check.name, check=check)


class LineItem(pytest.Item):
    """A property of an objective."""

    def __init__(self, *, check: Check, **more: Any) -> None:
        super().__init__(**more)
        self.check = check

    def runtest(self) -> None:
        """Test the property. Raises LineError."""
        line = self.check.line(cast(ObjectiveFile, self.parent).subject)
        if line.verdict == "fail":
            raise LineError(line.detail)
        if line.verdict == "skipped":
            pytest.skip(line.detail)
        self.add_report_section("call", "verify", f"{line.verdict}: {line.detail}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What the property is, and what was seen."""
        if isinstance(excinfo.value, LineError):
            return f"{self.path.name}: {self.check.meaning}\n{excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it is, in pytest's words."""
        return self.path, None, f"{self.path.name}: {self.name}"
