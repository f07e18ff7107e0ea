"""The records of `events`, the topic that is the truth: what clients and workers append, and by `engine_records.py`
what the engine does."""

from __future__ import annotations

from typing import TypeAlias

from .commands import Command
from .common import Caller, Failure, Payload, Record, Request, RetryPolicy
from .engine_records import ActivityRetryDue as ActivityRetryDue
from .engine_records import ActivityTimedOut as ActivityTimedOut
from .engine_records import ChildClosed as ChildClosed
from .engine_records import ChildStarted as ChildStarted
from .engine_records import ChildStartFailed as ChildStartFailed
from .engine_records import ClockRead as ClockRead
from .engine_records import EffectFailed as EffectFailed
from .engine_records import EffectsEmitted as EffectsEmitted
from .engine_records import ExternalAnswered as ExternalAnswered
from .engine_records import ForwardedRecord as ForwardedRecord
from .engine_records import HeldDetails as HeldDetails
from .engine_records import LeaderElected as LeaderElected
from .engine_records import Mark as Mark
from .engine_records import ReportChild as ReportChild
from .engine_records import ResetContinued as ResetContinued
from .engine_records import TaskReissued as TaskReissued
from .engine_records import TimerFired as TimerFired
from .engine_records import WorkerLost as WorkerLost
from .engine_records import WorkflowTaskDue as WorkflowTaskDue
from .engine_records import WorkflowTimedOut as WorkflowTimedOut

# ---------------------------------------------------------------- by clients, and any service


class StartWorkflow(Record, frozen=True):
    """Begin a run, unless the policies forbid it. With `signal`: and signal it, or the one that is open; so with
    `update`, whose outcome is then the answer.

    id_conflict_policy (a run is open): fail, use_existing, terminate_existing.
    id_reuse_policy (the last run is closed): allow, allow_if_failed, reject.
    `cron_schedule`: runs follow each other at these times; the first one begins after `start_delay_ms`, or at its time.
    `parent`: the command of the workflow whose child this is; only engines set it.
    `build_id`: the run begins pinned to this build; empty: on the current one.
    `result_request`: under this request ID, the result of the run that this begins is asked for as by AwaitResult.
    """

    workflow_id: str
    workflow_type: str
    task_queue: str
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    request: Request | None = None
    id_conflict_policy: str = "fail"
    id_reuse_policy: str = "allow"
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    start_delay_ms: int = 0
    retry_policy: RetryPolicy | None = None
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    signal: str = ""
    signal_input: list[Payload] = []
    cron_schedule: str = ""
    parent: Caller | None = None
    update: str = ""
    update_input: list[Payload] = []
    update_wait_for: str = "completed"
    build_id: str = ""
    identity: str = ""
    result_request: str = ""


class SignalWorkflow(Record, frozen=True):
    """`run_id` empty: the run that is open.

    Here and below, set by engines only: `caller`, the command that waits for the outcome; `child_of`: only if the
    open run is the child that this command started.
    """

    workflow_id: str
    signal: str
    run_id: str = ""
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    request: Request | None = None
    caller: Caller | None = None
    child_of: Caller | None = None
    identity: str = ""


class UpdateWorkflow(Record, frozen=True):
    """A message with an answer; `request` is required, its ID is the update's. `run_id` empty: the run that is open.

    wait_for: completed; accepted (answered twice). `attach`: only wait for one that was sent before.
    """

    workflow_id: str
    update: str
    run_id: str = ""
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    request: Request | None = None
    wait_for: str = "completed"
    attach: bool = False
    identity: str = ""


class CancelWorkflow(Record, frozen=True):
    workflow_id: str
    run_id: str = ""
    reason: str = ""
    request: Request | None = None
    caller: Caller | None = None
    child_of: Caller | None = None
    identity: str = ""


class TerminateWorkflow(Record, frozen=True):
    workflow_id: str
    run_id: str = ""
    reason: str = ""
    request: Request | None = None
    child_of: Caller | None = None
    caller: Caller | None = None
    identity: str = ""


