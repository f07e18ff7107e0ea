"""The fault suite's own processes and disks: what it begins it can end, and what it leaves behind is nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .processes import Role

ROOT = Path(__file__).parents[2]
MAKES_A_DISK = """
import sys
from pathlib import Path
from tests.chaos.disks import Disk
print(Disk(Path(sys.argv[1])).limited, flush=True)
sys.stdin.read()
"""


def _role(folder: Path) -> tuple[Role, asyncio.Queue[int]]:
    """A process that never ends by itself, and the IDs of all its lives."""
    born: asyncio.Queue[int] = asyncio.Queue()
    return Role("sleeper", ["sleep", "600"], folder / "output", lambda name, pid: born.put_nowait(pid)), born


async def test_a_process_that_is_asked_to_end_while_it_begins_does_end(tmp_path: Path) -> None:
    """Breaks when SIGTERM goes to nobody, or to the life before: a worker "hung" for a minute then, and was killed."""
    role, born = _role(tmp_path)
    keeper = asyncio.create_task(role.keep())
    await asyncio.sleep(0)  # it is being made
    assert born.empty()
    assert await role.stop(20.0)
    await keeper
    assert born.qsize() == 1


async def test_a_process_that_is_killed_while_it_begins_is_dead_until_it_is_started_again(tmp_path: Path) -> None:
    role, born = _role(tmp_path)
    keeper = asyncio.create_task(role.keep())
    await asyncio.sleep(0)
    role.kill()
    await born.get()
    role.restart()
    await asyncio.wait_for(born.get(), 20)
    assert role.ended == [], "it was killed, and did not end by itself"
    assert await role.stop(20.0)
    await keeper


def test_a_disk_goes_with_the_process_that_made_it_even_if_that_is_killed(tmp_path: Path) -> None:
    """Breaks when file systems of killed runs stay mounted, where they stop other runs from clearing up."""
    folder = tmp_path / "disk"
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKES_A_DISK, str(folder)], cwd=ROOT, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert maker.stdout is not None
    limited = maker.stdout.readline() == b"True\n"
    assert os.path.ismount(folder) is limited
    os.killpg(maker.pid, signal.SIGKILL)
    maker.stdout.read()  # until the last process ends that has it
    maker.wait()
    assert not os.path.ismount(folder)
    if not limited:
        pytest.skip("file systems can be made by root only")
