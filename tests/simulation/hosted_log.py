"""The simulated log as a simulated process sees it: polls that wait, flushes that wait, callbacks in a thread."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial, wraps
from typing import Any

from odradek_log import Committed, LogError, OnDelivery, Record, TopicPartition, TopicSpec
from odradek_log.simulated import SimulatedConsumer, SimulatedLog, SimulatedProcess, SimulatedProducer
from odradek_schemas import records

from .hub import Hub, Process, SimThread
from .scripted import NOWHERE
from .stdlib import decoded


def asked(*names: str) -> Callable[[type], type]:
    """What these methods do begins with a call that the process may not live to make."""

    def before(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def called(self: Any, *args: Any, **options: Any) -> Any:
            self.host.call()
            return method(self, *args, **options)

        return called

    def declare(kind: type) -> type:
        for name in names:
            setattr(kind, name, before(getattr(kind, name)))
        return kind

    return declare


class Shown:
    """A record in the trace: what it is, of which workflow, and a checksum. It is decoded only if the trace is read."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def __str__(self) -> str:
        return f"{' '.join(_names(self._value))} {zlib.crc32(self._value):08x}"


def _names(value: bytes) -> Iterator[str]:
    try:
        body: Any = decoded(value)
    except ValueError:
        yield "?"
        return
    yield type(body).__name__
    for field in ("workflow_id", "session", "member", "request_id"):
        if found := getattr(body, field, ""):
            yield str(found)
            break
    if hasattr(body, "seq"):
        yield f"seq {body.seq}"
    if isinstance(body, records.ForwardedRecord):
        yield from _names(body.value)
    for command in getattr(body, "commands", ()):
        yield type(command).__name__


class ClusterLog(SimulatedLog):
    """The log of a cluster on a hub: a record that lands wakes those who wait for it."""

    def __init__(self, hub: Hub, seed: int) -> None:
        super().__init__(seed, clock=lambda: hub.now_ms)
        self.rng.seed(f"log-{seed}")
        self.hub = hub
        self.polling: list[HostedConsumer] = []
        self.consumers: list[HostedConsumer] = []
        self.landed: dict[TopicPartition, list[float]] = defaultdict(list)
        """When each record came to be there, in true seconds: its stamp may be off."""
        self.last_event = 0.0
        """When the last one came into a log of events."""
        hub.network_step = self.step

    def last_record(self, where: TopicPartition) -> int:
        """The offset of the last record that readers get; -1 if there is none."""
        at = len(self.records[where]) - 1
        while at in self.markers[where]:
            at -= 1
        return at

    def append(self, where: TopicPartition, key: bytes, value: bytes) -> int:
        offset = super().append(where, key, value)
        self.landed[where].append(self.hub.now)
        if where.topic.endswith(".events"):
            self.last_event = self.hub.now
        self.hub.note(where.topic, where.partition, offset, Shown(value))
        for consumer in self.polling:
            if where in consumer._positions and where not in consumer._paused:
                consumer._stir()
        return offset

    def lose_end(self, where: TopicPartition, count: int) -> None:
        """The last records are gone, though all were acknowledged: a broker leads that never had them. Who has read
        them is told, as by Kafka's leader epochs, and reads from the beginning."""
        end = max(self.first[where], len(self.records[where]) - count)
        self.hub.note("lost", where.topic, where.partition, end)
        del self.records[where][end:]
        del self.landed[where][end:]
        self.markers[where] -= set(range(end, end + count))
        for consumer in self.consumers:
            if consumer._positions.get(where, 0) > end:
                consumer._positions[where] = self.first[where]
                consumer._stir()

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        wanted = list(specs)
        if any(NOWHERE in spec.name for spec in wanted):
            raise LogError("nobody may make this topic")
        super().create_topics(wanted)


