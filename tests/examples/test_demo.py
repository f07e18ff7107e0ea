"""The README's first command."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from ..cli.running import ROOT, environment


@pytest.mark.timeout(300)
def test_the_demo_kills_the_process_and_the_order_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "demo.py")],
        env=environment(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    out = done.stdout
    assert "\033" not in out  # no colours where nobody sees them
    story = ["charged 12.99", "kill -9", "picked_up", "notified the customer", "WorkflowCompleted", "is complete"]
    places = [out.index(text) for text in story]
    assert places == sorted(places)
    assert out.count("charged 12.99") == 1
    for pid in re.findall(r"running, process (\d+)", out):
        assert subprocess.run(["kill", "-0", pid], capture_output=True, check=False).returncode != 0  # nothing is left
