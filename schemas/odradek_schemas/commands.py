"""What workflow code asks for: the commands of a completed workflow task.

`seq` numbers the commands of a run that have a later life (activities, timers), in the order of the code.
"""

from __future__ import annotations

from typing import TypeAlias

from .common import Failure, Payload, Record, RetryPolicy


class ScheduleActivity(Record, frozen=True, tag="odradek.command.ScheduleActivity", tag_field="-type"):
    """Run an activity. Timeouts of 0 are none. `eager`: the worker that sends this runs it itself.

    on_exhausted (no attempt is left): fail, or pause, so that a person looks at it.
    """

    seq: int
    activity_type: str
    task_queue: str = ""
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    start_to_close_timeout_ms: int = 0
    schedule_to_start_timeout_ms: int = 0
    schedule_to_close_timeout_ms: int = 0
    heartbeat_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    delivery: str = "at_least_once"
    cancellation_type: str = "try"
    summary: str = ""
    eager: bool = False
    on_exhausted: str = "fail"


class CancelActivity(Record, frozen=True, tag="odradek.command.CancelActivity", tag_field="-type"):
    """Ask for the cancellation of an activity. Nothing happens if it has ended."""

    seq: int


class StartTimer(Record, frozen=True, tag="odradek.command.StartTimer", tag_field="-type"):
    """Wake the workflow after `duration_ms`, counted from when the command is folded."""

    seq: int
    duration_ms: int
    summary: str = ""


class CancelTimer(Record, frozen=True, tag="odradek.command.CancelTimer", tag_field="-type"):
    """Forget a timer. Nothing happens if it has fired."""

    seq: int


class CompleteWorkflow(Record, frozen=True, tag="odradek.command.CompleteWorkflow", tag_field="-type"):
    """Close the run with a result. `next_cron_ms`: when the next run of a cron workflow begins; 0: there is none."""

    result: Payload | None = None
    next_cron_ms: int = 0


class FailWorkflow(Record, frozen=True, tag="odradek.command.FailWorkflow", tag_field="-type"):
    """Close the run with a failure, and begin the next one if there is a retry policy or a cron schedule.

    `next_retry_delay_ms` -1: as the retry policy says. `next_cron_ms` as of CompleteWorkflow.
    """

    failure: Failure
    next_retry_delay_ms: int = -1
    next_cron_ms: int = 0


class CancelledWorkflow(Record, frozen=True, tag="odradek.command.CancelledWorkflow", tag_field="-type"):
    """Close the run as cancelled, after a request to cancel."""

    failure: Failure | None = None


class MarkPatch(Record, frozen=True, tag="odradek.command.MarkPatch", tag_field="-type"):
    """This run has the change `patch_id` of the code: said once a run, where the code first asks."""

    patch_id: str


class DeprecatePatch(Record, frozen=True, tag="odradek.command.DeprecatePatch", tag_field="-type"):
    """The same, by code that knows no other way any more. Replay goes on without it."""

    patch_id: str


class KeptSignal(Record, frozen=True):
    """A signal that the code was fed with, and has had no handler for."""

    signal: str
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    request_id: str = ""
    identity: str = ""


class ContinueAsNewWorkflow(Record, frozen=True, tag="odradek.command.ContinueAsNewWorkflow", tag_field="-type"):
    """Close the run and begin the next one, which gets every unread message.

    initiator: workflow (the code asks), cron (a run that does not know its time yet begins again at it: then only
    `begin_ms` counts). Empty names, -1 as a timeout, no retry policy, `keep_memo` and `keep_search_attributes` mean:
    as of this run. `begin_ms`: when the next run gets its first task; 0: at once.
    `kept` signals come before those that are unread. `versioning`: auto_upgrade, the next run begins on the current
    build; empty: so does that of a run that is not pinned, or goes to another queue, and others stay on their build.
    """

    workflow_type: str = ""
    task_queue: str = ""
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    run_timeout_ms: int = -1
    task_timeout_ms: int = -1
    retry_policy: RetryPolicy | None = None
    memo: dict[str, Payload] = {}
    keep_memo: bool = True
    search_attributes: dict[str, Payload] = {}
    keep_search_attributes: bool = True
    initiator: str = "workflow"
    begin_ms: int = 0
    kept: list[KeptSignal] = []
    versioning: str = ""


class StartLocalActivity(Record, frozen=True, tag="odradek.command.StartLocalActivity", tag_field="-type"):
    """The worker runs an activity itself; its result comes as a local result, in this completion or a later one."""

    seq: int
    activity_type: str


class RecordSideEffect(Record, frozen=True, tag="odradek.command.RecordSideEffect", tag_field="-type"):
    """The worker calls a function of the code; its result comes as a local result of this completion."""

    seq: int


class UpsertSearchAttributes(Record, frozen=True, tag="odradek.command.UpsertSearchAttributes", tag_field="-type"):
    """Set search attributes of the run, and remove others."""

    search_attributes: dict[str, Payload] = {}
    removed: list[str] = []


class StartChildWorkflow(Record, frozen=True, tag="odradek.command.StartChildWorkflow", tag_field="-type"):
    """Start another workflow, whose end this one is told. `task_queue` empty: the parent's.

    parent_close_policy, what becomes of the child when this run closes: terminate, abandon, request_cancel.
    close_signal: see Caller; for what outlives this run. Its argument is an object of workflow_id, run_id and status.
    """

    seq: int
    workflow_id: str
    workflow_type: str
    task_queue: str = ""
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    id_reuse_policy: str = "allow"
    parent_close_policy: str = "terminate"
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    close_signal: str = ""


class CancelChildWorkflow(Record, frozen=True, tag="odradek.command.CancelChildWorkflow", tag_field="-type"):
    """Ask a child to cancel. Nothing happens if it has ended."""

    seq: int
    reason: str = ""


class SignalExternalWorkflow(Record, frozen=True, tag="odradek.command.SignalExternalWorkflow", tag_field="-type"):
    """Signal another workflow; `run_id` empty: its open run. `child_seq`: only if it is that child of this run."""

    seq: int
    workflow_id: str
    signal: str
    run_id: str = ""
    child_seq: int = 0
    input: list[Payload] = []
    headers: dict[str, Payload] = {}


class CancelExternalWorkflow(Record, frozen=True, tag="odradek.command.CancelExternalWorkflow", tag_field="-type"):
    """Ask another workflow to cancel, or `terminate` it; `run_id` empty: its open run."""

    seq: int
    workflow_id: str
    run_id: str = ""
    reason: str = ""
    terminate: bool = False
class CompleteUpdate(Record, frozen=True, tag="odradek.command.CompleteUpdate", tag_field="-type"):
    """The handler of the accepted update `seq` has returned, or failed. Nothing happens if it was answered before."""

    seq: int
    result: Payload | None = None
    failure: Failure | None = None


Command: TypeAlias = (
    ScheduleActivity
    | CancelActivity
    | StartTimer
    | CancelTimer
    | CompleteWorkflow
    | FailWorkflow
    | CancelledWorkflow
    | MarkPatch
    | DeprecatePatch
    | ContinueAsNewWorkflow
    | UpsertSearchAttributes
    | StartChildWorkflow
    | CancelChildWorkflow
    | SignalExternalWorkflow
    | CancelExternalWorkflow
    | CompleteUpdate
    | StartLocalActivity
    | RecordSideEffect
)
