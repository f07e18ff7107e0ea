"""Consumers and producers of the embedded log."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from .. import refusals
from ..membership import Member
from ..protocol import Committed, LogError, OnDelivery, Record, TopicPartition
from .partition import Partition, Signal
from .writer import Append, Session

if TYPE_CHECKING:
    from .log import EmbeddedLog

MAX_POLL_BYTES = 16 << 20
"""One poll gives no more than that, and one record."""

OnAssigned = Callable[[dict[TopicPartition, Committed | None]], Mapping[TopicPartition, int]]
OnRevoked = Callable[[list[TopicPartition]], None]


class EmbeddedProducer:
    """See `odradek_log.Producer`. `close` waits until the log has answered for every send."""

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self._session = Session()

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        if self._session.closed:
            raise refusals.producer_closed()
        log = self._log
        target = log.find(topic, partition)
        error: LogError | None = None
        if target is None:
            target = log.nowhere
            error = log.unknown(topic, partition)
        elif len(key) + len(value) > log.max_record_bytes:
            error = refusals.too_large(TopicPartition(topic, partition), len(key) + len(value), log.max_record_bytes)
            key = value = b""
        item = Append(target, key, value, on_delivery, self._session)
        item.error = error
        log.writer_of(target).append(item)

    def flush(self, timeout: float) -> int:
        self._log.hurry()
        return self._session.wait(timeout)

    def close(self) -> None:
        self._session.closed = True
        self._log.hurry()
        if not self._log.in_delivery():
            self._session.wait(None)


class _Reader:
    """A consumer's place in one partition."""

    __slots__ = ("active", "consumer", "partition", "paused", "position", "ready")

    def __init__(self, consumer: EmbeddedConsumer, partition: Partition, position: int) -> None:
        self.consumer = consumer
        self.partition = partition
        self.position = position
        self.paused = False
        self.ready = False
        self.active = True

    def notify(self) -> None:
        """There may be something to read. From any thread."""
        if not self.ready:
            self.ready = True
            self.consumer.ready.append(self)
            self.consumer.signal.set()


class EmbeddedConsumer:
    """See `odradek_log.Consumer`. A position outside of what can be read counts as the earliest."""

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self._readers: dict[TopicPartition, _Reader] = {}
        self.ready: deque[_Reader] = deque()
        self.signal = Signal()
        self._woken = False
        self._closed = False
        self._member: Member | None = None
        self._on_assigned: OnAssigned = lambda _: {}
        self._on_revoked: OnRevoked = lambda _: None

    # ------------------------------------------------------------ what is read

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._check()
        if self._member is not None:
            raise refusals.in_a_group()
        for gone in self._readers.keys() - positions.keys():
            self._remove(gone)
        for partition, offset in positions.items():
            reader = self._readers.get(partition)
            if reader is None:
                self._add(partition, offset)
            elif reader.position != offset:
                self.seek(partition, offset)

    def subscribe(self, group: str, topics: Iterable[str], on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        self._check()
        if self._member is not None or self._readers:
            raise refusals.already_reads()
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._member = self._log.groups.join(group, topics, self.signal.set)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._reader(partition).paused = True

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            reader = self._reader(partition)
            reader.paused = False
            reader.notify()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        reader = self._reader(partition)
        reader.position = offset
        reader.notify()

    def position(self, partition: TopicPartition) -> int:
        return self._reader(partition).position

    def _reader(self, partition: TopicPartition) -> _Reader:
        try:
            return self._readers[partition]
        except KeyError:
            raise refusals.not_assigned(partition) from None

    def _add(self, partition: TopicPartition, offset: int) -> None:
        target = self._log.find(*partition)
        if target is None:
            raise self._log.unknown(*partition)
        reader = self._readers[partition] = _Reader(self, target, offset)
        self._log.register(target, reader)
        reader.notify()

    def _remove(self, partition: TopicPartition) -> None:
        reader = self._readers.pop(partition)
        reader.active = False
        self._log.unregister(reader.partition, reader)

    # ------------------------------------------------------------ reading

    def poll(self, timeout: float, max_records: int = 500) -> list[Record]:
        deadline = time.monotonic() + timeout
        while True:
            self._check()
            bound = self._keep_membership() if self._member is not None else None
            records = self._collect(max_records)
            if records or self._woken:
                self._woken = False
                return records
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return records
            self.signal.wait(remaining if bound is None else min(bound, remaining))

    def wake(self) -> None:
        self._woken = True
        self.signal.set()

    def _collect(self, max_records: int) -> list[Record]:
        records: list[Record] = []
        size = 0
        for _ in range(len(self.ready)):
            reader = self.ready.popleft()
            reader.ready = False
            if reader.paused or not reader.active:
                continue
            room = max_records - len(records)
            found = _bounded(self._log.read(reader.partition, reader.position, room), MAX_POLL_BYTES - size)
            if found:
                reader.position = found[-1].offset + 1
                records += found
                size += sum(len(record.value) for record in found)
                if reader.position < reader.partition.end:
                    reader.notify()
            elif reader.position > reader.partition.end or reader.position < reader.partition.first:
                reader.position = reader.partition.first
                reader.notify()
            if len(records) >= max_records or size >= MAX_POLL_BYTES:
                break
        return records

    # ------------------------------------------------------------ the group

    def _keep_membership(self) -> float | None:
        """Follow the group's changes; return how long to wait for the next look at its members."""
        member = self._member
        assert member is not None
        groups = self._log.groups
        bound = groups.alive(member)
        if not member.changed:
            return bound
        if member.expelled:
            self._revoke(list(self._readers))
            groups.rejoin(member)
        surplus = groups.surplus(member)
        if surplus:
            self._revoke(surplus)
        gained = groups.take(member)
        if gained:
            for partition, committed in gained.items():
                self._add(partition, committed.offset if committed is not None else 0)
            for partition, offset in self._on_assigned(gained).items():
                self.seek(partition, offset)
        return bound

    def _revoke(self, partitions: list[TopicPartition]) -> None:
        assert self._member is not None
        for partition in partitions:
            self._remove(partition)
        try:
            self._on_revoked(partitions)
        finally:
            self._log.groups.release(self._member, partitions)

    def commit(self, positions: Mapping[TopicPartition, Committed]) -> None:
        if self._member is None:
            raise refusals.not_a_member()
        self._log.groups.commit(self._member, positions)

    def close(self) -> None:
        if self._closed:
            return
        try:
            if self._member is not None and self._readers:
                self._revoke(sorted(self._readers))
        finally:
            self._closed = True
            for partition in list(self._readers):
                self._remove(partition)
            if self._member is not None:
                self._log.groups.leave(self._member)
                self._log.save_groups()

    def _check(self) -> None:
        if self._closed:
            raise refusals.consumer_closed()
        self._log.check_open()


def _bounded(records: list[Record], room: int) -> list[Record]:
    """The first records, up to the one that fills `room` bytes."""
    for count, record in enumerate(records, 1):
        room -= len(record.value)
        if room <= 0:
            return records[:count]
    return records
