"""The timer service: what the leader has to append because its time has come (rules L2, R2, T3).

Everything is derived from the state, and appended again until the fold has taken it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from odradek_schemas.common import Payload, Record
from odradek_schemas.records import (
    ActivityRetryDue,
    ActivityTimedOut,
    ResetContinued,
    TaskReissued,
    TimerFired,
    WorkflowTaskDue,
    WorkflowTimedOut,
)

from .fold import State, keys
from .fold.rows import ActivityRow, RunRow

REPEAT_MS = 5_000
"""How long to wait for one's own record to be folded before appending it again."""

BATCH = 1_000
"""How many entries one call looks at, and how many records it gives at most."""

MOST = 100_000
"""So many entries are remembered, each of a few hundred bytes at most: what is forgotten may be appended once more, and
is dropped when it is folded (R2)."""

_FAR_MS = 2**62

_TIMEOUTS = {b"C": "schedule_to_close", b"S": "schedule_to_start", b"T": "start_to_close", b"H": "heartbeat"}


class DueRecords:
    """Gives the records that are due, each once per `REPEAT_MS`.

    `last_heartbeat(row)` gives (ms of the last sign of life, details) of a running activity.
    """

    def __init__(
        self, state: State, last_heartbeat: Callable[[ActivityRow], tuple[int, list[Payload]]], reissue_after_ms: int
    ) -> None:
        self._state = state
        self._last_heartbeat = last_heartbeat
        self._reissue_after_ms = reissue_after_ms
        self._not_before: OrderedDict[bytes, int] = OrderedDict()
        self._begin()
        state.earliest_due_ms = 0

    def _begin(self) -> None:
        """Look at the entries from the first one on, with what is known of them."""
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        self._cursor: bytes | None = None
        self._resume_ms = 0
        self._earliest_ms = _FAR_MS

    def next_ms(self) -> int:
        """When `take` may have something to give."""
        return self._state.earliest_due_ms

    def take(self, now_ms: int) -> Iterator[Record]:
        """Records that are due at `now_ms`, of the next `BATCH` entries; after the last ones, from the first one on."""
        if now_ms < self._state.earliest_due_ms:
            return
        if self._state.earliest_due_ms < self._resume_ms:  # there is something new before the place reached
            self._not_before.update(self._seen)
            _forget(self._not_before)
            self._begin()
        epoch = self._state.partition.epoch
        entries = list(islice(self._entries(now_ms), BATCH))
        last = len(entries) < BATCH
        for entry in entries:
            at = keys.number_in(entry)
            if at > now_ms:
                self._earliest_ms = min(self._earliest_ms, at)
                last = True
                break
            self._cursor = entry + b"\0"
            wait = self._not_before.get(entry, 0)
            record = None
            if wait <= now_ms:
                record, wait = self._record(entry, now_ms, epoch)
            self._seen[entry] = wait
            _forget(self._seen)
            self._earliest_ms = min(self._earliest_ms, wait)
            if record is not None:
                yield record
        if last:
            self._not_before = self._seen
            self._state.earliest_due_ms = min(self._earliest_ms, now_ms + 3_600_000)
            self._begin()
        else:
            self._resume_ms = self._state.earliest_due_ms = keys.number_in(entries[-1]) + 1

    def _entries(self, now_ms: int) -> Iterator[bytes]:
        """Entries up to now from the place reached, and the one after them."""
        for entry, _ in self._state.scan(keys.DUE, start=self._cursor):
            yield entry
            if keys.number_in(entry) > now_ms:
                return

    def _record(self, entry: bytes, now_ms: int, epoch: int) -> tuple[Record | None, int]:
        """The record that an entry asks for, and when to look at the entry again."""
        kind, key = entry[9:10], entry[10:]
        row = self._state.get(key)
        again = now_ms + REPEAT_MS
        if kind == b"H":
            last, details = self._last_heartbeat(row)
            if last + row.heartbeat_timeout_ms > now_ms:
                return None, last + row.heartbeat_timeout_ms
            return _timed_out(row, "heartbeat", epoch, details), again
        if kind in _TIMEOUTS:
            _, details = self._last_heartbeat(row)
            return _timed_out(row, _TIMEOUTS[kind], epoch, details), again
        return _SIMPLE[kind](row, epoch), again

    def reissues(self, now_ms: int) -> Iterator[Record]:
        """Tasks that have been out unanswered for too long (rule T3)."""
        end = keys.OUT + keys.number(now_ms - self._reissue_after_ms)
        if now_ms <= self._reissue_after_ms:
            return
        epoch = self._state.partition.epoch
        for entry, _ in list(islice(self._state.scan(keys.OUT, end=end), BATCH)):
            row = self._state.get(entry[9:])
            if isinstance(row, RunRow):
                yield _task_timed_out(row, epoch)
            else:
                yield TaskReissued(
                    workflow_id=row.workflow_id,
                    run_id=row.run_id,
                    offset=row.task_offset,
                    index=row.task_index,
                    epoch=epoch,
                    seq=row.seq,
                    attempt=row.attempt,
                )


def _forget(known: OrderedDict[bytes, int]) -> None:
    """The oldest of what is too much."""
    while len(known) > MOST:
        known.popitem(last=False)


def _timed_out(row: ActivityRow, kind: str, epoch: int, details: list[Payload]) -> Record:
    return ActivityTimedOut(
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        seq=row.seq,
        scheduled_by=row.scheduled_by,
        attempt=row.attempt,
        timeout_type=kind,
        epoch=epoch,
        heartbeat_details=details,
    )


def _fired(row: Any, epoch: int) -> Record:
    return TimerFired(workflow_id=row.workflow_id, run_id=row.run_id, seq=row.seq, epoch=epoch)


def _execution_timed_out(row: Any, epoch: int) -> Record:
    return WorkflowTimedOut(workflow_id=row.workflow_id, run_id=row.run_id, timeout_type="execution", epoch=epoch)


def _run_timed_out(row: Any, epoch: int) -> Record:
    return WorkflowTimedOut(workflow_id=row.workflow_id, run_id=row.run_id, timeout_type="run", epoch=epoch)


def _task_timed_out(row: Any, epoch: int) -> Record:
    """The workflow task is out for too long: another is emitted (rule T3)."""
    return TaskReissued(
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        offset=row.task_offset,
        index=row.task_index,
        epoch=epoch,
        base=row.base,
    )


def _task_due(row: Any, epoch: int) -> Record:
    return WorkflowTaskDue(
        workflow_id=row.workflow_id, run_id=row.run_id, base=row.base, attempt=row.task_attempt, epoch=epoch
    )


def _retry_due(row: Any, epoch: int) -> Record:
    return ActivityRetryDue(
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        seq=row.seq,
        scheduled_by=row.scheduled_by,
        attempt=row.attempt,
        epoch=epoch,
    )


def _reset_continued(row: Any, epoch: int) -> Record:
    return ResetContinued(workflow_id=row.workflow_id, run_id=row.run_id, turn=row.turn, epoch=epoch)


_SIMPLE: dict[bytes, Callable[[Any, int], Record]] = {
    b"F": _fired,
    b"E": _execution_timed_out,
    b"R": _run_timed_out,
    b"W": _task_due,
    b"K": _task_timed_out,
    b"B": _retry_due,
    b"X": _reset_continued,
}
