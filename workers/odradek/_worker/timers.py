"""One thread for what a worker does at its own times: heartbeats, retries, looking after blocked workflows."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("odradek.worker")


class TimerThread:
    """Runs actions at their time. They must be short, and an error of one is logged and stops nothing else."""

    def __init__(self, name: str) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = itertools.count()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` after `seconds`."""
        with self._changed:
            heapq.heappush(self._heap, (time.monotonic() + seconds, next(self._counter), action))
            if self._heap[0][2] is action:
                self._changed.notify()

    def every(self, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` now, in the timer's thread, and then every `seconds`. When one time is late, the next is not;
        times that are over are not made up for."""
        at = time.monotonic()

        def again() -> None:
            nonlocal at
            now = time.monotonic()
            at = max(at + seconds, now)
            self.later(at - now, again)
            action()

        self.later(0, again)

    def stop(self) -> None:
        """Run nothing more; wait for the action that is running."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (action := self._next()) is not None:
            try:
                action()
            except Exception:
                logger.exception("a timed action of the worker failed")

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._stopped:
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(wait)
            return None
