"""How a history event changes the rows: it is stored, counted, and what its kind means is applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odradek_schemas import decode, history
from odradek_schemas.common import RetryPolicy
from odradek_schemas.history import HistoryEvent

from . import events, keys
from .evolve_rows import NOT_PAUSED, Changes, change_partition, replace
from .rows import ActivityRow, ChildRow, ExternalRow, LocalStep, RunRow, TimerRow, UpdateRow
from .state import State

MAX_LOCAL_STEPS = 100
"""Of the local activities that outlast a task, so many are kept, for people to see."""

_INPUTS = frozenset(history.INPUTS)


def appended(state: State, e: events.Appended) -> None:
    """Store the event, count it, and apply what its kind means."""
    attributes = e.attributes
    kind = type(attributes)
    if kind is history.WorkflowStarted:
        _started(state, e, attributes)  # type: ignore[arg-type]
    state.put_new(keys.event(e.workflow_id, e.run_id, e.event_id), e.encoded)
    key = keys.current(e.workflow_id)
    run: RunRow = state.get(key)
    apply = _HISTORY.get(kind)
    changes = apply(state, run, e, attributes) if apply is not None else {}
    if kind in _INPUTS and not e.local:
        changes["last_input_id"] = e.event_id
    size = run.history_size + len(e.encoded)
    state.put(key, replace(run, last_event_id=e.event_id, last_event_ms=e.time_ms, history_size=size, **changes))


def _started(state: State, e: events.Appended, started: history.WorkflowStarted) -> None:
    """A new run takes the workflow ID; an earlier one moves aside."""
    key = keys.current(e.workflow_id)
    old: RunRow | None = state.get(key)
    if old is not None:
        state.delete(key)
        following = e.run_id if started.continued_from_run_id == old.run_id else ""
        state.put(keys.earlier(old.workflow_id, old.run_id), replace(old, next_run_id=following))
    change_partition(state, open_workflows=state.partition.open_workflows + 1)
    begins = e.time_ms + started.start_delay_ms
    over = e.time_ms + started.execution_timeout_ms if started.execution_timeout_ms else 0
    row = RunRow(
        workflow_id=e.workflow_id,
        run_id=e.run_id,
        first_run_id=started.first_run_id or e.run_id,
        workflow_type=started.workflow_type,
        task_queue=started.task_queue,
        base=e.run_id,
        start_ms=e.time_ms,
        execution_deadline_ms=started.execution_deadline_ms or over,
        run_deadline_ms=begins + started.run_timeout_ms if started.run_timeout_ms else 0,
        task_retry_ms=begins if started.start_delay_ms else 0,
        memo=started.memo,
        search_attributes=started.search_attributes,
        task_timeout_ms=started.task_timeout_ms,
        seed=started.seed,
        parent=started.parent,
        build_id=started.build_id,
        versioning="pinned" if started.build_id else "",
        reset_request_id=old.reset_request_id if old is not None and started.initiator else "",
    )
    state.put(key, row)


def _task_completed(state: State, run: RunRow, e: events.Appended, a: history.WorkflowTaskCompleted) -> Changes:
    all_seen = 0 < run.last_input_id <= a.consumed_through
    return {
        "base": a.id,
        "last_task_event_id": e.event_id,
        "consumed_through": a.consumed_through,
        "consumed_size": run.history_size,
        "build_id": a.build_id,
        "versioning": a.versioning,
        "seen_through": e.event_id if all_seen else run.seen_through,
        "wants_task": a.new_task,
        "local_steps": _local_steps(state, run, e, a) if a.new_task else [],
        "task_offset": -1,
        "task_attempt": 1,
        "task_retry_ms": 0,
        "task_failure": None,
        "task_failure_cause": "",
    }


def _local_steps(
    state: State, run: RunRow, e: events.Appended, a: history.WorkflowTaskCompleted
) -> list[LocalStep]:
    """The local activities that outlast this task: those before it and its own, but for what ended within it."""
    mine = [c for c in a.commands if c.kind == "StartLocalActivity"]
    own = [LocalStep(seq=c.seq, activity_type=c.name, since_ms=e.time_ms) for c in mine]
    results = [decode(state.get(keys.event(e.workflow_id, e.run_id, number))) for number in a.local_events]
    ended = {one.attributes.seq for one in results if isinstance(one, HistoryEvent) and hasattr(one.attributes, "seq")}
    return [step for step in [*run.local_steps, *own] if step.seq not in ended][:MAX_LOCAL_STEPS]


def _search_attributes(state: State, run: RunRow, e: events.Appended, a: history.SearchAttributesUpserted) -> Changes:
    kept = {name: value for name, value in run.search_attributes.items() if name not in a.removed}
    return {"search_attributes": {**kept, **a.search_attributes}}


def _cancel_requested(state: State, run: RunRow, e: events.Appended, a: history.WorkflowCancelRequested) -> Changes:
    return {"cancel_requested": True}


def _reset_event(state: State, run: RunRow, e: events.Appended, a: history.WorkflowReset) -> Changes:
    """What is open here was begun by the run that was reset, or by one before that."""
    open_of = {keys.ACTIVITY: run.open_activities, keys.CHILD: run.open_children, keys.EXTERNAL: run.open_externals}
    for table, count in open_of.items():
        for key, row in list(state.scan(keys.of_run(table, e.workflow_id, e.run_id))) if count else ():
            if not row.first_run_id:
                state.put(key, replace(row, first_run_id=a.run_id))
    return {"reset_request_id": a.request_id}


def _paused(state: State, run: RunRow, e: events.Appended, a: history.WorkflowPaused) -> Changes:
    return {"paused": True, "pause_reason": a.reason, "paused_by": a.identity, "paused_ms": e.time_ms}


def _unpaused(state: State, run: RunRow, e: events.Appended, a: history.WorkflowUnpaused) -> Changes:
    return dict(NOT_PAUSED)


def _activity_scheduled(state: State, run: RunRow, e: events.Appended, a: history.ActivityScheduled) -> Changes:
    row = ActivityRow(
        workflow_id=e.workflow_id,
        run_id=e.run_id,
        seq=a.seq,
        scheduled_by=a.scheduled_by,
        scheduled_event_id=e.event_id,
        scheduled_ms=e.time_ms,
        activity_type=a.activity_type,
        task_queue=a.task_queue,
        task_since_ms=e.time_ms,
        queued_ms=e.time_ms,
        start_to_close_timeout_ms=a.start_to_close_timeout_ms,
        schedule_to_start_timeout_ms=a.schedule_to_start_timeout_ms,
        schedule_to_close_timeout_ms=a.schedule_to_close_timeout_ms,
        heartbeat_timeout_ms=a.heartbeat_timeout_ms,
        retry_policy=a.retry_policy or RetryPolicy(),
        delivery=a.delivery,
        cancellation_type=a.cancellation_type,
        on_exhausted=a.on_exhausted,
    )
    put = state.put if run.open_activities else state.put_new  # where none is open, there are no rows
    put(keys.activity(e.workflow_id, e.run_id, a.seq), row)
    return {"open_activities": run.open_activities + 1}


def _activity_ended(state: State, run: RunRow, e: events.Appended, a: Any) -> Changes:
    key = keys.activity(e.workflow_id, e.run_id, a.seq)
    if state.get(key) is None:
        return {}
    state.delete(key)
    return {"open_activities": run.open_activities - 1}


def _activity_cancel_requested(state: State, run: RunRow, e: events.Appended, a: Any) -> Changes:
    """The activity has ended for the code, unless the code waits for its end."""
    key = keys.activity(e.workflow_id, e.run_id, a.seq)
    row: ActivityRow | None = state.get(key)
    if row is None or row.cancellation_type != "wait":
        return _activity_ended(state, run, e, a)
    state.put(key, replace(row, cancel_requested=True))
    return {}


def _timer_started(state: State, run: RunRow, e: events.Appended, a: history.TimerStarted) -> Changes:
    row = TimerRow(
        workflow_id=e.workflow_id,
        run_id=e.run_id,
        seq=a.seq,
        due_ms=a.due_ms,
        started_event_id=e.event_id,
        summary=a.summary,
    )
    put = state.put if run.open_timers else state.put_new
    put(keys.timer(e.workflow_id, e.run_id, a.seq), row)
    return {"open_timers": run.open_timers + 1}


def _timer_ended(state: State, run: RunRow, e: events.Appended, a: Any) -> Changes:
    state.delete(keys.timer(e.workflow_id, e.run_id, a.seq))
    return {"open_timers": run.open_timers - 1}


def _child_initiated(state: State, run: RunRow, e: events.Appended, a: history.ChildWorkflowInitiated) -> Changes:
    row = ChildRow(
        workflow_id=e.workflow_id,
        run_id=e.run_id,
        seq=a.seq,
        initiated_event_id=e.event_id,
        initiated_ms=e.time_ms,
        child_workflow_id=a.workflow_id,
        workflow_type=a.workflow_type,
        parent_close_policy=a.parent_close_policy,
    )
    state.put(keys.child(e.workflow_id, e.run_id, a.seq), row)
    return {"open_children": run.open_children + 1}


def _child_started(state: State, run: RunRow, e: events.Appended, a: history.ChildWorkflowStarted) -> Changes:
    key = keys.child(e.workflow_id, e.run_id, a.seq)
    state.put(key, replace(state.get(key), child_run_id=a.run_id))
    return {}


def _child_cancel_requested(state: State, run: RunRow, e: events.Appended, a: Any) -> Changes:
    key = keys.child(e.workflow_id, e.run_id, a.seq)
    state.put(key, replace(state.get(key), cancel_requested=True))
    return {}


def _child_ended(state: State, run: RunRow, e: events.Appended, a: Any) -> Changes:
    state.delete(keys.child(e.workflow_id, e.run_id, a.seq))
    return {"open_children": run.open_children - 1}


def _external_requested(state: State, run: RunRow, e: events.Appended, a: Any) -> Changes:
    row = ExternalRow(
        workflow_id=e.workflow_id,
        run_id=e.run_id,
        seq=a.seq,
        requested_event_id=e.event_id,
        is_signal=isinstance(a, history.ExternalSignalRequested),
    )
    state.put(keys.external(e.workflow_id, e.run_id, a.seq), row)
    return {"open_externals": run.open_externals + 1}


def _external_answered(state: State, run: RunRow, e: events.Appended, a: Any) -> Changes:
    state.delete(keys.external(e.workflow_id, e.run_id, a.seq))
    return {"open_externals": run.open_externals - 1}


def _closed(state: State, run: RunRow, e: events.Appended, a: Any) -> Changes:
    """What was open of the run is gone with it."""
    counts = {
        keys.ACTIVITY: run.open_activities,
        keys.TIMER: run.open_timers,
        keys.CHILD: run.open_children,
        keys.EXTERNAL: run.open_externals,
        keys.UPDATE: run.open_updates,
        keys.PIECE: run.pieces,
    }
    for table, count in counts.items():
        if count:
            for key, _ in list(state.scan(keys.of_run(table, e.workflow_id, e.run_id))):
                state.delete(key)
    partition = state.partition
    change_partition(state, open_workflows=partition.open_workflows - 1)
    return {
        "status": STATUS[type(a)],
        "close_ms": e.time_ms,
        "expire_ms": e.time_ms + partition.closed_retention_ms,
        "task_offset": -1,
        "task_retry_ms": 0,
        "open_activities": 0,
        "open_timers": 0,
        "open_children": 0,
        "open_externals": 0,
        "open_updates": 0,
        "pending_updates": 0,
        "pieces": 0,
    }


def _update_accepted(state: State, run: RunRow, e: events.Appended, a: history.UpdateAccepted) -> Changes:
    """The numbers of a run's updates are its own for ever, also where history came from elsewhere."""
    changes = {"last_update_seq": max(run.last_update_seq, a.seq)}
    key = keys.update(e.workflow_id, e.run_id, a.seq)
    row: UpdateRow | None = state.get(key)
    if row is None:
        return changes
    state.put(key, replace(row, accepted=True, input=[], headers={}))
    return {**changes, "pending_updates": run.pending_updates - 1}


