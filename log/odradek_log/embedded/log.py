"""The embedded log: topics of one folder, for one process."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from weakref import WeakSet

from ..protocol import LogError, LogUnavailableError, Record, TopicPartition, TopicSpec
from .catalogue import Catalogue, Topic
from .consumer import EmbeddedConsumer, EmbeddedProducer
from .files import Files, lock
from .groups import Groups
from .journal import Journal
from .partition import Partition, Reader, Signal
from .segment import PartitionKey
from .writer import DurableWriter, EagerWriter, Writer

_log = logging.getLogger("odradek.log")

_SAVE_GROUPS_EVERY = 0.25
_EAGER_DELAY = 0.05


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class EmbeddedLog:
    """A log in one folder, for one process and its threads (see `odradek_log.Log`).

    fsync: an append to a durable topic is acknowledged, and visible, once it is on the disk. Without, a power
        cut may lose the last ones; the end of the process alone loses none.
    clock: the time of appends, in ms since the Unix epoch.
    segment_bytes: size of a file of the log.
    cache_bytes: how much of the newest records stays in memory.
    max_pending_bytes: `Producer.send` blocks while more than that waits for the disk.
    max_record_bytes: limit of key and value together.
    max_poll_interval: seconds without `poll` after which a consumer loses its partitions to others of its group.

    Topics with `durable` False are shown to readers before they are on the disk; they are stored within 50 ms.
    Old segments go when all their records are older than their topics' `retention_ms`, and, for topics that are not
    `durable`, all groups that ever subscribed to them have committed past them.

    When the disk is full or fails, appends are given up with LogUnavailableError; later ones work again once
    the disk does, except after a failed fsync: then the log must be opened again, since nobody knows what is
    on the disk. Nothing that was acknowledged is lost.

    Raises LogLockedError if the folder is open already, LogCorruptError if what was acknowledged is damaged,
    LogUnavailableError if it cannot be read or written.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        fsync: bool = True,
        *,
        clock: Callable[[], int] = _now_ms,
        segment_bytes: int = 64 << 20,
        cache_bytes: int = 64 << 20,
        max_pending_bytes: int = 64 << 20,
        max_record_bytes: int = 1_000_000,
        max_poll_interval: float = 300.0,
        files: Files | None = None,
    ) -> None:
        self.folder = Path(folder).absolute()
        self.max_record_bytes = max_record_bytes
        self._clock = clock
        files = files or Files()
        self._folder_lock = lock(self.folder)
        try:
            self._catalogue = Catalogue(self.folder / "topics.json", files)
            durable = Journal(self.folder / "durable", files, segment_bytes, fsync)
            eager = Journal(self.folder / "other", files, segment_bytes, fsync)
            self.groups = Groups(self.folder / "groups.json", files, self.partitions, max_poll_interval, fsync)
        except OSError as e:
            self._folder_lock.release()
            raise LogUnavailableError(f"cannot open the log in {self.folder}: {e}; check the disk and try again") from e
        except BaseException:
            self._folder_lock.release()
            raise
        self._lock = threading.Lock()
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._by_key: dict[PartitionKey, Partition] = {}
        self._unwanted: dict[PartitionKey, int] = {}  # offsets below which records may go
        self._expiring = threading.Lock()
        self._journals = {True: durable, False: eager}
        for topic in self._catalogue.topics.values():
            self._add(topic)
        self.groups.clamp(self._end)
        self.nowhere = Partition("", 0, (0, 0), True, (0, 0, 0))
        self._consumers: WeakSet[EmbeddedConsumer] = WeakSet()
        self._open = True
        self._durable: Writer = DurableWriter(
            durable, clock, 0, cache_bytes // 2, max_pending_bytes, lambda: self._expire(True)
        )
        self._eager: Writer = EagerWriter(
            eager, clock, _EAGER_DELAY, cache_bytes // 2, max_pending_bytes, lambda: self._expire(False)
        )
        for is_durable in (True, False):
            self._expire(is_durable)
        self._groups_changed, self._closing = Signal(), threading.Event()
        self.groups.on_change = self._groups_changed.set
        self._saver = threading.Thread(target=self._keep_groups, name="odradek-groups", daemon=True)
        self._saver.start()

    # ------------------------------------------------------------ topics

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        self.check_open()
        with self._lock:
            try:
                added = self._catalogue.add(list(specs))
            except OSError as e:
                raise LogUnavailableError(f"cannot write the topics of {self.folder}: {e}; check the disk") from e
            for topic in added:
                self._add(topic)
        if added:
            self.groups.topics_added()

    def _add(self, topic: Topic) -> None:
        for number in range(topic.partitions):
            key = (topic.id, number)
            stored = self._journals[topic.durable].range(key)
            partition = Partition(topic.name, number, key, topic.durable, stored)
            self._partitions[topic.name, number] = self._by_key[key] = partition

    def partitions(self, topic: str) -> int:
        found = self._catalogue.topics.get(topic)
        return found.partitions if found is not None else 0

    def topics(self, prefix: str) -> list[str]:
        return sorted(name for name in list(self._catalogue.topics) if name.startswith(prefix))

    def offsets(self, partition: TopicPartition) -> tuple[int, int]:
        self.check_open()
        found = self._partitions.get(partition)
        if found is None:
            raise self.unknown(*partition)
        return found.first, found.end

    def end_offsets(
        self,
        partitions: Iterable[TopicPartition],
        on_result: Callable[[dict[TopicPartition, int], LogError | None], None],
    ) -> None:
        try:
            ends = {partition: self.offsets(partition)[1] for partition in partitions}
        except LogError as e:
            on_result({}, e)
        else:
            on_result(ends, None)

    def delete_before(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Whole files go, the oldest first, when all that is in one may go, now or when the next one is begun; but the
        newest stays. A log that is opened again must be told again."""
        self.check_open()
        for partition, offset in offsets.items():
            found = self._partitions.get(partition)
            if found is None:
                raise self.unknown(*partition)
            self._unwanted[found.key] = max(offset, self._unwanted.get(found.key, 0))
        for durable in (True, False):
            self._expire(durable)
        return {partition: self._partitions[partition].first for partition in offsets}

    def producer(self, linger_ms: float = 0.0) -> EmbeddedProducer:
        self.check_open()
        return EmbeddedProducer(self)

    def consumer(self) -> EmbeddedConsumer:
        self.check_open()
        consumer = EmbeddedConsumer(self)
        self._consumers.add(consumer)
        return consumer

    def close(self) -> None:
        """Store all that was sent, and let go of the folder."""
        if not self._open:
            return
        self._durable.close()
        self._eager.close()
        self._open = False
        for consumer in list(self._consumers):
            consumer.wake()
        self._closing.set()
        self._groups_changed.set()
        self._saver.join()
        self.save_groups()
        self._folder_lock.release()

    # ------------------------------------------------------------ for producers and consumers

    def check_open(self) -> None:
        if not self._open:
            raise LogError(f"the log in {self.folder} is closed: open it again")

    def find(self, topic: str, partition: int) -> Partition | None:
        return self._partitions.get((topic, partition))

    def unknown(self, topic: str, partition: int) -> LogError:
        count = self.partitions(topic)
        if count:
            return LogError(f"topic {topic!r} has partitions 0 to {count - 1}, not {partition}")
        return LogError(f"there is no topic {topic!r} in {self.folder}: create it first")

    def writer_of(self, partition: Partition) -> Writer:
        return self._durable if partition.durable else self._eager

    def read(self, partition: Partition, offset: int, limit: int) -> list[Record]:
        return self.writer_of(partition).read(partition, offset, limit)

    def register(self, partition: Partition, reader: Reader) -> None:
        with self._lock:
            partition.readers = (*partition.readers, reader)

    def unregister(self, partition: Partition, reader: Reader) -> None:
        with self._lock:
            partition.readers = tuple(r for r in partition.readers if r is not reader)

    def hurry(self) -> None:
        self._eager.hurry()

    def save_groups(self) -> None:
        try:
            self.groups.save()
        except OSError as e:
            _log.error("cannot store the groups' positions in %s: %s; they stay in memory for now", self.folder, e)

    def in_delivery(self) -> bool:
        return self._durable.is_current() or self._eager.is_current()

    # ------------------------------------------------------------ behind the scenes

    def _end(self, partition: TopicPartition) -> int:
        found = self._partitions.get(partition)
        return found.end if found is not None else 0

    def _expire(self, durable: bool) -> None:
        """Delete the segments that nobody needs any more."""
        now = self._clock()

        def disposable(key: PartitionKey, end: int, last_ms: int) -> bool:
            partition = self._by_key.get(key)
            if partition is None:
                return False
            if end <= self._unwanted.get(key, 0):
                return True
            retention_ms = self._catalogue.topics[partition.topic].retention_ms
            if retention_ms is None or last_ms + retention_ms > now:
                return False
            return durable or self.groups.passed(TopicPartition(partition.topic, partition.number), end)

        try:
            with self._expiring:
                changed = self._journals[durable].expire(disposable)
        except OSError as e:
            _log.warning("cannot delete old segments in %s: %s", self.folder, e)
            changed = set(self._by_key)
        writer = self._durable if durable else self._eager
        writer.refresh(p for key in changed if (p := self._by_key[key]).durable is durable)

    def _keep_groups(self) -> None:
        while not self._closing.is_set():
            self._groups_changed.wait(None)
            self._closing.wait(_SAVE_GROUPS_EVERY)
            self.save_groups()
