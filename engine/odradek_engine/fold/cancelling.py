"""Cancelling an activity: by the code's own command, at once or once the activity has ended (cancellation_type).

`try`: the request ends the activity for the code, whatever its worker does. `wait`: it stays open, marked, until it
has ended; it is not delivered again. `abandon` asks for nothing, so it never comes here.
"""

from __future__ import annotations

from odradek_schemas import history
from odradek_schemas.common import Payload

from .closing import request_cancel
from .rows import ActivityRow
from .step import Step


def cancel(step: Step, row: ActivityRow) -> None:
    """The code cancels an activity. One that it waits for ends at once if no worker has begun it."""
    if row.cancel_requested:
        return
    request_cancel(step, row, "cancelled")
    requested = history.ActivityCancelRequested(seq=row.seq, scheduled_event_id=row.scheduled_event_id)
    step.append(row.workflow_id, row.run_id, requested)
    if row.cancellation_type == "wait" and row.state != "started":
        end_cancelled(step, row, row.heartbeat_details)


def end_cancelled(step: Step, row: ActivityRow, details: list[Payload]) -> None:
    """The activity has ended as cancelled. The caller wakes the workflow."""
    cancelled = history.ActivityCancelled(seq=row.seq, scheduled_event_id=row.scheduled_event_id, details=details)
    step.append(row.workflow_id, row.run_id, cancelled)
