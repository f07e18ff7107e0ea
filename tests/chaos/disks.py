"""The disk of an engine, which can be full: a small file system in memory, where the system lets us have one (root)."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

SIZE = "48m"
CHUNK = 64 * 1024


def can_be_full(folder: Path) -> bool:
    """Whether disks can be made that have an end."""
    disk = Disk(folder / "probe")
    disk.close()
    return disk.limited


class Disk:
    """A folder. `limited`: it is a disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "odradek-chaos", str(folder)]
        self.limited = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0

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
        if self.limited:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
