"""A journal: the entries of many partitions, in the order of their appends, in segment files of one folder.

One thread appends (`append`, `sync`, `mark`, `expire`); any thread reads.
"""

from __future__ import annotations

import json
import logging
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..protocol import LogUnavailableError
from .entries import MARK_SIZE, Entry, decode, encode_mark, entry_size
from .files import FileHandle, Files
from .segment import (
    HEADER_SIZE,
    PartitionKey,
    Run,
    Segment,
    corrupt,
    file_header,
    load_positions,
    read_index,
    scan,
    segment_path,
    write_index,
)

_log = logging.getLogger("odradek.log")

_OPEN_SEGMENTS = 16
_READ_BYTES = 256 << 10


class Encoded(NamedTuple):
    """An entry on its way into the journal."""

    key: PartitionKey
    offset: int
    timestamp_ms: int
    data: bytes


class _Open(NamedTuple):
    """What a reader needs of a segment. `positions` of a closed one fills as partitions are read."""

    handle: FileHandle
    positions: dict[PartitionKey, array[int]]


class Journal:
    """`fsync` False: leave it to the operating system when data reaches the disk, except in `close`."""

    def __init__(self, folder: Path, files: Files, segment_bytes: int, fsync: bool) -> None:
        self.folder = folder
        self._files = files
        self._segment_bytes = segment_bytes
        self._fsync = fsync
        self._lock = threading.Lock()
        self._segments: list[Segment] = []
        self._by_partition: dict[PartitionKey, list[Segment]] = {}
        self._opened: OrderedDict[int, _Open] = OrderedDict()
        self._broken = ""
        self._expired_path = folder / "expired.json"
        self._expired = self._load_expired()
        self._synced = self._marked = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._recover()

    # ------------------------------------------------------------ opening

    def _recover(self) -> None:
        paths = sorted(self.folder.glob("*.log"))
        for i, path in enumerate(paths):
            segment = Segment(path, int(path.stem))
            last = i == len(paths) - 1
            if i and segment.base != self._segments[-1].end:
                raise corrupt(path, 0, f"it should begin at position {self._segments[-1].end}: a segment is missing")
            if last:
                self._recover_last(segment)
            elif not read_index(self._files, segment):
                self._rebuild(segment)
            self._segments.append(segment)
            for key in segment.runs:
                self._register(key, segment)
        if not self._segments:
            self._begin_segment(0)
        for stray in self.folder.glob("*.tmp"):
            self._files.remove(stray)
        self._synced = self._active.end if self._fsync else 0

    def _recover_last(self, segment: Segment) -> None:
        handle = FileHandle(self._files, segment.path)
        end = scan(segment, handle, last=True)
        size = self._files.size(handle.fd)
        if end < size:
            _log.warning("%s: dropped %d bytes of an unfinished append at byte %d", segment.path, size - end, end)
            self._files.truncate(handle.fd, end)
        if end == 0:
            self._files.write(handle.fd, file_header(segment.base), 0)
            end = HEADER_SIZE
        if self._fsync:
            self._files.sync(handle.fd)
        segment.size = end
        self._handle = handle

    def _rebuild(self, segment: Segment) -> None:
        """Scan a closed segment whose index is missing or damaged, and write the index again."""
        fresh = Segment(segment.path, segment.base)
        fresh.size = scan(fresh, FileHandle(self._files, segment.path), last=False)
        write_index(self._files, fresh, self._fsync)
        fresh.close()
        segment.runs, segment.size, segment.closed = fresh.runs, fresh.size, True

    def _register(self, key: PartitionKey, segment: Segment) -> None:
        known = self._by_partition.setdefault(key, [])
        first, expected = segment.runs[key].first, self._expired.get(key, (0, 0))[0]
        if known:
            before = known[-1].runs[key]
            expected = before.first + before.count
        if first != expected and (known or first > expected):
            raise corrupt(segment.path, 0, f"it begins at offset {first} of a partition, not at {expected}")
        known.append(segment)

    # ------------------------------------------------------------ what is there

    @property
    def _active(self) -> Segment:
        return self._segments[-1]

    def range(self, key: PartitionKey) -> tuple[int, int, int]:
        """(first offset, next offset, last timestamp) of a partition; zeros if it never had an entry."""
        with self._lock:
            segments = self._by_partition.get(key)
            if not segments:
                end, last_ms = self._expired.get(key, (0, 0))
                return end, end, last_ms
            run = segments[-1].runs[key]
            return segments[0].runs[key].first, run.first + run.count, run.last_ms

    # ------------------------------------------------------------ appending

    def append(self, entries: Sequence[Encoded]) -> bool:
        """Hand entries to the operating system; say whether that began a new segment.

        Raises LogUnavailableError; then none of them is in the journal.
        """
        self._check()
        try:
            full = self._active.size + sum(len(e.data) for e in entries) > self._segment_bytes
            rolls = full and bool(self._active.runs)
            if rolls:
                self._roll()
            self._append(entries)
            return rolls
        except OSError as e:
            raise LogUnavailableError(
                f"cannot append to {self._active.path}: {e.strerror or e}; "
                "free some space or repair the disk, later appends then work again"
            ) from e

    def _append(self, entries: Sequence[Encoded]) -> None:
        segment = self._active
        blobs = [e.data for e in entries]
        at = segment.size
        if self._synced > self._marked:
            blobs.insert(0, encode_mark(segment.end, self._synced))
            at += MARK_SIZE
        data = b"".join(blobs)
        self._write(data)
        with self._lock:
            segment.size += len(data)
            for key, offset, timestamp_ms, blob in entries:
                run = segment.runs.get(key)
                if run is None:
                    run = segment.runs[key] = Run(offset)
                    self._register(key, segment)
                run.add(at, timestamp_ms)
                at += len(blob)
        self._marked = self._synced

    def _write(self, data: bytes) -> None:
        segment = self._active
        try:
            self._files.write(self._handle.fd, data, segment.size)
        except OSError:
            try:
                self._files.truncate(self._handle.fd, segment.size)
            except OSError as e:
                self._broken = f"a failed append could not be taken back: {e.strerror or e}"
            raise

    def sync(self) -> None:
        """Force everything appended to the disk. Raises LogUnavailableError, and then appends no more:
        after a failed fsync nobody knows what is on the disk."""
        self._check()
        if not self._fsync or self._synced == self._active.end:
            return
        try:
            self._files.sync(self._handle.fd)
        except OSError as e:
            self._broken = f"fsync of {self._active.path} failed: {e.strerror or e}"
            self._check()
        self._synced = self._active.end

    def mark(self) -> None:
        """Note in the file how far it is on the disk; a best effort."""
        if self._broken or self._synced <= self._marked:
            return
        mark = encode_mark(self._active.end, self._synced)
        try:
            self._write(mark)
        except OSError as e:
            _log.warning("cannot write to %s: %s", self._active.path, e)
            return
        self._active.size += len(mark)
        self._marked = self._synced

    def _check(self) -> None:
        if self._broken:
            raise LogUnavailableError(
                f"the log in {self.folder} takes no more appends: {self._broken}; "
                "check the disk, then close the log and open it again"
            )

    def _roll(self) -> None:
        """Close the active segment and begin the next."""
        self.sync()
        segment, handle = self._active, self._handle
        self._begin_segment(segment.end)
        with self._lock:
            positions = {key: run.positions for key, run in segment.runs.items()}
            self._remember(segment.base, _Open(handle, positions))
        try:
            write_index(self._files, segment, self._fsync)
        except OSError as e:
            _log.warning("cannot write %s, the next opening will: %s", segment.index_path, e)
            return
        with self._lock:
            segment.close()

    def _begin_segment(self, base: int) -> None:
        path = segment_path(self.folder, base)
        handle = FileHandle(self._files, path, create=True)
        try:
            self._files.write(handle.fd, file_header(base), 0)
            if self._fsync:
                self._files.sync(handle.fd)
                self._files.sync_folder(self.folder)
        except OSError:
            self._files.remove(path)
            raise
        with self._lock:
            self._segments.append(Segment(path, base))
            self._handle = handle

    def expire(self, disposable: Callable[[PartitionKey, int, int], bool]) -> set[PartitionKey]:
        """Delete the oldest closed segments of which all runs are `disposable(key, next offset, last timestamp)`.

        Returns the partitions whose first offset changed.
        """
        changed: set[PartitionKey] = set()
        while len(self._segments) > 1:
            oldest = self._segments[0]
            runs = list(oldest.runs.items())
            if not all(disposable(key, run.first + run.count, run.last_ms) for key, run in runs):
                break
            self._save_expired({key: (run.first + run.count, run.last_ms) for key, run in runs})
            with self._lock:
                del self._segments[0]
                self._opened.pop(oldest.base, None)
                for key, _ in runs:
                    del self._by_partition[key][0]
            changed.update(key for key, _ in runs)
            for path in (oldest.index_path, oldest.path):
                if path.exists():
                    self._files.remove(path)
        return changed

    def _save_expired(self, ends: dict[PartitionKey, tuple[int, int]]) -> None:
        """Note where partitions go on, before the segments that say so are deleted."""
        self._expired.update(ends)
        listing = [[*key, *end] for key, end in self._expired.items()]
        self._files.replace(self._expired_path, json.dumps(listing).encode(), self._fsync)

    def _load_expired(self) -> dict[PartitionKey, tuple[int, int]]:
        if not self._expired_path.exists():
            return {}
        try:
            listing = json.loads(self._expired_path.read_bytes())
            return {(topic, partition): (end, last_ms) for topic, partition, end, last_ms in listing}
        except ValueError as e:
            raise corrupt(self._expired_path, 0, f"it is no list of offsets ({e})") from e

    def close(self) -> None:
        """Force all to the disk, whatever `fsync` says. The files close when the last reader is done."""
        if not self._broken:
            self._fsync = True
            self.sync()
            self.mark()
        with self._lock:
            self._opened.clear()

    # ------------------------------------------------------------ reading

    def read(self, key: PartitionKey, offset: int, limit: int) -> list[Entry]:
        """Up to `limit` entries of a partition from `offset` on; none if it is not there (any more).

        Gives no more than fit into a bounded read; ask again for the rest. Raises LogCorruptError.
        """
        with self._lock:
            segments = self._by_partition.get(key, [])
            i = bisect_right(segments, offset, key=lambda s: s.runs[key].first) - 1
            if i < 0:
                return []
            segment = segments[i]
            run = segment.runs[key]
            if offset >= run.first + run.count:
                return []
            opened = self._open(segment, key)
            if opened is None:
                return []
            start = offset - run.first
            wanted = opened.positions[key][start : min(start + limit, run.count)]
        return self._entries(segment, opened.handle, key, offset, wanted)

    def _open(self, segment: Segment, key: PartitionKey) -> _Open | None:
        if segment is self._active:
            return _Open(self._handle, {key: segment.runs[key].positions})
        opened = self._opened.get(segment.base)
        if opened is None:
            opened = _Open(FileHandle(self._files, segment.path), {})
        self._remember(segment.base, opened)
        if key not in opened.positions:
            run = segment.runs[key]
            if not segment.closed:  # its index could not be written: the positions are still in memory
                positions: array[int] | None = run.positions
            else:
                positions = load_positions(FileHandle(self._files, segment.index_path), run)
            if positions is None:
                self._rebuild(segment)
                positions = load_positions(FileHandle(self._files, segment.index_path), segment.runs[key])
            if positions is None:
                raise corrupt(segment.index_path, 0, "the index does not stay as it is written")
            opened.positions[key] = positions
        return opened

    def _remember(self, base: int, opened: _Open) -> None:
        self._opened[base] = opened
        self._opened.move_to_end(base)
        while len(self._opened) > _OPEN_SEGMENTS:
            self._opened.popitem(last=False)

    def _entries(
        self, segment: Segment, handle: FileHandle, key: PartitionKey, offset: int, positions: array[int]
    ) -> list[Entry]:
        entries: list[Entry] = []
        start = positions[0]
        buffer = self._files.read(handle.fd, min(_READ_BYTES, positions[-1] + 4096 - start), start)
        for position in positions:
            entry = decode(buffer, position - start)
            if entry is None and entries:
                break
            if entry is None:
                entry = self._long_entry(segment, handle, buffer, position)
            if (entry.topic, entry.partition) != key or entry.offset != offset + len(entries):
                raise corrupt(segment.path, position, f"offset {offset + len(entries)} is not where it belongs")
            entries.append(entry)
        return entries

    def _long_entry(self, segment: Segment, handle: FileHandle, buffer: bytes, position: int) -> Entry:
        """The entry at the beginning of `buffer`, which holds only a part of it."""
        size = entry_size(buffer, 0) if len(buffer) >= 8 else 0
        entry = None
        if len(buffer) < size <= segment.size - position:
            entry = decode(self._files.read(handle.fd, size, position), 0)
        if entry is None:
            raise corrupt(segment.path, position, "the entry there is not what was written")
        return entry
