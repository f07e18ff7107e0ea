"""The thread that reads a task topic: polls, hands tasks over, commits what is finished, holds back when full."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable

from odradek_log.protocol import Committed, Consumer, Log, LogError, TopicPartition

from .held import MAX_TASK_BYTES
from .intake import Taken, TaskIntake

logger = logging.getLogger("odradek.worker")

POLL_SECONDS = 0.5
COMMIT_SECONDS = 0.2
MAX_RECORDS = 500


class TaskConsumer:
    """Reads `topic` as a member of the group of the same name.

    `handle` gets each task, in this thread; `capacity` says how many it takes now, and `between` runs after each
    poll. None are read while those that are not done have `max_bytes` bytes. A task counts as fresh no longer when
    this process was stopped for `stale_after` seconds since it was read: its partition may have gone to another worker
    meanwhile. `on_error` is told if the thread dies.
    """

    def __init__(
        self,
        log: Log,
        topic: str,
        *,
        handle: Callable[[Taken], None],
        capacity: Callable[[], int],
        between: Callable[[], None],
        on_error: Callable[[BaseException], None],
        stale_after: float,
        on_partitions: Callable[[frozenset[int]], None] = lambda partitions: None,
        clock: Callable[[], float] = time.monotonic,
        max_bytes: int = MAX_TASK_BYTES,
    ) -> None:
        self._max_bytes = max_bytes
        self._on_partitions = on_partitions
        self._topic = topic
        self._handle = handle
        self._capacity = capacity
        self._between = between
        self._on_error = on_error
        self._stale_after = stale_after
        self._clock = clock
        self._consumer: Consumer = log.consumer()
        self._log = log
        self._intake = TaskIntake(self._end_of)
        self._paused: set[TopicPartition] = set()
        self._committed_at = 0.0
        self._polled_at = clock()
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"odradek-{topic.rpartition('.')[0]}", daemon=True)

    @property
    def partitions(self) -> list[TopicPartition]:
        """The partitions that it has now. In its own thread."""
        return self._intake.partitions

    @property
    def held_bytes(self) -> int:
        """Of the tasks that were read and are not done."""
        return self._intake.held.bytes

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look again at capacity and deliveries, now. From any thread."""
        self._consumer.wake()

    def stop(self) -> None:
        """Take nothing more; returns when the last task has been handed over."""
        self._stopping.set()
        self._consumer.wake()
        self._stopped.wait()

    def leave(self) -> None:
        """After `stop`: commit what is finished by now, and leave the group."""
        self._leave.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            try:
                self._consumer.subscribe(self._topic, [self._topic], self._assigned, self._revoked)
                while not self._stopping.is_set():
                    self._turn()
            finally:
                self._stopped.set()
            self._leave.wait()
            self._between()
            self._commit()
        except BaseException as error:
            logger.exception("reading %s has ended", self._topic)
            self._on_error(error)
        finally:
            self._consumer.close()

    def _turn(self) -> None:
        capacity = self._capacity() if self.held_bytes < self._max_bytes else 0
        self._hold_back(capacity <= 0)
        before = self._polled_at
        records = self._consumer.poll(POLL_SECONDS, max(1, min(capacity, MAX_RECORDS)))
        self._polled_at = self._clock()
        for record in records:
            taken = self._intake.receive(record)
            if taken is not None:
                if self._clock() - before > POLL_SECONDS + self._stale_after:
                    taken = taken._replace(fresh=False)
                self._handle(taken)
        self._between()
        if self._clock() - self._committed_at >= COMMIT_SECONDS:
            self._commit()

    def _hold_back(self, full: bool) -> None:
        """Pause all partitions while there is no room, so that polling keeps the membership but brings nothing."""
        partitions = set(self._intake.partitions)
        if full and partitions - self._paused:
            self._consumer.pause(partitions - self._paused)
            self._paused = partitions
        elif not full and self._paused:
            self._consumer.resume(self._paused & partitions)
            self._paused = set()

    def _commit(self) -> None:
        self._committed_at = self._clock()
        positions = self._intake.commits()
        if positions:
            self._consumer.commit(positions)

    def _assigned(self, committed: dict[TopicPartition, Committed | None]) -> dict[TopicPartition, int]:
        self._paused.difference_update(committed)
        begin = self._intake.assigned(committed)
        self._on_partitions(frozenset(p.partition for p in self._intake.partitions))
        return begin

    def _end_of(self, partition: TopicPartition) -> int:
        """The end of a partition that was just assigned. If the log cannot tell, all its tasks count as old."""
        if self._stopping.is_set():
            return sys.maxsize  # nothing more is read: a log that answers late must not keep the worker from ending
        try:
            return self._log.offsets(partition)[1]
        except LogError as error:
            logger.warning("the end of %s-%d is not known: %s", *partition, error)
            return sys.maxsize

    def _revoked(self, partitions: list[TopicPartition]) -> None:
        self._commit()
        self._paused.difference_update(partitions)
        self._intake.revoked(partitions)
        self._on_partitions(frozenset(p.partition for p in self._intake.partitions))
