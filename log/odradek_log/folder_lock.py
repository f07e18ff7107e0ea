"""A folder that one process at a time may use."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class FolderHeldError(Exception):
    """Another process has the folder. `owner`: its ID, or "unknown"."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


class FolderLock:
    """Held until it is released. The kernel drops it when the process ends."""

    def __init__(self, folder: Path) -> None:
        """Raises FolderHeldError if it is held, OSError if there is no such folder, or it cannot be written."""
        self._fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise FolderHeldError(owner or "unknown") from None
        with contextlib.suppress(OSError):  # a full disk: it is for that message only
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
