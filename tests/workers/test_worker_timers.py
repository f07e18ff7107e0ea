"""What a worker does at its own times."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from odradek._worker import timers
from odradek._worker.timers import TimerThread


def test_what_is_done_every_so_often_keeps_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when each time is later by what the ones before it were late, so that a busy worker's heartbeats come ever
    more seldom; or when those that are over are made up for, all at once."""
    now = 100.0
    monkeypatch.setattr(timers, "time", SimpleNamespace(monotonic=lambda: now))
    timer = TimerThread("never started")
    done: list[float] = []
    timer.every(1.0, lambda: done.append(now))
    due: list[float] = []
    for late in (0.25, 0.25, 5.0, 0.0, 0.0):
        due.append(timer._heap[0][0])
        now = due[-1] + late
        action = timer._next()
        assert action is not None
        action()
    assert due == [100.0, 101.0, 102.0, 107.0, 108.0]
    assert done == [100.25, 101.25, 107.0, 107.0, 108.0]
