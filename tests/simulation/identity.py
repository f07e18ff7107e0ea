"""Which records must change nothing, as the state stands before them: about activities (rules W5, R1, T7), and those
that come before their time (rule C1)."""

from __future__ import annotations

from typing import Any

from odradek_engine.fold import Folded, State, events, keys
from odradek_engine.fold.rows import ActivityRow, RunRow
from odradek_schemas import records

_OF_AN_ACTIVITY = (
    records.ActivityStarted,
    records.ActivityCompleted,
    records.ActivityFailed,
    records.ActivityCancelled,
    records.ActivityHandedBack,
    records.ActivityTimedOut,
    records.ActivityRetryDue,
)

_CHANGES = (
    events.ActivityTaken,
    events.ActivityRenewed,
    events.ActivityAttemptFailed,
    events.ActivityDispatched,
    events.Appended,
)


def void(state: State, body: Any) -> str:
    """Why a record is about nothing that is open; empty if it is, or is about something else."""
    if not isinstance(body, _OF_AN_ACTIVITY):
        return ""
    run = state.get(keys.current(body.workflow_id))
    if run is None or not run.is_open:
        return "its workflow is not open"
    if run.run_id != body.run_id:
        return f"the run is {run.run_id}"
    row = state.get(keys.activity(run.workflow_id, run.run_id, body.seq)) if body.seq >= 0 else None
    if row is None:
        return "no such activity is open"
    if row.scheduled_by != body.scheduled_by:
        return f"that activity was scheduled by {row.scheduled_by}"
    if row.attempt != body.attempt and not isinstance(body, records.ActivityCompleted):
        return f"the current attempt is {row.attempt}"
    return ""


def changed(folded: Folded) -> bool:
    """Whether a record has changed anything about activities or histories."""
    return any(isinstance(event, _CHANGES) for event in folded.events)


def not_before(state: State, body: Any) -> int:
    """When a record's time has come, in ms of fold time; 0 if it has none."""
    if isinstance(body, (records.WorkflowTaskDue, records.WorkflowTimedOut)):
        run = state.row(keys.current(body.workflow_id), RunRow)
        if run is None or run.run_id != body.run_id:
            return 0
        if isinstance(body, records.WorkflowTaskDue):
            return run.task_retry_ms
        return run.execution_deadline_ms if body.timeout_type == "execution" else run.run_deadline_ms
    if not isinstance(body, (records.ActivityTimedOut, records.ActivityRetryDue)) or body.seq < 0:
        return 0
    row = state.row(keys.activity(body.workflow_id, body.run_id, body.seq), ActivityRow)
    if row is None:
        return 0
    if isinstance(body, records.ActivityRetryDue):
        return row.next_retry_ms
    return {
        "schedule_to_close": row.scheduled_ms + row.schedule_to_close_timeout_ms,
        "schedule_to_start": row.queued_ms + row.schedule_to_start_timeout_ms,
        "start_to_close": row.started_ms + row.start_to_close_timeout_ms,
        "heartbeat": row.started_ms + row.heartbeat_timeout_ms,
    }[body.timeout_type]


def moved(folded: Folded) -> bool:
    """Whether a record has begun or ended something."""
    return changed(folded) or any(isinstance(event, events.TaskDelayed) for event in folded.events)
