"""Logs that lose what they had acknowledged: fresh seeds each time, and bugs that they find."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from odradek._worker.session import WorkerSession
from odradek_engine.comparison import Comparison

from .__main__ import Report
from .unclean import simulate

SECONDS = 10.0
FIRST, TRIES = 7000, 24


def test_nothing_is_lost_but_what_the_log_has_lost() -> None:
    report, began, seed = Report(), time.monotonic(), random.SystemRandom().randrange(10_000, 10**9)
    while time.monotonic() - began < SECONDS:
        report.add(simulate(seed))
        seed += 1
    assert not report.failed, f"{report}\n  again: python -m tests.simulation.unclean {report.failed[0].seed}"
    assert report.happened["end of a log lost"] > 0
    assert report.happened["workflow completed"] > 0


def _is_found() -> bool:
    return any(simulate(seed).wrong for seed in range(FIRST, FIRST + TRIES))


def test_an_engine_that_does_not_notice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Comparison, "doubts", lambda self, offset: False)
    assert _is_found()


def test_a_worker_that_nobody_knows_any_more_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks what these worlds have found: the announcement of a session was lost, and all of its claims since."""
    announce = WorkerSession.announce

    def once(self: WorkerSession, partition: int, again: bool = False) -> Any:
        return announce(self, partition)

    monkeypatch.setattr(WorkerSession, "announce", once)
    assert _is_found()
