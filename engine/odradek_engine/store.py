"""The state of a partition on disk: RocksDB as a cache of the fold.

Writes are batches without a write-ahead log: what a crash takes is folded again from the log.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from odradek_log import FolderHeldError, FolderLock
from rocksdict import AccessType, Checkpoint, Options, Rdict, RdictIter, WriteBatch, WriteOptions

from .fold import Storage, StorageError
from .store_memory import StoreMemory

ROOM_BYTES = 1024 * 1024
"""What has to be free on the disk of an engine that begins."""
ENTRY_BYTES = 40
"""What an entry takes in memory besides key and value, about."""


DAMAGED = "DAMAGED"
"""A file of this name says that the store beside it cannot be read."""


class StoreError(StorageError):
    """The store cannot be read or written; the message says which folder, and what to do."""


class StoreDamagedError(StoreError):
    """The files of the store are not what was written: a power cut may have torn them. The log rebuilds them."""


class StoreHeldError(StoreError):
    """Another process has the store open."""


def check_room(folder: Path) -> None:
    """Raise StoreError if nothing can be written into a folder: one who cannot keep a state should lead nothing."""
    probe = folder / "room"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(probe, "wb") as file:
            file.write(bytes(ROOM_BYTES))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "Is the disk full? Make room" if full else "Check the path, its owner and its permissions"
        raise StoreError(
            f"cannot write to {folder}, where the state is to be kept: {error.strerror}. {advice}, or give the engine "
            "another data directory; it leads nothing until then"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def lock_folder(folder: Path) -> FolderLock:
    """The lock that keeps other engines from this folder: two on one would open each other's partitions as these move.
    Raises StoreError if there is one."""
    try:
        return FolderLock(folder)
    except FolderHeldError as held:
        raise StoreError(
            f"the engine of process {held.owner} keeps its state in {folder}: give this one another data directory"
        ) from None


class EngineStorage(Storage, Protocol):
    """A `Storage` that an engine keeps a partition's state in."""

    def persist(self) -> None:
        """Make what was written survive a crash."""
        ...

    def checkpoint(self, folder: Path) -> None:
        """Put a copy of all that was written into a new folder, as files that a storage can be opened on."""
        ...

    def close(self) -> None:
        """Persist and close."""
        ...

    def destroy(self) -> None:
        """Close and delete; the log rebuilds it."""
        ...


class RocksStorage:
    """A `Storage` of the fold in a RocksDB folder. One process at a time writes; others may read. `memory`: what it
    may use, together with others; None: as much as an engine has by default."""

    def __init__(self, folder: Path, read_only: bool = False, memory: StoreMemory | None = None) -> None:
        self.folder = folder
        self._read_only = read_only
        self._memory = memory or StoreMemory()
        if not read_only:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"cannot make the folder {folder} for the state: {error}. Give the engine a data directory "
                    "that it may write to"
                ) from error
            if (folder / DAMAGED).exists():
                raise StoreDamagedError(f"the store in {folder} is damaged, as was seen when it was read")
        options = Options(raw_mode=True)
        options.create_if_missing(not read_only)
        self._memory.limit(options)
        options.set_max_write_buffer_number(2)
        options.set_keep_log_file_num(2)
        access = AccessType.read_only() if read_only else AccessType.read_write()
        try:
            self._db = Rdict(str(folder), options, access_type=access)
        except Exception as error:  # rocksdict raises bare exceptions
            raise _not_opened(folder, error, read_only) from error
        self._write_options = WriteOptions()
        self._write_options.disable_wal = True  # type: ignore[method-assign, assignment]  # a property in truth
        self._memory.add(self)

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            raise self._unreadable(error) from error
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        iterator = self._db.iter()
        iterator.seek(start)
        while iterator.valid():
            key = iterator.key()
            if key >= end:
                return
            yield key, iterator.value()
            iterator.next()
        problem = self._problem(iterator)
        del iterator  # an error may be kept for long, and with it what keeps the store from being closed
        if problem is not None:
            raise problem

    def count(self) -> int:
        """How many entries there are."""
        iterator, found = self._db.iter(), 0
        iterator.seek_to_first()
        while iterator.valid():
            found += 1
            iterator.next()
        problem = self._problem(iterator)
        del iterator
        if problem is not None:
            raise problem
        return found

    def _problem(self, iterator: RdictIter) -> StoreError | None:
        """An iterator that finds what it cannot read ends there, as if nothing more came."""
        try:
            iterator.status()
        except Exception as error:
            return self._unreadable(error)
        return None

    def _unreadable(self, error: Exception) -> StoreError:
        """The error as one of ours. What is damaged is not opened again: whoever tries will have it rebuilt."""
        if not _is_damage(error):
            return StoreError(f"cannot read the store in {self.folder}: {error}. Check the disk")
        with contextlib.suppress(OSError):
            if not self._read_only:
                (self.folder / DAMAGED).touch()
        return StoreDamagedError(f"the store in {self.folder} is damaged: {_said(error)}")

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        batch = WriteBatch(raw_mode=True)
        size = 0
        for key, value in changes:
            size += len(key) + len(value or b"") + ENTRY_BYTES
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        self._memory.make_room(size)
        try:
            self._db.write(batch, self._write_options)
        except Exception as error:
            raise self._no_room(error) from error

    def persist(self) -> None:
        """Put what is in memory on disk, so that a restart begins from here."""
        try:
            self._db.flush(True)
        except Exception as error:
            raise self._no_room(error) from error

    def buffered(self) -> int:
        """How many bytes of what was written are in memory only."""
        return int(self._db.property_value("rocksdb.cur-size-all-mem-tables") or 0)

    def _no_room(self, error: Exception) -> StoreError:
        if _is_damage(error):
            return self._unreadable(error)
        return StoreError(f"cannot write to the store in {self.folder}: {error}. Is the disk full?")

    def checkpoint(self, folder: Path) -> None:
        """Put a copy of all that was written into a new folder. Large files are hard links: it takes no time."""
        self.persist()
        try:
            Checkpoint(self._db).create_checkpoint(str(folder))
        except Exception as error:
            raise StoreError(f"cannot write a checkpoint to {folder}: {error}. Is the disk full?") from error

    def close(self) -> None:
        """Persist and close; where that is not possible, what was written since the last time is folded again later."""
        self._memory.remove(self)
        try:
            self.persist()
        finally:
            try:
                self._db.close()  # it closes, whatever it raises
            except Exception as error:
                raise self._no_room(error) from error

    def destroy(self) -> None:
        """Close and delete; the log rebuilds it."""
        self._memory.remove(self)
        with contextlib.suppress(Exception):  # it closes all the same, and what it could not write is not wanted
            self._db.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_damage(error: Exception) -> bool:
    """Whether an error of RocksDB, which tells its kinds in words only, is about what its files hold."""
    return str(error).startswith("Corruption: ")


def _said(error: Exception) -> str:
    """What RocksDB says, in one line."""
    return " ".join(str(error).split()).rstrip(".")


def _not_opened(folder: Path, error: Exception, read_only: bool) -> StoreError:
    held = "While lock file" in str(error)
    if not held and not read_only and (_is_damage(error) or "No such file or directory" in str(error)):
        return StoreDamagedError(f"the store in {folder} is damaged: {_said(error)}")
    return (StoreHeldError if held else StoreError)(
        f"cannot open the store in {folder}: {error}. Another engine may have it open; if it is damaged, delete the "
        "folder: it is rebuilt from the log"
    )
