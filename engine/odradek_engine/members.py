"""The engines of a namespace as they announce themselves, and which fold versions they know (rules V1, V2).

Announcements go through `ephemeral`, into every partition, so that whoever leads one hears of all engines, also of
those that lead none. An engine that was not heard for a while is taken for gone; should it come back with code that is
too old, V1 keeps it from folding.
"""

from __future__ import annotations

from dataclasses import dataclass

from odradek_schemas.ephemeral import EngineAlive

from .clock import Clock

MISSED = 3.5
"""After so many announcements that did not come, an engine is gone."""


@dataclass(slots=True)
class _Member:
    heard_at: float
    version: int


class Members:
    """What engine `member`, which knows fold versions up to `version`, has heard of others. Safe from any thread that
    holds the engine's lock. `interval`: of the announcements, in seconds."""

    def __init__(self, member: str, version: int, clock: Clock, interval: float) -> None:
        self.member = member
        self.version = version
        self._clock = clock
        self._interval = interval
        self._since = clock.monotonic()
        self._announce_at = self._since
        self._others: dict[str, _Member] = {}

    def announcement(self) -> EngineAlive | None:
        """What to tell the others now; None: not yet."""
        now = self._clock.monotonic()
        if now < self._announce_at:
            return None
        self._announce_at = now + self._interval
        return EngineAlive(member=self.member, version=self.version)

    def heard(self, record: EngineAlive) -> None:
        """Another engine lives, or this one."""
        if record.member != self.member:
            self._others[record.member] = _Member(self._clock.monotonic(), record.version)

    def all_know(self, version: int) -> bool:
        """Whether every engine knows a fold version: all have had the time to say so, and none is older (V2)."""
        silent_for = self._clock.monotonic() - self._since
        return silent_for > MISSED * self._interval and min([self.version, *self._alive()]) >= version

    def another_knows(self, version: int) -> bool:
        """Whether another engine could go on where this one must stop (V1)."""
        return max(self._alive(), default=0) >= version

    def _alive(self) -> list[int]:
        now = self._clock.monotonic()
        self._others = {
            name: one for name, one in self._others.items() if now - one.heard_at <= MISSED * self._interval
        }
        return [one.version for one in self._others.values()]
