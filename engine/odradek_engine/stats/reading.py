"""What the counts say now: from the table's topic on Kafka, from `history` itself on the embedded log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from odradek_log import Consumer, Log, LogUnavailableError, Record, TopicPartition, open_log
from odradek_schemas import Topics

from .counts import PartitionCounts, StatsError, TypeCounts, decode_row
from .names import changelog_topic

_SILENCE_S = 30.0


@dataclass(frozen=True)
class Stats:
    """`types`: counts by workflow type, sorted by name. `behind`: how many records of `history` are not counted yet."""

    types: dict[str, TypeCounts] = field(default_factory=dict)
    behind: int = 0


def read_stats(
    target: str, namespace: str = "default", *, log_settings: Mapping[str, Any] | None = None
) -> Stats:
    """The counts of a namespace. On Kafka those that `run_stats` has reached; a folder is counted here and now.

    Raises StatsError where nothing was counted yet; LogUnavailableError without Kafka; LogLockedError if another
    process has the folder open.
    """
    log = open_log(target, **(log_settings or {}))
    try:
        return _table(log, Topics(namespace)) if target.startswith("kafka:") else count_topic(log, namespace)
    finally:
        log.close()


def count_topic(log: Log, namespace: str = "default") -> Stats:
    """Count `history` from its beginning: for an open log, and as long as the topic."""
    topics = Topics(namespace)
    rows = [PartitionCounts() for _ in range(log.partitions(topics.history))]
    for partition, row in enumerate(rows):
        first, _ = log.offsets(TopicPartition(topics.history, partition))
        if first:
            row.begin_at(first)
    _read_all(log, topics.history, lambda record: rows[record.partition].read(record.offset, record.value))
    return _total(rows, behind=0)


def _table(log: Log, topics: Topics) -> Stats:
    changelog = changelog_topic(topics)
    if not log.partitions(changelog):
        raise StatsError(f"nobody has counted namespace {topics.namespace!r} yet: start the process that does")
    rows = [PartitionCounts() for _ in range(log.partitions(topics.history))]

    def read(record: Record) -> None:
        if record.value:
            rows[int(record.key)] = decode_row(record.value)

    _read_all(log, changelog, read)
    behind = 0
    for partition, row in enumerate(rows):
        first, end = log.offsets(TopicPartition(topics.history, partition))
        behind += max(0, end - max(first, row.next_offset))
    return _total(rows, behind)


def _total(rows: list[PartitionCounts], behind: int) -> Stats:
    types: dict[str, TypeCounts] = {}
    for row in rows:
        for name, counts in row.types.items():
            types.setdefault(name, TypeCounts()).add(counts)
    return Stats(dict(sorted(types.items())), behind)


def _read_all(log: Log, topic: str, read: Callable[[Record], object]) -> None:
    """Give `read` every record that `topic` has at this moment, in order within each partition."""
    partitions = [TopicPartition(topic, p) for p in range(log.partitions(topic))]
    bounds = {partition: log.offsets(partition) for partition in partitions}
    left = {partition: end for partition, (first, end) in bounds.items() if first < end}
    if not left:
        return
    consumer = log.consumer()
    try:
        consumer.assign({partition: bounds[partition][0] for partition in left})
        for record in _records(consumer):
            partition = TopicPartition(record.topic, record.partition)
            if partition in left:
                read(record)
                if record.offset + 1 >= left[partition]:
                    del left[partition]
            if not left:
                return
    finally:
        consumer.close()


def _records(consumer: Consumer) -> Iterator[Record]:
    while records := consumer.poll(_SILENCE_S, 5_000):
        yield from records
    raise LogUnavailableError(f"the log gave no records for {_SILENCE_S:.0f} s: see whether all its brokers are there")
