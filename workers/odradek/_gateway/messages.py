"""What goes over HTTP, as JSON objects. Names and defaults are those of `Client`; times are seconds."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

IDENTITY_HEADER = "Odradek-Identity"


class WorkflowKey(msgspec.Struct, frozen=True):
    """Which workflow; `run_id` None: the latest run. `identity`: who asks, where it is kept; empty: the client."""

    workflow_id: str
    run_id: str | None = None
    identity: str = ""


class StartRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Start a workflow. `input` holds its arguments as JSON values."""

    workflow_type: str
    workflow_id: str
    task_queue: str = "default"
    input: list[Any] = []
    id_conflict_policy: Literal["fail", "use_existing", "terminate_existing"] = "fail"
    id_reuse_policy: Literal["allow", "allow_if_failed", "reject"] = "allow"
    execution_timeout: float | None = None
    run_timeout: float | None = None
    start_delay: float = 0
    memo: dict[str, Any] = {}
    request_id: str | None = None
    build_id: str | None = None


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was started, or that was there already."""

    workflow_id: str
    run_id: str


class MessageRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A signal or a query. `timeout`: seconds to wait for the answer."""

    input: list[Any] = []
    request_id: str | None = None
    timeout: float = 30


class UpdateRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An update. `wait_for`: until the workflow has accepted it, or its handler is done; `timeout` in seconds.

    With the `request_id` of one that was sent before, it goes on waiting for that one.
    """

    input: list[Any] = []
    wait_for: Literal["accepted", "completed"] = "completed"
    request_id: str | None = None
    timeout: float = 30


class EndRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request to cancel, to terminate, to pause or to unpause."""

    reason: str = ""


class SetCurrentRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make a build current; None: workers without one."""

    build_id: str | None


class ResetRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Begin a new run from what lies before event `event_id`; without a `build_id` on the current build."""

    event_id: int
    reason: str = ""
    reapply: Literal["signals", "none"] = "signals"
    request_id: str | None = None
    build_id: str | None = None


class ResetBeforeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Part of a batch of resets: this workflow, to before one of the steps, under the batch's request ID."""

    request_id: str
    event_id: int | None = None
    last_task: bool = False
    activity: str | None = None
    build_id: str | None = None
    patch: str | None = None
    reason: str = ""
    reapply: Literal["signals", "none"] = "signals"
    dry_run: bool = False


class ActivityChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something to be done with pending activities: all of a type, or the one of a number.

    `options` are for `update`: those of `update_activity_options`, the retry policy as an object; a timeout of null is
    none.
    """

    activity: str | int
    action: Literal["pause", "unpause", "retry", "update"]
    reason: str = ""
    options: dict[str, Any] = {}


class ActivityCompletion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The result of an activity that is completed by its task token."""

    task_token: str
    result: Any = None


class ActivityFailure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why the attempt of an activity failed that is completed by its task token."""

    task_token: str
    message: str
    type: str = ""
    non_retryable: bool = False
    details: list[Any] = []


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a query gave."""

    result: Any = None


class UpdateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How an update stands: `status` accepted or completed; `update_id` is its request ID."""

    update_id: str
    status: Literal["accepted", "completed"]
    result: Any = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a workflow ended.

    status: completed, failed, cancelled, terminated, timed_out; or running, when it has not ended yet. `failure` has
    `type`, `message` and, where there are, `stack_trace`, `details` and `cause`.
    """

    workflow_id: str
    run_id: str | None = None
    status: str
    result: Any = None
    message: str = ""
    failure: dict[str, Any] | None = None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """All events of a run so far: `id`, `time`, `type` and `attributes` of each."""

    events: list[dict[str, Any]]


class ErrorDetails(msgspec.Struct, frozen=True, kw_only=True):
    """code: see `_gateway.errors`."""

    code: str
    message: str
    failure: dict[str, Any] | None = None


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is not 200."""

    error: ErrorDetails
