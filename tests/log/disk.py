"""A file system with faults, for the embedded log, and what its files hold."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import NamedTuple

from odradek_log.embedded.entries import MARK_TOPIC, decode
from odradek_log.embedded.files import Files
from odradek_log.embedded.segment import HEADER_SIZE


class FaultyFiles(Files):
    """Counts what is read and synced. `space`: bytes that can still be written to files of records (None: any).

    `let_sync`: cleared, `sync` waits; `syncing` says that one does. `sync_error`: raised by the next `sync`.
    """

    def __init__(self) -> None:
        self.bytes_read = 0
        self.syncs = 0
        self.space: int | None = None
        self.sync_error: OSError | None = None
        self.let_sync = threading.Event()
        self.let_sync.set()
        self.syncing = threading.Event()

    def read(self, fd: int, size: int, position: int) -> bytes:
        data = super().read(fd, size, position)
        self.bytes_read += len(data)
        return data

    def write(self, fd: int, data: bytes, position: int) -> None:
        if self.space is not None:
            if len(data) > self.space:
                super().write(fd, data[: self.space], position)  # a part of it still fits
                raise OSError(errno.ENOSPC, "No space left on device")
            self.space -= len(data)
        super().write(fd, data, position)

    def sync(self, fd: int) -> None:
        self.syncing.set()
        assert self.let_sync.wait(60)
        if self.sync_error is not None:
            error, self.sync_error = self.sync_error, None
            raise error
        self.syncs += 1
        super().sync(fd)


class Found(NamedTuple):
    """One entry in a file; `mark`: the journal's own."""

    start: int
    end: int
    mark: bool
    value: bytes


def entries_of(path: Path) -> list[Found]:
    """All entries of a segment file."""
    data, at = path.read_bytes(), HEADER_SIZE
    found = []
    while (entry := decode(data, at)) is not None:
        found.append(Found(at, at + entry.size, entry.topic == MARK_TOPIC, entry.value))
        at += entry.size
    assert at == len(data)
    return found


def segments_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))
