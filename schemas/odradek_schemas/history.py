"""History: the numbered events of one run, in log order.

The events of `INPUTS` are fed to the workflow code; the others tell what the code asked for, and how
the run ended. `HistoryEvent` is how one is stored, sent to workers and published.
"""

from __future__ import annotations

from typing import TypeAlias

from .commands import (
    Command,
    DeprecatePatch,
    MarkPatch,
    ScheduleActivity,
    SignalExternalWorkflow,
    StartChildWorkflow,
    StartLocalActivity,
)
from .common import Caller, Failure, Payload, Record, RetryPolicy


class WorkflowStarted(Record, frozen=True, tag="odradek.history.WorkflowStarted", tag_field="-type"):
    """Event 1 of every run.

    `initiator` says why it follows another run: workflow, retry, cron; empty for the first of a chain.
    `execution_deadline_ms`: when the whole chain is over; 0: `execution_timeout_ms` from now, if there is one.
    `start_delay_ms`: how long the first task waits. `cron_pending`: the run does not know its time yet; it begins
    again at it. `last_result` and `last_failure`: of the runs before, for cron and retries.
    `seed`: what the code's random numbers are made of, where that is not the run ID: in a run that a reset began.
    `build_id`: the run is pinned to this build from its beginning.
    """

    workflow_type: str
    task_queue: str
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    first_run_id: str = ""
    continued_from_run_id: str = ""
    attempt: int = 1
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    request_id: str = ""
    initiator: str = ""
    execution_deadline_ms: int = 0
    start_delay_ms: int = 0
    cron_schedule: str = ""
    cron_pending: bool = False
    last_result: Payload | None = None
    last_failure: Failure | None = None
    seed: str = ""
    parent: Caller | None = None
    build_id: str = ""
    identity: str = ""


class SignalReceived(Record, frozen=True, tag="odradek.history.SignalReceived", tag_field="-type"):
    signal: str
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    request_id: str = ""
    identity: str = ""


class WorkflowCancelRequested(Record, frozen=True, tag="odradek.history.WorkflowCancelRequested", tag_field="-type"):
    reason: str = ""
    request_id: str = ""
    identity: str = ""


class CommandSummary(Record, frozen=True):
    """What replay compares of a command: its kind, its number and its name."""

    kind: str
    seq: int = 0
    name: str = ""


def summarize(command: Command) -> CommandSummary:
    """What history keeps of a command. The engine writes it, and replay compares it with what the code gives."""
    field = _NAMED_BY.get(type(command))
    name = getattr(command, field) if field else ""
    return CommandSummary(kind=type(command).__name__, seq=getattr(command, "seq", 0), name=name)


_NAMED_BY: dict[type, str] = {
    ScheduleActivity: "activity_type",
    StartLocalActivity: "activity_type",
    StartChildWorkflow: "workflow_type",
    SignalExternalWorkflow: "signal",
    MarkPatch: "patch_id",
    DeprecatePatch: "patch_id",
}
"""The field of a command that is its name."""


class UpdateAccepted(Record, frozen=True, tag="odradek.history.UpdateAccepted", tag_field="-type"):
    """A worker took an update, and fed it to the code after event `fed_after`, at the workflow's time `fed_ms`."""

    seq: int
    update_id: str
    update: str
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    fed_after: int = 0
    fed_ms: int = 0
    identity: str = ""


class UpdateCompleted(Record, frozen=True, tag="odradek.history.UpdateCompleted", tag_field="-type"):
    seq: int
    update_id: str
    result: Payload | None = None
    failure: Failure | None = None


class WorkflowTaskCompleted(Record, frozen=True, tag="odradek.history.WorkflowTaskCompleted", tag_field="-type"):
    """The code has seen everything up to `consumed_through`, with the accepted updates `updates` (event IDs) each after
    its `fed_after`, then the events `local_events`, and gave `commands`.

    `history_size`: bytes of history, as the code was told.
    `local_times`: the workflow's time, in ms, when each of the local events was fed; replay uses it (rule C1).
    `new_task`: local activities went on; another task followed at once.
    """

    id: str
    base: str
    consumed_through: int
    local_events: list[int] = []
    commands: list[CommandSummary] = []
    session: str = ""
    history_size: int = 0
    build_id: str = ""
    versioning: str = ""
    updates: list[int] = []
    local_times: list[int] = []
    new_task: bool = False


