"""A consumer on Kafka, with partitions by hand or from a group."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Position

from .. import refusals
from ..protocol import Committed, LogUnavailableError, Record, TopicPartition
from .errors import kafka_error, translate
from .wakeable import WakeableConsumer

_log = logging.getLogger("odradek.log")

_ALL = 10_000
_LEAVE_S = 5.0
"""Who leaves while the group changes waits so long for the group to take what was committed."""
_METADATA_LIMIT = 4_000
# A commit that meets a rebalance is sent again: the group does not take it while members are joining. One that is gone
# for the group is told that its partitions are lost.
_COMMIT_AGAIN = {
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._WAIT_COORD,
}
# What a broker that is away, or a topic that was just made, brings about: it passes.
_PASSING = {
    KafkaError._PARTITION_EOF,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}

OnAssigned = Callable[[dict[TopicPartition, Committed | None]], Mapping[TopicPartition, int]]
OnRevoked = Callable[[list[TopicPartition]], None]


class KafkaConsumer:
    """See `odradek_log.Consumer`. A position outside of what can be read counts as the earliest."""

    def __init__(self, config: Mapping[str, Any], servers: str) -> None:
        self._config = dict(config)
        self._servers = servers
        self._opened: WakeableConsumer | None = None
        self._woken_early = False
        self._group = False
        self._closed = False
        self._leaving = False
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._arriving: dict[TopicPartition, None] = {}
        self._uncommitted: dict[TopicPartition, Committed] = {}
        self._commit_again = False
        self._raised: BaseException | None = None
        self._on_assigned: OnAssigned = lambda _: {}
        self._on_revoked: OnRevoked = lambda _: None

    def _open(self, group: str) -> WakeableConsumer:
        """librdkafka wants a group from the start. Raises ValueError for settings that it does not know."""
        self._opened = WakeableConsumer({**self._config, "group.id": group}, self._committed)
        if self._woken_early:
            self._opened.wake()
        return self._opened

    @property
    def _source(self) -> WakeableConsumer:
        return self._opened or self._open("odradek")

    # ------------------------------------------------------------ by hand

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        self._check()
        if self._group:
            raise refusals.in_a_group()
        self._stop([p for p in self._positions if positions.get(p) != self._positions[p]])
        self._begin({p: offset for p, offset in positions.items() if p not in self._positions})

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self._set_paused(partitions, True)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self._set_paused(partitions, False)

    def _set_paused(self, partitions: Iterable[TopicPartition], paused: bool) -> None:
        ours = list(partitions)
        for partition in ours:
            self._check_ours(partition)
        parts = [Position(*partition) for partition in ours]
        if paused:
            self._source.consumer.pause(parts)
            self._paused.update(ours)
        else:
            self._source.consumer.resume(parts)
            self._paused.difference_update(ours)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._check_ours(partition)
        # librdkafka refuses to seek in a partition that it has not begun to fetch; beginning anew always works.
        paused = partition in self._paused
        self._stop([partition])
        self._begin({partition: offset})
        if paused:
            self._set_paused([partition], True)

    def position(self, partition: TopicPartition) -> int:
        """librdkafka passes ends of transactions, and says nothing of them to `poll`."""
        self._check_ours(partition)
        [passed] = self._source.consumer.position([Position(*partition)])
        return max(self._positions[partition], passed.offset)

    def _begin(self, positions: Mapping[TopicPartition, int]) -> None:
        if positions:
            self._source.consumer.incremental_assign([Position(*p, offset) for p, offset in positions.items()])
            self._positions.update(positions)

    def _stop(self, partitions: Iterable[TopicPartition]) -> None:
        ours = [p for p in partitions if p in self._positions]
        if ours:
            self._source.consumer.incremental_unassign([Position(*p) for p in ours])
            for partition in ours:
                del self._positions[partition]
            self._paused.difference_update(ours)

    def _check_ours(self, partition: TopicPartition) -> None:
        self._check()
        if partition not in self._positions:
            raise refusals.not_assigned(partition)

    # ------------------------------------------------------------ reading

    def poll(self, timeout: float, max_records: int = 500) -> list[Record]:
        self._check()
        deadline = time.monotonic() + timeout
        try:
            if self._arriving:
                self._take_arriving(timeout)
            self._commit_refused()
            messages = self._receive(max(0.0, deadline - time.monotonic()), max_records)
        except KafkaException as e:
            raise translate(kafka_error(e), "read", self._servers) from e
        finally:
            self._source.reset()
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised
        return self._records(messages)

    def _receive(self, timeout: float, max_records: int) -> list[Message]:
        """Wait for the first message, then take what has come; librdkafka's own wait for many waits for all."""
        first = self._source.poll(0 if self._raised else timeout)
        if first is None:
            return []
        messages = [first]
        if max_records > 1:
            messages += self._source.consumer.consume(min(max_records - 1, _ALL), 0)
        return messages

    def _records(self, messages: list[Any]) -> list[Record]:
        records: list[Record] = []
        positions = self._positions
        for message in messages:
            error = message.error()
            if error is not None:
                self._meet(error)
                continue
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            where = TopicPartition(topic, partition)
            if where in positions:
                positions[where] = offset + 1
                records.append(
                    Record(
                        topic, partition, offset, message.timestamp()[1], message.key() or b"", message.value() or b""
                    )
                )
        return records

    def _meet(self, error: KafkaError) -> None:
        problem = translate(error, "read", self._servers)
        if (error.code() in _PASSING and not error.fatal()) or isinstance(problem, LogUnavailableError):
            _log.debug("while reading: %s", error)
        else:
            raise problem

    def wake(self) -> None:
        self._woken_early = True
        if self._opened is not None and not self._closed:
            self._opened.wake()

    # ------------------------------------------------------------ the group

    def subscribe(self, group: str, topics: Iterable[str], on_assigned: OnAssigned, on_revoked: OnRevoked) -> None:
        self._check()
        if self._opened is not None:
            raise refusals.already_reads()
        self._group = True
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        self._open(group).consumer.subscribe(
            list(topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def _assigned(self, consumer: Any, partitions: list[Position]) -> None:
        """The group gives partitions. They begin in `_take_arriving`: here nobody could wait for a broker."""
        consumer.incremental_assign([])
        self._arriving.update(dict.fromkeys(TopicPartition(p.topic, p.partition) for p in partitions))
        self._source.wake()

    def _take_arriving(self, timeout: float) -> None:
        """Ask for the committed positions of new partitions, and begin to read them."""
        asked = [Position(*p) for p in self._arriving]
        try:
            answers = self._source.consumer.committed(asked, timeout=min(max(timeout, 0.1), 1.0))
        except KafkaException as e:
            if isinstance(translate(kafka_error(e), "", ""), LogUnavailableError):
                return
            raise
        if any(answer.error is not None for answer in answers):
            return
        gained = {
            TopicPartition(a.topic, a.partition): Committed(a.offset, a.metadata or "") if a.offset >= 0 else None
            for a in answers
            if (a.topic, a.partition) in self._arriving
        }
        self._arriving.clear()
        self._begin({p: committed.offset if committed is not None else 0 for p, committed in gained.items()})
        for partition, offset in self._on_assigned(gained).items():
            self.seek(partition, offset)

    def _revoked(self, consumer: Any, partitions: list[Position]) -> None:
        self._give_up(partitions, lost=False)

    def _lost(self, consumer: Any, partitions: list[Position]) -> None:
        self._give_up(partitions, lost=True)

    def _give_up(self, partitions: list[Position], lost: bool) -> None:
        gone = [TopicPartition(p.topic, p.partition) for p in partitions]
        for partition in gone:
            self._arriving.pop(partition, None)
        ours = [p for p in gone if p in self._positions]
        try:
            if lost:
                for partition in ours:
                    self._uncommitted.pop(partition, None)
            if self._leaving:
                self._send_commit({p: self._uncommitted[p] for p in ours if p in self._uncommitted})
            elif ours:
                self._on_revoked(ours)
        except BaseException as e:
            self._raised = e
        finally:
            if not ours:  # told nothing, confluent-kafka has librdkafka take what never began, which it refuses
                self._source.consumer.incremental_unassign([])
            self._stop(ours)
            for partition in gone:
                self._uncommitted.pop(partition, None)

    def commit(self, positions: Mapping[TopicPartition, Committed]) -> None:
        if not self._group:
            raise refusals.not_a_member()
        ours = {p: committed for p, committed in positions.items() if p in self._positions}
        for partition, committed in ours.items():
            if len(committed.metadata) > _METADATA_LIMIT:
                raise ValueError(f"metadata of {partition} is above {_METADATA_LIMIT:,} characters")
        self._uncommitted.update(ours)
        self._send_commit(ours)

    def _commit_refused(self) -> None:
        """Commit again what the group did not take."""
        if self._commit_again:
            self._commit_again = False
            self._send_commit(self._uncommitted)

    def _send_commit(self, positions: Mapping[TopicPartition, Committed]) -> None:
        if positions:
            offsets = [Position(*p, c.offset, c.metadata) for p, c in positions.items()]
            self._source.consumer.commit(offsets=offsets, asynchronous=True)

    def _committed(self, error: KafkaError | None, partitions: list[Position]) -> None:
        """The outcome of a commit; in `poll`."""
        for p in partitions:
            problem = error or p.error
            where = TopicPartition(p.topic, p.partition)
            current = self._uncommitted.get(where)
            if problem is not None and problem.code() in _COMMIT_AGAIN:
                self._commit_again = current is not None
            elif current is not None and current.offset == p.offset:
                del self._uncommitted[where]
            if problem is not None:
                _log.debug("commit of %s/%d: %s", p.topic, p.partition, problem)

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        if self._closed:
            return
        if self._group:
            self._leave()
        self._closed = True
        if self._opened is not None:
            self._opened.consumer.close()
        if self._raised is not None:
            raise self._raised

    def _leave(self) -> None:
        """Have the group take what was committed, and what `on_revoked` commits, while we are a member."""
        ours = list(self._positions)
        try:
            if ours:
                self._on_revoked(ours)
        except BaseException as e:
            self._raised = e
        self._leaving = True
        self._arriving.clear()
        give_up = time.monotonic() + _LEAVE_S
        with contextlib.suppress(KafkaException):
            self._source.consumer.pause([Position(*p) for p in self._positions])
            while self._uncommitted and time.monotonic() < give_up:
                self._commit_refused()
                self._source.reset()
                self._source.poll(0.05)

    def _check(self) -> None:
        if self._closed:
            raise refusals.consumer_closed()
