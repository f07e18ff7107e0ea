"""What an engine reads of `ephemeral`: reads, heartbeats, and what other engines say of themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from odradek_log import Log, TopicPartition
from odradek_schemas import DecodeError, decode
from odradek_schemas.ephemeral import EngineAlive

from .clock import Clock
from .members import Members
from .processor import Processor

AT_ONCE = 500
BACK_RECORDS = 1_000
"""How many of the last reads a new leader looks at; older ones were asked again, or nobody waits."""


class Hearing:
    """`lock`: the engine's. `processors`: of its partitions. `offsets`: asks the log for a partition's first offset,
    and its end."""

    def __init__(
        self,
        lock: threading.RLock,
        processors: dict[int, Processor],
        members: Members,
        clock: Clock,
        offsets: Callable[[TopicPartition], tuple[int, int]],
    ) -> None:
        self._lock = lock
        self._processors = processors
        self._members = members
        self._clock = clock
        self._offsets = offsets
        self.positions: dict[TopicPartition, int] = {}
        self._began: dict[TopicPartition, int] = {}
        self._wanted: list[int] = []
        self._changed = False

    def connect(self, log: Log, topic: str) -> None:
        self.consumer = log.consumer()
        self._topic = topic

    def want(self, partitions: Collection[int]) -> None:
        """Read these partitions, from a little before their end. From any thread that holds the lock."""
        self._wanted = sorted(partitions)
        self._changed = True
        self.consumer.wake()

    def step(self, timeout: float, followed: Collection[int]) -> bool:
        """Take in what comes within `timeout` seconds. Returns whether the leader of one of those partitions that are
        `followed` may be gone."""
        if self._changed:
            self._assign()
        records = self.consumer.poll(timeout, AT_ONCE)
        if not records and not followed:
            return False
        with self._lock:
            for record in records:
                tp = TopicPartition(record.topic, record.partition)
                self.positions[tp] = record.offset + 1
                past = record.offset < self._began.get(tp, 0)
                processor = self._processors.get(record.partition)
                if processor is not None:
                    processor.handle_ephemeral(record.value, past=past)
                elif not past:
                    self._overhear(record.value)
            return len(records) < AT_ONCE and self._silence(followed)

    def _overhear(self, value: bytes) -> None:
        """In a partition that is not ours, only what engines say of themselves is for us."""
        try:
            record = decode(value)
        except DecodeError:
            return  # those who have the partition say so
        if isinstance(record, EngineAlive):
            self._members.heard(record)

    def _silence(self, followed: Collection[int]) -> bool:
        """Nothing more was said."""
        now = self._clock.monotonic()
        watches = [self._processors[partition].candidacy.watch for partition in followed]
        for watch in watches:
            watch.listened(now)
        return any(watch.suspect for watch in watches)

    def _assign(self) -> None:
        with self._lock:
            self._changed = False
            wanted = [TopicPartition(self._topic, p) for p in self._wanted]
        starts = {}
        for tp in wanted:
            if tp not in self.positions:
                first, end = self._offsets(tp)
                starts[tp] = max(first, end - BACK_RECORDS)
                self._began[tp] = end
            else:
                starts[tp] = self.positions[tp]
        self.consumer.assign(starts)
        self.positions = starts
