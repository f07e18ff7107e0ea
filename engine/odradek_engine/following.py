"""The partitions that an engine folds though the group gave them to another: those that it stands by for, and those
that it leads until the other is ready to.

They are read by a thread of their own, so that opening one or catching up holds up none that is led.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from odradek_log import Log, TopicPartition

from .leadership import Role
from .members import Members
from .processor import Processor

logger = logging.getLogger(__name__)

CHOOSE_EVERY_S = 1.0


class Following:
    """`lock`: the engine's; it is held by whoever calls, except for `step`. `processors`: of all its partitions.

    `open` opens a partition; `release` lets some go; `changed` is called when there are more or fewer.
    """

    def __init__(
        self,
        lock: threading.RLock,
        processors: dict[int, Processor],
        members: Members,
        open: Callable[[int], Processor],
        release: Callable[[list[int]], None],
        changed: Callable[[], None],
    ) -> None:
        self._lock = lock
        self._processors = processors
        self._members = members
        self._open = open
        self._release = release
        self._changed = changed
        self.partitions: set[int] = set()
        """Of the processors, those that the group did not give us."""
        self._wanted: set[int] = set()
        self._opening: int | None = None
        self._opened = threading.Condition(lock)
        self._assign = False
        self._choose_at = 0.0
        self._ended = False

    def connect(self, log: Log, topic: str, partitions: int) -> None:
        self.consumer = log.consumer()
        self._topic = topic
        self._count = partitions

    def choose(self, now: float) -> None:
        """Follow what we should by now, at `now` of the monotonic clock. What we lead, we keep until another does."""
        if now < self._choose_at:
            return
        self._choose_at = now + CHOOSE_EVERY_S
        held = self._processors.keys() - self.partitions
        wanted = {p for p in range(self._count) if p not in held and self._members.stands_by(p)}
        idle = [p for p in self.partitions - wanted if self._processors[p].leadership.role is Role.NONE]
        if idle:
            self._release(idle)
            self._changed()
        if idle or wanted != self._wanted:
            logger.info("partitions followed: %s", sorted(wanted | self.partitions))
            self._wanted = wanted
            self.consumer.wake()

    def keep(self, partition: int) -> None:
        """The group has taken a partition that we lead: go on until another leads it."""
        self._processors[partition].unassigned()
        self.partitions.add(partition)
        self._assign = True

    def give(self, partition: int) -> bool:
        """The group gives us a partition; whether we had it. From here on it is read by the folding thread."""
        while self._opening == partition:
            self._opened.wait()
        self._wanted.discard(partition)
        if partition not in self.partitions:
            return False
        self.partitions.discard(partition)
        self._assign = True
        return True

    def dropped(self, partition: int) -> None:
        """A partition was released."""
        if partition in self.partitions:
            self.partitions.discard(partition)
            self._assign = True

    def end(self) -> None:
        """Open nothing more."""
        self._ended = True
        while self._opening is not None:
            self._opened.wait()

    def prepare(self) -> None:
        """In the following thread: open one more partition that we should follow, and read what we follow now."""
        self._open_one()
        with self._lock:
            if not self._assign:
                return
            self._assign = False
            starts = {TopicPartition(self._topic, p): self._processors[p].start_offset for p in sorted(self.partitions)}
        self.consumer.assign(starts)

    def _open_one(self) -> None:
        """That may take long, where a checkpoint is fetched: nobody waits for it."""
        with self._lock:
            missing = self._wanted - self._processors.keys()
            if not missing or self._ended:
                return
            partition = self._opening = min(missing)
        try:
            processor = self._open(partition)
            with self._lock:
                self._processors[partition] = processor
                self.partitions.add(partition)
                self._assign = True
                self._changed()
        finally:
            with self._lock:
                self._opening = None
                self._opened.notify_all()
        self.consumer.wake()
