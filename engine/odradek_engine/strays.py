"""Tasks that wait at a build of workers that is gone, while their runs are not bound to it.

What is current on a queue may change while a task is out. Where the last worker of its build stops before it took the
task, nobody would until the task is reissued as one that was skipped (rule T3), minutes later. So the leader emits it
again at once, and the fold sends it to the build that is current by then. Runs pinned to a build wait for that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from odradek_schemas.records import TaskReissued

from .fold import State, keys
from .fold.deployments import build_of
from .fold.rows import ActivityRow, RunRow
from .sessions import Sessions

AFTER_MS = 1_000
LOOKED_AT = 1_000
"""So many tasks are looked at in one call; the next call goes on behind them."""


class Strays:
    """What one leader looks at. `take` is called every second or so."""

    def __init__(self, state: State, sessions: Sessions) -> None:
        self._state = state
        self._sessions = sessions
        self._from = keys.OUT

    def take(self, now_ms: int) -> Iterator[TaskReissued]:
        """The records that move tasks to the builds that are current."""
        if now_ms <= AFTER_MS or next(self._state.scan(keys.CURRENT_BUILD), None) is None:
            return  # nowhere has another build ever been current
        end = keys.OUT + keys.number(now_ms - AFTER_MS)
        entries = list(islice(self._state.scan(keys.OUT, start=self._from, end=end), LOOKED_AT))
        self._from = entries[-1][0] + b"\0" if len(entries) == LOOKED_AT else keys.OUT
        for entry, _ in entries:
            row = self._state.get(entry[9:])
            if isinstance(row, (RunRow, ActivityRow)) and self._is_stray(row):
                yield self._record(row)

    def _is_stray(self, row: RunRow | ActivityRow) -> bool:
        run = row if isinstance(row, RunRow) else self._state.row(keys.current(row.workflow_id), RunRow)
        if build_of(self._state, run, row.task_queue) == row.task_build_id:
            return False
        return self._sessions.is_gone(row.task_queue, row.task_build_id, isinstance(row, ActivityRow))

    def _record(self, row: RunRow | ActivityRow) -> TaskReissued:
        epoch = self._state.partition.epoch
        if isinstance(row, RunRow):
            return TaskReissued(
                workflow_id=row.workflow_id, run_id=row.run_id, offset=row.task_offset, index=row.task_index,
                epoch=epoch, base=row.base,
            )  # fmt: skip
        return TaskReissued(
            workflow_id=row.workflow_id, run_id=row.run_id, offset=row.task_offset, index=row.task_index,
            epoch=epoch, seq=row.seq, attempt=row.attempt,
        )  # fmt: skip
