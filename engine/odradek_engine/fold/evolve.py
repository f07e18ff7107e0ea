"""`evolve(state, event)`: how each event changes the rows. No decision is made here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from odradek_schemas import history
from odradek_schemas.common import RetryPolicy

from . import events, keys
from .rows import (
    ActivityRow,
    BehindRow,
    ChildRow,
    CurrentBuildRow,
    ExternalRow,
    LinkRow,
    OutboxRow,
    RequestRow,
    RunRow,
    SessionRow,
    TimerRow,
    UpdateRow,
    WaitingRow,
)
from .state import State

replace = msgspec.structs.replace


def evolve(state: State, event: events.Event) -> None:
    """Apply one event."""
    _APPLY[type(event)](state, event)


# ---------------------------------------------------------------- the partition


def _partition(state: State, **changes: Any) -> None:
    state.put(keys.PARTITION, replace(state.partition, **changes))


def _record_folded(state: State, e: events.RecordFolded) -> None:
    _partition(state, position=e.position, time_ms=e.time_ms, checksum=e.checksum)


def _leader_changed(state: State, e: events.LeaderChanged) -> None:
    _partition(
        state,
        epoch=e.epoch,
        version=e.version,
        member=e.member,
        nonce=e.nonce,
        partitions=e.partitions,
        clock_ms=e.clock_ms,
        closed_retention_ms=e.closed_retention_ms,
    )


def _clock_advanced(state: State, e: events.ClockAdvanced) -> None:
    _partition(state, clock_ms=e.clock_ms)


def _record_held(state: State, e: events.RecordHeld) -> None:
    state.put(keys.waiting(e.offset), WaitingRow(timestamp_ms=e.timestamp_ms, key=e.key, value=e.value))
    _partition(state, waiting=state.partition.waiting + 1)


def _record_released(state: State, e: events.RecordReleased) -> None:
    state.delete(keys.waiting(e.offset))
    _partition(state, waiting=state.partition.waiting - 1)


def _effect_staged(state: State, e: events.EffectStaged) -> None:
    row = OutboxRow(topic=e.topic, partition=e.partition, offset=e.offset, index=e.index, key=e.key, value=e.value)
    state.put(keys.outbox(e.offset, e.index), row)
    state.put(keys.tail(e.topic, e.partition), LinkRow(offset=e.offset, index=e.index))


def _effects_left(state: State, e: events.EffectsLeft) -> None:
    marks = {(m.topic, m.partition): (m.offset, m.index) for m in e.marks}
    if not marks:
        return
    offset, index = max(marks.values())
    for key, row in list(state.scan(keys.OUTBOX, end=keys.outbox(offset, index + 1))):
        mark = marks.get((row.topic, row.partition))
        if mark is not None and (row.offset, row.index) <= mark:
            state.delete(key)


def _effect_replaced(state: State, e: events.EffectReplaced) -> None:
    key = keys.outbox(e.offset, e.index)
    state.put(key, replace(state.get(key), value=e.value))


def _message_taken(state: State, e: events.MessageTaken) -> None:
    state.put(keys.source(e.source), LinkRow(offset=e.offset, index=e.index))


def _row_expired(state: State, e: events.RowExpired) -> None:
    state.delete(e.key)


def _session_began(state: State, e: events.SessionBegan) -> None:
    alive = e.alive
    row = SessionRow(
        session=alive.session,
        identity=alive.identity,
        client_id=alive.client_id,
        reply_partition=alive.reply_partition,
        build_id=alive.build_id,
        since_ms=e.time_ms,
    )
    state.put(keys.session(alive.session), row)


def _session_over(state: State, e: events.SessionOver) -> None:
    key = keys.session(e.session)
    state.put(key, replace(state.get(key), ended_ms=e.time_ms))


def _request_answered(state: State, e: events.RequestAnswered) -> None:
    row = RequestRow(
        outcome=e.outcome,
        run_id=e.run_id,
        message=e.message,
        expire_ms=e.expire_ms,
        update_seq=e.update_seq,
        result=e.result,
        failure=e.failure,
    )
    state.put(keys.request(e.workflow_id, e.request_id), row)


def _current_build_set(state: State, e: events.CurrentBuildSet) -> None:
    row = CurrentBuildRow(task_queue=e.task_queue, build_id=e.build_id, since_ms=e.time_ms)
    state.put(keys.current_build(e.task_queue), row)


# ---------------------------------------------------------------- a run


def _run(state: State, workflow_id: str) -> RunRow:
    row: RunRow = state.get(keys.current(workflow_id))
    return row


def _change_run(state: State, workflow_id: str, **changes: Any) -> None:
    state.put(keys.current(workflow_id), replace(_run(state, workflow_id), **changes))


def _task_out(state: State, e: events.TaskOut) -> None:
    _change_run(
        state,
        e.workflow_id,
        task_offset=e.offset,
        task_index=e.index,
        task_since_ms=e.time_ms,
        task_retry_ms=0,
        task_build_id=e.build_id,
    )


def _task_withdrawn(state: State, e: events.TaskWithdrawn) -> None:
    _change_run(state, e.workflow_id, task_offset=-1)


def _task_attempt_failed(state: State, e: events.TaskAttemptFailed) -> None:
    _change_run(
        state,
        e.workflow_id,
        task_offset=-1,
        task_attempt=_run(state, e.workflow_id).task_attempt + 1,
        task_retry_ms=e.retry_ms,
        task_failure=e.failure,
        task_failure_cause=e.cause,
    )


def _task_delayed(state: State, e: events.TaskDelayed) -> None:
    _change_run(state, e.workflow_id, task_retry_ms=e.until_ms)


def _run_forked(state: State, e: events.RunForked) -> None:
    """Its time counts from now on. A pause was of the run that it comes from."""
    run = _run(state, e.workflow_id)
    execution, whole = run.execution_deadline_ms, run.run_deadline_ms
    _change_run(
        state,
        e.workflow_id,
        base=e.run_id,
        last_input_id=e.last_input_id,
        start_ms=e.time_ms,
        task_retry_ms=0,
        execution_deadline_ms=e.time_ms + execution - run.start_ms if execution else 0,
        run_deadline_ms=e.time_ms + whole - run.start_ms if whole else 0,
        build_id=e.build_id,
        versioning="pinned" if e.build_id else "",
        **NOT_PAUSED,
    )


def _reset_began(state: State, e: events.ResetBegan) -> None:
    key = keys.reset(e.reset.workflow_id)
    if state.get(key) is None:
        _partition(state, resets=state.partition.resets + 1)
    state.put(key, e.reset)
    _change_run(state, e.reset.workflow_id, last_update_seq=e.update_seq)


def _reset_advanced(state: State, e: events.ResetAdvanced) -> None:
    state.put(keys.reset(e.reset.workflow_id), e.reset)


def _reset_ended(state: State, e: events.ResetEnded) -> None:
    state.delete(keys.reset(e.workflow_id))
    _partition(state, resets=state.partition.resets - 1)


def _record_kept_behind(state: State, e: events.RecordKeptBehind) -> None:
    row = BehindRow(timestamp_ms=e.timestamp_ms, hops=e.hops, key=e.key, value=e.value)
    state.put(keys.behind(e.workflow_id, e.offset), row)


def _record_let_go(state: State, e: events.RecordLetGo) -> None:
    state.delete(keys.behind(e.workflow_id, e.offset))


def _appended(state: State, e: events.Appended) -> None:
    """Store the event, count it, and apply what its kind means."""
    attributes = e.attributes
    if type(attributes) is history.WorkflowStarted:
        _started(state, e, attributes)
    state.put(keys.event(e.workflow_id, e.run_id, e.event_id), e.encoded)
    run = _run(state, e.workflow_id)
    is_input = isinstance(attributes, history.INPUTS) and not e.local
    counted = {
        "last_event_id": e.event_id,
        "last_event_ms": e.time_ms,
        "history_size": run.history_size + len(e.encoded),
    }
    if is_input:
        counted["last_input_id"] = e.event_id
    apply = _HISTORY.get(type(attributes))
    changes = apply(state, run, e, attributes) if apply else {}
    state.put(keys.current(e.workflow_id), replace(run, **counted, **changes))


def _started(state: State, e: events.Appended, started: history.WorkflowStarted) -> None:
    """A new run takes the workflow ID; an earlier one moves aside."""
    key = keys.current(e.workflow_id)
    old: RunRow | None = state.get(key)
    if old is not None:
        state.delete(key)
        following = e.run_id if started.continued_from_run_id == old.run_id else ""
        state.put(keys.earlier(old.workflow_id, old.run_id), replace(old, next_run_id=following))
    _partition(state, open_workflows=state.partition.open_workflows + 1)
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
    )
    state.put(key, row)


_Changes = dict[str, Any]

NOT_PAUSED: _Changes = {"paused": False, "pause_reason": "", "paused_by": "", "paused_ms": 0}


def _task_completed(state: State, run: RunRow, e: events.Appended, a: history.WorkflowTaskCompleted) -> _Changes:
    all_seen = 0 < run.last_input_id <= a.consumed_through
    return {
        "base": a.id,
        "last_task_event_id": e.event_id,
        "consumed_through": a.consumed_through,
        "build_id": a.build_id,
        "versioning": a.versioning,
        "seen_through": e.event_id if all_seen else run.seen_through,
        "wants_task": a.new_task,
        "task_offset": -1,
        "task_attempt": 1,
        "task_retry_ms": 0,
        "task_failure": None,
        "task_failure_cause": "",
    }


def _search_attributes(state: State, run: RunRow, e: events.Appended, a: history.SearchAttributesUpserted) -> _Changes:
    kept = {name: value for name, value in run.search_attributes.items() if name not in a.removed}
    return {"search_attributes": {**kept, **a.search_attributes}}


def _cancel_requested(state: State, run: RunRow, e: events.Appended, a: history.WorkflowCancelRequested) -> _Changes:
    return {"cancel_requested": True}


def _reset_event(state: State, run: RunRow, e: events.Appended, a: history.WorkflowReset) -> _Changes:
    """What is open here was begun by the run that was reset, or by one before that."""
    open_of = {keys.ACTIVITY: run.open_activities, keys.CHILD: run.open_children, keys.EXTERNAL: run.open_externals}
    for table, count in open_of.items():
        for key, row in list(state.scan(keys.of_run(table, e.workflow_id, e.run_id))) if count else ():
            if not row.first_run_id:
                state.put(key, replace(row, first_run_id=a.run_id))
    return {}


def _paused(state: State, run: RunRow, e: events.Appended, a: history.WorkflowPaused) -> _Changes:
    return {"paused": True, "pause_reason": a.reason, "paused_by": a.identity, "paused_ms": e.time_ms}


def _unpaused(state: State, run: RunRow, e: events.Appended, a: history.WorkflowUnpaused) -> _Changes:
    return dict(NOT_PAUSED)


def _activity_scheduled(state: State, run: RunRow, e: events.Appended, a: history.ActivityScheduled) -> _Changes:
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
    state.put(keys.activity(e.workflow_id, e.run_id, a.seq), row)
    return {"open_activities": run.open_activities + 1}


def _activity_ended(state: State, run: RunRow, e: events.Appended, a: Any) -> _Changes:
    key = keys.activity(e.workflow_id, e.run_id, a.seq)
    if state.get(key) is None:
        return {}
    state.delete(key)
    return {"open_activities": run.open_activities - 1}


def _activity_cancel_requested(state: State, run: RunRow, e: events.Appended, a: Any) -> _Changes:
    """The activity has ended for the code, unless the code waits for its end."""
    key = keys.activity(e.workflow_id, e.run_id, a.seq)
    row: ActivityRow | None = state.get(key)
    if row is None or row.cancellation_type != "wait":
        return _activity_ended(state, run, e, a)
    state.put(key, replace(row, cancel_requested=True))
    return {}


def _timer_started(state: State, run: RunRow, e: events.Appended, a: history.TimerStarted) -> _Changes:
    row = TimerRow(
        workflow_id=e.workflow_id,
        run_id=e.run_id,
        seq=a.seq,
        due_ms=a.due_ms,
        started_event_id=e.event_id,
        summary=a.summary,
    )
    state.put(keys.timer(e.workflow_id, e.run_id, a.seq), row)
    return {"open_timers": run.open_timers + 1}


def _timer_ended(state: State, run: RunRow, e: events.Appended, a: Any) -> _Changes:
    state.delete(keys.timer(e.workflow_id, e.run_id, a.seq))
    return {"open_timers": run.open_timers - 1}


def _child_initiated(state: State, run: RunRow, e: events.Appended, a: history.ChildWorkflowInitiated) -> _Changes:
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


def _child_started(state: State, run: RunRow, e: events.Appended, a: history.ChildWorkflowStarted) -> _Changes:
    key = keys.child(e.workflow_id, e.run_id, a.seq)
    state.put(key, replace(state.get(key), child_run_id=a.run_id))
    return {}


def _child_cancel_requested(state: State, run: RunRow, e: events.Appended, a: Any) -> _Changes:
    key = keys.child(e.workflow_id, e.run_id, a.seq)
    state.put(key, replace(state.get(key), cancel_requested=True))
    return {}


def _child_ended(state: State, run: RunRow, e: events.Appended, a: Any) -> _Changes:
    state.delete(keys.child(e.workflow_id, e.run_id, a.seq))
    return {"open_children": run.open_children - 1}


def _external_requested(state: State, run: RunRow, e: events.Appended, a: Any) -> _Changes:
    row = ExternalRow(
        workflow_id=e.workflow_id,
        run_id=e.run_id,
        seq=a.seq,
        requested_event_id=e.event_id,
        is_signal=isinstance(a, history.ExternalSignalRequested),
    )
    state.put(keys.external(e.workflow_id, e.run_id, a.seq), row)
    return {"open_externals": run.open_externals + 1}


def _external_answered(state: State, run: RunRow, e: events.Appended, a: Any) -> _Changes:
    state.delete(keys.external(e.workflow_id, e.run_id, a.seq))
    return {"open_externals": run.open_externals - 1}


def _closed(state: State, run: RunRow, e: events.Appended, a: Any) -> _Changes:
    """What was open of the run is gone with it."""
    counts = {
        keys.ACTIVITY: run.open_activities,
        keys.TIMER: run.open_timers,
        keys.CHILD: run.open_children,
        keys.EXTERNAL: run.open_externals,
        keys.UPDATE: run.open_updates,
    }
    for table, count in counts.items():
        if count:
            for key, _ in list(state.scan(keys.of_run(table, e.workflow_id, e.run_id))):
                state.delete(key)
    partition = state.partition
    _partition(state, open_workflows=partition.open_workflows - 1)
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
    }


def _update_accepted(state: State, run: RunRow, e: events.Appended, a: history.UpdateAccepted) -> _Changes:
    """The numbers of a run's updates are its own for ever, also where history came from elsewhere."""
    changes = {"last_update_seq": max(run.last_update_seq, a.seq)}
    key = keys.update(e.workflow_id, e.run_id, a.seq)
    row: UpdateRow | None = state.get(key)
    if row is None:
        return changes
    state.put(key, replace(row, accepted=True, input=[], headers={}))
    return {**changes, "pending_updates": run.pending_updates - 1}


