"""What moves the virtual clock: to the next moment that something is due, when nothing else can happen.

Time is skipped only while somebody waits for a result (or for time itself), so that a test may send its messages
between the start of a workflow and its first timer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol

from odradek_log.memory import MemoryLog

from ._clock import VirtualClock

logger = logging.getLogger("odradek.testing")

_SHORTEST_REST_SECONDS, _LONGEST_REST_SECONDS = 0.002, 0.05
_STUCK_SECONDS = 2.0


class Outlook(Protocol):
    """What an engine still has to do."""

    @property
    def busy(self) -> bool:
        """Whether a task is out, or something that is due has not been done."""
        ...

    @property
    def next_due_ms(self) -> int | None:
        """The next moment at which something is due."""
        ...


class Surroundings(NamedTuple):
    """What the driver looks at. `outlook(now_ms)`: of the engine. `working`: how many activities run now.
    `waiting`: how many wait for a result. `serve`: make workers for task queues that have none; whether there were any.
    `look_again`: have the engine look at the clock."""

    outlook: Callable[[int], Outlook]
    working: Callable[[], int]
    waiting: Callable[[], int]
    serve: Callable[[], bool]
    look_again: Callable[[], None]


class ClockDriver:
    """Moves `clock` from a thread of its own, between `start` and `stop`."""

    def __init__(self, clock: VirtualClock, log: MemoryLog, surroundings: Surroundings) -> None:
        self._clock = clock
        self._log = log
        self._around = surroundings
        self._sleepers: dict[int, Callable[[], None]] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._pause = _SHORTEST_REST_SECONDS
        self._thread = threading.Thread(target=self._run, name="odradek-test-clock", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def sleep_until(self, at_ms: int, wake: Callable[[], None]) -> None:
        """Call `wake`, from the driver's thread, once it is `at_ms` and all that was due before is done."""
        with self._changed:
            while at_ms in self._sleepers:
                at_ms += 1
            self._sleepers[at_ms] = wake
            self._changed.notify_all()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        idle_for = 0.0
        while not self._stopping:
            began = self._around.serve()  # also for those who only query, or look at a description
            if not self._wanted():
                self._rest()
                continue
            if not self._log.wait_quiet(1.0):
                continue
            appended = self._log.appended
            if began or self._around.working() or not self._wanted() or not self._still(appended):
                self._rest()
                continue
            if self._advance(appended):
                idle_for, self._pause = 0.0, _SHORTEST_REST_SECONDS
                continue
            was_idle_for, idle_for = idle_for, idle_for + self._pause
            if was_idle_for < _STUCK_SECONDS <= idle_for:
                logger.warning("somebody waits for a result, and nothing is due: a workflow waits for a message")
            self._rest()

    def _wanted(self) -> bool:
        """Whether somebody waits. To be asked again when the log is quiet: the answer may have come meanwhile."""
        return bool(self._sleepers) or self._around.waiting() > 0

    def _rest(self) -> None:
        """Wait a moment, each time a longer one: who waits for what, and what activities do, is not announced."""
        with self._changed:
            if not self._stopping:
                self._changed.wait(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_REST_SECONDS)

    def _still(self, appended: int) -> bool:
        return self._log.wait_quiet(0) and self._log.appended == appended

    def _advance(self, appended: int) -> bool:
        """Go to the next moment, if nothing is left to do in this one."""
        now = self._clock.now_ms()
        outlook = self._around.outlook(now)
        if outlook.busy:
            self._around.look_again()
            return False
        due = outlook.next_due_ms
        with self._changed:
            sleeper = min(self._sleepers, default=None)
            wake = None
            if sleeper is not None and (due is None or sleeper <= due):
                wake = self._sleepers.pop(sleeper)
                due = sleeper
        if due is None or not (wake or self._still(appended)):
            return False
        self._clock.skip_to(due)
        self._around.look_again()
        if wake is not None:
            wake()
        return True
