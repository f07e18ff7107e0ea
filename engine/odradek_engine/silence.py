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
        again, silent = [], []
        for where, wait in list(self._waits.items()):
            if out.get(where) != wait.oldest:
                del self._waits[where]
                if wait.told:
                    again.append(where)
        for where, oldest in out.items():
            wait = self._waits.setdefault(where, _Wait(oldest, now))
            if not wait.told and now - wait.since >= ALARM_AFTER_S:
                wait.told = True
                silent.append(where)
        if again:
            logger.warning("partition %d: appends to %s are acknowledged again", self._here.partition, _names(again))
        if silent:
            logger.error(
                "ALARM: workflows of partition %d wait: for %.0f s no append to %s was acknowledged. Its broker is away"
                " or cut off, or fewer copies are in sync than min.insync.replicas: see which brokers are up, and what "
                "they say. Nothing is lost, and all goes on by itself",
                self._here.partition, ALARM_AFTER_S, _names(silent),
            )  # fmt: skip


def _names(places: list[tuple[str, int]]) -> str:
    return ", ".join(f"{topic}/{partition}" for topic, partition in places)


__all__ = ["ALARM_AFTER_S", "Silence"]
