"""How long appends wait for others to go with them: not at all, unless many workflows go on at once."""

from __future__ import annotations

LONGEST = 0.025
"""Seconds that an append waits at most."""

WINDOW = 0.25
"""Seconds over which keys are counted."""

_FEW, _MANY = 60, 120


class Pace:
    """The pace of one producer's appends.

    A request has records of one partition, so only where many come do two of them meet in one. But where each comes
    because of the one before, as with the steps of a workflow, or of some that each wait for theirs, waiting would only
    slow them down. So what is counted is different keys: below `_FEW` of them in a window appends do not wait; no
    caller who starts one workflow after another makes so many. From `_MANY` on they wait for as long as they may.
    """

    def __init__(self) -> None:
        self._keys: set[bytes] = set()
        self._begun = 0.0
        self._wait = 0.0

    def sent(self, key: bytes) -> None:
        """A record with this key is to be appended."""
        if len(self._keys) < 2 * _MANY:
            self._keys.add(key)

    def wait(self, now: float) -> float:
        """For how many seconds appends wait, as of `now` (s, of a monotonic clock); 0.0: not at all."""
        past = now - self._begun
        if past >= WINDOW:
            keys = len(self._keys) * WINDOW / past
            self._wait = LONGEST * min(1.0, max(0.0, (keys - _FEW) / (_MANY - _FEW)))
            self._begun = now
            self._keys.clear()
        return self._wait
