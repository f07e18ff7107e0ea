"""`python -m tests.promises [NAME ...]`: plant each bug, or those of these names, and see that its tests fail.

Prints a table. Some minutes; a test that passes although its promise is broken is the finding.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import bugs
from .planting import BUGS, VARIABLE

ROOT = Path(__file__).parents[2]
SITE = Path(__file__).parent / "site"
TIMEOUT_S = 300
UNSHRUNK = ("--hypothesis-profile", "unshrunk")
"""That it fails is enough: how small an example may be is of no interest."""
_FAILED = 1
"""pytest's exit code when tests were run and some failed; others say that none were, or could not be."""


def outcome(name: str, test: str) -> str:
    """What became of a test with the bug in: `failed`, or what is wrong."""
    path = os.pathsep.join([str(SITE), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *UNSHRUNK, *shlex.split(test)]
    environment = {**os.environ, VARIABLE: name, "PYTHONPATH": path}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"did not end in {TIMEOUT_S} s"
    if done.returncode == _FAILED:
        return "failed"
    return "PASSED" if done.returncode == 0 else f"COULD NOT RUN: {(done.stdout + done.stderr)[-1_500:]}"


def main() -> None:
    assert bugs
    chosen = [BUGS[name] for name in sys.argv[1:]] or list(BUGS.values())
    table = Table("promise", "bug", "test", "with the bug in")
    wrong = 0
    for one in chosen:
        for test in one.tests:
            found = outcome(one.name, test)
            wrong += found != "failed"
            print(f"{one.name}: {test}: {found}", flush=True)
            table.add_row(one.promise, one.what, test, found.partition(":")[0])
    Console(width=180).print(table)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
