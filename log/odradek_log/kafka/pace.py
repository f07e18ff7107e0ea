"""How long appends wait for others to go with them: not at all, unless many different things are appended."""

from __future__ import annotations

SLOT = 0.025
"""Seconds over which appends are counted; they never wait longer than that."""

_FEW, _MANY = 5, 10


class Pace:
    """The pace of one producer's appends.

    A request has records of one partition, so only where many come do two of them meet in one. Records of one key
    follow one another, often each because of the one before (the steps of one workflow): they never wait. So it is
    counted how often the key changed in the last slot: from `_FEW` times on appends wait, from `_MANY` on for a slot.
    """

    def __init__(self) -> None:
        self._key = b""
        self._changes = 0
        self._slot = 0.0
        self._wait = 0.0

    def sent(self, key: bytes) -> None:
        """A record with this key is to be appended."""
        if key != self._key:
            self._key = key
            self._changes += 1

    def wait(self, now: float) -> float:
        """For how many seconds appends wait, as of `now` (s, of a monotonic clock); 0.0: not at all."""
        past = now - self._slot
        if past >= SLOT:
            changes = self._changes * SLOT / past
            self._wait = SLOT * min(1.0, max(0.0, (changes - _FEW) / (_MANY - _FEW)))
            self._slot, self._changes = now, 0
        return self._wait
