"""A log in this process's memory, for tests of workflows: the same protocol, nothing on disk, any clock.

It knows when nothing is in flight any more (`wait_quiet`), so that a virtual clock can move on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping

from . import refusals
from .membership import Group, Member
from .protocol import Committed, LogError, OnDelivery, Record, TopicPartition, TopicSpec

logger = logging.getLogger(__name__)

MAX_RECORD_BYTES = 1_000_000


class MemoryLog:
    """See `odradek_log.Log`. `now_ms`: what stamps the records, in ms since the Unix epoch (default: the wall clock).

    Deliveries are reported by a thread of the log's own, in the order of the appends.
    """

    def __init__(self, now_ms: Callable[[], int] | None = None) -> None:
        self.max_record_bytes = MAX_RECORD_BYTES
        self.lock = threading.RLock()
        self.records: dict[TopicPartition, list[Record]] = {}
        self.appended = 0
        self.readers: dict[TopicPartition, set[MemoryConsumer]] = defaultdict(set)
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._counts: dict[str, int] = {}
        self._groups: dict[str, Group] = {}
        self._consumers: set[MemoryConsumer] = set()
        self._outbox: deque[Callable[[], None]] = deque()
        self._deliverable = threading.Condition(self.lock)
        self._quiet = threading.Condition(self.lock)
        self._delivering = False
        self._closed = False
        self._thread = threading.Thread(target=self._deliver, name="odradek-memory-log", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------ the protocol

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        with self.lock:
            for spec in specs:
                if spec.name not in self._counts:
                    self._counts[spec.name] = spec.partitions
                    for number in range(spec.partitions):
                        self.records[TopicPartition(spec.name, number)] = []
            for group in self._groups.values():
                group.rebalance()

    def partitions(self, topic: str) -> int:
        return self._counts.get(topic, 0)

    def topics(self, prefix: str) -> list[str]:
        with self.lock:
            return sorted(name for name in self._counts if name.startswith(prefix))

    def offsets(self, partition: TopicPartition) -> tuple[int, int]:
        with self.lock:
            self.check_known(partition)
            return 0, len(self.records[partition])

    def end_offsets(
        self,
        partitions: Iterable[TopicPartition],
        on_result: Callable[[dict[TopicPartition, int], LogError | None], None],
    ) -> None:
        try:
            ends = {partition: self.offsets(partition)[1] for partition in partitions}
        except LogError as error:
            unknown = error
            self.later(lambda: on_result({}, unknown))
        else:
            self.later(lambda: on_result(ends, None))

    def delete_before(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """It keeps all: it ends with the program."""
        return dict.fromkeys(offsets, 0)

    def producer(self, linger_ms: float = 0.0) -> MemoryProducer:
        return MemoryProducer(self)

    def consumer(self) -> MemoryConsumer:
        consumer = MemoryConsumer(self)
        with self.lock:
            self._consumers.add(consumer)
        return consumer

    def close(self) -> None:
        with self.lock:
            self._closed = True
            self._deliverable.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # ------------------------------------------------------------ for whoever moves the clock

    def wait_quiet(self, timeout: float) -> bool:
        """Wait until all that was appended is read and reported, and every reader waits for more; whether it is."""
        with self._quiet:
            return self._quiet.wait_for(self._is_quiet, timeout)

    def _is_quiet(self) -> bool:
        return not self._outbox and not self._delivering and all(c.is_idle() for c in self._consumers)

    # ------------------------------------------------------------ inside

    def check_known(self, partition: TopicPartition) -> None:
        """Raise LogError if there is no such partition."""
        if partition not in self.records:
            raise refusals.unknown_partition(partition)

    def append(self, where: TopicPartition, key: bytes, value: bytes, report: OnDelivery) -> None:
        """Append, or find out why not; report it later."""
        with self.lock:
            error: LogError | None = None
            offset = -1
            if where not in self.records:
                error = refusals.unknown_partition(where)
            elif len(key) + len(value) > self.max_record_bytes:
                error = refusals.too_large(where, len(key) + len(value), self.max_record_bytes)
            else:
                stored = self.records[where]
                offset = len(stored)
                stamp = max(self._now_ms(), stored[-1].timestamp_ms if stored else 0)
                stored.append(Record(where.topic, where.partition, offset, stamp, key, value))
                self.appended += 1
                for reader in self.readers[where]:
                    reader.changed.notify_all()
            self.later(lambda: report(offset, error))

    def later(self, action: Callable[[], None]) -> None:
        """Run something in the thread that reports."""
        with self.lock:
            self._outbox.append(action)
            self._deliverable.notify_all()

    def settled(self) -> None:
        """A reader began to wait, or something was reported."""
        self._quiet.notify_all()

    def group(self, name: str) -> Group:
        return self._groups.setdefault(name, Group(name, self.partitions))

    def forget(self, consumer: MemoryConsumer) -> None:
        self._consumers.discard(consumer)

    def _deliver(self) -> None:
        while True:
            with self.lock:
                self._delivering = False
                self.settled()
                self._deliverable.wait_for(lambda: self._outbox or self._closed)
                if not self._outbox:
                    return
                action = self._outbox.popleft()
                self._delivering = True
            try:
                action()
            except Exception:
                logger.exception("a delivery callback failed")


class MemoryProducer:
    """See `odradek_log.Producer`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._out = 0
        self._closed = False
        self._reported = threading.Condition(log.lock)

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        with self._log.lock:
            if self._closed:
                raise refusals.producer_closed()
            self._out += 1

            def report(offset: int, error: LogError | None) -> None:
                try:
                    if on_delivery is not None:
                        on_delivery(offset, error)
                finally:
                    with self._reported:
                        self._out -= 1
                        self._reported.notify_all()

            self._log.append(TopicPartition(topic, partition), key, value, report)

    def flush(self, timeout: float) -> int:
        with self._reported:
            self._reported.wait_for(lambda: not self._out, timeout)
            return self._out

    def close(self) -> None:
        with self._log.lock:
            self._closed = True


