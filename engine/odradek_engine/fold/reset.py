"""Reset: a new run that keeps what lies before a decision of the code, and goes on from there (rule R1).

Here is the request: what is kept, and the end of the run that is open. `resetting` fills the new run, over several
steps where it is long.
"""

from __future__ import annotations

from odradek_schemas import decode
from odradek_schemas.history import HistoryEvent, WorkflowTaskCompleted, WorkflowTerminated
from odradek_schemas.records import ResetWorkflow

from . import events, keys, resetting
from .closing import close
from .limits import brief
from .outcomes import Outcome
from .rows import ResetRow, RunRow
from .step import Step
from .updates import carry, take_undecided

REAPPLY = ("signals", "none")

MAX_SEEK = 1_000
"""So far back one looks for the decision that is to be undone."""


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
    if kept is None:
        message = (
            f"the {MAX_SEEK:,} events up to {record.event_id} hold no decision of the code: give the number of the "
            "WorkflowTaskCompleted that is to be undone"
        )
        return Outcome("invalid", source.run_id, message, accepted=False)
    return Outcome("ok", _begin(step, record, newest, source, kept))


def _begin(step: Step, record: ResetWorkflow, newest: RunRow, source: RunRow, kept: int) -> str:
    """Close what is open, begin the new run with the source's first event, and note what is to be done; its run ID."""
    run_id = step.new_run_id(record.workflow_id)
    again = record.reapply == "signals"
    unbegun = resetting.unbegun(step, source) if source.is_open else []
    undecided = take_undecided(step, newest) if newest.is_open and again else []
    if newest.is_open:
        same = newest is source
        live_on = 0 if not same else source.last_event_id if again else kept
        closing = WorkflowTerminated(reason=_reason(record, run_id), new_run_id=run_id)
        close(step, newest, closing, carried_through=live_on, kept_through=kept if same else 0)
    row = ResetRow(
        workflow_id=record.workflow_id,
        run_id=run_id,
        source_run_id=source.run_id,
        kept=kept,
        last=source.last_event_id,
        event_id=record.event_id,
        reapply=record.reapply,
        seed=source.seed or source.run_id,
        was_open=source.is_open,
        reason=brief(record.reason),
        identity=brief(record.identity),
        request_id=record.request.request_id if record.request else "",
        unbegun=unbegun,
        build_id=record.build_id,
    )
    row = resetting.copy_event(step, row)
    number = max(newest.last_update_seq, source.last_update_seq)
    carried = (number + 1, number + len(undecided))
    step.apply(events.ResetBegan(resetting.replace(row, carried_updates=carried), number))
    carry(step, record.workflow_id, undecided)
    return run_id


def _reason(record: ResetWorkflow, run_id: str) -> str:
    because = f": {brief(record.reason)}" if record.reason else ""
    return f"reset to event {record.event_id}, goes on as run {run_id}{because}"


def _event(step: Step, run: RunRow, event_id: int) -> HistoryEvent | None:
    encoded = step.state.get(keys.event(run.workflow_id, run.run_id, event_id))
    event = decode(encoded) if encoded is not None else None
    return event if isinstance(event, HistoryEvent) else None


def _kept_through(step: Step, run: RunRow, event_id: int) -> int | None:
    """The last event to keep: before the last decision of the code at or before `event_id`, else the first event.

    An update that was accepted with the decision is undone with it; results that it had itself stay. None: it lies too
    far back.
    """
    start = min(event_id, run.last_task_event_id)
    for number in range(start, max(1, start - MAX_SEEK), -1):
        event = _event(step, run, number)
        if event is not None and isinstance(event.attributes, WorkflowTaskCompleted):
            return min([number, *event.attributes.updates]) - 1
    return 1 if start - MAX_SEEK <= 1 else None
