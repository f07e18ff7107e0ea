"""What workflow code asks for: the commands of a completed workflow task.

`seq` numbers the commands of a run that have a later life (activities, timers), in the order of the code.
"""

from __future__ import annotations

from typing import TypeAlias

from .common import Failure, Payload, Record, RetryPolicy


class ScheduleActivity(Record, frozen=True, tag="odradek.command.ScheduleActivity", tag_field="-type"):
    """Run an activity. Timeouts of 0 are none. `eager`: the worker that sends this runs it itself."""

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
    """Close the run with a result."""

    result: Payload | None = None


class FailWorkflow(Record, frozen=True, tag="odradek.command.FailWorkflow", tag_field="-type"):
    """Close the run with a failure."""

    failure: Failure


class CancelledWorkflow(Record, frozen=True, tag="odradek.command.CancelledWorkflow", tag_field="-type"):
    """Close the run as cancelled, after a request to cancel."""

    failure: Failure | None = None


class MarkPatch(Record, frozen=True, tag="odradek.command.MarkPatch", tag_field="-type"):
    """This run has the change `patch_id` of the code: said once a run, where the code first asks."""

    patch_id: str


class DeprecatePatch(Record, frozen=True, tag="odradek.command.DeprecatePatch", tag_field="-type"):
    """The same, by code that knows no other way any more. Replay goes on without it."""

    patch_id: str


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
)
