"""Deciding on a completed workflow task: optimistic concurrency on the log (rules W1, W6, W7, W9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odradek_schemas import commands, history
from odradek_schemas.common import Failure
from odradek_schemas.records import LocalResult, UpdatesRejected, WorkflowTaskCompleted

from . import activities, cancelling, children, continuing, events
from .closing import close
from .deployments import check_versioning
from .limits import (
    check_activity,
    check_continue_as_new,
    check_delays,
    check_durations,
    check_id,
    check_search_attributes,
    check_time,
)
from .rows import ActivityRow, RunRow
from .step import Step
from .tasks import fail_task, wake
from .updates import accept_updates, check_decided, complete_update, reject_updates

_CLOSING = {
    commands.CompleteWorkflow,
    commands.FailWorkflow,
    commands.CancelledWorkflow,
    commands.ContinueAsNewWorkflow,
}
_LOCAL_KINDS = ("activity", "local_activity", "side_effect")
_NUMBERED: set[type] = {
    commands.ScheduleActivity,
    commands.StartTimer,
    commands.StartChildWorkflow,
    commands.SignalExternalWorkflow,
    commands.CancelExternalWorkflow,
    commands.StartLocalActivity,
    commands.RecordSideEffect,
}


def decide_task_completed(step: Step, record: WorkflowTaskCompleted) -> None:
    """Take the commands, if the code saw the run as it is; else only results of activities that are open."""
    run = step.open_run(record.workflow_id, record.run_id)
    if run is None:
        return
    if record.base != run.base:
        _salvage(step, run, record)
        return
    if run.paused and run.task_offset < 0:  # no task asked for this: a worker that runs ahead
        _salvage(step, run, record)
        return
    if any(r.kind == "activity" and _local_activity(step, run, r) is None for r in record.local_results):
        _salvage(step, run, record)
        step.apply(events.TaskWithdrawn(run.workflow_id, run.run_id))
        _wake_anyway(step, run)
        return
    problem = _problem(step, run, record)
    if problem:
        _salvage(step, run, record)
        fail_task(step, run, Failure(message=problem, type="InvalidCommands", kind="server"), "invalid")
        return
    _accept(step, run, record)


def decide_updates_rejected(step: Step, record: UpdatesRejected) -> None:
    """A task that came to nothing but rejected updates. The run stands as before, and may have a task again."""
    run = step.open_run(record.workflow_id, record.run_id)
    if run is None or record.base != run.base or not reject_updates(step, run, record.rejected_updates):
        return
    if run.task_offset >= 0:
        step.apply(events.TaskWithdrawn(run.workflow_id, run.run_id))
    wake(step, run.workflow_id)


def _salvage(step: Step, run: RunRow, record: WorkflowTaskCompleted) -> None:
    """Results of activities that really were scheduled count, even where the commands do not."""
    for result in record.local_results:
        row = _local_activity(step, run, result)
        if row is not None:
            _finish(step, row, result, None)
    wake(step, run.workflow_id)


def _wake_anyway(step: Step, run: RunRow) -> None:
    """A refused completion on the right base must lead to another task (rule W7).

    Its activity's result came by another way, and is unread input; so there is something to wake for.
    """
    wake(step, run.workflow_id)
    now = step.run(run.workflow_id)
    if now is not None and now.is_open and now.task_offset < 0 and not now.task_retry_ms:
        failure = Failure(message="a local result was of an activity that had ended", type="StaleResult", kind="server")
        fail_task(step, now, failure, "refused")


def _local_activity(step: Step, run: RunRow, result: LocalResult) -> ActivityRow | None:
    """The open activity that this is the result of. Steps of other kinds were never scheduled."""
    if result.kind != "activity":
        return None
    return step.activity(run, result.seq, result.scheduled_by)


def _problem(step: Step, run: RunRow, record: WorkflowTaskCompleted) -> str:
    """Why a completion on the right base cannot be taken; empty if it can (rules E6, W1, W2)."""
    try:
        check_id("id", record.id)
        check_versioning(record)
    except ValueError as error:
        return str(error)
    if record.id == record.base:
        return f"id {record.id!r} is that of the completion before: each has its own"
    if not run.consumed_through <= record.consumed_through <= run.last_event_id:
        return f"consumed_through {record.consumed_through} of {run.last_event_id} events"
    problem = check_decided(step, run, record)
    if problem:
        return problem
    for result in record.local_results:
        if result.kind not in _LOCAL_KINDS or (result.kind != "activity" and result.seq < 1):
            return f"local result {result.seq} is of kind {result.kind!r}; use one of {', '.join(_LOCAL_KINDS)}"
    closing = [c for c in record.commands if type(c) in _CLOSING]
    if len(closing) > 1 or (closing and record.commands[-1] is not closing[0]):
        return "the command that closes the workflow is the last one"
    numbers: set[int] = set()
    for command in record.commands:
        try:
            _check_command(step, run, command, numbers)
        except ValueError as error:
            return f"{type(command).__name__}: {error}"
    return ""


def _check_command(step: Step, run: RunRow, command: commands.Command, numbers: set[int]) -> None:
    """Raise ValueError for a command that cannot be carried out."""
    kind = type(command)
    if kind in _NUMBERED:
        seq = command.seq  # type: ignore[union-attr]  # those have one
        if seq < 1 or seq in numbers:
            raise ValueError(f"seq {seq}: numbers count from 1, each is used once")
        if _is_in_use(step, run, seq):
            raise ValueError(f"seq {seq} is in use")
        numbers.add(seq)
    check = _CHECKS.get(kind)
    if check is not None:
        check(step, run, command)


def _check_completed(step: Step, run: RunRow, command: commands.CompleteWorkflow | commands.FailWorkflow) -> None:
    check_delays(command, "next_retry_delay_ms")
    check_time("next_cron_ms", command.next_cron_ms, step.now)


def _check_continued(step: Step, run: RunRow, command: commands.ContinueAsNewWorkflow) -> None:
    check_continue_as_new(command)
    check_time("begin_ms", command.begin_ms, step.now)


def _check_upserted(step: Step, run: RunRow, command: commands.UpsertSearchAttributes) -> None:
    check_search_attributes({**run.search_attributes, **command.search_attributes})


_CHECKS: dict[type, Callable[[Step, RunRow, Any], None]] = {
    commands.MarkPatch: lambda step, run, command: check_id("patch_id", command.patch_id),
    commands.DeprecatePatch: lambda step, run, command: check_id("patch_id", command.patch_id),
    commands.ContinueAsNewWorkflow: _check_continued,
    commands.CompleteWorkflow: _check_completed,
    commands.FailWorkflow: _check_completed,
    commands.UpsertSearchAttributes: _check_upserted,
    commands.ScheduleActivity: lambda step, run, command: check_activity(command),
    commands.StartLocalActivity: lambda step, run, command: check_id("activity_type", command.activity_type),
    commands.StartTimer: lambda step, run, command: check_durations(command, "duration_ms"),
}


def _is_in_use(step: Step, run: RunRow, seq: int) -> bool:
    """Whether something open of the run has this number. `run` is as it is now: where nothing is open, nothing is
    looked up."""
    if run.open_activities and step.open_activity(run, seq) is not None:
        return True
    if run.open_timers and step.timer(run, seq) is not None:
        return True
    return bool(run.open_children or run.open_externals) and children.is_open(step, run, seq)


def _finish(step: Step, row: ActivityRow, result: LocalResult, time_ms: int | None) -> int:
    """Append the event of a local result; `time_ms` None: it is ordinary input, of now."""
    if result.failure is not None:
        ended: history.Attributes = history.ActivityFailed(
            seq=row.seq,
            scheduled_event_id=row.scheduled_event_id,
            failure=result.failure,
            attempt=result.attempt,
            reason="local",
            session=row.session,
        )
    else:
        ended = history.ActivityCompleted(
            seq=row.seq,
            scheduled_event_id=row.scheduled_event_id,
            result=result.result,
            attempt=result.attempt,
            started_ms=row.started_ms,
            session=row.session,
        )
    return step.append(row.workflow_id, row.run_id, ended, time_ms, local=time_ms is not None)


def _inline(result: LocalResult) -> history.Attributes:
    """The event of what the worker did within its completion."""
    if result.kind == "side_effect":
        return history.SideEffectRecorded(seq=result.seq, result=result.result)
    if result.failure is not None:
        return history.LocalActivityFailed(
            seq=result.seq, activity_type=result.name, failure=result.failure, attempt=result.attempt
        )
    return history.LocalActivityCompleted(
        seq=result.seq, activity_type=result.name, result=result.result, attempt=result.attempt
    )


def _accept(step: Step, run: RunRow, record: WorkflowTaskCompleted) -> None:
    accepted = accept_updates(step, run, record)
    local_events, local_times = [], []
    for result in record.local_results:
        row = _local_activity(step, run, result)
        if result.kind != "activity":
            local_events.append(step.append(run.workflow_id, run.run_id, _inline(result), result.time_ms, local=True))
        elif row is not None:
            local_events.append(_finish(step, row, result, result.time_ms))
        else:
            continue
        local_times.append(result.time_ms)
    step.append(
        run.workflow_id,
        run.run_id,
        history.WorkflowTaskCompleted(
            id=record.id,
            base=record.base,
            consumed_through=record.consumed_through,
            local_events=local_events,
            commands=[history.summarize(c) for c in record.commands],
            session=record.session,
            history_size=record.history_size,
            build_id=record.build_id,
            versioning=record.versioning,
            updates=accepted,
            local_times=local_times,
            new_task=record.new_task,
        ),
    )
    reject_updates(step, run, record.rejected_updates)
    for command in record.commands:
        now = step.run(run.workflow_id)
        if now is None:
            raise AssertionError("a run does not vanish under its commands")
        _COMMANDS[type(command)](step, now, command, record)
    wake(step, run.workflow_id)


# ---------------------------------------------------------------- the commands; on what has ended, a no-op (rule W9)


def _schedule(step: Step, run: RunRow, command: commands.ScheduleActivity, record: WorkflowTaskCompleted) -> None:
    activities.schedule(step, run, command, record.id, record.session)


def _cancel_activity(step: Step, run: RunRow, command: commands.CancelActivity, _: WorkflowTaskCompleted) -> None:
    row = step.open_activity(run, command.seq)
    if row is not None:
        cancelling.cancel(step, row)


def _start_timer(step: Step, run: RunRow, command: commands.StartTimer, _: WorkflowTaskCompleted) -> None:
    """It counts from the workflow's own clock, which shows the due time of a timer that fired a little early (C1)."""
    now = step.run(run.workflow_id) or run
    due = max(step.now, now.last_event_ms) + command.duration_ms
    started = history.TimerStarted(seq=command.seq, due_ms=due, summary=command.summary)
    step.append(run.workflow_id, run.run_id, started)


