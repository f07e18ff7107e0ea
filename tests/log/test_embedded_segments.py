"""The embedded log's files of records: beginning new ones, finding records in them, deleting old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from odradek_log import Committed, TopicPartition, TopicSpec
from odradek_log.embedded import EmbeddedLog

from .disk import FaultyFiles, segments_of
from .harness import PATIENCE, Membership, append, poll_until, read, reader

TOPICS = [TopicSpec("durable", 2), TopicSpec("other", 2, durable=False)]
DAY = 86_400_000


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., EmbeddedLog]]:
    opened: list[EmbeddedLog] = []

    def make(**settings: object) -> EmbeddedLog:
        log = EmbeddedLog(tmp_path / "log", **settings)  # type: ignore[arg-type]
        opened.append(log)
        log.create_topics(TOPICS)
        return log

    yield make
    for log in opened:
        log.close()


def fill(log: EmbeddedLog, name: str, count: int, start: int = 0) -> None:
    for i in range(start, start + count, 10):
        append(log, name, [b"%04d" % (i + j) * 100 for j in range(10)], partition=i // 10 % 2)


@pytest.mark.parametrize("name", ["durable", "other"])
def test_records_are_read_from_all_segments(make: Callable[..., EmbeddedLog], tmp_path: Path, name: str) -> None:
    log = make(segment_bytes=20_000, cache_bytes=1)
    fill(log, name, 1_000)
    assert len(segments_of(tmp_path / "log" / name)) >= 20
    for again in (log, None):
        if again is None:
            log.close()
            log = make(segment_bytes=20_000, cache_bytes=1)
        records = read(reader(log, name, 2), 1_000)
        for partition in range(2):
            mine = [r for r in records if r.partition == partition]
            assert [r.offset for r in mine] == list(range(500))
            numbers = [i for i in range(1_000) if i // 10 % 2 == partition]
            assert [r.value for r in mine] == [b"%04d" % i * 100 for i in numbers]


def test_records_longer_than_a_read_and_than_a_segment(make: Callable[..., EmbeddedLog]) -> None:
    log = make(segment_bytes=100_000, cache_bytes=1)
    sizes = [10, 900_000, 300_000, 0, 999_000, 262_144]
    append(log, "durable", [b"x" * size for size in sizes[:3]])
    append(log, "durable", [b"x" * size for size in sizes[3:]])
    log.close()
    records = read(reader(make(segment_bytes=100_000, cache_bytes=1), "durable"), len(sizes))
    assert [len(r.value) for r in records] == sizes


def test_files_go_whose_records_are_all_given_up(make: Callable[..., EmbeddedLog], tmp_path: Path) -> None:
    """Breaks when a log that is trimmed grows all the same, or a record goes that nobody has given up."""
    log = make(segment_bytes=20_000, cache_bytes=1)
    fill(log, "durable", 1_000)
    files = len(segments_of(tmp_path / "log" / "durable"))
    first, second = TopicPartition("durable", 0), TopicPartition("durable", 1)
    assert log.delete_before({first: 300}) == {first: 0}, "the files hold records of the other one, too"
    left = log.delete_before({second: 300})
    assert 280 <= left[second] <= 300
    assert len(segments_of(tmp_path / "log" / "durable")) <= files // 2
    begin = {where: log.offsets(where)[0] for where in (first, second)}
    assert 280 <= begin[first] <= 300
    assert begin[second] == left[second]
    log.close()
    log = make(segment_bytes=20_000, cache_bytes=1)
    assert {where: log.offsets(where) for where in begin} == {where: (at, 500) for where, at in begin.items()}
    found = read(reader(log, "durable", 2), 1_000 - sum(begin.values()))
    assert sorted((r.partition, r.offset) for r in found) == [
        (where.partition, offset) for where, at in begin.items() for offset in range(at, 500)
    ]


def test_opening_reads_no_closed_segment(make: Callable[..., EmbeddedLog], tmp_path: Path) -> None:
    log = make(segment_bytes=50_000)
    fill(log, "durable", 2_000)
    log.close()
    stored = sum(path.stat().st_size for path in segments_of(tmp_path / "log" / "durable"))
    assert stored > 800_000
    files = FaultyFiles()
    log = make(segment_bytes=50_000, files=files)
    assert files.bytes_read < 70_000
    assert log.offsets(TopicPartition("durable", 0)) == (0, 1_000)
    consumer = log.consumer()
    consumer.assign({TopicPartition("durable", 0): 500})
    read(consumer, 10)
    assert files.bytes_read < 400_000  # and a read looks at one segment, not at all of them


def test_many_partitions(make: Callable[..., EmbeddedLog]) -> None:
    log = make(segment_bytes=100_000)
    log.create_topics([TopicSpec("wide", 300)])
    producer = log.producer()
    for i in range(3_000):
        producer.send("wide", i % 300, b"%d" % (i % 300), b"%d" % i)
    assert producer.flush(PATIENCE) == 0
    for _ in range(2):
        records = read(reader(log, "wide", 300), 3_000)
        assert all(r.partition == int(r.key) for r in records)
        for partition in range(300):
            values = [int(r.value) for r in records if r.partition == partition]
            assert values == list(range(partition, 3_000, 300))
        log.close()
        log = make(segment_bytes=100_000)


def test_retention_deletes_old_segments(make: Callable[..., EmbeddedLog], tmp_path: Path) -> None:
    now = [DAY]
    log = make(segment_bytes=20_000, clock=lambda: now[0])
    log.create_topics([TopicSpec("short", 2, retention_ms=1_000, durable=False)])
    fill(log, "short", 500)
    full = len(segments_of(tmp_path / "log" / "other"))
    now[0] += 2_000
    fill(log, "short", 100, start=500)
    assert len(segments_of(tmp_path / "log" / "other")) < full / 2
    where = TopicPartition("short", 0)
    first, end = log.offsets(where)
    assert 200 <= first < end == 300
    consumer = log.consumer()
    consumer.assign({where: 0})  # what is gone counts as the earliest
    assert [r.offset for r in read(consumer, end - first)] == list(range(first, end))
    log.close()
    log = make(segment_bytes=20_000, clock=lambda: now[0])
    assert log.offsets(where) == (first, end)
    now[0] += 10 * DAY
    log.close()
    log = make(segment_bytes=20_000, clock=lambda: now[0])
    fill(log, "short", 20, start=600)
    assert log.offsets(where)[1] == 310  # offsets go on also where nothing is left
    assert log.offsets(where)[0] >= first


def test_offsets_and_timestamps_go_on_when_all_records_of_a_partition_are_gone(
    make: Callable[..., EmbeddedLog],
) -> None:
    now = [DAY]
    log = make(segment_bytes=5_000, clock=lambda: now[0])
    log.create_topics([TopicSpec("short", 2, retention_ms=1_000, durable=False)])
    append(log, "short", [b"x"] * 5, 0)
    now[0] += 10_000
    for _ in range(40):
        append(log, "short", [b"y" * 1_000], 1)
        now[0] += 10_000
    where = TopicPartition("short", 0)
    assert log.offsets(where) == (5, 5)
    log.close()
    now[0] = 0
    log = make(segment_bytes=5_000, clock=lambda: now[0])
    assert log.offsets(where) == (5, 5)
    assert append(log, "short", [b"z"]) == [5]
    [record] = read(reader(log, "short"), 1)
    assert (record.offset, record.timestamp_ms) == (5, DAY)


def test_what_a_group_has_not_passed_is_kept(make: Callable[..., EmbeddedLog]) -> None:
    now = [DAY]
    log = make(segment_bytes=20_000, clock=lambda: now[0])
    log.create_topics([TopicSpec("tasks", 1, retention_ms=1_000, durable=False)])
    where = TopicPartition("tasks", 0)
    member = Membership(log, "workers", ["tasks"])
    append(log, "tasks", [b"%04d" % i * 100 for i in range(100)])
    append(log, "tasks", [b"%04d" % i * 100 for i in range(100)])
    poll_until(lambda: len(member.records) == 200, member)
    now[0] += 10_000
    append(log, "tasks", [b"%04d" % i * 100 for i in range(100)])
    assert log.offsets(where)[0] == 0
    member.consumer.commit({where: Committed(150)})
    member.consumer.close()
    log.close()
    now[0] += 10_000
    log = make(segment_bytes=20_000, clock=lambda: now[0])
    assert 0 < log.offsets(where)[0] <= 150


def test_what_is_kept_for_ever_is_kept(make: Callable[..., EmbeddedLog], tmp_path: Path) -> None:
    now = [DAY]
    log = make(segment_bytes=20_000, clock=lambda: now[0])
    log.create_topics([TopicSpec("letters", 2, retention_ms=1_000)])
    fill(log, "letters", 200)
    fill(log, "durable", 200)
    now[0] += 100 * DAY
    fill(log, "letters", 200, start=200)
    assert log.offsets(TopicPartition("durable", 0)) == (0, 100)
    assert len(read(reader(log, "durable", 2), 200)) == 200
