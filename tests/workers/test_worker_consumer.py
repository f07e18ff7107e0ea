"""The thread that reads a task topic: what it holds back, what it commits, and what counts as fresh (T1, T4)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import pytest
from odradek._worker.consumer import TaskConsumer
from odradek._worker.intake import Taken
from odradek_log.protocol import Committed, LogCorruptError, LogUnavailableError, Record, TopicPartition
from odradek_schemas import Position, decode, encode

from .worker_fakes import workflow_task

TOPIC = "odradek.default.workflow-tasks.q"
HERE = TopicPartition(TOPIC, 0)


class HandLog:
    """A log whose one consumer gives what a test puts into it, poll by poll."""

    def __init__(self) -> None:
        self.polls: list[Callable[[], list[Record]]] = []
        self.limits: list[int] = []
        self.committed: dict[TopicPartition, Committed] = {}
        self.calls: list[tuple[str, list[TopicPartition]]] = []
        self.closed = False
        self.reachable = True
        self.empty = threading.Event()
        self._woken = threading.Event()

    def consumer(self) -> Any:
        return self

    def offsets(self, partition: TopicPartition) -> tuple[int, int]:
        if not self.reachable:
            raise LogUnavailableError("no broker")
        return 0, 0

    def subscribe(self, group: str, topics: Iterable[str], on_assigned: Any, on_revoked: Any) -> None:
        assert group == TOPIC, "the group has the topic's name, so that all workers of a queue share it"
        self.on_revoked = on_revoked
        on_assigned({HERE: None})

    def poll(self, timeout: float, max_records: int = 500) -> list[Record]:
        self.limits.append(max_records)
        if self.polls:
            return self.polls.pop(0)()
        self.empty.set()
        self._woken.wait(timeout)
        return []

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        self.calls.append(("pause", sorted(partitions)))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        self.calls.append(("resume", sorted(partitions)))

    def commit(self, positions: Mapping[TopicPartition, Committed]) -> None:
        self.committed.update(positions)

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        self.closed = True


class Reading:
    """A TaskConsumer on a HandLog, at a time that the test sets."""

    MAX_BYTES = 100_000

    def __init__(self) -> None:
        self.log = HandLog()
        self.taken: list[Taken] = []
        self.errors: list[BaseException] = []
        self.capacities: Iterator[int] = iter(())
        self.now = 0.0
        log: Any = self.log
        self.consumer = TaskConsumer(
            log, TOPIC, handle=self.taken.append, capacity=lambda: next(self.capacities, 100), between=lambda: None,
            on_error=self.errors.append, stale_after=5.0, clock=lambda: self.now, max_bytes=self.MAX_BYTES,
        )

    def run(self, *polls: Callable[[], list[Record]]) -> None:
        """Let it take these polls, and stop."""
        self.log.polls = list(polls)
        self.consumer.start()
        assert self.log.empty.wait(10)
        self.consumer.stop()


def records(*offsets: int) -> Callable[[], list[Record]]:
    def task(offset: int) -> bytes:
        return encode(workflow_task(position=Position(
            partition=0, offset=offset, index=0, previous_offset=offset - 1
        )))

    return lambda: [Record(TOPIC, 0, offset, 0, b"w", task(offset)) for offset in offsets]


def test_tasks_are_handed_over_in_order_and_committed_once_finished() -> None:
    reading = Reading()
    reading.run(records(0, 1), records(2))
    assert [t.ticket.offset for t in reading.taken] == [0, 1, 2]
    for taken in reading.taken[:2]:
        taken.ticket.finish()
    reading.consumer.leave()
    assert reading.log.committed[HERE].offset == 2, "the third is not finished"
    assert reading.log.closed


def test_what_is_finished_is_committed_before_a_partition_goes() -> None:
    reading = Reading()
    reading.run(records(0))
    reading.taken[0].ticket.finish()
    assert reading.log.committed == {}
    reading.log.on_revoked([HERE])
    assert reading.log.committed[HERE].offset == 1
    reading.consumer.leave()


def test_no_more_is_asked_for_than_there_is_room() -> None:
    reading = Reading()
    reading.capacities = iter((7, 1000))
    reading.run(records(0), records(1))
    reading.consumer.leave()
    assert reading.log.limits[:2] == [7, 500]


def test_partitions_are_paused_while_there_is_no_room() -> None:
    reading = Reading()
    reading.capacities = iter((3, 0, 0, 2))
    reading.run(*(lambda: [],) * 4)
    reading.consumer.leave()
    assert reading.log.calls == [("pause", [HERE]), ("resume", [HERE])]


def large(offset: int) -> list[Record]:
    [record] = records(offset)()
    task = msgspec.structs.replace(decode(record.value), events=[bytes(Reading.MAX_BYTES // 2)])
    return [record._replace(value=encode(task))]


def test_nothing_is_read_while_the_tasks_that_are_not_done_have_too_many_bytes() -> None:
    """Breaks when a worker reads a thousand tasks ahead, however large they are."""
    reading = Reading()

    def finish() -> list[Record]:
        reading.taken[0].ticket.finish()
        reading.taken[0].ticket.finish()
        return []

    reading.run(lambda: large(0), lambda: large(1), finish, lambda: large(2))
    assert reading.log.calls == [("pause", [HERE]), ("resume", [HERE]), ("pause", [HERE])]
    reading.log.on_revoked([HERE])
    assert reading.consumer.held_bytes == 0, "tasks of a partition that went do not count"
    reading.consumer.leave()


def test_t4_a_task_is_not_fresh_if_the_process_stood_still_since_the_poll() -> None:
    reading = Reading()

    def after_a_pause() -> list[Record]:
        reading.now += 20
        return records(1)()

    reading.run(records(0), after_a_pause, records(2))
    reading.consumer.leave()
    assert [t.fresh for t in reading.taken] == [True, False, True]


def test_t4_nothing_is_fresh_if_the_end_at_assignment_is_not_known() -> None:
    reading = Reading()
    reading.log.reachable = False
    reading.run(records(0))
    reading.consumer.leave()
    assert [t.fresh for t in reading.taken] == [False]
    assert reading.errors == []


def test_a_log_that_is_corrupt_ends_the_thread_and_is_reported() -> None:
    reading = Reading()
    error = LogCorruptError("bytes in the middle")

    def corrupt() -> list[Record]:
        reading.log.empty.set()
        raise error

    reading.run(corrupt)
    reading.consumer.leave()
    assert reading.errors == [error]
    assert reading.log.closed


@pytest.mark.parametrize("count", [1, 3])
def test_tasks_in_progress_when_their_partition_goes_are_not_committed_later(count: int) -> None:
    reading = Reading()
    reading.run(records(*range(count)))
    reading.log.on_revoked([HERE])
    for taken in reading.taken:
        taken.ticket.finish()
    reading.consumer.leave()
    assert reading.log.committed == {}
