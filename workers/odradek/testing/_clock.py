"""A wall clock that can be moved forward."""

from __future__ import annotations

import threading
import time


class VirtualClock:
    """Real time, plus what was skipped. From any thread. Timers of the process itself stay on real time."""

    def __init__(self, start_ms: int | None = None) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._base_ms = time.time_ns() // 1_000_000 if start_ms is None else start_ms

    def now_ms(self) -> int:
        """Ms since the Unix epoch."""
        with self._lock:
            return self._base_ms + int((time.monotonic() - self._began) * 1000)

    def monotonic(self) -> float:
        """Seconds of real time."""
        return time.monotonic()

    def skip_to(self, at_ms: int) -> None:
        """Make it `at_ms` now, unless it is later already."""
        ahead = at_ms - self.now_ms()
        if ahead > 0:
            with self._lock:
                self._base_ms += ahead
