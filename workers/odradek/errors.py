"""Every error that Odradek raises. All are `OdradekError`s; the message says what to do next."""

from __future__ import annotations

from typing import Any, Literal

from ._types import Duration


class OdradekError(Exception):
    """Base of all errors of this package."""


# ---------------------------------------------------------------- what users raise, and catch in workflows


class ApplicationError(OdradekError):
    """An error of the application, raised in an activity or a workflow.

    `type` is the class name unless given; `details` are any values that the data converter can write;
    `non_retryable` (also `class MyError(ApplicationError, non_retryable=True)`) ends the retries of an activity;
    `next_retry_delay` replaces the delay of the retry policy once.
    """

    _class_non_retryable = False

    def __init__(
        self,
        message: str = "",
        *details: Any,
        type: str | None = None,
        non_retryable: bool | None = None,
        next_retry_delay: Duration | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.type = type or self.__class__.__name__
        self.non_retryable = self._class_non_retryable if non_retryable is None else non_retryable
        self.next_retry_delay = next_retry_delay

    def __init_subclass__(cls, *, non_retryable: bool | None = None) -> None:  # no **kwargs: a typo is a type error
        super().__init_subclass__()
        if non_retryable is not None:
            cls._class_non_retryable = non_retryable


class ActivityError(OdradekError):
    """An activity failed for good. In the cause chain of every error that an activity causes in a workflow.

    `type`, `message` and `details` are those of the last attempt's error; `attempt` counts from 1.
    """

    def __init__(
        self,
        message: str = "",
        *details: Any,
        type: str = "",
        activity_type: str = "",
        attempt: int = 1,
        non_retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.type = type
        self.activity_type = activity_type
        self.attempt = attempt
        self.non_retryable = non_retryable


class ActivityTimeoutError(ActivityError):
    """An activity took too long. Not the builtin TimeoutError, which `asyncio.timeout` raises.

    `timeout_type`: start_to_close, schedule_to_start, schedule_to_close or heartbeat. `details`: the last heartbeat's.
    `__cause__` is the error of the attempt before, if there was one.
    """

    def __init__(
        self,
        message: str = "",
        *details: Any,
        timeout_type: str = "",
        type: str = "Timeout",
        activity_type: str = "",
        attempt: int = 1,
        non_retryable: bool = False,
    ) -> None:
        super().__init__(
            message, *details, type=type, activity_type=activity_type, attempt=attempt, non_retryable=non_retryable
        )
        self.timeout_type = timeout_type


class ChildWorkflowError(OdradekError):
    """A child workflow ended without a result, or was not started. `__cause__` says why: the error that it failed
    with, WorkflowCancelledError, WorkflowTerminatedError or WorkflowTimeoutError."""

    def __init__(
        self, message: str = "", *, workflow_id: str = "", run_id: str = "", workflow_type: str = ""
    ) -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.workflow_type = workflow_type


# ---------------------------------------------------------------- what clients get


class WorkflowFailedError(OdradekError):
    """A workflow ended without a result. `__cause__` (also `cause`) is the error it failed with, or
    WorkflowCancelledError, WorkflowTerminatedError or WorkflowTimeoutError."""

    def __init__(self, message: str = "", *, workflow_id: str = "", run_id: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id

    @property
    def cause(self) -> BaseException | None:
        """The error behind this one."""
        return self.__cause__


class WorkflowCancelledError(OdradekError):
    """The workflow ended as cancelled, after a request to cancel it."""


class WorkflowTerminatedError(OdradekError):
    """The workflow was terminated; `reason` says why."""

    def __init__(self, message: str = "", *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class WorkflowTimeoutError(OdradekError):
    """The workflow ran longer than its `execution_timeout` or `run_timeout` (`timeout_type`)."""

    def __init__(self, message: str = "", *, timeout_type: str = "") -> None:
        super().__init__(message)
        self.timeout_type = timeout_type


class WorkflowAlreadyStartedError(OdradekError):
    """A run of this workflow ID is open, or the ID reuse policy forbids another one. `run_id`: the one in the way."""

    def __init__(self, message: str = "", *, workflow_id: str = "", run_id: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id


class WorkflowNotFoundError(OdradekError):
    """There is no workflow of this ID (or no such run of it)."""

    def __init__(self, message: str = "", *, workflow_id: str = "", run_id: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id


class WorkflowClosedError(WorkflowNotFoundError):
    """The workflow has ended: it takes no more messages."""


class ActivityNotFoundError(WorkflowNotFoundError):
    """No activity with this task token is open any more: it has ended, timed out or been cancelled, its workflow has
    closed, or the token is of another namespace. Nothing was changed."""


class ActivityCancelRequestedError(OdradekError):
    """The workflow has cancelled the activity and waits for its end: stop, and report that with `fail_activity(token,
    asyncio.CancelledError())`; a result is taken, too."""


class QueryFailedError(OdradekError):
    """The query handler raised; `__cause__` is its error."""


class QueryRejectedError(OdradekError):
    """The query was not given to the workflow, for instance because it has no handler of that name."""


class UpdateFailedError(OdradekError):
    """The update was accepted, and its handler failed; `__cause__` (also `cause`) is its error."""

    @property
    def cause(self) -> BaseException | None:
        """The error behind this one."""
        return self.__cause__


class UpdateRejectedError(UpdateFailedError):
    """The workflow did not take the update, which left no trace: its validator raised (that is `__cause__`), there is
    no handler of that name, or the arguments do not fit."""


class ScheduleAlreadyRunningError(OdradekError):
    """There is a schedule of this ID."""


class ScheduleNotFoundError(OdradekError):
    """There is no schedule of this ID."""


class InvalidRequestError(OdradekError, ValueError):
    """The request makes no sense as it is; it changed nothing."""


class RequestTooLargeError(InvalidRequestError):
    """The request is above the log's limit for one record; it was not sent."""


class RequestTimeoutError(OdradekError):
    """No answer came in time. `durable`: the request itself is in the log and may still take effect."""

    def __init__(self, message: str = "", *, durable: bool = False) -> None:
        super().__init__(message)
        self.durable = durable


class OutcomeUnknownError(OdradekError):
    """The request reached an engine after its deadline: whether an earlier copy took effect is not known."""


class OverloadedError(OdradekError):
    """There is too much to do already: more is out than this client keeps, or a workflow has more unread messages than
    one may have. Nothing was done; it may work later."""


class UnavailableError(OdradekError):
    """The log cannot be reached or written: no broker answers, or the folder is locked or broken."""


class ClientClosedError(OdradekError):
    """The client was closed, before or during the call."""


# ---------------------------------------------------------------- wrong use, and what is not there


class DefinitionError(OdradekError, TypeError):
    """A workflow, activity or message is defined or called in a way that cannot work."""


class PayloadError(OdradekError, ValueError):
    """A value cannot be written as a payload, or a payload is not what the annotation says."""


class CodecError(PayloadError):
    """A payload cannot be decoded here: a key or a codec is missing or wrong. With the right one it can: in a workflow
    or an activity this is tried again."""


class PayloadTooLargeError(RequestTooLargeError, PayloadError):
    """A value is larger than a record of the log may be, and the data converter has no payload store to put it into."""


class PayloadStoreError(CodecError):
    """The payload store of the data converter cannot be read or written, or a payload in it is missing or damaged. In a
    workflow or an activity this is tried again."""


class NotInWorkflowError(OdradekError, RuntimeError):
    """A function of `workflow` was called outside of a running workflow."""


class NonDeterministicCallError(OdradekError, RuntimeError):
    """Workflow code called what would come out differently on a replay; the message says what to use instead."""


class ReadOnlyError(OdradekError, RuntimeError):
    """A query handler asked for something to be done. Queries only read; use a signal or an update."""


class NotInActivityError(OdradekError, RuntimeError):
    """A function of `activity` was called outside of a running activity."""


class NotAvailableError(OdradekError, NotImplementedError):
    """This version of Odradek does not have the feature."""


def not_available(feature: str, instead: str = "") -> NotAvailableError:
    """The error for a feature whose signature is there already; `instead` says what to use meanwhile."""
    return NotAvailableError(f"{feature} is not available in this version of Odradek{f'; {instead}' * bool(instead)}")


# ---------------------------------------------------------------- inside a worker

TaskFailureCause = Literal["bug", "non_determinism", "blocked", "unknown_type"]


class WorkflowTaskError(OdradekError):
    """Workflow code could not be advanced. The workflow stays open; the task is tried again with backoff.

    `cause` says what it is; the original exception, if there is one, is `__cause__`.
    """

    def __init__(self, message: str = "", *, cause: TaskFailureCause = "bug") -> None:
        super().__init__(message)
        self.cause: TaskFailureCause = cause


class NonDeterminismError(WorkflowTaskError):
    """The code does not ask for what history holds. The message is a readable difference of the two."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, cause="non_determinism")
