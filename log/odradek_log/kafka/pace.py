"""How long appends wait for others to go with them: not at all, unless many workflows go on at once."""

from __future__ import annotations

LONGEST = 0.025
"""Seconds that an append waits at most."""

WINDOW, LONGEST_WINDOW = 0.25, 2.0
"""Seconds over which keys are counted, at least and at most."""

ROUND_TRIPS = 100
"""Over so many acknowledgements, one after another, keys are counted: a slow log, or a busy machine, makes what goes on
slower, not less."""

LATELY = 10
"""The last one of so many parts of a window tells whether it still goes on."""

_FEW, _MANY = 60, 120
_FEW_LATELY = 4  # of 6, at the pace of `_FEW`
_SMOOTH = 1 / 16


class Pace:
    """The pace of one producer's appends.

    A request has records of one partition, so only where many come do two of them meet in one. But where each comes
    because of the one before, as with the steps of a workflow, or of some that each wait for theirs, waiting would only
    slow them down. So what is counted is different keys: below `_FEW` of them in a window appends do not wait; no
    caller who starts one workflow after another makes so many, as each takes some acknowledgements. From `_MANY` on
    they wait for as long as they may.

    A window is as long as `ROUND_TRIPS` acknowledgements take. Were it of one length only, a machine without time left
    would make fewer keys in it, appends would go one by one, and take even more of its time.

    What went on in a window may have ended since: whoever is left alone then would wait at each step until the next
    window is over. So it begins anew, and appends do not wait, once a tenth of a window has brought few.
    """

    def __init__(self) -> None:
        self._keys: set[bytes] = set()
        self._lately: set[bytes] = set()
        self._begun = self._lately_begun = 0.0
        self._wait = 0.0
        self._round_trip = 0.0

    def sent(self, key: bytes) -> None:
        """A record with this key is to be appended."""
        if len(self._keys) < 2 * _MANY:
            self._keys.add(key)
        if len(self._lately) < _MANY:
            self._lately.add(key)

    def acknowledged(self, seconds: float) -> None:
        """An append was durable after so long; what it waited here does not count."""
        self._round_trip += (seconds - self._round_trip) * _SMOOTH

    def wait(self, now: float) -> float:
        """For how many seconds appends wait, as of `now` (s, of a monotonic clock); 0.0: not at all."""
        window = min(max(WINDOW, ROUND_TRIPS * self._round_trip), LONGEST_WINDOW)
        past = now - self._lately_begun
        if past >= window / LATELY:
            is_over = len(self._lately) * window / LATELY < _FEW_LATELY * past
            self._lately_begun = now
            self._lately.clear()
            if is_over and self._wait:
                self._begin(now, 0.0)
        past = now - self._begun
        if past >= window:
            keys = len(self._keys) * window / past
            self._begin(now, LONGEST * min(1.0, max(0.0, (keys - _FEW) / (_MANY - _FEW))))
        return self._wait

    def _begin(self, now: float, wait: float) -> None:
        """Begin to count anew. Appends wait for so long meanwhile."""
        self._wait = wait
        self._begun = now
        self._keys.clear()
