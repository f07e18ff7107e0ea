"""Workflow tasks: telling a worker that there is something to read, once at a time (rule 7 of the design).

An open run that has unread input or pending updates has a task out, or waits for a moment to retry; never neither.
"""

from __future__ import annotations

from odradek_schemas.common import Failure
from odradek_schemas.records import TaskReissued, WorkflowTaskDue, WorkflowTaskFailed
from odradek_schemas.tasks import WorkflowTask

from . import deployments, events, keys
from .limits import shorten
from .rows import ResetRow, RunRow
from .step import MAX_EFFECT_BYTES, Step
from .updates import pending_updates

MAX_TASK_EVENT_BYTES = 256_000
"""New events beyond this are not put into a task; the worker fetches them."""

TASK_RETRY_INITIAL_MS, TASK_RETRY_MAXIMUM_MS = 1_000, 60_000


def wake(step: Step, workflow_id: str) -> None:
    """Emit a workflow task if the run has unread input or pending updates, and none is out."""
    run = step.run(workflow_id)
    if run is None or not run.is_open or run.task_offset >= 0 or run.task_retry_ms or not run.needs_worker:
        return
    if run.paused or (step.partition.resets and _is_being_filled(step, workflow_id)):
        return
    updates, through = pending_updates(step, run)
    new = _new_events(step, run, through)
    build = deployments.build_of(step.state, run, run.task_queue)
    position = step.effect(
        step.topics.workflow_tasks(run.task_queue, build),
        step.partition.partition,
        run.workflow_id.encode(),
        lambda position: WorkflowTask(
            position=position,
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            workflow_type=run.workflow_type,
            base=run.base,
            consumed_through=run.consumed_through,
            last_event_id=through,
            events=new or [],
            complete=new is not None,
            attempt=run.task_attempt,
            history_size=run.history_size,
            updates=updates,
        ),
        at_most=MAX_EFFECT_BYTES if updates else sum(len(event) + 5 for event in new or ()),
    )
    if position is None:
        raise AssertionError("a workflow task cannot be larger than its limits")
    step.apply(events.TaskOut(run.workflow_id, run.run_id, position.offset, position.index, step.now, build))


def _is_being_filled(step: Step, workflow_id: str) -> bool:
    """Whether a reset has not yet given the run what it keeps."""
    reset = step.state.row(keys.reset(workflow_id), ResetRow)
    return reset is not None and reset.phase != "release"


def _new_events(step: Step, run: RunRow, through: int) -> list[bytes] | None:
    """The events after what has been seen, up to `through`; None if they are too large for a task."""
    new = []
    size = 0
    for event_id in range(max(run.consumed_through, run.seen_through) + 1, through + 1):
        encoded: bytes = step.state.get(keys.event(run.workflow_id, run.run_id, event_id))
        size += len(encoded)
        if size > MAX_TASK_EVENT_BYTES:
            return None
        new.append(encoded)
    return new


def fail_task(step: Step, run: RunRow, failure: Failure, cause: str) -> None:
    """The code could not advance: note why, and try again after a backoff."""
    delay = min(TASK_RETRY_MAXIMUM_MS, TASK_RETRY_INITIAL_MS << min(run.task_attempt - 1, 16))
    step.apply(events.TaskAttemptFailed(run.workflow_id, run.run_id, shorten(failure), cause, step.now + delay))


def decide_task_failed(step: Step, record: WorkflowTaskFailed) -> None:
    """A worker could not advance the run. Late and repeated reports change nothing."""
    run = step.open_run(record.workflow_id, record.run_id)
    if run is not None and run.base == record.base and run.task_offset >= 0:
        fail_task(step, run, record.failure, record.cause)


def decide_task_due(step: Step, record: WorkflowTaskDue) -> None:
    """The delay before a workflow task is over."""
    run = step.open_run(record.workflow_id, record.run_id)
    if run is None or run.base != record.base or run.task_attempt != record.attempt:
        return
    if run.task_retry_ms and step.now >= run.task_retry_ms - EARLY_MS:
        step.apply(events.TaskDelayed(run.workflow_id, run.run_id, 0))
        wake(step, run.workflow_id)


def decide_reissued(step: Step, record: TaskReissued, run: RunRow) -> None:
    """The workflow task seems to have been skipped (rule T3). Only if it is still the one that is out."""
    if run.base == record.base and (run.task_offset, run.task_index) == (record.offset, record.index):
        step.apply(events.TaskWithdrawn(run.workflow_id, run.run_id))
        wake(step, run.workflow_id)


EARLY_MS = 1_000
"""How much before its due time a record of the leader may be stamped and still count (rule C1)."""