class LocalActivityCompleted(Record, frozen=True, tag="odradek.history.LocalActivityCompleted", tag_field="-type"):
    seq: int
    activity_type: str
    result: Payload | None = None
    attempt: int = 1


class LocalActivityFailed(Record, frozen=True, tag="odradek.history.LocalActivityFailed", tag_field="-type"):
    """No attempt is left; the `kind` of the failure is timeout if it took too long."""

    seq: int
    activity_type: str
    failure: Failure
    attempt: int = 1


class SideEffectRecorded(Record, frozen=True, tag="odradek.history.SideEffectRecorded", tag_field="-type"):
    seq: int
    result: Payload | None = None


class ActivityScheduled(Record, frozen=True, tag="odradek.history.ActivityScheduled", tag_field="-type"):
    seq: int
    scheduled_by: str
    activity_type: str
    task_queue: str
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    start_to_close_timeout_ms: int = 0
    schedule_to_start_timeout_ms: int = 0
    schedule_to_close_timeout_ms: int = 0
    heartbeat_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    delivery: str = "at_least_once"
    summary: str = ""
    cancellation_type: str = "try"
    on_exhausted: str = "fail"


class ActivityCompleted(Record, frozen=True, tag="odradek.history.ActivityCompleted", tag_field="-type"):
    seq: int
    scheduled_event_id: int
    result: Payload | None = None
    attempt: int = 1
    started_ms: int = 0
    session: str = ""


class ActivityFailed(Record, frozen=True, tag="odradek.history.ActivityFailed", tag_field="-type"):
    """The last attempt failed. reason: non_retryable, maximum_attempts, timeout, lost."""

    seq: int
    scheduled_event_id: int
    failure: Failure
    attempt: int = 1
    reason: str = ""
    session: str = ""


class ActivityTimedOut(Record, frozen=True, tag="odradek.history.ActivityTimedOut", tag_field="-type"):
    """timeout_type: start_to_close, schedule_to_start, schedule_to_close, heartbeat."""

    seq: int
    scheduled_event_id: int
    timeout_type: str
    timeout_ms: int = 0
    attempt: int = 1
    last_failure: Failure | None = None
    heartbeat_details: list[Payload] = []


class ActivityCancelRequested(Record, frozen=True, tag="odradek.history.ActivityCancelRequested", tag_field="-type"):
    """The code asked for the cancellation. It ends the activity, unless its cancellation_type is `wait`."""

    seq: int
    scheduled_event_id: int


class ActivityCancelled(Record, frozen=True, tag="odradek.history.ActivityCancelled", tag_field="-type"):
    seq: int
    scheduled_event_id: int
    details: list[Payload] = []


class TimerStarted(Record, frozen=True, tag="odradek.history.TimerStarted", tag_field="-type"):
    seq: int
    due_ms: int
    summary: str = ""


class TimerFired(Record, frozen=True, tag="odradek.history.TimerFired", tag_field="-type"):
    seq: int
    started_event_id: int


class TimerCancelled(Record, frozen=True, tag="odradek.history.TimerCancelled", tag_field="-type"):
    seq: int
    started_event_id: int


class WorkflowReset(Record, frozen=True, tag="odradek.history.WorkflowReset", tag_field="-type"):
    """The events before this one are those of run `run_id`, which was reset to `event_id`; the code goes on here."""

    run_id: str
    event_id: int
    reason: str = ""
    reapply: str = "signals"
    request_id: str = ""
    identity: str = ""
    build_id: str = ""


class WorkflowPaused(Record, frozen=True, tag="odradek.history.WorkflowPaused", tag_field="-type"):
    reason: str = ""
    request_id: str = ""
    identity: str = ""


class WorkflowUnpaused(Record, frozen=True, tag="odradek.history.WorkflowUnpaused", tag_field="-type"):
    reason: str = ""
    request_id: str = ""
    identity: str = ""


