"""What `describe` and `history` return: plain, readable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

WorkflowStatus = Literal["running", "completed", "failed", "cancelled", "terminated", "timed_out", "continued_as_new"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingActivity:
    """An activity that has no result yet.

    state: scheduled, started, backing_off (see `next_retry_time`), cancel_requested, paused. `paused`
    and started: no attempt follows the one under way. `attempt` counts from 1;
    `maximum_attempts` None: without limit. `last_failure` is the error of the attempt before.
    `paused_by`: the identity of the client that paused it; empty where the engine did, when no attempt was left.
    """

    activity_type: str
    task_queue: str
    state: str
    attempt: int
    maximum_attempts: int | None = None
    scheduled_time: datetime | None = None
    started_time: datetime | None = None
    next_retry_time: datetime | None = None
    last_failure: BaseException | None = None
    heartbeat_details: tuple[Any, ...] = ()
    worker: str = ""
    task_token: bytes = b""
    seq: int = 0
    paused: bool = False
    pause_reason: str = ""
    paused_by: str = ""
    paused_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingTimer:
    """A timer that has not fired."""

    due_time: datetime
    summary: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingChild:
    """A child workflow that has not ended. state: starting, started, cancel_requested."""

    id: str
    workflow_type: str
    state: str
    run_id: str = ""
    parent_close_policy: str = "terminate"
    initiated_time: datetime | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingUpdate:
    """An update without an answer. state: pending (no worker has looked at it), accepted (its handler is at work).

    `identity`: of the client that sent it.
    """

    id: str
    name: str
    state: str
    asked_time: datetime | None = None
    identity: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingLocalActivity:
    """A local activity that a worker is at; shown once it has outlasted a workflow task, some five seconds."""

    activity_type: str
    since: datetime | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDescription:
    """One run of a workflow, as it stood when asked.

    `task_failure`: why the code cannot be advanced, with the worker's traceback in `task_failure_traceback`; it is
    tried again at `task_retry_time`. `workers`: how many live workers poll `task_queue`. `missing_queues`: the
    queues with waiting tasks that no live worker polls. `warnings` says both in words. `parent_id` and
    `parent_run_id`: of the workflow whose child this is, else empty. `build_id`: of the workers that the workflow's
    tasks go to (None: of any without one), which `workers` counts; `versioning`: pinned, auto_upgrade.
    `started_by`: the identity of the client that started it, or the first of the runs that it follows.
    """

    id: str
    run_id: str
    workflow_type: str
    task_queue: str
    status: WorkflowStatus
    first_run_id: str = ""
    start_time: datetime | None = None
    close_time: datetime | None = None
    history_length: int = 0
    history_size: int = 0
    memo: Mapping[str, Any] = field(default_factory=dict)
    search_attributes: Mapping[str, Any] = field(default_factory=dict)
    pending_activities: tuple[PendingActivity, ...] = ()
    pending_timers: tuple[PendingTimer, ...] = ()
    pending_children: tuple[PendingChild, ...] = ()
    parent_id: str = ""
    parent_run_id: str = ""
    task_attempt: int = 0
    task_failure: BaseException | None = None
    task_failure_cause: str = ""
    task_failure_traceback: str = ""
    task_retry_time: datetime | None = None
    workers: int = 0
    missing_queues: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    time: datetime | None = None
    paused: bool = False
    pause_reason: str = ""
    build_id: str | None = None
    versioning: str | None = None
    paused_by: str = ""
    started_by: str = ""
    paused_time: datetime | None = None
    pending_updates: tuple[PendingUpdate, ...] = ()
    pending_local_activities: tuple[PendingLocalActivity, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildDescription:
    """A build of a task queue's workers. `build_id` None: workers without one.

    `open_workflows`: how many still need it, because they are pinned to it or a task of theirs is out to it.
    `workflow_ids`: some of them.
    """

    build_id: str | None
    current: bool
    workers: int
    open_workflows: int
    workflow_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQueueBuilds:
    """The builds of a task queue. More than one is current only if `set_current_build` was cut off: repeat it."""

    task_queue: str
    current_since: datetime | None
    builds: tuple[BuildDescription, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEvent:
    """One numbered event of a run. `attributes` are its fields, with payloads and failures read."""

    id: int
    time: datetime
    type: str
    attributes: Mapping[str, Any]
