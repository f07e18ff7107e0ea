"""How a run ends: its closing event names what was never read, and what it left running is told (rule W3)."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from odradek_schemas import decode, history
from odradek_schemas.history import HistoryEvent
from odradek_schemas.records import ActivityStarted
from odradek_schemas.replies import ActivityCancelRequest

from . import callers, children, keys
from .rows import ActivityRow, RunRow, SessionRow
from .step import Step
from .updates import answer_update, open_updates

Close: TypeAlias = (
    history.WorkflowCompleted
    | history.WorkflowFailed
    | history.WorkflowCancelled
    | history.WorkflowTerminated
    | history.WorkflowTimedOut
    | history.WorkflowContinuedAsNew
)


def close(step: Step, run: RunRow, closing: Close, carried_through: int = 0, kept_through: int = 0) -> None:
    """Close a run. Unread signals are listed in the closing event and become dead letters.

    Not those up to event `carried_through`, which live on in a run that a reset begins; it keeps the children that were
    begun up to event `kept_through`.
    """
    for event, encoded in end(step, run, closing, kept_through):
        if isinstance(event.attributes, history.SignalReceived) and event.event_id > carried_through:
            reason = f"workflow {run.workflow_id!r} closed before it read the signal {event.attributes.signal!r}"
            step.dead_letter(reason, encoded, run.workflow_id.encode())


def end(step: Step, run: RunRow, closing: Close, kept_through: int = 0) -> list[tuple[HistoryEvent, bytes]]:
    """Close a run, and give what it never read, which is listed in the closing event."""
    unread = unread_inputs(step, run)
    if run.open_activities:
        for _, row in list(step.state.scan(keys.of_run(keys.ACTIVITY, run.workflow_id, run.run_id))):
            request_cancel(step, row, "closed")
    children.release(step, run, kept_through)
    waiting = open_updates(step, run)
    step.append(
        run.workflow_id, run.run_id, msgspec.structs.replace(closing, unread=[e.event_id for e, _ in unread])
    )
    for row in waiting:
        answer_update(step, row, "closed", message=f"workflow {run.workflow_id!r} closed before it answered the update")
    callers.report_close(step, run, closing)
    return unread


def unread_inputs(step: Step, run: RunRow) -> list[tuple[HistoryEvent, bytes]]:
    """Input events that the code has not been fed, with their bytes. Local results are always fed."""
    if not run.has_unread:
        return []
    start = keys.event(run.workflow_id, run.run_id, max(run.consumed_through, run.seen_through) + 1)
    found: list[tuple[HistoryEvent, bytes]] = []
    local: set[int] = set()
    for _, encoded in step.state.scan(keys.of_run(keys.EVENT, run.workflow_id, run.run_id), start=start):
        event = decode(encoded)
        if not isinstance(event, HistoryEvent):
            raise AssertionError("a run's history holds something else than events")
        if isinstance(event.attributes, history.WorkflowTaskCompleted):
            local.update(event.attributes.local_events)
        elif isinstance(event.attributes, history.INPUTS):
            found.append((event, encoded))
    return [(event, encoded) for event, encoded in found if event.event_id not in local]


def request_cancel(step: Step, row: ActivityRow, reason: str) -> None:
    """Tell the worker that runs an activity to stop it."""
    stop_activity(step, step.session(row.session) if row.state == "started" else None, row, reason)


def stop_activity(
    step: Step, session: SessionRow | None, activity: ActivityRow | ActivityStarted, reason: str
) -> None:
    """Tell the worker of a session to stop an activity: an open one, or one that it starts although it has ended."""
    step.tell(
        session,
        lambda position, live: ActivityCancelRequest(
            position=position,
            client_id=live.client_id,
            session=live.session,
            workflow_id=activity.workflow_id,
            run_id=activity.run_id,
            scheduled_by=activity.scheduled_by,
            seq=activity.seq,
            reason=reason,
        ),
    )
