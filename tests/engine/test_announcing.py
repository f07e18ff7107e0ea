"""Engines that tell each other that they live."""

from __future__ import annotations

from pathlib import Path

from odradek_engine.engine import ensure_topics
from odradek_log import TopicPartition
from odradek_log.simulated import SimulatedLog

from .test_gaps import TOPICS, Solitary


def test_an_engine_that_sends_nothing_but_announcements_notices_that_its_producer_failed(tmp_path: Path) -> None:
    """Breaks when only what is sent of a partition tells: an idle engine was silent for ever, and taken for gone."""
    log = SimulatedLog(auto=True)
    ensure_topics(log, TOPICS, 1)
    one = Solitary(tmp_path, log, "one")
    one.until(lambda: one.leads)
    for _ in range(50):
        one.engine.step(0.0)
    one.engine._log.fail_producers()  # type: ignore[attr-defined]
    where = TopicPartition(TOPICS.ephemeral, 0)
    before = len(log.records[where])
    one.until(lambda: len(log.records[where]) > before)
    one.stop()
