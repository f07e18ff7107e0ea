"""Copies of an embedded log that is in use."""

from __future__ import annotations

from pathlib import Path

import pytest
from odradek_log import LogUnavailableError, Record, TopicPartition, TopicSpec
from odradek_log.embedded import EmbeddedLog
from odradek_log.embedded.snapshot import snapshot

HERE = TopicPartition("events", 0)


def append(log: EmbeddedLog, count: int, start: int = 0) -> None:
    producer = log.producer()
    for n in range(start, start + count):
        producer.send("events", 0, b"k", b"%06d" % n + b"x" * 100)
    assert producer.flush(10) == 0
    producer.close()


def values(log: EmbeddedLog) -> list[int]:
    consumer = log.consumer()
    consumer.assign({HERE: 0})
    end, found = log.offsets(HERE)[1], list[Record]()
    while len(found) < end:
        found += consumer.poll(1.0)
    consumer.close()
    return [int(record.value[:6]) for record in found]


@pytest.mark.parametrize("fsync", [True, False])
def test_a_copy_holds_what_was_acknowledged_and_the_log_goes_on(tmp_path: Path, fsync: bool) -> None:
    """Over several segments; what is appended to the log later, or to the copy, is in neither other one."""
    log = EmbeddedLog(tmp_path / "log", fsync=fsync, segment_bytes=4_000)
    log.create_topics([TopicSpec("events", 1)])
    append(log, 200)
    with snapshot(tmp_path / "log") as copy:
        assert values(copy) == list(range(200))
        append(log, 50, 200)
        append(copy, 1, 900)
        assert log.offsets(HERE) == (0, 250)
        assert copy.offsets(HERE) == (0, 201)
    assert values(log) == list(range(250))
    log.close()
    again = EmbeddedLog(tmp_path / "log", segment_bytes=4_000)
    assert values(again) == list(range(250))
    again.close()


def test_what_is_half_written_at_the_end_is_not_in_a_copy(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "log")
    log.create_topics([TopicSpec("events", 1)])
    append(log, 10)
    log.close()  # it may write something more meanwhile
    (last,) = (tmp_path / "log" / "durable").glob("*.log")
    with last.open("ab") as file:
        file.write(b"half of an entry")
    size = last.stat().st_size
    with snapshot(tmp_path / "log") as copy:
        assert values(copy) == list(range(10))
    assert last.stat().st_size == size, "only the copy is repaired"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogUnavailableError), snapshot(tmp_path / "file"):
        pass
