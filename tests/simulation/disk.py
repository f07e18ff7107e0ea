"""The disks of simulated engines: what was not synced is lost in a crash, and what was being synced may be torn; they
may be full, slow, failing, old or gone.

Copies of a state that go through checkpoints are real files.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

import msgspec
from odradek_engine.store import StoreDamagedError, StoreError
from sortedcontainers import SortedDict

from .hub import Process

COPY = "entries"
"""The file of a copied state."""


class Disk:
    """What survives a crash: of each partition the entries as they were synced last, and once before. folder: where
    restored checkpoints come to be as files."""

    def __init__(self, rng: Random, folder: Path, syncs: float = 0.1) -> None:
        self.rng = rng
        self.syncs = syncs
        """How often a write is synced unasked (0 to 1)."""
        self.folder = folder
        self.written: Callable[[str, SortedStorage], None] = lambda name, storage: None
        """Called with each state right after it was written to."""
        self.full = False
        self.fails = False
        """The next write does."""
        self.slow = 0.0
        """How long a write takes at most, in s."""
        self.torn: dict[str, int] = {}
        """The stores whose files are damaged, and what says which entries cannot be read; 0: that was seen already."""
        self.durable: dict[str, dict[bytes, bytes]] = {}
        self.older: dict[str, dict[bytes, bytes]] = {}

    def restore_older(self) -> None:
        """Somebody puts back an old copy."""
        self.durable = dict(self.older)
        self.torn.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def lose(self) -> None:
        self.durable.clear()
        self.torn.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def opener(self, process: Process) -> _Opener:
        return _Opener(self, process)


class _Opener:
    def __init__(self, disk: Disk, process: Process) -> None:
        self._disk = disk
        self._process = process

    def __call__(self, folder: Path) -> DiskStorage:
        copy = folder / COPY
        if not folder.name.isdecimal():
            self._process.touch("look at a copy")
            return _Copied(self._disk, self._process, folder.name, _entries(copy))
        if copy.exists():
            self._process.touch("restore")
            self._disk.durable[folder.name] = _entries(copy)
            self._disk.torn.pop(folder.name, None)
            shutil.rmtree(folder)
            self._process.hub.happened["state from a checkpoint"] += 1
        if self._disk.torn.get(folder.name) == 0:  # this is seen at once; then it is deleted
            del self._disk.torn[folder.name]
            self._disk.durable.pop(folder.name, None)
            raise _damaged(self._process, folder.name)
        return DiskStorage(self._disk, self._process, folder.name, self._disk.durable.get(folder.name))


def _damaged(process: Process, name: str) -> StoreDamagedError:
    process.hub.happened["state found torn"] += 1
    return StoreDamagedError(f"the store {name} is damaged")


def _entries(copy: Path) -> dict[bytes, bytes]:
    try:
        return msgspec.msgpack.decode(copy.read_bytes(), type=dict[bytes, bytes])
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"cannot open the store in {copy.parent}: {error}") from error


class SortedStorage:
    """A `Storage` in memory whose scans cost what they give. `total`: a sum over all entries, by which two are told to
    be the same at the cost of what changes."""

    def __init__(self, entries: dict[bytes, bytes] | None = None) -> None:
        self.entries: SortedDict[bytes, bytes] = SortedDict(entries or {})
        self.total = sum(map(hash, self.entries.items()))

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self.entries.get(key)
        return found

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter([(key, self.entries[key]) for key in self.entries.irange(start, end, (True, False))])

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, value in changes:
            before = self.entries.get(key)
            if before is not None:
                self.total -= hash((key, before))
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value
                self.total += hash((key, value))


class DiskStorage(SortedStorage):
    """One partition's state. As RocksDB without a write-ahead log: batches are atomic and in order, and the last ones
    are in memory only until it likes to write them, or is told to."""

    def __init__(self, disk: Disk, process: Process, name: str, entries: dict[bytes, bytes] | None) -> None:
        super().__init__(entries)
        self._disk = disk
        self._process = process
        self._name = name
        self.writing = False
        """A batch is under way: neither here yet, nor in the memory of who writes it."""
        self._closed = False
        self._unsynced = 0

    def get(self, key: bytes) -> bytes | None:
        self._process.call()
        self._read([key])
        return super().get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._process.call()
        if self._name in self._disk.torn:
            self._read(self.entries.irange(start, end, (True, False)))
        return super().scan(start, end)

    def _read(self, keys: Iterable[bytes]) -> None:
        """The process, not an auditor, may come upon what is torn."""
        torn, current = self._disk.torn, self._process.hub.current
        if self._name not in torn or current is None or current.process is not self._process:
            return
        salt = b"%d" % torn[self._name]
        if any(key in self.entries and zlib.crc32(key, zlib.crc32(salt)) % 4 == 0 for key in keys):
            torn[self._name] = 0
            raise _damaged(self._process, self._name)

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        batch = list(changes)
        self.writing = True
        self._process.touch("write")
        self._check()
        super().write(batch)
        self.writing = False
        if batch:  # else it may be another log's, which nobody has looked at yet
            self._disk.written(self._name, self)
        self._unsynced += 1
        if self._disk.rng.random() < self._disk.syncs:
            self._sync()

    def persist(self) -> None:
        self._process.touch("persist")
        self._check()
        self._sync()

    def _check(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self._name} is closed")
        if self._disk.slow:
            self._process.hub.block(self._disk.rng.random() * self._disk.slow)
        if self._disk.fails:
            self._disk.fails = False
            raise StoreError(f"cannot write to the store {self._name}: input/output error")
        if self._disk.full:
            raise StoreError(f"cannot write to the store {self._name}: no space left. Is the disk full?")

    def _sync(self) -> None:
        if self._unsynced:
            self._disk.older[self._name] = self._disk.durable.get(self._name, {})
            self._disk.durable[self._name] = dict(self.entries)
            self._unsynced = 0

    def checkpoint(self, folder: Path) -> None:
        self.persist()
        self._process.touch("checkpoint")
        folder.mkdir(parents=True)
        (folder / COPY).write_bytes(msgspec.msgpack.encode(dict(self.entries)))

    def close(self) -> None:
        if not self._closed:
            try:
                self.persist()
            finally:
                self._closed = True

    def destroy(self) -> None:
        self._closed = True
        self._disk.durable.pop(self._name, None)
        self._disk.torn.pop(self._name, None)


class _Copied(DiskStorage):
    """A copy that is looked at."""

    def close(self) -> None:
        self._closed = True
