"""A disk that is full for a while, with the errors of a real file system: in a process of its own, whose files have
no room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "full_disk.py"


@pytest.mark.parametrize("what", ["state", "log"])
@pytest.mark.timeout(120)
def test_a_full_disk_is_said_and_passes_and_nothing_acknowledged_is_lost(what: str, tmp_path: Path) -> None:
    """Breaks when an engine whose state has no room never comes back, or passes over what it could not write; when
    an append that failed is acknowledged; when either does not end once there is room again."""
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), what], capture_output=True, text=True, timeout=110
    )
    assert ended.returncode == 0, ended.stderr[-5_000:]
    assert ended.stdout.endswith("done\n")