class ResetWorkflow(Record, frozen=True):
    """Begin a new run that keeps the history before a decision of the code; the open run is terminated.

    Kept is what lies before the last WorkflowTaskCompleted at or before `event_id`; where there is none, only event 1.
    `run_id` empty: the newest run, also a closed one. reapply (what came after): signals, none.
    `build_id`: the new run goes on pinned to this build; empty: on the current one, wherever the old one was.
    """

    workflow_id: str
    event_id: int
    run_id: str = ""
    reason: str = ""
    reapply: str = "signals"
    request: Request | None = None
    identity: str = ""
    build_id: str = ""


class PauseWorkflow(Record, frozen=True):
    """The open run gets no workflow tasks until it is unpaused; what comes for it is taken.

    Here and below, `identity`: who asks, for people.
    """

    workflow_id: str
    run_id: str = ""
    reason: str = ""
    request: Request | None = None
    identity: str = ""


class UnpauseWorkflow(Record, frozen=True):
    workflow_id: str
    run_id: str = ""
    reason: str = ""
    request: Request | None = None
    identity: str = ""


class ChangeActivity(Record, frozen=True):
    """Do something about pending activities: the one numbered `seq`, or (0) all of `activity_type`.

    action: pause, unpause, retry (now), update (the options given; -1, None and empty: as they are).
    """

    workflow_id: str
    action: str
    run_id: str = ""
    seq: int = 0
    activity_type: str = ""
    reason: str = ""
    task_queue: str = ""
    start_to_close_timeout_ms: int = -1
    schedule_to_start_timeout_ms: int = -1
    schedule_to_close_timeout_ms: int = -1
    heartbeat_timeout_ms: int = -1
    retry_policy: RetryPolicy | None = None
    request: Request | None = None
    identity: str = ""


class CompleteActivity(Record, frozen=True):
    """Completion from anywhere by task token."""

    workflow_id: str
    task_token: bytes
    result: Payload | None = None
    request: Request | None = None


class FailActivity(Record, frozen=True):
    workflow_id: str
    task_token: bytes
    failure: Failure
    request: Request | None = None


class SetCurrentBuild(Record, frozen=True):
    """Runs of a task queue that are not pinned go to workers of this build from now on; "": to those without one.

    Appended to every partition, each with a request ID of its own.
    """

    task_queue: str
    build_id: str
    request: Request | None = None


# ---------------------------------------------------------------- by workers


class WorkerAlive(Record, frozen=True):
    """A worker session begins on this partition. A session ends once, for good (rules T5, T6)."""

    session: str
    identity: str = ""
    client_id: str = ""
    reply_partition: int = -1
    build_id: str = ""


class WorkerStopped(Record, frozen=True):
    """The worker itself ends its session: what it still holds goes to others at once."""

    session: str


class LocalResult(Record, frozen=True):
    """The result of what the worker ran itself. `time_ms`: the workflow's time when it was fed.

    kind: activity (one that was scheduled), local_activity (`name` is its type), side_effect; these two have no
    `scheduled_by`, and are part of the completion that they come with.
    """

    seq: int
    scheduled_by: str
    time_ms: int
    attempt: int = 1
    result: Payload | None = None
    failure: Failure | None = None
    kind: str = "activity"
    name: str = ""


class AcceptedUpdate(Record, frozen=True):
    """An update that was fed to the code after event `fed_after`, at the workflow's time `fed_ms`."""

    seq: int
    update_id: str
    fed_after: int
    fed_ms: int


class RejectedUpdate(Record, frozen=True):
    seq: int
    update_id: str
    failure: Failure


class UpdatesRejected(Record, frozen=True):
    """A workflow task that came to nothing but rejected updates: history does not show it."""

    workflow_id: str
    run_id: str
    base: str
    rejected_updates: list[RejectedUpdate] = []
    session: str = ""