class WorkflowCompleted(Record, frozen=True, tag="odradek.history.WorkflowCompleted", tag_field="-type"):
    """`unread`: IDs of events that the code never saw. `new_run_id`: the run that follows, and gets the messages
    among them (cron, retries); empty: there is none."""

    result: Payload | None = None
    unread: list[int] = []
    new_run_id: str = ""


class WorkflowFailed(Record, frozen=True, tag="odradek.history.WorkflowFailed", tag_field="-type"):
    failure: Failure
    unread: list[int] = []
    new_run_id: str = ""


class WorkflowCancelled(Record, frozen=True, tag="odradek.history.WorkflowCancelled", tag_field="-type"):
    failure: Failure | None = None
    unread: list[int] = []


class WorkflowTerminated(Record, frozen=True, tag="odradek.history.WorkflowTerminated", tag_field="-type"):
    """`new_run_id`: the run that goes on in its place, after a reset."""

    reason: str = ""
    unread: list[int] = []
    new_run_id: str = ""
    identity: str = ""


class WorkflowTimedOut(Record, frozen=True, tag="odradek.history.WorkflowTimedOut", tag_field="-type"):
    """timeout_type: execution, run."""

    timeout_type: str
    unread: list[int] = []
    new_run_id: str = ""


class WorkflowContinuedAsNew(Record, frozen=True, tag="odradek.history.WorkflowContinuedAsNew", tag_field="-type"):
    """initiator: workflow, cron. The messages among `unread` are the first events of the run `new_run_id`."""

    new_run_id: str = ""
    workflow_type: str = ""
    task_queue: str = ""
    initiator: str = "workflow"
    unread: list[int] = []


class SearchAttributesUpserted(Record, frozen=True, tag="odradek.history.SearchAttributesUpserted", tag_field="-type"):
    search_attributes: dict[str, Payload] = {}
    removed: list[str] = []


class ChildWorkflowInitiated(Record, frozen=True, tag="odradek.history.ChildWorkflowInitiated", tag_field="-type"):
    """A child is being started, in the partition of its ID."""

    seq: int
    workflow_id: str
    workflow_type: str
    task_queue: str
    input: list[Payload] = []
    parent_close_policy: str = "terminate"


class ChildWorkflowStarted(Record, frozen=True, tag="odradek.history.ChildWorkflowStarted", tag_field="-type"):
    seq: int
    initiated_event_id: int
    workflow_id: str
    run_id: str


class ChildWorkflowStartFailed(Record, frozen=True, tag="odradek.history.ChildWorkflowStartFailed", tag_field="-type"):
    """There is no such child. cause: already_started, reuse_rejected, invalid, too_large, undeliverable.

    `run_id`: the run in the way, if one is.
    """

    seq: int
    initiated_event_id: int
    workflow_id: str
    cause: str
    message: str = ""
    run_id: str = ""


class ChildWorkflowCompleted(Record, frozen=True, tag="odradek.history.ChildWorkflowCompleted", tag_field="-type"):
    seq: int
    initiated_event_id: int
    workflow_id: str
    run_id: str
    result: Payload | None = None


class ChildWorkflowFailed(Record, frozen=True, tag="odradek.history.ChildWorkflowFailed", tag_field="-type"):
    seq: int
    initiated_event_id: int
    workflow_id: str
    run_id: str
    failure: Failure


class ChildWorkflowCancelled(Record, frozen=True, tag="odradek.history.ChildWorkflowCancelled", tag_field="-type"):
    seq: int
    initiated_event_id: int
    workflow_id: str
    run_id: str
    failure: Failure | None = None


class ChildWorkflowTerminated(Record, frozen=True, tag="odradek.history.ChildWorkflowTerminated", tag_field="-type"):
    seq: int
    initiated_event_id: int
    workflow_id: str
    run_id: str
    reason: str = ""


class ChildWorkflowTimedOut(Record, frozen=True, tag="odradek.history.ChildWorkflowTimedOut", tag_field="-type"):
    """timeout_type: execution, run."""

    seq: int
    initiated_event_id: int
    workflow_id: str
    run_id: str
    timeout_type: str


