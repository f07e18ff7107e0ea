"""Reset: a new run that keeps what lies before a decision of the code, and goes on from there (rule R1).

The events kept are applied to the new run as they were to the old one, so that whatever was open at the cut (timers,
activities) is open again. Only the new run's own events are published: its first one there is WorkflowReset.
"""

from __future__ import annotations

import msgspec
from odradek_schemas import decode, encode
from odradek_schemas.history import (
    HistoryEvent,
    SignalReceived,
    WorkflowReset,
    WorkflowStarted,
    WorkflowTaskCompleted,
    WorkflowTerminated,
)
from odradek_schemas.records import ResetWorkflow

from . import activities, events, keys
from .closing import close
from .limits import brief
from .outcomes import Outcome
from .rows import ActivityRow, RunRow
from .step import Step
from .tasks import wake

REAPPLY = ("signals", "none")


def reset(step: Step, record: ResetWorkflow) -> Outcome:
    """Close the run that is open, and begin one from the history of the run asked for."""
    newest = step.run(record.workflow_id)
    source = newest
    if newest is not None and record.run_id not in ("", newest.run_id):
        source = step.state.row(keys.earlier(record.workflow_id, record.run_id), RunRow)
    if newest is None or source is None or _event(step, source, 1) is None:
        run = f" with a run {record.run_id}" if record.run_id else ""
        return Outcome("not_found", message=f"there is no workflow {record.workflow_id!r}{run}", accepted=False)
    if not 1 <= record.event_id <= source.last_event_id:
        message = f"run {source.run_id} has the events 1 to {source.last_event_id}, not {record.event_id}"
        return Outcome("invalid", source.run_id, message, accepted=False)
    kept = _kept_through(step, source, record.event_id)
    signals = _signals_after(step, source, kept) if record.reapply == "signals" else []
    run_id = step.new_run_id(record.workflow_id)
    if newest.is_open:
        live_on = 0 if newest is not source else source.last_event_id if record.reapply == "signals" else kept
        close(step, newest, WorkflowTerminated(reason=_reason(record, run_id)), carried_through=live_on)
    _copy(step, source, run_id, kept)
    step.apply(events.RunForked(record.workflow_id, run_id, step.now, record.build_id))
    step.append(
        record.workflow_id,
        run_id,
        WorkflowReset(
            run_id=source.run_id,
            event_id=record.event_id,
            reason=brief(record.reason),
            reapply=record.reapply,
            request_id=record.request.request_id if record.request else "",
            identity=brief(record.identity),
            build_id=record.build_id,
        ),
    )
    for signal in signals:
        step.append(record.workflow_id, run_id, signal)
    _reopen(step, record.workflow_id, run_id, source.seed or source.run_id)
    wake(step, record.workflow_id)
    return Outcome("ok", run_id)


def _reason(record: ResetWorkflow, run_id: str) -> str:
    because = f": {brief(record.reason)}" if record.reason else ""
    return f"reset to event {record.event_id}, goes on as run {run_id}{because}"


def _event(step: Step, run: RunRow, event_id: int) -> HistoryEvent | None:
    encoded = step.state.get(keys.event(run.workflow_id, run.run_id, event_id))
    event = decode(encoded) if encoded is not None else None
    return event if isinstance(event, HistoryEvent) else None


def _kept_through(step: Step, run: RunRow, event_id: int) -> int:
    """The last event to keep: before the last decision of the code at or before `event_id`, else the first event."""
    for number in range(event_id, 1, -1):
        event = _event(step, run, number)
        if event is not None and isinstance(event.attributes, WorkflowTaskCompleted):
            return number - 1
    return 1


def _signals_after(step: Step, run: RunRow, kept: int) -> list[SignalReceived]:
    found = []
    for number in range(kept + 1, run.last_event_id + 1):
        event = _event(step, run, number)
        if event is not None and isinstance(event.attributes, SignalReceived):
            found.append(event.attributes)
    return found


def _copy(step: Step, source: RunRow, run_id: str, kept: int) -> None:
    """Apply the events up to `kept` to the new run: same IDs, same times, same bytes but for the seed in the first."""
    copied = []
    local: set[int] = set()
    for number in range(1, kept + 1):
        encoded = step.state.get(keys.event(source.workflow_id, source.run_id, number))
        event = decode(encoded)
        if not isinstance(event, HistoryEvent):
            raise AssertionError("a run's history holds something else than events")
        if isinstance(event.attributes, WorkflowTaskCompleted):
            local.update(event.attributes.local_events)
        elif isinstance(event.attributes, WorkflowStarted):
            started = msgspec.structs.replace(event.attributes, seed=source.seed or source.run_id)
            event = HistoryEvent(event_id=event.event_id, time_ms=event.time_ms, attributes=started)
            encoded = encode(event)
        copied.append((event, encoded))
    for event, encoded in copied:
        number = event.event_id
        step.apply(
            events.Appended(
                source.workflow_id, run_id, number, event.time_ms, event.attributes, encoded, number in local
            )
        )


def _reopen(step: Step, workflow_id: str, run_id: str, first_run_id: str) -> None:
    """Emit what was open at the cut under the new run. Timers need nothing: their rows hold when they are due."""
    rows = list(step.state.scan(keys.of_run(keys.ACTIVITY, workflow_id, run_id)))
    for key, row in rows:
        step.apply(events.ActivityCarried(workflow_id, run_id, row.seq, first_run_id, step.now))
        carried = step.state.row(key, ActivityRow)
        if carried is None:
            raise AssertionError("a carried activity is open")
        activities.dispatch(step, carried)
