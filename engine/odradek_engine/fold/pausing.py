"""Pausing: a workflow that gets no tasks, and pending activities that wait for a person, or are changed by one."""

from __future__ import annotations

from collections.abc import Callable

from odradek_schemas.history import WorkflowPaused, WorkflowUnpaused
from odradek_schemas.records import ChangeActivity, PauseWorkflow, UnpauseWorkflow

from . import activities, events, keys
from .limits import brief, check_durations, check_id, check_queue, check_retry_policy
from .outcomes import Outcome, not_open
from .rows import ActivityRow, RunRow
from .step import Step
from .tasks import wake


def pause(step: Step, record: PauseWorkflow) -> Outcome:
    """No more workflow tasks. One that is out may still be answered; messages, results and timers are taken."""
    run = step.open_run(record.workflow_id, record.run_id)
    if run is None:
        return not_open(step, record.workflow_id)
    if not run.paused:
        step.append(run.workflow_id, run.run_id, WorkflowPaused(**_said(record)))
    return Outcome("ok", run.run_id)


def unpause(step: Step, record: UnpauseWorkflow) -> Outcome:
    """The code goes on with all that came meanwhile."""
    run = step.open_run(record.workflow_id, record.run_id)
    if run is None:
        return not_open(step, record.workflow_id)
    if run.paused:
        step.append(run.workflow_id, run.run_id, WorkflowUnpaused(**_said(record)))
        wake(step, run.workflow_id)
    return Outcome("ok", run.run_id)


def _said(record: PauseWorkflow | UnpauseWorkflow) -> dict[str, str]:
    """Why, by whom, and by which request."""
    request_id = record.request.request_id if record.request else ""
    return {"reason": brief(record.reason), "request_id": request_id, "identity": brief(record.identity)}


# ---------------------------------------------------------------- pending activities


_TIMEOUTS = (
    "start_to_close_timeout_ms",
    "schedule_to_start_timeout_ms",
    "schedule_to_close_timeout_ms",
    "heartbeat_timeout_ms",
)


def check_change(record: ChangeActivity) -> None:
    """Raise ValueError for a change that makes no sense (rule E6)."""
    if record.action not in _ACTIONS:
        raise ValueError(f"action {record.action[:40]!r}: use one of {', '.join(_ACTIONS)}")
    if not 0 <= record.seq < 2**31 or (not record.seq and not record.activity_type):
        raise ValueError("say which activity: its number (seq), or its activity_type")
    if record.activity_type:
        check_id("activity_type", record.activity_type)
    if record.task_queue:
        check_queue(record.task_queue)
    check_durations(record, *(name for name in _TIMEOUTS if getattr(record, name) != -1))
    check_retry_policy(record.retry_policy)


def change_activity(step: Step, record: ChangeActivity) -> Outcome:
    """Do what is asked with each pending activity that is meant."""
    run = step.open_run(record.workflow_id, record.run_id)
    if run is None:
        return not_open(step, record.workflow_id)
    rows = _meant(step, run, record)
    if not rows:
        what = f"numbered {record.seq}" if record.seq else f"of type {record.activity_type!r}"
        message = f"workflow {run.workflow_id!r} has no pending activity {what}"
        return Outcome("not_found", run.run_id, message, accepted=False)
    for row in rows:
        _ACTIONS[record.action](step, row, record)
    wake(step, run.workflow_id)
    return Outcome("ok", run.run_id)


def _meant(step: Step, run: RunRow, record: ChangeActivity) -> list[ActivityRow]:
    if record.seq:
        row = step.open_activity(run, record.seq)
        return [row] if row is not None and record.activity_type in ("", row.activity_type) else []
    scanned = step.state.scan(keys.of_run(keys.ACTIVITY, run.workflow_id, run.run_id))
    return [row for _, row in scanned if row.activity_type == record.activity_type]


def _pause(step: Step, row: ActivityRow, record: ChangeActivity) -> None:
    """A delivery that no worker has begun is void; an attempt under way may end, and none follows."""
    if row.state == "scheduled":
        step.apply(events.ActivityRenewed(row.workflow_id, row.run_id, row.seq, False, []))
    if not row.paused:
        why, by = brief(record.reason), brief(record.identity)
        paused = events.ActivityPaused(
            row.workflow_id, row.run_id, row.seq, row.state != "started", why, by, step.now
        )
        step.apply(paused)


def _unpause(step: Step, row: ActivityRow, _: ChangeActivity) -> None:
    if row.paused:
        step.apply(events.ActivityUnpaused(row.workflow_id, row.run_id, row.seq, step.now))
        if row.state == "paused":
            _dispatch(step, row)


def _retry(step: Step, row: ActivityRow, record: ChangeActivity) -> None:
    """The next attempt at once. One that is out, or runs, is that already."""
    if row.state == "backing_off":
        _dispatch(step, row)
    else:
        _unpause(step, row, record)


def _update(step: Step, row: ActivityRow, record: ChangeActivity) -> None:
    """Other options from now on. What no worker has begun is delivered again with them."""
    timeouts = {name: getattr(record, name) for name in _TIMEOUTS if getattr(record, name) >= 0}
    queue = record.task_queue or row.task_queue
    policy = record.retry_policy or row.retry_policy
    step.apply(events.ActivityChanged(row.workflow_id, row.run_id, row.seq, queue, policy, timeouts))
    if row.state == "scheduled":
        step.apply(events.ActivityRenewed(row.workflow_id, row.run_id, row.seq, False, []))
        _dispatch(step, row)


def _dispatch(step: Step, row: ActivityRow) -> None:
    """Emit the attempt as the row stands now."""
    now = step.state.row(keys.activity(row.workflow_id, row.run_id, row.seq), ActivityRow)
    if now is None:
        raise AssertionError("a change does not end an activity")
    activities.dispatch(step, now)


_ACTIONS: dict[str, Callable[[Step, ActivityRow, ChangeActivity], None]] = {
    "pause": _pause,
    "unpause": _unpause,
    "retry": _retry,
    "update": _update,
}
