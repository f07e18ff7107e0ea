"""The partitions that an engine folds though the group gave them to another: those that it stands by for, and those
that it leads until the other is ready to.

They are read by a thread of their own, so that catching up holds up none that is led.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from odradek_log import Log, TopicPartition

from .leadership import Role
from .members import Members
from .processor import Processor

logger = logging.getLogger(__name__)

CHOOSE_EVERY_S = 1.0


class Following:
    """`lock`: the engine's; it is held by whoever calls, except for `prepare`. `processors`: of all its partitions.

    `open` begins to open partitions, which come by `opened`; `release` lets some go; `changed` is called when there
    are more or fewer.
    """

    def __init__(
        self,
        lock: threading.RLock,
        processors: dict[int, Processor],
        members: Members,
        open: Callable[[Iterable[int]], None],
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
        self.arriving: set[int] = set()
        """What the group gave us, and is not open yet."""
        self._wanted: set[int] = set()
        self._assign = False
        self._choose_at = 0.0

    @property
    def held(self) -> set[int]:
        """What the group gave us."""
        return (self._processors.keys() - self.partitions) | self.arriving

    def connect(self, log: Log, topic: str, partitions: int) -> None:
        self.consumer = log.consumer()
        self._topic = topic
        self._count = partitions

    def choose(self, now: float) -> None:
        """Follow what we should by now, at `now` of the monotonic clock. What we lead, we keep until another does."""
        if now < self._choose_at:
            return
        self._choose_at = now + CHOOSE_EVERY_S
        held = self.held
        wanted = {p for p in range(self._count) if p not in held and self._members.stands_by(p)}
        idle = [p for p in self.partitions - wanted if self._processors[p].leadership.role is Role.NONE]
        if idle:
            self._release(idle)
            self._changed()
        if idle or wanted != self._wanted:
            logger.info("partitions followed: %s", sorted(wanted | self.partitions))
            self._wanted = wanted
        self._open(wanted - self._processors.keys())

    def expects(self, partition: int) -> bool:
        """Whether a partition that is not open yet is to be ours. From any thread."""
        return partition in self.arriving or partition in self._wanted

    def keep(self, partition: int) -> None:
        """The group has taken a partition that we lead: go on until another leads it."""
        self._processors[partition].unassigned()
        self.partitions.add(partition)
        self._assign = True

    def opened(self, partition: int, processor: Processor) -> bool:
        """A partition is open; whether we want it still, as one that others lead."""
        if partition not in self._wanted:
            return False
        self._processors[partition] = processor
        self.partitions.add(partition)
        self._assign = True
        self.consumer.wake()
        return True

    def give(self, partition: int) -> bool:
        """The group gives us a partition; whether we had it. From here on it is read by the folding thread."""
        self._wanted.discard(partition)
        if partition not in self.partitions:
            self.arriving.add(partition)
            return False
        self.partitions.discard(partition)
        self._assign = True
        return True

    def dropped(self, partition: int) -> None:
        """A partition was released."""
        self.arriving.discard(partition)
        if partition in self.partitions:
            self.partitions.discard(partition)
            self._assign = True

    def prepare(self) -> None:
        """In the following thread: read what we follow now."""
        with self._lock:
            if not self._assign:
                return
            self._assign = False
            starts = {TopicPartition(self._topic, p): self._processors[p].start_offset for p in sorted(self.partitions)}
        self.consumer.assign(starts)
