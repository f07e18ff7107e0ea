"""The thread that appends to one journal: group commit, delivery callbacks, and the cache of recent records.

Two kinds. `DurableWriter` shows a record to readers once it is on the disk. `EagerWriter` shows it in the very
call of `append` and stores it a little later; only its delivery waits for the disk.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..protocol import LogError, OnDelivery, Record
from .entries import encode
from .journal import Encoded, Journal
from .partition import Partition, Reader, Signal

_log = logging.getLogger("odradek.log")

_COMMIT_BYTES = 4 << 20
_MARK_AFTER = 0.2
_OVERHEAD = 200


class Session:
    """One producer's sends that are still out."""

    def __init__(self) -> None:
        self.closed = False
        self._out = 0
        self._changed = threading.Condition()

    def sent(self) -> None:
        with self._changed:
            self._out += 1

    def done(self, count: int) -> None:
        with self._changed:
            self._out -= count
            if not self._out:
                self._changed.notify_all()

    def wait(self, timeout: float | None) -> int:
        """Wait until nothing is out; return how many still are."""
        with self._changed:
            self._changed.wait_for(lambda: not self._out, timeout)
            return self._out


class Append:
    """One send on its way. `record` is there once it has its offset; with `error` it is given up."""

    __slots__ = ("error", "key", "on_delivery", "partition", "record", "session", "size", "stored", "value")

    def __init__(
        self, partition: Partition, key: bytes, value: bytes, on_delivery: OnDelivery | None, session: Session
    ) -> None:
        self.partition = partition
        self.key = key
        self.value = value
        self.on_delivery = on_delivery
        self.session = session
        self.size = len(key) + len(value) + _OVERHEAD
        self.record: Record | None = None
        self.error: LogError | None = None
        self.stored = False

    def give_offset(self, offset: int, timestamp_ms: int) -> Record:
        p = self.partition
        self.record = Record(p.topic, p.number, offset, timestamp_ms, self.key, self.value)
        return self.record


class Writer(ABC):
    """`delay`: how many seconds a first append may wait for others before all are stored together."""

    def __init__(
        self,
        journal: Journal,
        clock: Callable[[], int],
        delay: float,
        cache_bytes: int,
        max_pending_bytes: int,
        on_roll: Callable[[], None],
    ) -> None:
        self.journal = journal
        self._clock = clock
        self._delay = delay
        self._cache_bytes = cache_bytes
        self._max_pending_bytes = max_pending_bytes
        self._on_roll = on_roll
        self._lock = threading.Lock()
        self._space = threading.Condition(self._lock)
        self._pending: list[Append] = []
        self._pending_bytes = 0
        self._cached: deque[tuple[Partition, int, int]] = deque()
        self._cached_bytes = 0
        self._work, self._hurry = Signal(), Signal()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"odradek-{journal.folder.name}", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------ from any thread

    def append(self, item: Append) -> None:
        """Queue an append. Blocks while too many bytes wait, but never a delivery callback."""
        with self._lock:
            while self._pending_bytes > self._max_pending_bytes and not self.is_current() and not self._closing:
                self._hurry.set()
                self._space.wait()
            if self._closing:
                raise LogError("the log is closed: open it again to append to it")
            self._pending_bytes += item.size
            item.session.sent()
            readers = self._admit(item)
            self._pending.append(item)
        self._work.set()
        for reader in readers:
            reader.notify()

    def read(self, partition: Partition, offset: int, limit: int) -> list[Record]:
        """Up to `limit` visible records from `offset` on. Raises LogCorruptError."""
        with self._lock:
            end = partition.end
            if not partition.first <= offset < end:
                return []
            at = offset - partition.tail_base
            if at >= partition.dropped:
                return partition.tail[at : at + limit]
        entries = self.journal.read(partition.key, offset, min(limit, end - offset))
        topic, number = partition.topic, partition.number
        return [Record(topic, number, e.offset, e.timestamp_ms, e.key, e.value) for e in entries]

    def hurry(self) -> None:
        """Store what waits now."""
        self._hurry.set()

    def is_current(self) -> bool:
        """Whether this runs in the writer's own thread, that is, in a delivery callback."""
        return threading.current_thread() is self._thread

    def refresh(self, partitions: Iterable[Partition]) -> None:
        """Take over the first offsets after the journal has dropped old segments."""
        changed = list(partitions)
        with self._lock:
            for partition in changed:
                partition.first = self.journal.range(partition.key)[0]
        for partition in changed:
            for reader in partition.readers:
                reader.notify()

    def close(self) -> None:
        """Store what waits, end the thread, close the journal."""
        if self.is_current():
            raise LogError("a delivery callback cannot close the log: close it from another thread")
        with self._lock:
            self._closing = True
            self._space.notify_all()
        self._work.set()
        self._hurry.set()
        self._thread.join()
        self.journal.close()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        marked = True
        while True:
            if not self._work.wait(None if marked else _MARK_AFTER):
                self.journal.mark()
                marked = True
                continue
            if self._delay and not self._closing:
                self._hurry.wait(self._delay)
            while True:
                with self._lock:
                    items, self._pending = self._pending, []
                    closing = self._closing
                if not items:
                    break
                for batch in _batches(items):
                    self._commit(batch)
                marked = False
            if closing:
                return

    def _store(self, items: Sequence[Append]) -> None:
        """Write and sync. Raises LogUnavailableError."""
        entries = []
        for item in items:
            record = item.record
            assert record is not None
            _, _, offset, timestamp_ms, key, value = record
            topic, number = item.partition.key
            data = encode(topic, number, offset, timestamp_ms, key, value)
            entries.append(Encoded((topic, number), offset, timestamp_ms, data))
        if not entries:
            return
        rolled = self.journal.append(entries)
        self.journal.sync()
        if rolled:
            self._on_roll()

    def _finish(self, items: Sequence[Append]) -> None:
        """Free the memory bound, then tell the senders."""
        with self._lock:
            self._pending_bytes -= sum(item.size for item in items)
            self._space.notify_all()
        for item in items:
            if item.on_delivery is not None:
                _deliver(item, item.on_delivery)
        done: dict[Session, int] = {}
        for item in items:
            done[item.session] = done.get(item.session, 0) + 1
        for session, count in done.items():
            session.done(count)

    def _cache(self, items: Iterable[Append]) -> None:
        """Bound what is kept in memory of the records that are in the journal. Under the lock."""
        for item in items:
            self._cached.append((item.partition, 1, item.size))
            self._cached_bytes += item.size
        while self._cached_bytes > self._cache_bytes:
            partition, count, size = self._cached.popleft()
            self._cached_bytes -= size
            partition.forget(count)

    @abstractmethod
    def _admit(self, item: Append) -> Iterable[Reader]:
        """Under the lock, in the sender's thread: return the readers to notify."""

    @abstractmethod
    def _commit(self, items: list[Append]) -> None:
        """Store a batch and tell everybody."""


