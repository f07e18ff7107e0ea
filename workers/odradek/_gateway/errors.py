"""Errors over HTTP: a code and a status for each error class, and back."""

from __future__ import annotations

from typing import Any

from .. import errors
from .._converter import DataConverter
from .._read import readable
from .messages import ErrorDetails

_CODES: list[tuple[type[BaseException], str, int]] = [  # subclasses before their bases
    (errors.WorkflowClosedError, "closed", 409),
    (errors.ActivityNotFoundError, "activity_not_found", 404),
    (errors.WorkflowNotFoundError, "not_found", 404),
    (errors.WorkflowAlreadyStartedError, "already_started", 409),
    (errors.ScheduleNotFoundError, "schedule_not_found", 404),
    (errors.ScheduleAlreadyRunningError, "schedule_exists", 409),
    (errors.QueryFailedError, "query_failed", 422),
    (errors.QueryRejectedError, "query_rejected", 422),
    (errors.UpdateRejectedError, "update_rejected", 422),
    (errors.UpdateFailedError, "update_failed", 422),
    (errors.RequestTooLargeError, "too_large", 413),
    (errors.InvalidRequestError, "invalid", 400),
    (errors.PayloadError, "invalid_payload", 400),
    (errors.DefinitionError, "invalid_call", 400),
    (errors.RequestTimeoutError, "no_answer", 504),
    (errors.OutcomeUnknownError, "outcome_unknown", 504),
    (errors.OverloadedError, "overloaded", 429),
    (errors.ClientClosedError, "stopping", 503),
    (errors.UnavailableError, "unavailable", 503),
    (errors.OdradekError, "error", 500),
]
_CLASSES: dict[str, Any] = {code: cls for cls, code, _ in _CODES}


def details_of(error: errors.OdradekError, converter: DataConverter) -> tuple[ErrorDetails, int]:
    """The error as it is sent, and the HTTP status that goes with it."""
    code, status = next((code, status) for cls, code, status in _CODES if isinstance(error, cls))
    cause = error.__cause__ if isinstance(error, (errors.QueryFailedError, errors.UpdateFailedError)) else None
    failure = failure_of(cause, converter) if cause is not None else None
    return ErrorDetails(code=code, message=str(error), failure=failure), status


def error_of(details: ErrorDetails) -> errors.OdradekError:
    """The error that was sent, as an instance of its class."""
    error: errors.OdradekError = _CLASSES.get(details.code, errors.OdradekError)(details.message)
    if details.failure is not None:
        error.__cause__ = errors.ApplicationError(
            str(details.failure.get("message", "")), type=str(details.failure.get("type", ""))
        )
    return error


def failure_of(error: BaseException, converter: DataConverter) -> dict[str, Any]:
    """An error and its causes as JSON values."""
    failure: dict[str, Any] = readable(converter.to_failure(error), converter)
    return failure
