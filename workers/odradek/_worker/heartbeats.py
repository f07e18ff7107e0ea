"""When a heartbeat of an activity goes out: the first at once, later ones not too often, the last one always."""

from __future__ import annotations

from odradek_schemas import Payload

MAXIMUM_INTERVAL = 1.0
"""Seconds. Details are at most this old when a worker is killed, however long the heartbeat timeout is."""


class HeartbeatThrottle:
    """The heartbeats of one attempt. `heartbeat_timeout`: seconds, 0 for none."""

    __slots__ = ("_interval", "_next", "_pending", "details")

    def __init__(self, heartbeat_timeout: float) -> None:
        self._interval = min(0.8 * heartbeat_timeout, MAXIMUM_INTERVAL) if heartbeat_timeout > 0 else MAXIMUM_INTERVAL
        self._next = float("-inf")
        self._pending = False
        self.details: list[Payload] = []

    def beat(self, details: list[Payload], now: float) -> float | None:
        """A heartbeat. Returns 0 to send it now, the seconds after which to call `due`, or None: that is arranged."""
        self.details = details
        if now >= self._next:
            self._next = now + self._interval
            return 0.0
        if self._pending:
            return None
        self._pending = True
        return self._next - now

    def due(self, now: float) -> bool:
        """The time that `beat` asked for has come. Returns whether there is something to send."""
        pending, self._pending = self._pending, False
        if pending:
            self._next = now + self._interval
        return pending
