"""The log protocol: partitioned, append-only topics, and the little that Odradek needs of them.

Two implementations serve users (`kafka.py`, `embedded/`), one serves tests (`simulated.py`). All calls
are synchronous and safe from any thread, except that one consumer belongs to one thread at a time
(`wake` may come from anywhere).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias


class LogError(Exception):
    """Something about the log went wrong; the message says what to do next. `retriable`: later may work."""

    retriable = False


class LogUnavailableError(LogError):
    """No broker answers (or the folder cannot be written)."""

    retriable = True


class ProducerFailedError(LogError):
    """This producer will never append again; a new one of the same log may."""

    retriable = True


class LogLockedError(LogError):
    """Another process has the embedded log's folder open."""


class LogCorruptError(LogError):
    """Bytes in the middle of the log are not what was written. Nothing is skipped."""


class RecordTooLargeError(LogError):
    """The record is above the log's limit; it will never be accepted."""


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class Record(NamedTuple):
    """One record as read. `timestamp_ms` is the log's own time of the append, since the Unix epoch."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes


class Committed(NamedTuple):
    """A group's position: the next offset to read, and up to 4,000 characters that belong to it."""

    offset: int
    metadata: str = ""


OnDelivery: TypeAlias = Callable[[int, LogError | None], None]
"""Called once for every send, from any thread, in order for one partition: (offset, None) when the record
is durable, or (-1, error) when it is given up."""


@dataclass(frozen=True)
class TopicSpec:
    """A topic to be there. `retention_ms` None: kept for ever.

    `durable` False (tasks, replies, ephemeral): what the embedded log need not fsync before it is shown to readers;
    its deliveries are still reported only once they are on disk. On Kafka all topics are acks=all.
    """

    name: str
    partitions: int
    retention_ms: int | None = None
    durable: bool = True


class Producer(Protocol):
    """A session of appends. Order holds within one partition; a retry never makes a duplicate."""

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        """Append. Returns at once; never fails for time alone (rule E2). A permanent error (too large, not
        allowed, unknown topic) comes to `on_delivery`. Blocks only while the producer's memory bound is reached."""
        ...

    def flush(self, timeout: float) -> int:
        """Wait until all sends are delivered or given up; return how many are still out after `timeout` seconds."""
        ...

    def close(self) -> None:
        """End the session: sends that are still out may or may not land; their callbacks get an error."""
        ...


class Consumer(Protocol):
    """Reads partitions. Either all are assigned by hand, or they come from a group."""

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read exactly these partitions from these offsets on (partitions already read at that position go on)."""
        ...

    def subscribe(
        self,
        group: str,
        topics: Iterable[str],
        on_assigned: Callable[[dict[TopicPartition, Committed | None]], Mapping[TopicPartition, int]],
        on_revoked: Callable[[list[TopicPartition]], None],
    ) -> None:
        """Join a group. Both callbacks run inside `poll` (and `on_revoked` inside `close`).

        `on_assigned` gets newly assigned partitions with what the group had committed (None: nothing), and
        returns the offset to begin at for any of them; those it leaves out begin at the committed offset, or at
        the earliest. `on_revoked` may still commit. Assignment is cooperative: partitions that stay are not
        interrupted. A member that dies loses its partitions to the others.
        """
        ...

    def poll(self, timeout: float, max_records: int = 500) -> list[Record]:
        """Records of any of the partitions, in order within each. Waits up to `timeout` seconds for the first one,
        never for more. Raises LogCorruptError; a broker that is away only means no records."""
        ...

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Have `poll` give nothing of these, which stay ours, until `resume`. Raises LogError for one that is not."""
        ...

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Go on where `pause` ended. Raises LogError for one that is not ours."""
        ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Have the next record be that at `offset`; outside of what can be read, the earliest. Raises LogError for a
        partition that is not ours."""
        ...

    def position(self, partition: TopicPartition) -> int:
        """Up to where one of its partitions has been read: `poll` has given all records before that offset since they
        were assigned. Offsets that hold no records (ends of others' transactions) are passed without one."""
        ...

    def commit(self, positions: Mapping[TopicPartition, Committed]) -> None:
        """Store the group's positions, without waiting. Positions of partitions that are no longer ours are ignored."""
        ...

    def wake(self) -> None:
        """Make a waiting `poll` return now, or the next one at once."""
        ...

    def close(self) -> None:
        """Leave the group, after what was committed is stored."""
        ...


class Log(Protocol):
    """One log: a Kafka cluster, a folder, or a simulation."""

    max_record_bytes: int

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Make the topics that are missing; leave the others as they are. Safe to race with other processes."""
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has; 0 if there is no such topic."""
        ...

    def topics(self, prefix: str) -> list[str]:
        """The names of the existing topics that start with `prefix`, sorted."""
        ...

    def offsets(self, partition: TopicPartition) -> tuple[int, int]:
        """(the first offset that can be read, the offset that the next record gets), asked of the log now.

        Every record acknowledged before the call is below the second."""
        ...

    def end_offsets(
        self,
        partitions: Iterable[TopicPartition],
        on_result: Callable[[dict[TopicPartition, int], LogError | None], None],
    ) -> None:
        """The same second number for many partitions, without blocking: `on_result` runs once, from any thread."""
        ...

    def delete_before(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Give up the records below these offsets, for good. Returns the first offset of each that can be read now.

        A log may keep some of them for as long as they share files with others. Offsets never change. Raises LogError.
        """
        ...

    def producer(self, linger_ms: float = 0.0) -> Producer:
        """A new session. Sends may wait `linger_ms` for others to go with them, where nobody waits for them."""
        ...

    def consumer(self) -> Consumer:
        """A new one, that has no partitions yet. Raises LogError if the log is closed."""
        ...

    def close(self) -> None:
        """End the log here, when what was sent is stored or given up. A second time changes nothing."""
        ...
