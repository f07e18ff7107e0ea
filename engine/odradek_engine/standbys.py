"""Standbys: engines that fold partitions which others lead, so that they can go on at once when the leader is gone.

Who stands by for a partition follows from who lives and who holds what, as engines announce it (`members.py`); nobody
need agree on it, as it is only a matter of who has warm state: who leads is decided in the log (rule L1).
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

BEAT_S = 1.0
"""How often a leader says that it lives, where somebody follows."""

GRACE_S = 1.0
"""When the log answers, a leader that was silent so far has so long to be heard after all."""

_GONE = float("inf")


def chosen(partition: int, candidates: Iterable[str], count: int) -> list[str]:
    """Which `count` of the candidates stand by for a partition. One who comes or goes changes little for the others."""
    return sorted(candidates, key=lambda member: sha256(f"{partition}/{member}".encode()).digest())[:count]


class LeaderWatch:
    """Whether the leader of a partition still lives, as one hears who follows it.

    A leader that was never heard is left to the group of engines. Silence counts while we read and there is nothing to
    read, so that one who was paused itself blames nobody.
    """

    def __init__(self, lost_after: float) -> None:
        self._lost_after = lost_after
        self._silent: float | None = None
        self._confirmed = False
        self._looked_at: float | None = None

    def elected(self, known: bool) -> None:
        """Another leads. One who is `known` from elsewhere will be heard here, too."""
        self._silent, self._confirmed = 0.0 if known else None, False

    def heard(self) -> None:
        self._silent, self._confirmed = 0.0, False

    def left(self) -> None:
        """It says that it leads no more."""
        self._silent = _GONE

    def listened(self, now: float) -> None:
        """All is read that there is to hear, at `now` of the monotonic clock."""
        passed = min(now - self._looked_at, BEAT_S) if self._looked_at is not None else 0.0
        self._looked_at = now
        if self._silent is not None:
            self._silent += passed

    def confirm(self) -> None:
        """The log has answered a question: so it was not the log that was away, if it stays silent for `GRACE_S`."""
        if self._silent is not None and not self._confirmed:
            self._confirmed = True
            if self._silent < _GONE:
                self._silent = min(self._silent, self._lost_after - GRACE_S)

    @property
    def suspect(self) -> bool:
        """It may be gone: ask the log something."""
        return self._silent is not None and self._silent >= self._lost_after - GRACE_S

    @property
    def gone(self) -> bool:
        return self._silent is not None and self._confirmed and self._silent >= self._lost_after
