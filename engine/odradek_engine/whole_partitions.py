"""Reading partitions of a topic from one offset to another, where nobody waits for what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from odradek_log import Consumer, Log, LogError, LogUnavailableError, Record, TopicPartition
from odradek_schemas import Topics

_SILENT_S = 30.0


def read_partition(log: Log, partition: TopicPartition, start: int, end: int) -> Iterator[Record]:
    """The records from offset `start` up to below `end`; the last offsets may hold none, but the end of a transaction.

    Raises LogUnavailableError if the log falls silent before that, LogError where records are gone.
    """
    if start >= end:
        return
    consumer = log.consumer()
    try:
        yield from read_with(consumer, partition, start, end)
    finally:
        consumer.close()


def read_with(
    consumer: Consumer,
    partition: TopicPartition,
    start: int,
    end: int,
    going: Callable[[], bool] = lambda: True,
    poll_s: float = 1.0,
) -> Iterator[Record]:
    """The same with a consumer of the caller's, which reads nothing else. It ends early when `going` is asked, every
    `poll_s` at least, and says no."""
    consumer.assign({partition: start})
    following, silent = start, 0
    while following < end and going():
        for record in consumer.poll(poll_s, 2_000):
            if record.offset >= end:
                return
            yield record
        passed = consumer.position(partition)
        silent = 0 if passed > following else silent + 1
        following = max(following, passed)
        if silent * poll_s >= _SILENT_S:
            raise LogUnavailableError(
                f"{partition.topic} partition {partition.partition}: no record from offset {following} on for "
                f"{_SILENT_S:g} s, {end - following} are missing. Is the broker there, and no transaction left open?"
            )


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
