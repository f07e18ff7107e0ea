"""The embedded log's only way to the file system: a seam where tests put I/O faults, and the folder's lock."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..folder_lock import FolderHeldError, FolderLock
from ..protocol import LogLockedError, LogUnavailableError


class Files:
    """Plain POSIX calls. Every method may raise OSError."""

    def open(self, path: Path, create: bool = False) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        return os.open(path, flags, 0o644)

    def close(self, fd: int) -> None:
        os.close(fd)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def read(self, fd: int, size: int, position: int) -> bytes:
        """Up to `size` bytes at `position`; fewer only at the end of the file."""
        data = os.pread(fd, size, position)
        while 0 < len(data) < size:
            more = os.pread(fd, size - len(data), position + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, fd: int, data: bytes, position: int) -> None:
        """Write all of `data` at `position`."""
        done = os.pwrite(fd, data, position)
        view = memoryview(data)
        while done < len(data):
            done += os.pwrite(fd, view[done:], position + done)

    def sync(self, fd: int) -> None:
        """Return when the file's data, and its size, are on the disk."""
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync stops at the drive's cache
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        elif hasattr(os, "fdatasync"):
            os.fdatasync(fd)
        else:
            os.fsync(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def remove(self, path: Path) -> None:
        path.unlink()

    def replace(self, path: Path, data: bytes, sync: bool) -> None:
        """Give `path` this content in one step: after a crash it holds the old or the new."""
        draft = path.with_suffix(".tmp")
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            self.write(fd, data, 0)
            if sync:
                self.sync(fd)
        finally:
            self.close(fd)
        os.replace(draft, path)
        if sync:
            self.sync_folder(path.parent)

    def sync_folder(self, folder: Path) -> None:
        """Make created, renamed and removed names of `folder` durable."""
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class FileHandle:
    """An open file that is closed when nobody refers to it any more: a reader never meets a closed one."""

    def __init__(self, files: Files, path: Path, create: bool = False) -> None:
        self.files = files
        self.path = path
        self.fd = files.open(path, create)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            self.files.close(self.fd)


def lock(folder: Path) -> FolderLock:
    """The lock of a log's folder, which is made if need be. Raises LogLockedError if it is held, LogUnavailableError if
    the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FolderLock(folder)
    except OSError as e:
        raise LogUnavailableError(
            f"cannot write the log's folder {folder}: {e.strerror}; check the path, its owner and its permissions"
        ) from e
    except FolderHeldError as held:
        raise LogLockedError(
            f"the log's folder {folder} is open in process {held.owner}: "
            "stop that process, speak to it, or use another folder"
        ) from None
