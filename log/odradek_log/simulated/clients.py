"""Producers and consumers of the simulated log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from .. import refusals
from ..membership import Member
from ..protocol import (
    Committed,
    LogError,
    LogUnavailableError,
    OnDelivery,
    ProducerFailedError,
    Record,
    TopicPartition,
)
from .network import Channel

if TYPE_CHECKING:
    from .log import SimulatedLog, SimulatedProcess


def _too_long() -> LogError:
    return LogUnavailableError("the log took too long; later it may work")


_MANY = 64
"""Of so many appends, those that are settled are forgotten."""


class _Send:
    """One append that is out. `on_delivery` is called once, or never after a crash."""

    __slots__ = ("on_delivery", "settled")

    def __init__(self, on_delivery: OnDelivery | None) -> None:
        self.on_delivery = on_delivery
        self.settled = False

    def settle(self, offset: int, error: LogError | None) -> None:
        if not self.settled:
            self.settled = True
            if self.on_delivery is not None:
                self.on_delivery(offset, error)


class SimulatedProducer:
    """See `odradek_log.Producer`. An append lands, and is acknowledged, in later steps of the log."""

    def __init__(self, process: SimulatedProcess) -> None:
        self._process = process
        self._log: SimulatedLog = process.log
        self._appends: dict[TopicPartition, Channel] = {}
        self._acknowledgements: dict[TopicPartition, Channel] = {}
        self._out: list[_Send] = []
        self._landed: dict[TopicPartition, list[tuple[_Send, bytes, bytes]]] = {}
        self._closed = False
        self._fatal: LogError | None = None

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        if self._closed:
            raise refusals.producer_closed()
        where = TopicPartition(topic, partition)
        send = _Send(on_delivery)
        if len(self._out) > _MANY:
            self._out = [s for s in self._out if not s.settled]
        self._out.append(send)
        error = self._fatal or self._refusal(where, key, value)
        appends = self._channel(self._appends, where)
        if error is not None:
            # Behind the appends before it, as with any log: callbacks of a partition come in order.
            appends.put(lambda: self._acknowledge(where, send, -1, error))
        else:
            appends.put(lambda: self._land(where, send, key, value))
        self._log.settle()

    def _refusal(self, where: TopicPartition, key: bytes, value: bytes) -> LogError | None:
        if where not in self._log.records:
            return refusals.unknown_partition(where)
        if len(key) + len(value) > self._log.max_record_bytes:
            return refusals.too_large(where, len(key) + len(value), self._log.max_record_bytes)
        faults = self._log.faults
        return _too_long() if faults.strikes("append refused", faults.refuse, self._log.rng) else None

    def _channel(self, channels: dict[TopicPartition, Channel], where: TopicPartition) -> Channel:
        channel = channels.get(where)
        if channel is None:
            channel = channels[where] = self._log.network.channel()
            channel.held = self._process.stalled or (channels is self._acknowledgements and self._process.paused)
        return channel

    def _land(self, where: TopicPartition, send: _Send, key: bytes, value: bytes) -> None:
        offset = self._log.append(where, key, value)
        landed = self._landed.setdefault(where, [])
        if len(landed) > _MANY:
            landed[:] = [one for one in landed if not one[0].settled]
        landed.append((send, key, value))
        faults = self._log.faults
        if faults.strikes("append landed twice", faults.repeat, self._log.rng):
            self._log.append(where, key, value)
        if faults.strikes("append landed and timed out", faults.mistake, self._log.rng):
            self._acknowledge(where, send, -1, _too_long())
        else:
            self._acknowledge(where, send, offset, None)

    def _acknowledge(self, where: TopicPartition, send: _Send, offset: int, error: LogError | None) -> None:
        if not send.settled:
            self._channel(self._acknowledgements, where).put(lambda: send.settle(offset, error))

    def flush(self, timeout: float) -> int:
        """Deliver what can be delivered now; `timeout` is not waited for."""
        while any(not send.settled for send in self._out) and self._log.step():
            pass
        return sum(not send.settled for send in self._out)

    def close(self) -> None:
        """What is out may land later, a part of it, or not; the callbacks get an error now."""
        if not self._closed:
            self._closed = True
            self._cut()
            for send in self._out:
                send.settle(-1, LogError("the producer was closed before this append was acknowledged"))

    def hold(self, stalled: bool, paused: bool) -> None:
        """Keep appends in the network while `stalled`, acknowledgements while `stalled` or `paused`."""
        for channel in self._appends.values():
            channel.held = stalled and not channel.ended
        for channel in self._acknowledgements.values():
            channel.held = stalled or paused

    def crash(self) -> None:
        """The process is gone: a part of what is out lands later, and nobody hears of it."""
        self._closed = True
        self._log.faults.happened["append of a dead process"] += sum(not send.settled for send in self._out)
        for send in self._out:
            send.settled = True
        self._cut()

    def forgotten(self) -> None:
        """Brokers know nothing of this producer any more, while it has not heard of its last appends and sends them
        again: they land twice, all of them behind all that landed; or a broker finds numbers that it does not expect,
        which is fatal."""
        for where, landed in self._landed.items():
            unheard = [(key, value) for send, key, value in landed if not send.settled]
            if unheard and self._log.rng.random() < 0.3:
                self.fail()
                return
            for key, value in unheard:
                self._log.append(where, key, value)
                self._log.faults.happened["append landed twice"] += 1

    def fail(self) -> None:
        """A fatal error: all that is out, and all later sends, are given up; a part of what is out lands later."""
        self._fatal = ProducerFailedError("the producer failed for good: ask the log for a new one")
        landed = sum(not send.settled for sent in self._landed.values() for send, _, _ in sent)
        self._log.faults.happened["acknowledgement lost"] += landed
        self._cut()
        for send in self._out:
            send.settle(-1, self._fatal)

    def _cut(self) -> None:
        for channel in self._appends.values():
            channel.cut(self._log.rng)
        for channel in (*self._appends.values(), *self._acknowledgements.values()):
            channel.ended = self._closed


class SimulatedConsumer:
    """See `odradek_log.Consumer`. `poll` never waits: what has not come yet comes after further steps."""

    def __init__(self, process: SimulatedProcess) -> None:
        self._log: SimulatedLog = process.log
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._member: Member | None = None
        self._commits = process.log.network.channel()
        self._closed = False
        self._on_assigned: Callable[[dict[TopicPartition, Committed | None]], Mapping[TopicPartition, int]]
        self._on_revoked: Callable[[list[TopicPartition]], None]

    @property
    def member(self) -> Member | None:
        """For the simulation: its place in the group."""
        return self._member

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._check()
        if self._member is not None:
            raise refusals.in_a_group()
        for where in positions:
            self._log.check_known(where)
        self._paused &= positions.keys()
        self._positions = dict(positions)

    def subscribe(
        self,
        group: str,
        topics: Iterable[str],
        on_assigned: Callable[[dict[TopicPartition, Committed | None]], Mapping[TopicPartition, int]],
        on_revoked: Callable[[list[TopicPartition]], None],
    ) -> None:
        self._check()
        if self._member is not None or self._positions:
            raise refusals.already_reads()
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._member = self._log.group(group).join(topics, lambda: None)

    def poll(self, timeout: float, max_records: int = 500) -> list[Record]:
        self._check()
        self._log.settle()
        if self._member is not None and self._member.changed:
            self._follow_group(self._member)
        records: list[Record] = []
        order = [p for p, at in self._positions.items() if at != len(self._log.records[p]) and p not in self._paused]
        if len(order) > 1:
            self._log.shuffle(order)
        for where in order:
            records += self._fetch(where, max_records - len(records))
        return records

    def _fetch(self, where: TopicPartition, room: int) -> list[Record]:
        stored, first = self._log.records[where], self._log.first[where]
        position = self._positions[where]
        if not first <= position <= len(stored):
            position = first
        count = self._log.some(min(room, len(stored) - position))
        self._positions[where] = position + count
        found = stored[position : position + count]
        markers = self._log.markers.get(where)
        return [record for record in found if record.offset not in markers] if markers else found

    def _follow_group(self, member: Member) -> None:
        group = member.group
        if member.expelled:
            self._revoke(list(self._positions))
            group.rejoin(member)
        surplus = group.surplus(member)
        if surplus:
            self._revoke(surplus)
            group.release(member, surplus)
        gained = group.take(member)
        if gained:
            for where, committed in gained.items():
                self._positions[where] = committed.offset if committed is not None else 0
            self._positions.update(self._on_assigned(gained))

    def _revoke(self, partitions: list[TopicPartition]) -> None:
        self._on_revoked(partitions)
        for where in partitions:
            del self._positions[where]
            self._paused.discard(where)
        self._flush_commits()

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        for where in partitions:
            self._check_ours(where)
            self._paused.add(where)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        for where in partitions:
            self._check_ours(where)
            self._paused.discard(where)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._check_ours(partition)
        self._positions[partition] = offset

    def position(self, partition: TopicPartition) -> int:
        self._check_ours(partition)
        return self._positions[partition]

    def commit(self, positions: Mapping[TopicPartition, Committed]) -> None:
        member = self._member
        if member is None:
            raise refusals.not_a_member()
        taken = dict(positions)
        self._commits.put(lambda: void(member.group.commit(member, taken)))
        self._log.settle()

    def _flush_commits(self) -> None:
        while self._commits.queue:
            self._commits.queue.popleft()()

    def wake(self) -> None:
        """Nothing to do: `poll` never waits."""

    def close(self) -> None:
        if self._closed:
            return
        if self._member is not None and self._positions:
            self._revoke(sorted(self._positions))
        self._closed = True
        self._flush_commits()
        if self._member is not None:
            self._member.group.leave(self._member)

    def crash(self) -> None:
        """The process is gone: a part of its commits lands later. The group notices when it is told to."""
        self._closed = True
        self._commits.cut(self._log.rng)

    def skip(self, partition: TopicPartition) -> None:
        """Go to the end of a partition and commit that, as a consumer does that lost its position (rule T3)."""
        if partition in self._positions and self._member is not None:
            end = len(self._log.records[partition])
            self._positions[partition] = end
            self._member.group.commit(self._member, {partition: Committed(end)})

    def _check_ours(self, partition: TopicPartition) -> None:
        if partition not in self._positions:
            raise refusals.not_assigned(partition)

    def _check(self) -> None:
        if self._closed:
            raise refusals.consumer_closed()


def void(_: object) -> None:
    """Drop a result."""
