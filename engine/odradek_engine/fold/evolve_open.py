"""How events outside of history change what is open of a run: its updates and activities."""

from __future__ import annotations

from typing import Any

from . import events, keys
from .evolve_rows import NOT_PAUSED, Changes, change_run, replace, run_of
from .rows import ActivityRow
from .state import State


def update_asked(state: State, e: events.UpdateAsked) -> None:
    """An update waits for a worker to look at it; or it did, and another one waits for its answer now."""
    row = e.update
    key = keys.update(row.workflow_id, row.run_id, row.seq)
    known = state.get(key) is not None
    state.put(key, row)
    if not known:
        run = run_of(state, row.workflow_id)
        change_run(
            state,
            row.workflow_id,
            last_update_seq=max(run.last_update_seq, row.seq),
            open_updates=run.open_updates + 1,
            pending_updates=run.pending_updates + 1,
        )


def update_rejected(state: State, e: events.UpdateRejected) -> None:
    """It waits no more, and history shows nothing of it."""
    state.delete(keys.update(e.workflow_id, e.run_id, e.seq))
    run = run_of(state, e.workflow_id)
    change_run(
        state, e.workflow_id, open_updates=run.open_updates - 1, pending_updates=run.pending_updates - 1
    )


def piece_kept(state: State, e: events.PieceKept) -> None:
    """It may have been kept already: a record may come twice."""
    key = keys.piece(e.workflow_id, e.run_id, e.row.id, e.index)
    known = state.get(key) is not None
    state.put(key, e.row)
    if not known:
        change_run(state, e.workflow_id, pieces=run_of(state, e.workflow_id).pieces + 1)


def pieces_dropped(state: State, e: events.PiecesDropped) -> None:
    rows = list(state.scan(keys.of_run(keys.PIECE, e.workflow_id, e.run_id)))
    dropped = [key for key, row in rows if row.id == e.id]
    for key in dropped:
        state.delete(key)
    change_run(state, e.workflow_id, pieces=len(rows) - len(dropped))


def _change_activity(rows: State, e: Any, **changes: Any) -> None:
    key = keys.activity(e.workflow_id, e.run_id, e.seq)
    rows.put(key, replace(rows.get(key), **changes))


def activity_dispatched(state: State, e: events.ActivityDispatched) -> None:
    """An attempt that no worker has begun waits on; its being emitted again does not begin that wait anew."""
    row: ActivityRow = state.get(keys.activity(e.workflow_id, e.run_id, e.seq))
    _change_activity(
        state,
        e,
        state="scheduled",
        attempt=e.attempt,
        session="",
        task_offset=e.offset,
        task_index=e.index,
        task_partition=e.partition,
        task_build_id=e.build_id,
        task_since_ms=e.time_ms,
        queued_ms=row.queued_ms if row.state == "scheduled" else e.time_ms,
        next_retry_ms=0,
    )


def activity_taken(state: State, e: events.ActivityTaken) -> None:
    """A worker has begun the attempt."""
    _change_activity(state, e, state="started", session=e.session, started_ms=e.time_ms)


def activity_renewed(state: State, e: events.ActivityRenewed) -> None:
    """The attempt begins anew without counting: its worker is lost, or handed it back."""
    row: ActivityRow = state.get(keys.activity(e.workflow_id, e.run_id, e.seq))
    _change_activity(
        state,
        e,
        attempt=row.attempt + 1,
        uncounted=row.uncounted + 1,
        losses=row.losses + 1 if e.lost else row.losses,
        heartbeat_details=e.heartbeat_details or row.heartbeat_details,
    )


def activity_attempt_failed(state: State, e: events.ActivityAttemptFailed) -> None:
    """The attempt is over; another one follows, at its time or when somebody says so."""
    row: ActivityRow = state.get(keys.activity(e.workflow_id, e.run_id, e.seq))
    pauses = e.retry_ms < 0 and not row.paused
    _change_activity(
        state,
        e,
        state="paused" if e.retry_ms < 0 else "backing_off",
        paused=e.retry_ms < 0,
        pause_reason=e.pause_reason if pauses else row.pause_reason,
        paused_ms=e.time_ms if pauses else row.paused_ms,
        attempt=row.attempt + 1,
        losses=0,
        session="",
        next_retry_ms=max(0, e.retry_ms),
        last_failure=e.failure,
        heartbeat_details=e.heartbeat_details or row.heartbeat_details,
    )


def activity_paused(state: State, e: events.ActivityPaused) -> None:
    """No attempt begins until somebody says so."""
    at_once: Changes = {"state": "paused", "session": "", "next_retry_ms": 0} if e.at_once else {}
    _change_activity(state, e, paused=True, pause_reason=e.reason, paused_by=e.by, paused_ms=e.time_ms, **at_once)


def activity_unpaused(state: State, e: events.ActivityUnpaused) -> None:
    """Its time as a whole counts from now on, if it stood still."""
    row: ActivityRow = state.get(keys.activity(e.workflow_id, e.run_id, e.seq))
    scheduled = e.time_ms if row.state == "paused" else row.scheduled_ms
    _change_activity(state, e, scheduled_ms=scheduled, **NOT_PAUSED)


def activity_changed(state: State, e: events.ActivityChanged) -> None:
    """Its options are others from now on."""
    _change_activity(state, e, task_queue=e.task_queue, retry_policy=e.retry_policy, **e.timeouts_ms)


def activity_carried(state: State, e: events.ActivityCarried) -> None:
    """A reset has given it to a new run."""
    _change_activity(state, e, scheduled_ms=e.time_ms, queued_ms=e.time_ms, task_since_ms=e.time_ms)
