"""Whether Ctrl-C was pressed, whoever handled it."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import suppress
from types import TracebackType


class CtrlC:
    """Notes every SIGINT of a while, whatever handler takes it.

    An interrupted import leaves modules half made, and what follows fails in as many ways as there are modules;
    `pressed` tells such an error from one of ours. Notes nothing outside the main thread.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._before = -1
        self._noted = False

    def __enter__(self) -> CtrlC:
        """Begin to listen."""
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        if threading.current_thread() is threading.main_thread():
            self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        return self

    @property
    def pressed(self) -> bool:
        """Whether it was pressed since the beginning."""
        with suppress(BlockingIOError):
            self._noted = self._noted or signal.SIGINT in self._reader.recv(4096)
        return self._noted

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more."""
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._before)
        self._reader.close()
        self._writer.close()
