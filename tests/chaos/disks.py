"""The disk of an engine, which can be full: a small file system in memory, where the system lets us have one (root)."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

SIZE = "128m"
CHUNK = 64 * 1024
_KEEPER = 'read _; umount -l "$0"'
"""Waits for the end of its input, which comes when the process that holds it ends, however that ends."""


def can_be_full(folder: Path) -> bool:
    """Whether disks can be made that have an end."""
    disk = Disk(folder / "probe")
    disk.close()
    return disk.limited


class Disk:
    """A folder. `limited`: it is a disk of its own, and goes with this process at the latest, killed or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "odradek-chaos", str(folder)]
        self.limited = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
        self._keeper: subprocess.Popen[bytes] | None = None
        if self.limited:
            keeper = ["sh", "-c", _KEEPER, str(folder)]
            self._keeper = subprocess.Popen(keeper, stdin=subprocess.PIPE, start_new_session=True)

    def fill(self) -> None:
        """Leave no byte to anybody."""
        with open(self.folder / "filler", "ab", buffering=0) as file:
            for size in (CHUNK, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        (self.folder / "filler").unlink()

    def close(self) -> None:
        """Give it back. A second time changes nothing."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.communicate()
            assert keeper.returncode == 0, f"{self.folder} is still mounted"
