"""One file of a journal: `<base>.log`, and, once it is closed, its index `<base>.idx`.

`base` is the position of the file's first byte in the journal. The index says which entries of which
partition are in the file and where, so that opening a log reads no closed segment.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from zlib import crc32

from ..protocol import LogCorruptError
from .entries import MARK_TOPIC, Entry, decode, last_synced, synced_of
from .files import FileHandle, Files

PartitionKey: TypeAlias = tuple[int, int]
"""(topic id, partition)"""

_HEADER = struct.Struct("<8sQ")
_MAGIC = b"ODRLOG\x00\x01"
_INDEX_HEADER = struct.Struct("<8sIIQ")
_INDEX_MAGIC = b"ODRIDX\x00\x01"
_INDEX_RUN = struct.Struct("<IIQIQI")
_CHUNK = 4 << 20

HEADER_SIZE = _HEADER.size


@dataclass(slots=True)
class Run:
    """The entries of one partition in one segment: offsets `first` to `first + count - 1`.

    `positions[i]` is the byte in the file at which offset `first + i` begins.
    """

    first: int
    last_ms: int = 0
    count: int = 0
    positions: array[int] = field(default_factory=lambda: array("I"))
    index_at: int = 0
    index_crc: int = 0

    def add(self, position: int, timestamp_ms: int) -> None:
        self.positions.append(position)
        self.count += 1
        self.last_ms = timestamp_ms


@dataclass(slots=True, eq=False)
class Segment:
    """`runs` of a closed segment have no `positions` in memory: `load_positions` reads them."""

    path: Path
    base: int
    size: int = HEADER_SIZE
    runs: dict[PartitionKey, Run] = field(default_factory=dict)
    closed: bool = False

    def close(self) -> None:
        """Drop the positions from memory: they are in the index now."""
        for run in self.runs.values():
            run.positions = array("I")
        self.closed = True

    @property
    def end(self) -> int:
        return self.base + self.size

    @property
    def index_path(self) -> Path:
        return self.path.with_suffix(".idx")


def segment_path(folder: Path, base: int) -> Path:
    return folder / f"{base:020d}.log"


def file_header(base: int) -> bytes:
    return _HEADER.pack(_MAGIC, base)


def corrupt(path: Path, position: int, what: str) -> LogCorruptError:
    return LogCorruptError(
        f"{path} is damaged at byte {position}: {what}. Nothing was skipped or changed; restore the file from a copy, "
        "and check the disk"
    )


# ---------------------------------------------------------------- reading a whole file


def scan(segment: Segment, handle: FileHandle, last: bool) -> int:
    """Read all entries into `segment.runs`; return where the valid ones end.

    Raises LogCorruptError for damage that no torn write explains: in a segment that is not the `last`
    one, or below a position that is known to have been on the disk.
    """
    files = handle.files
    file_size = files.size(handle.fd)
    if files.read(handle.fd, HEADER_SIZE, 0) != file_header(segment.base):
        if last and file_size <= HEADER_SIZE:
            return 0
        raise corrupt(segment.path, 0, "the header of the segment is not what was written")
    end, synced = HEADER_SIZE, 0
    for position, entry in _entries(handle, file_size):
        if entry.topic == MARK_TOPIC:
            synced = max(synced, synced_of(entry))
        else:
            _add(segment, position, entry)
        end = position + entry.size
    if end < file_size:
        rest = files.read(handle.fd, file_size - end, end)
        synced = max(synced, last_synced(rest, segment.base + end))
        if not last or synced > segment.base + end:
            raise corrupt(segment.path, end, "the entry there is not what was written, and valid ones follow it")
    return end


def _entries(handle: FileHandle, file_size: int) -> Iterator[tuple[int, Entry]]:
    """The entries from the beginning of the file up to the first that is not valid."""
    files, start, want = handle.files, HEADER_SIZE, _CHUNK
    while start < file_size:
        buffer = files.read(handle.fd, want, start)
        at = 0
        while (entry := decode(buffer, at)) is not None:
            yield start + at, entry
            at += entry.size
        if at == 0:
            if start + len(buffer) >= file_size:
                return
            want *= 4  # an entry longer than the chunk, or damage: look at more of it
        else:
            start += at
            want = _CHUNK


def _add(segment: Segment, position: int, entry: Entry) -> None:
    key = (entry.topic, entry.partition)
    run = segment.runs.get(key)
    if run is None:
        run = segment.runs[key] = Run(entry.offset)
    if entry.offset != run.first + run.count:
        raise corrupt(segment.path, position, f"offset {entry.offset} stands where {run.first + run.count} belongs")
    run.add(position, entry.timestamp_ms)


# ---------------------------------------------------------------- the index of a closed segment


def write_index(files: Files, segment: Segment, sync: bool) -> None:
    """Store the index beside the segment."""
    arrays: list[bytes] = []
    directory: list[bytes] = []
    at = _INDEX_HEADER.size + len(segment.runs) * _INDEX_RUN.size
    for (topic, partition), run in segment.runs.items():
        data = run.positions.tobytes()
        run.index_at, run.index_crc = at, crc32(data)
        directory.append(_INDEX_RUN.pack(topic, partition, run.first, run.count, run.last_ms, run.index_crc))
        arrays.append(data)
        at += len(data)
    listing = b"".join(directory)
    header = _INDEX_HEADER.pack(_INDEX_MAGIC, crc32(listing), len(directory), segment.size)
    files.replace(segment.index_path, b"".join((header, listing, *arrays)), sync)


def read_index(files: Files, segment: Segment) -> bool:
    """Fill `segment` from its index; False if there is none that fits the file."""
    try:
        index = FileHandle(files, segment.index_path)
        log = FileHandle(files, segment.path)
    except FileNotFoundError:
        return False
    header = files.read(index.fd, _INDEX_HEADER.size, 0)
    if len(header) < _INDEX_HEADER.size:
        return False
    magic, crc, count, size = _INDEX_HEADER.unpack(header)
    listing = files.read(index.fd, count * _INDEX_RUN.size, _INDEX_HEADER.size)
    if magic != _INDEX_MAGIC or crc32(listing) != crc or size != files.size(log.fd):
        return False
    at = _INDEX_HEADER.size + len(listing)
    for topic, partition, first, run_count, last_ms, run_crc in _INDEX_RUN.iter_unpack(listing):
        segment.runs[topic, partition] = Run(first, last_ms, run_count, index_at=at, index_crc=run_crc)
        at += run_count * 4
    segment.size = size
    segment.closed = True
    return True


def load_positions(index: FileHandle, run: Run) -> array[int] | None:
    """The positions of a closed segment's run; None if the index is damaged."""
    data = index.files.read(index.fd, run.count * 4, run.index_at)
    if len(data) != run.count * 4 or crc32(data) != run.index_crc:
        return None
    positions = array("I")
    positions.frombytes(data)
    return positions
