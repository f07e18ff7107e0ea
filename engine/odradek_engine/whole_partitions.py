"""Reading partitions of a topic from one offset to another, offline, where nobody waits for what comes next."""

from __future__ import annotations

from collections.abc import Iterator

from odradek_log import Log, LogError, LogUnavailableError, Record, TopicPartition
from odradek_schemas import Topics

_POLL_SECONDS = 1.0
_SILENT_POLLS = 30


def read_partition(log: Log, partition: TopicPartition, start: int, end: int) -> Iterator[Record]:
    """The records from offset `start` up to below `end`; the last offsets may hold none, but the end of a transaction.

    Raises LogUnavailableError if the log falls silent before that, LogError where records are gone.
    """
    if start >= end:
        return
    consumer = log.consumer()
    try:
        consumer.assign({partition: start})
        following, silent = start, 0
        while following < end:
            for record in consumer.poll(_POLL_SECONDS, 2_000):
                if record.offset >= end:
                    return
                yield record
            passed = consumer.position(partition)
            silent = 0 if passed > following else silent + 1
            following = max(following, passed)
            if silent >= _SILENT_POLLS:
                raise LogUnavailableError(
                    f"{partition.topic} partition {partition.partition}: no record from offset {following} on for "
                    f"{_SILENT_POLLS * _POLL_SECONDS:g} s, {end - following} are missing. Is the broker there, and no "
                    "transaction left open?"
                )
    finally:
        consumer.close()


def partitions_of(log: Log, topic: str) -> int:
    """How many partitions a topic has. Raises LogError if there is no such topic."""
    count = log.partitions(topic)
    if not count:
        known = log.topics(topic.rpartition(".")[0] + ".") or log.topics("odradek.")
        there = f"there are {', '.join(known)}" if known else "the log holds no topics of Odradek yet"
        raise LogError(f"there is no topic {topic} in this log: {there}")
    return count


def count_records(log: Log, namespace: str, partitions: list[int] | None = None) -> int:
    """How many records of `events` there are to fold."""
    topic = Topics(namespace).events
    numbers = range(partitions_of(log, topic)) if partitions is None else partitions
    spans = (log.offsets(TopicPartition(topic, number)) for number in numbers)
    return sum(end - first for first, end in spans)
