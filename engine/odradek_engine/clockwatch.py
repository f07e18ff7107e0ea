"""The clocks of those who write a partition, as its leader sees them (rules C1, C2)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import odradek_log
from odradek_schemas.common import Record
from odradek_schemas.records import ClockRead, LeaderElected

from .clock import Clock
from .fold import State

logger = logging.getLogger(__name__)

ASK_AGAIN_S = 1.0


class ClockWatch:
    """Of one processor. `append` puts a record into its partition. `tolerance_s`: how far clocks may be apart."""

    def __init__(self, state: State, clock: Clock, tolerance_s: float, append: Callable[[Record], None]) -> None:
        self._state = state
        self._clock = clock
        self._tolerance_ms = tolerance_s * 1000
        self._append = append
        self._asked_at = 0.0

    def look(self, record: odradek_log.Record, content: Record | None) -> bool:
        """Write our clock where records wait for one; say whether clocks disagree.

        A record cannot be stamped later than it is read, nor one of ours earlier than we wrote it.
        """
        ahead = record.timestamp_ms - self._clock.now_ms()
        read = content.clock_ms if isinstance(content, (ClockRead, LeaderElected)) else None
        behind = 0 if read is None else read - record.timestamp_ms
        disagree = ahead > self._tolerance_ms or behind > self._tolerance_ms
        if disagree:
            logger.error(
                "clocks disagree: a record of partition %d is stamped %.1f s %s of this engine's clock; set the clocks",
                record.partition,
                max(ahead, behind) / 1000,
                "ahead" if ahead > self._tolerance_ms else "behind",
            )
        if read is not None:
            self._asked_at = 0.0
        if self._state.partition.waiting:
            self.ask()
        return disagree

    def ask(self) -> None:
        """Let the waiting records go on: append our clock, once in a while until that is folded."""
        now = self._clock.monotonic()
        if now >= self._asked_at:
            self._asked_at = now + ASK_AGAIN_S
            self._append(ClockRead(clock_ms=self._clock.now_ms(), epoch=self._state.partition.epoch))
