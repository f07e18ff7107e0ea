"""What goes back to one client. Clients drop a second answer to the same request ID."""

from __future__ import annotations

from .common import Caller, Failure, Payload, Position, Record


class RequestReply(Record, frozen=True):
    """The outcome of a request that went through the log.

    outcome: ok, started, existing (the open run is used), already_started, reuse_rejected, overloaded, not_found,
    closed, expired, invalid. Of an update: accepted, completed (`result`), failed and rejected (`failure`), closed.
    """

    position: Position
    client_id: str
    request_id: str
    outcome: str
    run_id: str = ""
    message: str = ""
    result: Payload | None = None
    failure: Failure | None = None


class WorkflowResult(Record, frozen=True):
    """status: running (ask again), completed, failed, cancelled, terminated, timed_out, continued_as_new, not_found."""

    client_id: str
    request_id: str
    status: str
    run_id: str = ""
    workflow_type: str = ""
    next_run_id: str = ""
    result: Payload | None = None
    failure: Failure | None = None


class QueryResult(Record, frozen=True):
    """status: answered, failed (the handler raised), not_found, rejected, overloaded (see `failure`)."""

    client_id: str
    request_id: str
    status: str
    result: Payload | None = None
    failure: Failure | None = None


class HistoryPage(Record, frozen=True):
    """Events from the asked one on. `next_event_id` 0: this is the last page.

    `base` and `consumed_through` belong to the state that the pages show; a page with another `base` than
    the first means that the run advanced in between. `history_size`: bytes of all events.
    """

    client_id: str
    request_id: str
    found: bool
    run_id: str = ""
    workflow_type: str = ""
    status: str = ""
    base: str = ""
    consumed_through: int = 0
    last_event_id: int = 0
    next_event_id: int = 0
    events: list[bytes] = []
    history_size: int = 0


class PendingActivity(Record, frozen=True):
    """state: scheduled, started, backing_off, cancel_requested, paused. `paused` and started: its last attempt."""

    seq: int
    activity_type: str
    task_queue: str
    state: str
    attempt: int
    maximum_attempts: int = 0
    scheduled_ms: int = 0
    started_ms: int = 0
    next_retry_ms: int = 0
    session: str = ""
    identity: str = ""
    last_failure: Failure | None = None
    heartbeat_details: list[Payload] = []
    task_token: bytes = b""
    paused: bool = False
    on_exhausted: str = "fail"
    pause_reason: str = ""
    paused_by: str = ""
    paused_ms: int = 0


class PendingTimer(Record, frozen=True):
    seq: int
    due_ms: int
    summary: str = ""


class HeartbeatNoted(Record, frozen=True):
    """Answers `HeartbeatActivity`. status: ok, cancel_requested (it goes on until it says that it has ended),
    not_found (no such activity is open any more)."""

    client_id: str
    request_id: str
    status: str


class PendingChild(Record, frozen=True):
    """state: starting, started, cancel_requested."""

    seq: int
    workflow_id: str
    workflow_type: str
    state: str
    run_id: str = ""
    parent_close_policy: str = "terminate"
    initiated_ms: int = 0


class OpenUpdate(Record, frozen=True):
    """state: pending (no worker has looked at it), accepted (its handler is at work)."""

    update_id: str
    update: str
    state: str
    asked_ms: int = 0
    identity: str = ""


class PendingLocalActivity(Record, frozen=True):
    """One that the worker is still at; known once it has outlasted a workflow task."""

    seq: int
    activity_type: str
    since_ms: int = 0


class WorkflowDescription(Record, frozen=True):
    """`workers`: how many live workers poll the workflow's queue; 0 means that nobody will advance it.

    `missing_queues`: queues with waiting tasks that no live worker polls. `build_id`: of the workers that the run's
    tasks go to; `workers` counts those. `reset_request_id`: of the request that reset the workflow last.
    """

    client_id: str
    request_id: str
    found: bool
    workflow_id: str = ""
    run_id: str = ""
    first_run_id: str = ""
    workflow_type: str = ""
    task_queue: str = ""
    status: str = ""
    start_ms: int = 0
    close_ms: int = 0
    history_length: int = 0
    history_size: int = 0
    task_attempt: int = 0
    task_failure: Failure | None = None
    task_failure_cause: str = ""
    task_retry_ms: int = 0
    workers: int = 0
    missing_queues: list[str] = []
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    pending_activities: list[PendingActivity] = []
    pending_timers: list[PendingTimer] = []
    now_ms: int = 0
    paused: bool = False
    pause_reason: str = ""
    pending_children: list[PendingChild] = []
    parent: Caller | None = None
    build_id: str = ""
    versioning: str = ""
    paused_by: str = ""
    paused_ms: int = 0
    started_by: str = ""
    pending_updates: list[OpenUpdate] = []
    local_activities: list[PendingLocalActivity] = []
    reset_request_id: str = ""


class RunSummary(Record, frozen=True):
    """A run in a list. `task_failure`: why its code cannot advance, in a line."""

    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    status: str
    start_ms: int = 0
    close_ms: int = 0
    history_length: int = 0
    paused: bool = False
    task_failure: str = ""


class RunsPage(Record, frozen=True):
    """Some of a partition's runs. `next_after`: where to go on; empty: this was the last page.

    A page looks at a limited number of runs, so it may hold few, or none, although others follow.
    """

    client_id: str
    request_id: str
    runs: list[RunSummary] = []
    next_after: str = ""


class BuildState(Record, frozen=True):
    """One build of a task queue, as one partition sees it.

    `open`: how many open workflows need its workers: those pinned to it, or with a workflow task out to it.
    `workflow_ids`: some of them. `workers`: live ones that poll the queue.
    """

    build_id: str
    workers: int = 0
    open: int = 0
    workflow_ids: list[str] = []


class BuildsDescription(Record, frozen=True):
    """`current`: where runs that are not pinned go ("": to workers without a build), since `current_since_ms`."""

    client_id: str
    request_id: str
    current: str = ""
    current_since_ms: int = 0
    builds: list[BuildState] = []


class SessionEnded(Record, frozen=True):
    """To a worker: its session is over on this partition; it begins a new one (rule T6)."""

    position: Position
    client_id: str
    session: str
    partition: int


class ActivityClaimed(Record, frozen=True):
    """To a worker that claimed an attempt: whether it may run it, now that the claim is folded (rules T4, T8)."""

    position: Position
    client_id: str
    session: str
    workflow_id: str
    run_id: str
    scheduled_by: str
    seq: int
    attempt: int
    accepted: bool


class ActivityCancelRequest(Record, frozen=True):
    """To a worker: an activity that it runs is to be cancelled. reason: cancelled, closed, timed_out."""

    position: Position
    client_id: str
    session: str
    workflow_id: str
    run_id: str
    scheduled_by: str
    seq: int
    reason: str = "cancelled"
