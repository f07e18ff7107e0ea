"""Whoever is on call is told once that the log does not acknowledge, and once that it does again."""

from __future__ import annotations

import logging

import pytest
from odradek_engine.silence import ALARM_AFTER_S, Silence
from odradek_log import TopicPartition

HISTORY = ("odradek.default.history", 3)


class _Hand:
    """A clock that is moved by hand."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def now_ms(self) -> int:
        return round(self.now * 1000)


class _Out:
    """Effects that are out."""

    def __init__(self, place: int | None = None) -> None:
        self._places = {} if place is None else {HISTORY: (place, 0)}

    def oldest(self) -> dict[tuple[str, int], tuple[int, int]]:
        return self._places


def test_an_append_that_stays_out_raises_one_alarm_and_one_all_clear(caplog: pytest.LogCaptureFixture) -> None:
    clock = _Hand()
    silence = Silence(TopicPartition("odradek.default.events", 3), clock)
    caplog.set_level(logging.WARNING, "odradek_engine.silence")
    for second in range(40):  # the partition itself goes on, one output does not
        silence.sent, silence.reported = second + 2, second + 1
        silence.look(_Out(7))
        assert len(caplog.records) == (1 if second >= ALARM_AFTER_S else 0)
        clock.now += 1.0
    assert "for 15 s no append to odradek.default.history/3 was acknowledged" in caplog.records[0].getMessage()
    silence.look(_Out(8))  # a new one
    assert "appends to odradek.default.history/3 are acknowledged again" in caplog.records[1].getMessage()
    clock.now += 30.0
    silence.look(_Out(8))
    both = "odradek.default.history/3, odradek.default.events/3"
    assert f"for 15 s no append to {both} was acknowledged" in caplog.records[2].getMessage()
    assert len(caplog.records) == 3
