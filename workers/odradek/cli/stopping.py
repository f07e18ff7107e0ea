"""Ctrl-C and SIGTERM: the first ends a process gracefully, the second at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .failures import CommandError, ExitCode
from .output import stderr


class Stop:
    """Set when the process is to end; `error` says why, if it cannot go on. `says`: what is told then."""

    def __init__(self, says: str) -> None:
        self._says = says
        self.error: BaseException | None = None
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def fail(self, error: BaseException | None) -> None:
        """End because of an error. From any thread."""
        self.error = self.error or error
        self._loop.call_soon_threadsafe(self._event.set)

    def watch_engine(self, wait_failed: Callable[[], BaseException | None]) -> None:
        """End when an engine cannot go on. `wait_failed` returns why, whenever that is."""

        def watch() -> None:
            error = wait_failed()
            if error is not None:
                self.fail(CommandError(ExitCode.UNAVAILABLE, f"the engine cannot go on: {error}"))

        threading.Thread(target=watch, name="odradek-watch", daemon=True).start()

    def request(self) -> None:
        """End gracefully; asked again, at once: nothing is lost, the log has it all."""
        if self._event.is_set():
            os._exit(ExitCode.INTERRUPTED)
        stderr.print(f"Stopping{self._says} (again: at once)")
        self._event.set()

    async def wait(self) -> None:
        """Return when the process is to end. Raises the error if there is one."""
        await self._event.wait()
        if self.error is not None:
            raise self.error


@contextmanager
def stop_on_signals(says: str = ": running activities get 10 s to finish") -> Iterator[Stop]:
    """A `Stop` that SIGINT and SIGTERM request."""
    stop = Stop(says)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.request)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