@asked("create_topics", "partitions", "topics", "end_offsets", "producer", "consumer")
class HostedProcess(SimulatedProcess):
    """The log of one process."""

    def __init__(self, log: ClusterLog, process: Process) -> None:
        super().__init__(log, process.name)
        self.cluster = log
        self.host = process
        self.deaf_until = 0.0
        """Until then, its members of groups hear nothing."""
        self.numb_until = 0.0
        """Until then, it hears nothing at all."""

    def producer(self, linger_ms: float = 0.0) -> HostedProducer:
        producer = HostedProducer(self)
        self._producers.append(producer)
        return producer

    def consumer(self) -> HostedConsumer:
        consumer = HostedConsumer(self)
        self._consumers.append(consumer)
        self.cluster.consumers.append(consumer)
        return consumer

    def offsets(self, partition: TopicPartition) -> tuple[int, int]:
        self.host.touch("offsets")
        return super().offsets(partition)

    def end_offsets(
        self,
        partitions: Iterable[TopicPartition],
        on_result: Callable[[dict[TopicPartition, int], LogError | None], None],
    ) -> None:
        super().end_offsets(partitions, lambda ends, error: self.host.deliver(partial(on_result, ends, error)))

    def delete_before(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        self.host.touch("delete")
        before = {where: self.cluster.first[where] for where in offsets}
        left = super().delete_before(offsets)
        self.host.hub.happened["trim"] += left != before
        return left

    def close(self) -> None:
        """The process goes on with others."""


@asked("flush", "close")
class HostedProducer(SimulatedProducer):
    """Callbacks come in the process's thread for them."""

    def __init__(self, process: HostedProcess) -> None:
        super().__init__(process)
        self.host = process.host
        self._undelivered = 0
        self._flushing: list[SimThread] = []

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        self.host.touch("send")
        self._undelivered += 1

        def landed(offset: int, error: LogError | None) -> None:
            self.host.deliver(partial(self._called, on_delivery, offset, error))

        super().send(topic, partition, key, value, landed)

    def _called(self, on_delivery: OnDelivery | None, offset: int, error: LogError | None) -> None:
        try:
            if on_delivery is not None:
                on_delivery(offset, error)
        finally:
            self._undelivered -= 1
            while self._flushing and not self._undelivered:
                self.host.hub.wake(self._flushing.pop())

    def flush(self, timeout: float) -> int:
        hub = self.host.hub
        until = hub.now + timeout
        while self._undelivered and hub.now < until:
            if hub.current is not None:
                self._flushing.append(hub.current)
            hub.block(until - hub.now)
        return self._undelivered


@asked("assign", "subscribe", "pause", "resume", "seek", "position", "commit", "close")
class HostedConsumer(SimulatedConsumer):
    """`poll` waits, as a real one does."""

    def __init__(self, process: HostedProcess) -> None:
        super().__init__(process)
        self._hosted = process
        self.host = process.host
        self._cluster = process.cluster
        self._thread: SimThread | None = None
        self._wanted = False

    def subscribe(
        self,
        group: str,
        topics: Iterable[str],
        on_assigned: Callable[[dict[TopicPartition, Committed | None]], Mapping[TopicPartition, int]],
        on_revoked: Callable[[list[TopicPartition]], None],
    ) -> None:
        super().subscribe(group, topics, on_assigned, on_revoked)
        assert self.member is not None
        self.member.wake = self._stir

    def poll(self, timeout: float, max_records: int = 500) -> list[Record]:
        hub = self.host.hub
        self.host.touch("poll")
        until = hub.now + timeout
        while True:
            hears_at = max(self._hosted.numb_until, self._hosted.deaf_until if self._member is not None else 0.0)
            deaf = hub.now < hears_at
            records = super().poll(0.0, max_records) if not deaf and self._has_news() else []
            if records or self._wanted or hub.now >= until:
                self._wanted = False
                return records
            if self._available() and not deaf:
                hub.give_way()  # it is there, but has not come over the network yet
                continue
            self._thread = hub.current
            self._cluster.polling.append(self)
            hub.block((min(until, hears_at) if deaf else until) - hub.now)
            self._cluster.polling.remove(self)
            self._thread = None

    def _has_news(self) -> bool:
        return self._closed or (self._member is not None and self._member.changed) or self._available()

    def _available(self) -> bool:
        records = self._log.records
        for where, at in self._positions.items():  # noqa: SIM110 (asked for each poll: a generator costs as much again)
            if at < len(records[where]) and where not in self._paused:
                return True
        return False

    def _stir(self) -> None:
        if self._thread is not None:
            self.host.hub.wake(self._thread)

    def wake(self) -> None:
        self._wanted = True
        self._stir()

    def crash(self) -> None:
        super().crash()
        if self in self._cluster.polling:
            self._cluster.polling.remove(self)
