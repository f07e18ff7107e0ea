"""Opening partitions side by side, in threads of their own: where a checkpoint is fetched that takes long, and nobody
waits for it but the partition itself."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic

from .stores import Opened

OPENED_AT_ONCE = 8
"""So many: it is a disk, the log and the checkpoints' store that are waited for."""


class Opening:
    """Safe from any thread. `open` opens a partition, in a thread of ours. `opened` is called, from there, when there
    is one to `take`."""

    def __init__(self, open: Callable[[int], Opened], opened: Callable[[], None]) -> None:
        self._open = open
        self._told = opened
        self._lock = threading.Lock()
        self._left: deque[int] = deque()
        self._begun: set[int] = set()
        self._opened: dict[int, Opened] = {}
        self._failure: BaseException | None = None
        self._working = 0
        self._threads: list[threading.Thread] = []
        self._over = False

    def begin(self, partitions: Iterable[int]) -> None:
        """Open these, but those that are being opened already."""
        with self._lock:
            if self._over:
                return
            new = [partition for partition in partitions if partition not in self._begun]
            self._begun.update(new)
            self._left.extend(new)
            more = min(len(new), OPENED_AT_ONCE - self._working)
            self._working += more
            threads = [threading.Thread(target=self._work, name="odradek-open", daemon=True) for _ in range(more)]
            self._threads = [*(thread for thread in self._threads if thread.is_alive()), *threads]
            for thread in threads:
                thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._left or self._failure is not None:
                    self._working -= 1
                    return
                partition = self._left.popleft()
            try:
                opened = self._open(partition)
                with self._lock:
                    self._opened[partition] = opened
            except BaseException as error:  # it is raised where it was asked for
                self._failure = error
            self._told()

    def take(self) -> dict[int, Opened]:
        """Those that are open by now, each once. Raises what the first one raised that could not be opened."""
        if self._failure is not None:
            raise self._failure
        with self._lock:
            taken, self._opened = self._opened, {}
            self._begun -= taken.keys()
        return taken

    def wait(self, seconds: float | None = None) -> None:
        """Until all are open, or one could not be; for so many seconds at most."""
        until = None if seconds is None else monotonic() + seconds
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - monotonic()))

    def end(self) -> None:
        """Begin no more, and wait for those that were begun."""
        with self._lock:
            self._over = True
            self._left.clear()
        self.wait()
