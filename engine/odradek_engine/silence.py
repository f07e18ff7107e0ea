"""Saying, once, that a partition of the log does not acknowledge what is sent to it; and that it does again."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

from odradek_log import TopicPartition

from .clock import Clock

logger = logging.getLogger(__name__)

ALARM_AFTER_S = 15.0
"""A broker that is restarted, or a new leader of its partitions, takes less."""

LOOK_EVERY_S = 1.0


class Emission(Protocol):
    """Where effects leave."""

    def oldest(self) -> dict[tuple[str, int], tuple[int, int]]:
        """The first effect that is not acknowledged, of each output that has one out."""
        ...


@dataclass(slots=True)
class _Wait:
    """The same append has been out `since` (monotonic clock). `told`: the alarm was raised."""

    oldest: object
    since: float
    told: bool = False


class Silence:
    """What one processor waits for: nothing times out (rule E2), so somebody has to be told why workflows stand still.

    `sent`, `reported`: of its appends to `here`, its partition of `events`, that are no effects.
    """

    def __init__(self, here: TopicPartition, clock: Clock) -> None:
        self.sent = self.reported = 0
        self._here = here
        self._clock = clock
        self._waits: dict[tuple[str, int], _Wait] = {}
        self._look_at = 0.0

    def look(self, emission: Emission) -> None:
        """Call it often; it looks once in a while."""
        now = self._clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        out: dict[tuple[str, int], object] = dict(emission.oldest())
        if self.sent > self.reported:
            out[self._here] = self.reported, out.get(self._here)
        for where, wait in list(self._waits.items()):
            if out.get(where) != wait.oldest:
                del self._waits[where]
                if wait.told:
                    logger.warning("%s/%d acknowledges appends again, after %.0f s", *where, now - wait.since)
        for where, oldest in out.items():
            wait = self._waits.setdefault(where, _Wait(oldest, now))
            if not wait.told and now - wait.since >= ALARM_AFTER_S:
                wait.told = True
                self._alarm(*where, now - wait.since)

    def _alarm(self, topic: str, partition: int, seconds: float) -> None:
        logger.error(
            "ALARM: %s/%d has acknowledged no append for %.0f s: its broker is away or cut off, or fewer copies are in "
            "sync than min.insync.replicas. Workflows of partition %d wait, and go on by themselves; nothing is lost. "
            "See which brokers are up, and what they say",
            topic, partition, seconds, self._here.partition,
        )  # fmt: skip


__all__ = ["ALARM_AFTER_S", "Silence"]
