"""On the embedded log the topic itself is counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from odradek_engine.stats import Stats, TypeCounts, count_topic, read_stats
from odradek_log import LogLockedError, TopicSpec, open_log
from odradek_schemas import Topics

from .histories import Source, append


def test_the_topic_is_counted(tmp_path: Path) -> None:
    target, topics = f"file:{tmp_path}/log", Topics()
    log = open_log(target)
    log.create_topics([TopicSpec(topics.history, 2)])
    source = Source(1)
    batches = [source.batch("Order", "started"), source.batch("Order", "completed"), source.batch("Hello", "started")]
    append(log, topics, 1, [*batches, *batches])
    expected = Stats({"Hello": TypeCounts(started=1), "Order": TypeCounts(started=1, completed=1)})
    assert count_topic(log) == expected
    with pytest.raises(LogLockedError):
        read_stats(target)
    log.close()
    assert read_stats(target) == expected


def test_nothing_was_started_yet(tmp_path: Path) -> None:
    assert read_stats(f"file:{tmp_path}/log") == Stats()
