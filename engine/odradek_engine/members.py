"""The engines of a namespace as they announce themselves, and which fold versions they know (rules V1, V2).

Announcements go through `ephemeral`, into every partition, so that whoever leads one hears of all engines, also of
those that lead none. An engine that was not heard for a while is taken for gone; should it come back with code that is
too old, V1 keeps it from folding. Who has not heard itself meanwhile, for it stood still or was cut off, does not know
who else is there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from odradek_schemas.ephemeral import EngineAlive

from .clock import Clock
from .standbys import BEAT_S, chosen

MISSED = 3.5
"""After so many announcements that did not come, an engine is gone."""

OVERDUE = 2.0
"""After so many of its own announcements that it did not hear, an engine has missed those of others, too."""

MAX_MEMBERS, MAX_MEMBER_BYTES = 1_000, 100_000
"""So many other engines are known, each of which says so much: by its name, and the partitions that it holds."""

LISTEN_S = 2.0
"""How long to hear who else is there before choosing what to follow."""


@dataclass(slots=True)
class _Member:
    heard_at: float
    version: int
    holds: frozenset[int]
    standbys: int


class Members:
    """What engine `member`, which knows fold versions up to `version`, has heard of others. Safe from any thread that
    holds the engine's lock. `interval`: of the announcements, in seconds. `standbys`: how many engines shall stand by
    for each partition."""

    def __init__(self, member: str, version: int, clock: Clock, interval: float, standbys: int = 0) -> None:
        self.member = member
        self.version = version
        self._clock = clock
        self._interval = interval
        self._since = clock.monotonic()
        self._listening_since = self._own_heard_at = self._since
        self._announce_at = self._since
        self._beat_at = self._since
        self._standbys = standbys
        self._holds: frozenset[int] = frozenset()
        self._others: dict[str, _Member] = {}
        self.news = False
        """Whether something was heard that was not known yet; whoever has looked at it sets it back."""

    def announcement(self, holds: Collection[int] = ()) -> EngineAlive | None:
        """What to tell the others now; None: not yet. `holds`: the partitions that are ours to lead."""
        now = self._clock.monotonic()
        if now < self._announce_at and (not self._standbys or self._holds == frozenset(holds)):
            return None
        self._announce_at = now + self._interval
        self._holds = frozenset(holds)
        return self._alive_record()

    def beat(self) -> EngineAlive | None:
        """What to tell those who follow the partitions that we lead; None: not yet, or nobody does."""
        now = self._clock.monotonic()
        if now < self._beat_at or not any(one.standbys for one in self._alive().values()):
            return None
        self._beat_at = now + BEAT_S
        return self._alive_record()

    def echo(self) -> EngineAlive:
        """What to tell ourselves: so we hear whether the log lets anything through."""
        return self._alive_record()

    def farewell(self) -> EngineAlive:
        """What to tell the others in the end. It might be back soon, so its version counts for a while longer (V2)."""
        return EngineAlive(member=self.member, version=self.version, leaving=True)

    def _alive_record(self) -> EngineAlive:
        return EngineAlive(
            member=self.member, version=self.version, holds=sorted(self._holds), standbys=self._standbys
        )

    def heard(self, record: EngineAlive) -> None:
        """Another engine lives, or this one: then we have heard all that was said before."""
        if record.member == self.member:
            if self._overdue:
                self._listening_since = self._clock.monotonic()
            self._own_heard_at = self._clock.monotonic()
            return
        if len(record.member) + 8 * len(record.holds) > MAX_MEMBER_BYTES:
            return
        if record.member not in self._others and len(self._others) >= MAX_MEMBERS and len(self._alive()) >= MAX_MEMBERS:
            return
        if record.member not in self._others and not record.leaving:
            self._announce_at = self._beat_at = self._clock.monotonic()  # it has not heard of us yet
        heard = _Member(self._clock.monotonic(), record.version, frozenset(record.holds), record.standbys)
        before = self._others.get(record.member)
        if before is None or (before.version, before.holds) != (heard.version, heard.holds):
            self.news = True
        self._others[record.member] = heard

    def knows(self, member: str) -> bool:
        """Whether another engine was heard of late."""
        return member in self._alive()

    def stands_by(self, partition: int) -> bool:
        """Whether we are to follow a partition that we do not hold, by what is known of the others."""
        if not self._standbys or self._clock.monotonic() - self._since < LISTEN_S:
            return False
        others = [name for name, one in self._alive().items() if one.standbys and partition not in one.holds]
        return self.member in chosen(partition, [self.member, *others], self._standbys)

    def all_know(self, version: int) -> bool:
        """Whether every engine knows a fold version: all have had the time to say so, we have heard what was said, and
        none is older (V2)."""
        listened_for = self._clock.monotonic() - self._listening_since
        listened = listened_for > MISSED * self._interval and not self._overdue
        return listened and min([self.version, *self._versions()]) >= version

    @property
    def _overdue(self) -> bool:
        return self._clock.monotonic() - self._own_heard_at > OVERDUE * self._interval

    def another_knows(self, version: int) -> bool:
        """Whether another engine could go on where this one must stop (V1)."""
        return max(self._versions(), default=0) >= version

    def _versions(self) -> list[int]:
        return [one.version for one in self._alive().values()]

    def _alive(self) -> dict[str, _Member]:
        now = self._clock.monotonic()
        self._others = {
            name: one for name, one in self._others.items() if now - one.heard_at <= MISSED * self._interval
        }
        return self._others