class ChildWorkflowCancelRequested(
    Record, frozen=True, tag="odradek.history.ChildWorkflowCancelRequested", tag_field="-type"
):
    seq: int
    initiated_event_id: int
    reason: str = ""


class ExternalSignalRequested(Record, frozen=True, tag="odradek.history.ExternalSignalRequested", tag_field="-type"):
    seq: int
    workflow_id: str
    signal: str
    run_id: str = ""
    input: list[Payload] = []


class ExternalSignalDelivered(Record, frozen=True, tag="odradek.history.ExternalSignalDelivered", tag_field="-type"):
    seq: int
    requested_event_id: int


class ExternalSignalFailed(Record, frozen=True, tag="odradek.history.ExternalSignalFailed", tag_field="-type"):
    """cause: not_found, closed, invalid, too_large, undeliverable."""

    seq: int
    requested_event_id: int
    cause: str
    message: str = ""


class ExternalCancelRequested(Record, frozen=True, tag="odradek.history.ExternalCancelRequested", tag_field="-type"):
    seq: int
    workflow_id: str
    run_id: str = ""
    reason: str = ""


class ExternalCancelDelivered(Record, frozen=True, tag="odradek.history.ExternalCancelDelivered", tag_field="-type"):
    seq: int
    requested_event_id: int


class ExternalCancelFailed(Record, frozen=True, tag="odradek.history.ExternalCancelFailed", tag_field="-type"):
    """cause: not_found, closed, invalid, undeliverable."""

    seq: int
    requested_event_id: int
    cause: str
    message: str = ""


Attributes: TypeAlias = (
    WorkflowStarted
    | SignalReceived
    | WorkflowCancelRequested
    | WorkflowTaskCompleted
    | ActivityScheduled
    | ActivityCompleted
    | ActivityFailed
    | ActivityTimedOut
    | ActivityCancelRequested
    | ActivityCancelled
    | TimerStarted
    | TimerFired
    | TimerCancelled
    | WorkflowCompleted
    | WorkflowFailed
    | WorkflowCancelled
    | WorkflowTerminated
    | WorkflowTimedOut
    | WorkflowContinuedAsNew
    | SearchAttributesUpserted
    | WorkflowReset
    | WorkflowPaused
    | WorkflowUnpaused


    | ChildWorkflowInitiated
    | ChildWorkflowStarted
    | ChildWorkflowStartFailed
    | ChildWorkflowCompleted
    | ChildWorkflowFailed
    | ChildWorkflowCancelled
    | ChildWorkflowTerminated
    | ChildWorkflowTimedOut
    | ChildWorkflowCancelRequested
    | ExternalSignalRequested
    | ExternalSignalDelivered
    | ExternalSignalFailed
    | ExternalCancelRequested
    | ExternalCancelDelivered
    | ExternalCancelFailed
    | UpdateAccepted
    | UpdateCompleted
    | LocalActivityCompleted
    | LocalActivityFailed
    | SideEffectRecorded
)

INPUTS = (
    WorkflowStarted,
    SignalReceived,
    WorkflowCancelRequested,
    ActivityCompleted,
    ActivityFailed,
    ActivityTimedOut,
    ActivityCancelled,
    TimerFired,
    ChildWorkflowStarted,
    ChildWorkflowStartFailed,
    ChildWorkflowCompleted,
    ChildWorkflowFailed,
    ChildWorkflowCancelled,
    ChildWorkflowTerminated,
    ChildWorkflowTimedOut,
    ExternalSignalDelivered,
    ExternalSignalFailed,
    ExternalCancelDelivered,
    ExternalCancelFailed,
)
CLOSES = (
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowCancelled,
    WorkflowTerminated,
    WorkflowTimedOut,
    WorkflowContinuedAsNew,
)


class HistoryEvent(Record, frozen=True):
    """One numbered event of a run. IDs count from 1 without gaps; times never go back."""

    event_id: int
    time_ms: int
    attributes: Attributes
