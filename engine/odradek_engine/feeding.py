"""Processes that fold (`folding_process.py`), as those see them who feed them with records.

A core folds some thousands of records a second, and partitions have nothing to do with each other. So what is long is
given to processes of its own. They get the records from the process that begins them, which alone reads the log: a log
in a folder can be read by one process only. They are begun by an explicit command and not by `multiprocessing`, which
runs the main program again, and an engine may be part of anybody's.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing.spawn
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from odradek_log import Record

from .folding import OnProgress, Refolded, Task, Terms
from .store import StoreError

BATCH_RECORDS = 500
BATCH_BYTES = 1024 * 1024
"""A batch is as many records, or bytes of them and one record more."""
BATCHES_AHEAD = 2
"""So many batches are on their way to a process, or being folded there; the next one waits."""
PATIENCE_S = 5.0

_BEGIN = (
    "import sys; sys.path.extend(p for p in sys.argv[1:] if p not in sys.path); "
    "from odradek_engine.folding_process import main; main()"
)
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class ProcessEndedError(StoreError):
    """A process that folded has ended by itself, or could not be begun."""


def cores(quota: Path = _QUOTA) -> int:
    """How many processor cores this process may use: of those that there are, and by what its container may take."""
    number = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # there is none, or it is unlimited
        share, period = quota.read_text().split()
        number = min(number, math.ceil(int(share) / int(period)))
    return max(1, number)


class FoldingProcess:
    """One process, for one thread; `kill` is for any. Raises ProcessEndedError if it cannot be begun."""

    def __init__(self, terms: Terms) -> None:
        path = [os.path.abspath(place) for place in sys.path]
        executable = multiprocessing.spawn.get_executable()  # an embedding program may have told it which
        if not executable or getattr(sys, "frozen", False):
            raise ProcessEndedError("this program is not run by a Python that could run another one")
        command = [os.fsdecode(executable), "-P", "-c", _BEGIN, *path]
        try:  # in a session of its own: Ctrl-C is for the one who ends it
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise ProcessEndedError(f"no process could be begun to fold in: {error}") from error
        self._folds = "nothing yet"
        self._say(terms)

    def fold(self, task: Task, records: Callable[[int], Iterable[Record]], told: OnProgress) -> Refolded:
        """Have it fold what `records` gives, which is called with the offset that the state has.

        Raises what the process raises, ProcessEndedError if it ends, and what `records` raises; then it is of no more
        use.
        """
        self._folds = f"partition {task.partition}"
        self._say(task)
        begun_at: int = self._answer()
        ahead = 0
        for batch in batches(records(begun_at)):
            if ahead == BATCHES_AHEAD:
                told(self._answer())
                ahead -= 1
            self._say(batch)
            ahead += 1
        self._say([])
        while not isinstance(answer := self._answer(), Refolded):
            told(answer)
        return answer

    def _say(self, what: Any) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(what, self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
        except OSError:  # its last answer may tell why
            while True:
                self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        try:
            answer = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise self._has_ended() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _has_ended(self) -> ProcessEndedError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_S)
        return ProcessEndedError(
            f"the process that folded {self._folds} has ended (exit code {self._process.returncode}); was there too "
            "little memory?"
        )

    def close(self) -> None:
        """Let it put on disk what it has, and end; where it does not, kill it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_S)
        self.kill()
        self._process.stdout.close()

    def kill(self) -> None:
        """End it at once, in the middle of something if need be."""
        self._process.kill()
        self._process.wait()


def batches(records: Iterable[Record]) -> Iterator[list[tuple[int, int, bytes, bytes]]]:
    """As processes are given them."""
    batch: list[tuple[int, int, bytes, bytes]] = []
    size = 0
    for _, _, offset, timestamp_ms, key, value in records:
        batch.append((offset, timestamp_ms, key, value))
        size += len(key) + len(value)
        if len(batch) == BATCH_RECORDS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


