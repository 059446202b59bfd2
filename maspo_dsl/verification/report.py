"""What a verification says: a line for each property, and whether all of them hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["pass", "fail", "declared", "skipped"]


@dataclass(frozen=True)
class Line:
    """One property of an objective.

    `verdict` is `declared` where the property does not hold and the spec, or the language, says that it need not,
    and `skipped` where there is nothing to test. `detail` says what was seen. `seconds` is what it took.
    """

    name: str
    verdict: Verdict
    detail: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """Every line of one objective; `name` and `hash` are the objective's, `backend` is what was compiled with."""

    name: str
    hash: str
    backend: str
    lines: tuple[Line, ...]

    @property
    def ok(self) -> bool:
        """Whether no line failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Line, ...]:
        """The lines that failed."""
        return tuple(line for line in self.lines if line.verdict == "fail")

    @property
    def seconds(self) -> float:
        """What all lines took."""
        return sum(line.seconds for line in self.lines)

    def _repr_html_(self) -> str:
        """The table, for a notebook."""
        from maspo_dsl.pictures.notebook import table_html

        rows = [(line.name, line.verdict, line.detail) for line in self.lines]
        held = (
            "every property holds" if self.ok else f"{len(self.failed)} of {len(self.lines)} properties fail"
        )
        return f"<p>{self.name}@{self.hash}: {held}</p>" + table_html(("property", "", "what was seen"), rows)

    def __str__(self) -> str:
        """One text line a property."""
        width = max((len(line.name) for line in self.lines), default=0)
        return "\n".join(f"{line.name:<{width}}  {line.verdict:<8}  {line.detail}" for line in self.lines)
