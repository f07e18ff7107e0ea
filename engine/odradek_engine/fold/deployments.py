"""Builds of workers: which one a run's tasks go to, and what is current on a task queue.

A run that a worker has pinned to its build stays there, with the activities on its own queue. All others go to the
current build of the queue with their next task: of its workers' code, or ("") to workers without a build.
"""

from __future__ import annotations

from odradek_schemas.records import SetCurrentBuild, WorkflowTaskCompleted

from . import events, keys
from .limits import check_build, check_id, check_queue
from .rows import CurrentBuildRow, RequestRow, RunRow
from .state import State
from .step import KEEP_REQUEST_MS, Step

_VERSIONING = ("pinned", "auto_upgrade")


def build_of(state: State, run: RunRow | None, task_queue: str) -> str:
    """The build whose workers a task of the run goes to, on that queue."""
    if run is not None and run.versioning == "pinned" and run.task_queue == task_queue:
        return run.build_id
    current = state.row(keys.current_build(task_queue), CurrentBuildRow)
    return current.build_id if current is not None else ""


def inherited(run: RunRow, task_queue: str) -> str:
    """The build that a run which this one begins is pinned to from its beginning: on its own queue, the one that it is
    pinned to itself, as the two know each other's arguments; else none, which is the current one."""
    return run.build_id if run.versioning == "pinned" and run.task_queue == task_queue else ""


def check_versioning(record: WorkflowTaskCompleted) -> None:
    """Raise ValueError for a completion whose build cannot be part of a topic's name (rule E6)."""
    check_build(record.build_id)
    allowed = _VERSIONING if record.build_id else ("",)
    if record.versioning not in allowed:
        raise ValueError(f"versioning {record.versioning!r}: use one of {', '.join(_VERSIONING)}, with a build_id")


def decide_set_current(step: Step, record: SetCurrentBuild) -> None:
    """From now on, runs that are not pinned go to this build. A repeated or late request changes nothing (rule Q1)."""
    request = record.request
    try:
        check_queue(record.task_queue)
        check_build(record.build_id)
        if request is not None:
            check_id("request_id", request.request_id)
    except ValueError as error:
        step.dead_letter(f"SetCurrentBuild: {error}")
        step.reply(request, "invalid", message=f"SetCurrentBuild: {error}")
        return
    if request is not None:
        known = step.state.row(keys.request("", request.request_id), RequestRow)
        if known is not None and known.expire_ms >= step.now:
            step.reply(request, known.outcome)
            return
        if request.deadline_ms and request.deadline_ms < step.now:
            step.reply(request, "expired", message="the request arrived after its deadline; its outcome is unknown")
            return
        expire = request.deadline_ms or step.now + KEEP_REQUEST_MS
        step.apply(events.RequestAnswered("", request.request_id, "ok", "", "", expire))
    if build_of(step.state, None, record.task_queue) != record.build_id:
        step.apply(events.CurrentBuildSet(record.task_queue, record.build_id, step.now))
    step.reply(request, "ok")