class MemoryConsumer:
    """See `odradek_log.Consumer`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.changed = threading.Condition(log.lock)
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._member: Member | None = None
        self._waiting = False
        self._woken = False
        self._closed = False
        self._on_assigned: Callable[[dict[TopicPartition, Committed | None]], Mapping[TopicPartition, int]]
        self._on_revoked: Callable[[list[TopicPartition]], None]

    @property
    def member(self) -> Member | None:
        """Its place in the group, for those who let it die."""
        return self._member

    def is_idle(self) -> bool:
        """Whether it waits in `poll`, has read everything, and nothing is about to change for it."""
        moved = self._member is not None and self._member.changed
        return self._waiting and not self._woken and not moved and all(
            position >= len(self._log.records[where]) for where, position in self._positions.items()
        )

    # ------------------------------------------------------------ what is read

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        with self._log.lock:
            self._check()
            if self._member is not None:
                raise refusals.in_a_group()
            for where in positions:
                self._log.check_known(where)
            self._paused &= positions.keys()
            self._set_positions(dict(positions))

    def subscribe(
        self,
        group: str,
        topics: Iterable[str],
        on_assigned: Callable[[dict[TopicPartition, Committed | None]], Mapping[TopicPartition, int]],
        on_revoked: Callable[[list[TopicPartition]], None],
    ) -> None:
        with self._log.lock:
            self._check()
            if self._member is not None or self._positions:
                raise refusals.already_reads()
            self._on_assigned, self._on_revoked = on_assigned, on_revoked
            self._member = self._log.group(group).join(topics, self.wake)

    def _set_positions(self, positions: dict[TopicPartition, int]) -> None:
        for where in self._positions.keys() - positions.keys():
            self._log.readers[where].discard(self)
        for where in positions:
            self._log.readers[where].add(self)
        self._positions = positions

    # ------------------------------------------------------------ reading

    def poll(self, timeout: float, max_records: int = 500) -> list[Record]:
        give_up = time.monotonic() + timeout
        while True:
            if self._member is not None and self._member.changed:
                self._follow_group(self._member)
            with self._log.lock:
                self._check()
                records = self._fetch(max_records)
                left = give_up - time.monotonic()
                if records or self._woken or left <= 0:
                    self._woken = False
                    return records
                if self._member is not None and self._member.changed:
                    continue
                self._waiting = True
                self._log.settled()
                self.changed.wait(left)
                self._waiting = False

    def _fetch(self, room: int) -> list[Record]:
        found: list[Record] = []
        for where, position in self._positions.items():
            if where in self._paused or room <= len(found):
                continue
            stored = self._log.records[where]
            if not 0 <= position <= len(stored):
                position = 0
            taken = stored[position : position + room - len(found)]
            self._positions[where] = position + len(taken)
            found += taken
        return found

    def _follow_group(self, member: Member) -> None:
        """Give up and take partitions; the callbacks run without the log's lock."""
        with self._log.lock:
            group = member.group
            if member.expelled:
                surplus = list(self._positions)
                group.rejoin(member)
            else:
                surplus = group.surplus(member)
        if surplus:
            self._revoke(surplus)
            with self._log.lock:
                group.release(member, surplus)
        with self._log.lock:
            gained = group.take(member)
            positions = {p: at.offset if at is not None else 0 for p, at in gained.items()}
            self._set_positions({**self._positions, **positions})
        if gained:
            for partition, offset in self._on_assigned(gained).items():
                self.seek(partition, offset)

    def _revoke(self, partitions: list[TopicPartition]) -> None:
        self._on_revoked(partitions)
        with self._log.lock:
            gone = set(partitions)
            self._paused -= gone
            self._set_positions({p: at for p, at in self._positions.items() if p not in gone})

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        with self._log.lock:
            for where in partitions:
                self._check_ours(where)
                self._paused.add(where)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        with self._log.lock:
            for where in partitions:
                self._check_ours(where)
                self._paused.discard(where)
            self.changed.notify_all()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        with self._log.lock:
            self._check_ours(partition)
            self._positions[partition] = offset
            self.changed.notify_all()

    def position(self, partition: TopicPartition) -> int:
        with self._log.lock:
            self._check_ours(partition)
            return self._positions[partition]

    def commit(self, positions: Mapping[TopicPartition, Committed]) -> None:
        with self._log.lock:
            if self._member is None:
                raise refusals.not_a_member()
            self._member.group.commit(self._member, dict(positions))

    def wake(self) -> None:
        with self._log.lock:
            self._woken = True
            self.changed.notify_all()

    def close(self) -> None:
        if self._closed:
            return
        if self._member is not None and self._positions:
            self._revoke(sorted(self._positions))
        with self._log.lock:
            self._closed = True
            self._set_positions({})
            if self._member is not None:
                self._member.group.leave(self._member)
            self._log.forget(self)
            self._log.settled()

    def _check_ours(self, partition: TopicPartition) -> None:
        if partition not in self._positions:
            raise refusals.not_assigned(partition)

    def _check(self) -> None:
        if self._closed:
            raise refusals.consumer_closed()
