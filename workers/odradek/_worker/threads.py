"""Threads for activities that are plain functions. A function that hangs must not keep the process alive, so
they are daemons, which `concurrent.futures` does not offer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class DaemonThreads:
    """Runs functions in threads, begun as needed and kept for the next one. At most as many run as are submitted:
    the limit is the caller's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._count = 0

    def submit(self, function: Callable[[], None]) -> None:
        """Run `function`, which must not raise, in a thread."""
        with self._lock:
            begin = self._idle == 0
            if begin:
                self._count += 1
            else:
                self._idle -= 1
        self._queue.put(function)
        if begin:
            threading.Thread(target=self._work, name=f"{self._name}-{self._count}", daemon=True).start()

    def close(self) -> None:
        """Let threads end when they have nothing more to do. Does not wait."""
        for _ in range(self._count):
            self._queue.put(None)

    def _work(self) -> None:
        while (function := self._queue.get()) is not None:
            function()
            with self._lock:
                self._idle += 1