class WorkflowTaskCompleted(Record, frozen=True):
    """The workflow code advanced: it has seen events up to `consumed_through`, and gives `commands`.

    Taken only if `base` is the ID of the run's last accepted completion (at first the run ID). `id` is
    unique for ever: worker session and counter (rules W1, W6). `history_size`: bytes of history, as the code was told.
    `build_id`: of the worker's code, "" if it has none;
    with one, `versioning` is pinned (the run stays on that build) or auto_upgrade (it follows the current one).
    `new_task`: local activities go on; the run has another task at once, so that somebody is at work on it.
    """

    workflow_id: str
    run_id: str
    id: str
    base: str
    consumed_through: int
    session: str = ""
    commands: list[Command] = []
    local_results: list[LocalResult] = []
    history_size: int = 0
    build_id: str = ""
    versioning: str = ""
    accepted_updates: list[AcceptedUpdate] = []
    rejected_updates: list[RejectedUpdate] = []
    new_task: bool = False


MAX_COMPLETION_BYTES, MAX_COMPLETION_PIECES = 16_000_000, 64
"""A larger WorkflowTaskCompleted is refused, and one in more pieces."""


class CompletionPiece(Record, frozen=True):
    """A piece of a WorkflowTaskCompleted that is larger than a record may be. It takes effect when all are there.

    `id`, `base`: of that record. `index` counts from 0, `count` is that of all pieces, `piece` a part of its encoding.
    The first one comes first; all go to one partition.
    """

    workflow_id: str
    run_id: str
    id: str
    base: str
    index: int
    count: int
    piece: bytes


class WorkflowTaskFailed(Record, frozen=True):
    """The workflow code could not advance. cause: bug, non_determinism, blocked, unknown_type."""

    workflow_id: str
    run_id: str
    base: str
    failure: Failure
    cause: str = "bug"
    session: str = ""


class ActivityStarted(Record, frozen=True):
    """A worker session runs the attempt. `claim`: it waits for `ActivityClaimed` before it does (rules T4, T8).

    `deferred`: its code has ended, it is completed by its task token; the end of the session does not touch it.
    """

    workflow_id: str
    run_id: str
    seq: int
    scheduled_by: str
    attempt: int
    session: str
    claim: bool = False
    deferred: bool = False


class ActivityCompleted(Record, frozen=True):
    workflow_id: str
    run_id: str
    seq: int
    scheduled_by: str
    attempt: int
    session: str
    result: Payload | None = None


class ActivityFailed(Record, frozen=True):
    """`next_retry_delay_ms` -1: as the retry policy says."""

    workflow_id: str
    run_id: str
    seq: int
    scheduled_by: str
    attempt: int
    session: str
    failure: Failure
    next_retry_delay_ms: int = -1
    heartbeat_details: list[Payload] = []


class ActivityCancelled(Record, frozen=True):
    workflow_id: str
    run_id: str
    seq: int
    scheduled_by: str
    attempt: int
    session: str
    details: list[Payload] = []


class ActivityHandedBack(Record, frozen=True):
    """A worker that shuts down, or is full, gives an attempt back; it is delivered again, at no cost."""

    workflow_id: str
    run_id: str
    seq: int
    scheduled_by: str
    attempt: int
    session: str
    heartbeat_details: list[Payload] = []


# ---------------------------------------------------------------- all of them

EventRecord: TypeAlias = (
    StartWorkflow
    | SignalWorkflow
    | UpdateWorkflow
    | UpdatesRejected
    | CompletionPiece
    | CancelWorkflow
    | TerminateWorkflow
    | ResetWorkflow
    | PauseWorkflow
    | UnpauseWorkflow
    | ChangeActivity
    | CompleteActivity
    | FailActivity
    | SetCurrentBuild
    | WorkerAlive
    | WorkerStopped
    | WorkflowTaskCompleted
    | WorkflowTaskFailed
    | ActivityStarted
    | ActivityCompleted
    | ActivityFailed
    | ActivityCancelled
    | ActivityHandedBack
    | LeaderElected
    | ClockRead
    | EffectsEmitted
    | EffectFailed
    | TimerFired
    | ActivityTimedOut
    | ActivityRetryDue
    | WorkflowTaskDue
    | WorkflowTimedOut
    | ResetContinued
    | TaskReissued
    | WorkerLost
    | ForwardedRecord
    | ChildStarted
    | ChildStartFailed
    | ChildClosed
    | ReportChild
    | ExternalAnswered
)
