"""A limit on how long a call may take."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TimeLimit(BaseException):
    """Raised within a call that takes too long; no Exception, for code that tries again after any of those."""


def can_limit() -> bool:
    """Whether limits work here: in the main thread of a system with SIGALRM; elsewhere Python interrupts nothing."""
    return threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGALRM")


@contextmanager
def time_limit(seconds: float | None) -> Iterator[TimeLimit]:
    """Raise a TimeLimit, the one that is given, in what runs here longer than `seconds`, at the next line of Python.

    Within another limit, the one that ends first counts. Without effect where `can_limit` is false.
    """
    own = TimeLimit()
    outer, repeated = signal.getitimer(signal.ITIMER_REAL) if can_limit() else (0.0, 0.0)
    if seconds is None or not can_limit() or 0 < outer <= seconds:
        yield own
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise own

    started, before = time.monotonic(), signal.signal(signal.SIGALRM, stop)
    # Again and again: a call may catch the first.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield own
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer:
            left = max(1e-3, outer - (time.monotonic() - started))
            signal.setitimer(signal.ITIMER_REAL, left, repeated)
