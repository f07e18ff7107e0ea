"""When to stand for election in a partition: once there is little left to fold, and not while somebody else leads it
for us (rule L1)."""

from __future__ import annotations

from collections.abc import Callable

from .clock import Clock
from .standbys import LeaderWatch

ASK_AGAIN_S = 1.0
"""How long to wait for the log's end before asking again."""

STILL_S = 2.0
"""After so long without a record, there may be none up to the log's end."""

NEAR = 1_000
"""So many records are folded in no time."""


class Candidacy:
    """Of one processor. `position()`: up to where it has folded. `find_end(callback)`: asks the log for the end of the
    partition (None: it could not be asked); the answer may come from any thread."""

    def __init__(
        self,
        position: Callable[[], int],
        find_end: Callable[[Callable[[int | None], None]], None],
        clock: Clock,
        lost_after: float,
    ) -> None:
        self.watch = LeaderWatch(lost_after)
        self._position = position
        self._find_end = find_end
        self._clock = clock
        self._target: int | None = None
        self._behind = 0
        self._ask_at = 0.0
        self._still_at = -1
        self._still_since = 0.0

    def begin(self, end: int | None) -> None:
        """The group gives us the partition, whose end was `end` a moment ago; None: it is asked for."""
        self._target = None
        if end is not None:
            self._found(end)

    def ready(self, holding: bool) -> bool:
        """Whether to stand now: as one to whom the group gave the partition, or because its leader is gone."""
        if not holding and not self.watch.suspect:
            self._target = None
        elif self._target is None:
            self._ask()
        elif self._position() >= self._target or self._stands_still():
            if self._behind > NEAR:  # much may have come while that was folded
                self._ask()
            elif holding or self.watch.gone:
                self._target = None
                return True
        return False

    def _stands_still(self) -> bool:
        """Nothing has come for a while: what is left up to the end may be no records, but a transaction's. To stand too
        early does no harm: whoever is elected has folded all before the election when it is read."""
        now = self._clock.monotonic()
        if self._position() != self._still_at:
            self._still_at, self._still_since = self._position(), now
        return now >= self._still_since + STILL_S

    def _ask(self) -> None:
        now = self._clock.monotonic()
        if now >= self._ask_at:
            self._ask_at = now + ASK_AGAIN_S
            self._find_end(self._found)

    def _found(self, end: int | None) -> None:
        if end is not None:
            self._behind = end - self._position()
            self._target = end
            self._still_at = -1
            self._ask_at = 0.0
            self.watch.confirm()