def _update_completed(state: State, run: RunRow, e: events.Appended, a: history.UpdateCompleted) -> Changes:
    key = keys.update(e.workflow_id, e.run_id, a.seq)
    if state.get(key) is None:
        return {}
    state.delete(key)
    return {"open_updates": run.open_updates - 1}


STATUS: dict[type, str] = {
    history.WorkflowCompleted: "completed",
    history.WorkflowFailed: "failed",
    history.WorkflowCancelled: "cancelled",
    history.WorkflowTerminated: "terminated",
    history.WorkflowTimedOut: "timed_out",
    history.WorkflowContinuedAsNew: "continued_as_new",
}
"""The status that each closing event gives to its run."""

_HISTORY: dict[type, Callable[[State, RunRow, events.Appended, Any], Changes]] = {
    history.WorkflowTaskCompleted: _task_completed,
    history.WorkflowCancelRequested: _cancel_requested,
    history.SearchAttributesUpserted: _search_attributes,
    history.WorkflowReset: _reset_event,
    history.WorkflowPaused: _paused,
    history.WorkflowUnpaused: _unpaused,
    history.ActivityScheduled: _activity_scheduled,
    history.ActivityCompleted: _activity_ended,
    history.ActivityFailed: _activity_ended,
    history.ActivityTimedOut: _activity_ended,
    history.ActivityCancelled: _activity_ended,
    history.ActivityCancelRequested: _activity_cancel_requested,
    history.TimerStarted: _timer_started,
    history.TimerFired: _timer_ended,
    history.TimerCancelled: _timer_ended,
    history.ChildWorkflowInitiated: _child_initiated,
    history.ChildWorkflowStarted: _child_started,
    history.ChildWorkflowCancelRequested: _child_cancel_requested,
    history.ChildWorkflowStartFailed: _child_ended,
    history.ChildWorkflowCompleted: _child_ended,
    history.ChildWorkflowFailed: _child_ended,
    history.ChildWorkflowCancelled: _child_ended,
    history.ChildWorkflowTerminated: _child_ended,
    history.ChildWorkflowTimedOut: _child_ended,
    history.ExternalSignalRequested: _external_requested,
    history.ExternalCancelRequested: _external_requested,
    history.ExternalSignalDelivered: _external_answered,
    history.ExternalSignalFailed: _external_answered,
    history.ExternalCancelDelivered: _external_answered,
    history.ExternalCancelFailed: _external_answered,
    history.UpdateAccepted: _update_accepted,
    history.UpdateCompleted: _update_completed,
    **dict.fromkeys(history.CLOSES, _closed),
}