def _cancel_timer(step: Step, run: RunRow, command: commands.CancelTimer, _: WorkflowTaskCompleted) -> None:
    row = step.timer(run, command.seq)
    if row is not None:
        cancelled = history.TimerCancelled(seq=row.seq, started_event_id=row.started_event_id)
        step.append(run.workflow_id, run.run_id, cancelled)


def _cancelled(step: Step, run: RunRow, command: commands.CancelledWorkflow, _: WorkflowTaskCompleted) -> None:
    close(step, run, history.WorkflowCancelled(failure=command.failure))


def _mark(step: Step, run: RunRow, command: commands.Command, _: object) -> None:
    """The summary of the command, in the event of the completed task, is the mark; nothing else follows from it."""


def _upsert(step: Step, run: RunRow, command: commands.UpsertSearchAttributes, _: WorkflowTaskCompleted) -> None:
    upserted = history.SearchAttributesUpserted(
        search_attributes=command.search_attributes, removed=command.removed
    )
    step.append(run.workflow_id, run.run_id, upserted)


def _complete_update(step: Step, run: RunRow, command: commands.CompleteUpdate, _: WorkflowTaskCompleted) -> None:
    complete_update(step, run, command)


_COMMANDS: dict[type, Callable[[Step, RunRow, Any, WorkflowTaskCompleted], None]] = {
    commands.ScheduleActivity: _schedule,
    commands.CancelActivity: _cancel_activity,
    commands.StartTimer: _start_timer,
    commands.CancelTimer: _cancel_timer,
    commands.CompleteWorkflow: continuing.complete,
    commands.FailWorkflow: continuing.fail,
    commands.CancelledWorkflow: _cancelled,
    commands.MarkPatch: _mark,
    commands.DeprecatePatch: _mark,
    commands.StartLocalActivity: _mark,
    commands.RecordSideEffect: _mark,
    commands.ContinueAsNewWorkflow: continuing.continue_as_new,
    commands.UpsertSearchAttributes: _upsert,
    commands.StartChildWorkflow: lambda step, run, command, _: children.initiate(step, run, command),
    commands.CancelChildWorkflow: lambda step, run, command, _: children.request_cancel(step, run, command),
    commands.SignalExternalWorkflow: lambda step, run, command, _: children.signal_external(step, run, command),
    commands.CancelExternalWorkflow: lambda step, run, command, _: children.cancel_external(step, run, command),
    commands.CompleteUpdate: _complete_update,
}
