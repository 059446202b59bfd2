"""`maspo_dsl.verify`: every property, one after the other, of one objective."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from maspo_dsl.objective import Objective, SpecLike, load
from maspo_dsl.runtime.loss import Backend
from maspo_dsl.verification import agreement, derivative, extremes, hidden, invariance, on_policy
from maspo_dsl.verification.evaluation import PropertyError
from maspo_dsl.verification.report import Line, Report, Verdict
from maspo_dsl.verification.subject import Subject

Test: TypeAlias = Callable[[Subject], tuple[Verdict, str]]


@dataclass(frozen=True)
class Check:
    """A property by name, and what tests it: returns verdict and detail, raises PropertyError."""

    name: str
    test: Test

    @property
    def meaning(self) -> str:
        """The property in a sentence."""
        return (self.test.__doc__ or "").split("\n")[0]

    def line(self, subject: Subject) -> Line:
        """The line of a report. Whatever the code under test raises is a verdict on it."""
        begin = time.perf_counter()
        try:
            verdict, detail = self.test(subject)
        except PropertyError as failed:
            verdict, detail = "fail", str(failed)
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            verdict, detail = "fail", f"it raises {type(error).__name__}: {first}"
        return Line(self.name, verdict, detail, time.perf_counter() - begin)


CHECKS: tuple[Check, ...] = (
    Check("batches", agreement.reach),
    Check("passes", agreement.each_pass),
    Check("emitted, float64", agreement.emitted),
    Check("emitted, float32", agreement.emitted_float32),
    Check("long completions", agreement.long_completions),
    Check("compiled, float64", agreement.compiled_float64),
    Check("compiled, float32", agreement.compiled_float32),
    Check("from hidden", hidden.from_hidden),
    Check("derivative", derivative.finite_differences),
    Check("detached", derivative.detached),
    Check("on policy", on_policy.identity),
    Check("rows", invariance.rows),
    Check("groups", invariance.groups),
    Check("padding", invariance.padding),
    Check("packed", invariance.packing),
    Check("micro-batches", invariance.micro_batches),
    Check("ranks", invariance.ranks),
    Check("masked tokens", extremes.masked_tokens),
    Check("far ratios", extremes.far_ratios),
    Check("NaN", extremes.shown_nan),
    Check("no signal", extremes.no_signal),
    Check("missing completions", extremes.missing_completions),
    Check("nothing to train", extremes.nothing),
    Check("dtypes", extremes.dtypes),
)


def verify(
    source: SpecLike, *, params: Mapping[str, float] | None = None, backend: Backend = "inductor"
) -> Report:
    """Hold an objective to what must be true of every one: a line for each property, with what was seen.

    `source` is a shipped name, a path, an open file or an Objective; `params` sets parameters. With backend `eager`
    nothing is compiled, and the lines about compiled code are skipped. Raises SpecError.
    """
    objective = load(source, params)
    return report_of(objective, backend, lines(Subject(objective, backend)))


def lines(subject: Subject) -> Iterator[Line]:
    """The lines one by one, each when it is done."""
    for check in CHECKS:
        yield check.line(subject)


def report_of(objective: Objective, backend: Backend, found: Iterator[Line]) -> Report:
    """The report of an objective from its lines."""
    return Report(objective.name, objective.hash, backend, tuple(found))
