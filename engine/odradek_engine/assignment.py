"""The partitions of an engine: given to it by the group, opened, taken from it, released, rebuilt."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from odradek_log import Committed, Consumer, Log, TopicPartition
from odradek_schemas import Topics

from .agenda import Agenda
from .catching_up import CatchingUp
from .fold import State
from .following import Following
from .members import Members
from .opening import Opening
from .processor import Processor, StaleStateError
from .settings import Counters, Settings
from .store import StoreDamagedError, StoreError
from .stores import Opened, Stores

logger = logging.getLogger(__name__)

OPENING_S = 1.0
"""Partitions that come together and are open within this time are looked at together: whether they are far behind, so
that processes fold them."""

MAX_REBUILDS = 5
"""More often than that, a state is not rebuilt while the engine runs."""


class Assignment:
    """`lock`: the engine's. `gained`, `lost` and `go_on_with_opened` take it, and belong to the folding thread; whoever
    calls `counters`, `release` or `rebuild` holds it.

    `offsets` asks the log for a partition's first offset, and its end. `make` makes the processor of a state. `changed`
    is called when there are others than before; `wake`, from any thread, when some are opened.
    """

    def __init__(
        self,
        *,
        lock: threading.RLock,
        topics: Topics,
        settings: Settings,
        stores: Stores,
        members: Members,
        agenda: Agenda,
        offsets: Callable[[TopicPartition], tuple[int, int]],
        make: Callable[[int, State], Processor],
        changed: Callable[[], None],
        wake: Callable[[], None],
    ) -> None:
        self._lock = lock
        self._topic = topics.events
        self._stores = stores
        self._agenda = agenda
        self._make = make
        self._changed = changed
        self.processors: dict[int, Processor] = {}
        self.led: set[int] = set()
        """The partitions that were seen to be led."""
        self.leaving = False
        """Whether the engine leaves the group by itself."""
        self._rebuilding: dict[int, Counters] = {}  # of partitions whose state is discarded
        self.opening = Opening(self._open_or_rebuild, wake)
        self.following = Following(lock, self.processors, members, self._open, self.release, changed)
        self.catching_up = CatchingUp(stores, topics, settings, offsets, self.following.expects, wake)

    def connect(self, log: Log, partitions: int, consumer: Consumer) -> None:
        """`consumer`: reads what is led here."""
        self._consumer = consumer
        self.catching_up.connect(log)
        self.following.connect(log, self._topic, partitions)

    def end(self) -> None:
        """Open no more."""
        self.opening.end()
        self.catching_up.end()

    def counters(self) -> dict[int, Counters]:
        """What each processor has done, by partition."""
        return {**self._rebuilding, **{p: processor.counters for p, processor in self.processors.items()}}

    def gained(self, gained: dict[TopicPartition, Committed | None]) -> dict[TopicPartition, int]:
        """Begin to open them, and wait a moment: most are open by then. Others are folded while a checkpoint is
        fetched, or the log is slow to say where one of them ends."""
        with self._lock:
            missing = [tp for tp in gained if not self.following.give(tp.partition)]
            here = [tp for tp in gained if tp not in missing]
            for tp in here:
                self.processors[tp.partition].assigned(None)
        self._consumer.pause(missing)
        self._open(tp.partition for tp in missing)
        if missing:
            self.opening.wait(OPENING_S)
            self.go_on_with_opened()
        logger.info("partitions gained: %s", sorted(tp.partition for tp in gained))
        with self._lock:
            self._changed()
            return {tp: self.processors[tp.partition].start_offset for tp in here}

    def _open(self, partitions: Iterable[int]) -> None:
        self.opening.begin(partition for partition in partitions if partition not in self.catching_up)

    def go_on_with_opened(self) -> None:
        """Of the partitions that were opened, read those that are still ours to lead or to follow; those that are far
        behind, only when they are not any more."""
        opened = self.opening.take()
        if opened:
            opened = self.catching_up.take_on(opened)
        opened |= self.catching_up.take()
        if not opened:
            return
        with self._lock:
            for partition, one in opened.items():
                processor = self._make(partition, one.state)
                processor.counters = self._rebuilding.pop(partition, processor.counters)
                processor.counters.rebuilds += one.rebuilds
                processor.counters.folded += one.folded
                processor.asked_before(one.asked)
                if partition in self.following.arriving:
                    self.following.arriving.discard(partition)
                    self.processors[partition] = processor
                    processor.assigned(one.end)
                    here = TopicPartition(self._topic, partition)
                    self._consumer.seek(here, processor.start_offset)
                    self._consumer.resume([here])
                elif not self.following.opened(partition, processor):
                    self._stores.close(partition)
            self._changed()

    def lost(self, lost: list[TopicPartition]) -> None:
        """We go on leading until whoever gets a partition is ready to; so also if the group itself is lost."""
        with self._lock:
            if self.leaving:
                return  # the others need not wait until all is on disk
            partitions = [tp.partition for tp in lost]
            led = [p for p in partitions if p in self.processors and self.processors[p].leadership.leading]
            for partition in led:
                self.following.keep(partition)
            self.release([p for p in partitions if p not in led])
            self._changed()
            logger.info("partitions handed over: %s", sorted(tp.partition for tp in lost))

    def release(self, partitions: list[int]) -> None:
        """Hand partitions over, and close their stores. Raises StoreError for the first one that took no more."""
        failed: list[StoreError] = []
        for partition in partitions:
            processor = self._drop(partition)
            if processor is None:
                continue
            processor.release()
            for step in (processor.state.flush, partial(self._stores.close, partition)):
                try:
                    step()
                except StoreError as error:
                    failed.append(error)
        if failed:
            raise failed[0]

    def _drop(self, partition: int) -> Processor | None:
        self.following.dropped(partition)
        self._agenda.drop(partition)
        self.led.discard(partition)
        return self.processors.pop(partition, None)

    def rebuild(self, partition: int, error: StaleStateError | StoreDamagedError) -> None:
        """Discard a state that is not of this log, or cannot be read, and fold again before leading (L3). It is opened
        as others are: a checkpoint may be fetched."""
        logger.error("ALARM: %s. The state is discarded and rebuilt", error)
        old = self.processors[partition]
        with suppress(StoreDamagedError):
            old.release()
        if old.counters.rebuilds >= MAX_REBUILDS:
            damaged = isinstance(error, StoreDamagedError)
            cause = "is the disk broken?" if damaged else "do the checkpoints belong to another log?"
            raise StoreError(f"{error}. It was rebuilt {MAX_REBUILDS} times: {cause}")
        followed = partition in self.following.partitions
        self._drop(partition)
        if not followed:
            self.following.arriving.add(partition)
            self._consumer.pause([TopicPartition(self._topic, partition)])
        self._rebuilding[partition] = old.counters
        self.opening.begin([partition])
        self._changed()

    def _open_or_rebuild(self, partition: int) -> Opened:
        """In a thread of its own."""
        return (self._stores.rebuild if partition in self._rebuilding else self._stores.open)(partition)
