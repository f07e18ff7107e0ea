"""Which records about activities must change nothing, as the state stands before them (rules W5, R1, T7)."""

from __future__ import annotations

from typing import Any

from odradek_engine.fold import Folded, State, events, keys
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
