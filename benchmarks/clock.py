"""A clock that charges every second to one part of a program: the innermost of those that are running."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

REST = "the rest"
Place = tuple[Any, str]
"""A module or class, and the name of a function in it."""


class Clock:
    """Seconds of each part without those of the parts within it; what no part claims is `REST`.

    What it charges adds up to the time that passed. `now` is a clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.marks: list[Counter[str]] = []
        self._now, self._last = now, now()
        self._spent: Counter[str] = Counter()
        self._running = [REST]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Charge what runs within to a part."""
        self._charge()
        self._running.append(name)
        try:
            yield
        finally:
            self._charge()
            self._running.pop()

    def mark(self) -> None:
        """Remember what was charged so far: a step begins."""
        self._charge()
        self.marks.append(self._spent.copy())

    def step(self, first: int) -> dict[str, float]:
        """Seconds by part of a step: the mean from the mark `first` to the last mark."""
        start, end = self.marks[first], self.marks[-1]
        steps = len(self.marks) - 1 - first
        return {name: (end[name] - start[name]) / steps for name in end}

    def _charge(self) -> None:
        now = self._now()
        self._spent[self._running[-1]] += now - self._last
        self._last = now


@contextmanager
def charged(clock: Clock, parts: Mapping[str, Place], step: Place) -> Iterator[None]:
    """Charge each call of some functions to its part; a call of `step` is a mark first."""
    with ExitStack() as stack:
        for name, (owner, attribute) in parts.items():
            stack.enter_context(_replaced(owner, attribute, _charging(clock, name, (owner, attribute), step)))
        yield


def _charging(clock: Clock, name: str, place: Place, step: Place) -> Callable[..., Any]:
    function = getattr(*place)

    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        if place == step:
            clock.mark()
        with clock.part(name):
            return function(*args, **options)

    return run


@contextmanager
def _replaced(owner: Any, attribute: str, function: Callable[..., Any]) -> Iterator[None]:
    before = getattr(owner, attribute)
    setattr(owner, attribute, function)
    try:
        yield
    finally:
        setattr(owner, attribute, before)
