"""What every log answers to calls that cannot be served, in the same words."""

from __future__ import annotations

from .protocol import LogError, RecordTooLargeError, TopicPartition


def producer_closed() -> LogError:
    """A send after the producer was closed."""
    return LogError("the producer is closed: ask the log for a new one")


def consumer_closed() -> LogError:
    """Any call after the consumer was closed."""
    return LogError("the consumer is closed: ask the log for a new one")


def in_a_group() -> LogError:
    """Partitions by hand for a consumer whose group chooses them."""
    return LogError("this consumer is in a group: use another one to read partitions by hand")


def already_reads() -> LogError:
    """A subscription of a consumer that has something to read."""
    return LogError("this consumer already reads: subscribe with a new one")


def not_a_member() -> LogError:
    """A commit outside of a group."""
    return LogError("only a member of a group can commit: subscribe first")


def not_assigned(partition: TopicPartition) -> LogError:
    """A call about a partition that the consumer does not have."""
    return LogError(f"{partition.topic}/{partition.partition} is not assigned to this consumer")


def unknown_partition(partition: TopicPartition) -> LogError:
    """A partition that was never created."""
    return LogError(f"there is no topic {partition.topic!r} with a partition {partition.partition}: create it first")


def too_large(partition: TopicPartition, size: int, limit: int) -> RecordTooLargeError:
    """A record of `size` bytes (key and value) above the log's `limit`."""
    return RecordTooLargeError(
        f"a record of {size:,} bytes for {partition.topic}/{partition.partition} is above the log's limit of "
        f"{limit:,}: make it smaller, or keep the large part elsewhere"
    )