def _update_completed(state: State, run: RunRow, e: events.Appended, a: history.UpdateCompleted) -> _Changes:
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

_HISTORY: dict[type, Callable[[State, RunRow, events.Appended, Any], _Changes]] = {
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


# ---------------------------------------------------------------- an update, outside of history


def _update_asked(state: State, e: events.UpdateAsked) -> None:
    row = e.update
    key = keys.update(row.workflow_id, row.run_id, row.seq)
    known = state.get(key) is not None
    state.put(key, row)
    if not known:
        run = _run(state, row.workflow_id)
        _change_run(
            state,
            row.workflow_id,
            last_update_seq=max(run.last_update_seq, row.seq),
            open_updates=run.open_updates + 1,
            pending_updates=run.pending_updates + 1,
        )


def _update_rejected(state: State, e: events.UpdateRejected) -> None:
    state.delete(keys.update(e.workflow_id, e.run_id, e.seq))
    run = _run(state, e.workflow_id)
    _change_run(
        state, e.workflow_id, open_updates=run.open_updates - 1, pending_updates=run.pending_updates - 1
    )


# ---------------------------------------------------------------- an activity


def _change_activity(rows: State, e: Any, **changes: Any) -> None:
    key = keys.activity(e.workflow_id, e.run_id, e.seq)
    rows.put(key, replace(rows.get(key), **changes))


def _activity_dispatched(state: State, e: events.ActivityDispatched) -> None:
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


def _activity_taken(state: State, e: events.ActivityTaken) -> None:
    _change_activity(state, e, state="started", session=e.session, started_ms=e.time_ms)


def _activity_renewed(state: State, e: events.ActivityRenewed) -> None:
    row: ActivityRow = state.get(keys.activity(e.workflow_id, e.run_id, e.seq))
    _change_activity(
        state,
        e,
        attempt=row.attempt + 1,
        uncounted=row.uncounted + 1,
        losses=row.losses + 1 if e.lost else row.losses,
        heartbeat_details=e.heartbeat_details or row.heartbeat_details,
    )


def _activity_attempt_failed(state: State, e: events.ActivityAttemptFailed) -> None:
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


def _activity_paused(state: State, e: events.ActivityPaused) -> None:
    at_once: _Changes = {"state": "paused", "session": "", "next_retry_ms": 0} if e.at_once else {}
    _change_activity(state, e, paused=True, pause_reason=e.reason, paused_by=e.by, paused_ms=e.time_ms, **at_once)


def _activity_unpaused(state: State, e: events.ActivityUnpaused) -> None:
    """Its time as a whole counts from now on, if it stood still."""
    row: ActivityRow = state.get(keys.activity(e.workflow_id, e.run_id, e.seq))
    scheduled = e.time_ms if row.state == "paused" else row.scheduled_ms
    _change_activity(state, e, scheduled_ms=scheduled, **NOT_PAUSED)


def _activity_changed(state: State, e: events.ActivityChanged) -> None:
    _change_activity(state, e, task_queue=e.task_queue, retry_policy=e.retry_policy, **e.timeouts_ms)


def _activity_carried(state: State, e: events.ActivityCarried) -> None:
    _change_activity(state, e, scheduled_ms=e.time_ms, queued_ms=e.time_ms, task_since_ms=e.time_ms)


_APPLY: dict[type, Callable[[State, Any], None]] = {
    events.RecordFolded: _record_folded,
    events.LeaderChanged: _leader_changed,
    events.ClockAdvanced: _clock_advanced,
    events.RecordHeld: _record_held,
    events.RecordReleased: _record_released,
    events.EffectStaged: _effect_staged,
    events.EffectsLeft: _effects_left,
    events.EffectReplaced: _effect_replaced,
    events.MessageTaken: _message_taken,
    events.RowExpired: _row_expired,
    events.SessionBegan: _session_began,
    events.SessionOver: _session_over,
    events.RequestAnswered: _request_answered,
    events.CurrentBuildSet: _current_build_set,
    events.Appended: _appended,
    events.TaskOut: _task_out,
    events.TaskWithdrawn: _task_withdrawn,
    events.TaskAttemptFailed: _task_attempt_failed,
    events.TaskDelayed: _task_delayed,
    events.RunForked: _run_forked,
    events.ResetBegan: _reset_began,
    events.ResetAdvanced: _reset_advanced,
    events.ResetEnded: _reset_ended,
    events.RecordKeptBehind: _record_kept_behind,
    events.RecordLetGo: _record_let_go,
    events.UpdateAsked: _update_asked,
    events.UpdateRejected: _update_rejected,
    events.ActivityDispatched: _activity_dispatched,
    events.ActivityTaken: _activity_taken,
    events.ActivityRenewed: _activity_renewed,
    events.ActivityAttemptFailed: _activity_attempt_failed,
    events.ActivityPaused: _activity_paused,
    events.ActivityUnpaused: _activity_unpaused,
    events.ActivityChanged: _activity_changed,
    events.ActivityCarried: _activity_carried,
}