class DurableWriter(Writer):
    """Records get their offset when they are stored, and are visible afterwards. A batch that cannot be stored
    is given up as a whole; its offsets go to the next."""

    def _admit(self, item: Append) -> Iterable[Reader]:
        return ()

    def _commit(self, items: list[Append]) -> None:
        good = [item for item in items if item.error is None]
        self._give_offsets(good)
        try:
            self._store(good)
        except LogError as e:
            for item in good:
                item.error = e
        else:
            self._show(good)
        self._finish(items)

    def _give_offsets(self, items: list[Append]) -> None:
        now = self._clock()
        heads: dict[Partition, int] = {}
        for item in items:
            p = item.partition
            offset = heads.get(p, p.end)
            heads[p] = offset + 1
            item.give_offset(offset, max(now, p.last_ms))

    def _show(self, items: list[Append]) -> None:
        touched: dict[Partition, None] = {}
        with self._lock:
            for item in items:
                assert item.record is not None
                item.partition.show(item.record)
                touched[item.partition] = None
            self._cache(items)
        for partition in touched:
            for reader in partition.readers:
                reader.notify()


class EagerWriter(Writer):
    """Records are visible at once. What was shown and could not be stored is kept and stored first, later:
    a partition never has a gap. Until that has worked, new appends are shown to nobody."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._backlog: list[Append] = []
        self._failing = False
        super().__init__(*args, **kwargs)

    def _admit(self, item: Append) -> Iterable[Reader]:
        if item.error is not None or self._failing:
            return ()
        p = item.partition
        p.show(item.give_offset(p.end, max(self._clock(), p.last_ms)))
        return p.readers

    def _commit(self, items: list[Append]) -> None:
        try:
            self._store_or_keep([*self._backlog, *(item for item in items if item.record is not None)])
            if self._failing:
                self._store_or_keep(self._resume(items))
        except LogError as e:
            for item in items:
                if not item.stored and item.error is None:
                    item.error = e
        self._finish(items)

    def _store_or_keep(self, shown: list[Append]) -> None:
        try:
            self._store(shown)
        except LogError:
            self._backlog = shown
            with self._lock:
                self._failing = True
            raise
        self._backlog = []
        with self._lock:
            self._cache(shown)
        for item in shown:
            item.stored = True

    def _resume(self, items: list[Append]) -> list[Append]:
        """Storing works again: show what came meanwhile, in its order; return what of `items` that is."""
        readers: list[Reader] = []
        with self._lock:
            self._failing = False
            hidden = [item for item in items if item.record is None and item.error is None]
            for item in [*hidden, *self._pending]:
                if item.record is None:
                    readers.extend(self._admit(item))
        for reader in readers:
            reader.notify()
        return hidden


def _batches(items: list[Append]) -> Iterable[list[Append]]:
    """Cut what waits into writes of a bounded size."""
    start = size = 0
    for i, item in enumerate(items):
        size += item.size
        if size >= _COMMIT_BYTES:
            yield items[start : i + 1]
            start, size = i + 1, 0
    if start < len(items):
        yield items[start:]


def _deliver(item: Append, on_delivery: OnDelivery) -> None:
    error = item.error
    if error is None and item.session.closed:
        error = LogError("the producer was closed before this append was acknowledged: it may or may not have landed")
    try:
        if error is not None:
            on_delivery(-1, error)
        elif item.record is not None:
            on_delivery(item.record.offset, None)
    except Exception:
        _log.exception("a delivery callback of %s/%d failed", item.partition.topic, item.partition.number)
