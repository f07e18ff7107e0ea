"""The JSON form of the records that people and other services write by hand.

Names and defaults are those of the client: durations in seconds, arguments as plain JSON values. `null` is
the same as leaving a field out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import msgspec

from .common import Failure, Payload, Record, Request, RetryPolicy
from .identity import parse_task_token
from .nesting import MAX_JSON_DEPTH, is_deeper_than
from .records import (
    CancelWorkflow,
    ChangeActivity,
    CompleteActivity,
    FailActivity,
    PauseWorkflow,
    ResetWorkflow,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
    UnpauseWorkflow,
    UpdateWorkflow,
)

MAX_SECONDS = 1000 * 365 * 86_400
"""Durations and deadlines are at most so many seconds: 1000 years."""


def json_payload(value: Any) -> Payload:
    """A payload that holds a plain JSON value; None has an encoding of its own."""
    if value is None:
        return Payload(metadata={"encoding": b"binary/null"})
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value, separators=(",", ":")).encode())


def from_json(data: bytes) -> Record:
    """The record that a JSON object stands for. Raises ValueError that names the field at fault."""
    too_deep = f"lists and objects lie more than {MAX_JSON_DEPTH} deep within each other"
    try:
        value = msgspec.json.decode(data)
    except RecursionError as error:
        raise ValueError(too_deep) from error
    if is_deeper_than(value, MAX_JSON_DEPTH):
        raise ValueError(too_deep)
    fields = _Fields(value, "")
    kind = fields.text("type")
    read = _KINDS.get(kind)
    if read is None:
        raise ValueError(f"type {kind[:40]!r}: use one of {', '.join(sorted(_KINDS))}")
    record = read(fields)
    fields.end(kind)
    return record


class _Fields:
    """A JSON object, taken apart field by field; `path` names it in errors."""

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(path.rstrip("."), "an object", value)
        self._left = {name: field for name, field in value.items() if field is not None}
        self._path = path

    def end(self, kind: str) -> None:
        """Raise ValueError if a field is left that nobody asked for."""
        if self._left:
            raise ValueError(f"{kind} has no field '{self._path}{min(self._left)[:40]}'")

    def take(self, name: str, kinds: type | tuple[type, ...], what: str, default: Any = ...) -> Any:
        """A field of one of the types `kinds`; without a default it must be there."""
        value = self._left.pop(name, default)
        if value is ...:
            raise ValueError(f"'{self._path}{name}' is missing")
        wrong_bool = isinstance(value, bool) and kinds is not bool  # to isinstance, True is an int
        if value is not default and (wrong_bool or not isinstance(value, kinds)):
            raise _wrong(f"{self._path}{name}", what, value)
        return value

    def text(self, name: str, default: Any = ...) -> str:
        return str(self.take(name, str, "a text", default))

    def flag(self, name: str) -> bool:
        return bool(self.take(name, bool, "true or false", False))

    def value(self, name: str) -> Payload:
        """Any JSON value."""
        return json_payload(self._left.pop(name, None))

    def arguments(self, name: str) -> list[Payload]:
        return [json_payload(v) for v in self.take(name, list, "a list of arguments, also for one", [])]

    def values(self, name: str) -> dict[str, Payload]:
        return {k: json_payload(v) for k, v in self.take(name, dict, "an object", {}).items()}

    def object(self, name: str) -> _Fields | None:
        value = self._left.pop(name, None)
        return None if value is None else _Fields(value, f"{self._path}{name}.")

    def milliseconds(self, name: str, default: int = 0) -> int:
        """A field in seconds, rounded up so that a short time is not none."""
        what = f"a number of seconds from 0 to {MAX_SECONDS}"
        seconds: float | None = self.take(name, (int, float), what, None)
        if seconds is None:
            return default
        if not 0 <= seconds <= MAX_SECONDS:
            raise _wrong(f"{self._path}{name}", what, seconds)
        return math.ceil(round(seconds * 1000, 6))


def _wrong(path: str, what: str, value: Any) -> ValueError:
    shown = json.dumps(value)
    return ValueError(f"'{path}' is {what}, not {shown if len(shown) <= 60 else shown[:60] + '...'}")


def _request(fields: _Fields) -> Request | None:
    request_id = fields.text("request_id", "")
    deadline_ms = fields.milliseconds("deadline")
    if deadline_ms and not request_id:
        raise ValueError("'deadline' is for a 'request_id', which is missing")
    return Request(request_id=request_id, deadline_ms=deadline_ms) if request_id else None


def _policy(fields: _Fields | None, kind: str) -> RetryPolicy | None:
    if fields is None:
        return None
    initial = fields.milliseconds("initial_interval", 1000)
    maximum = fields.milliseconds("maximum_interval")
    coefficient = fields.take("backoff_coefficient", (int, float), "a number", 2.0)
    attempts = fields.take("maximum_attempts", int, "a whole number", 0)
    names = fields.take("non_retryable_error_types", list, "a list of texts", [])
    fields.end(kind)
    if initial == 0:
        raise ValueError("'retry_policy.initial_interval' is more than 0; for no retries use maximum_attempts 1")
    if maximum and maximum < initial:
        raise ValueError("'retry_policy.maximum_interval' is not below initial_interval")
    if not 1 <= coefficient <= 1e6:
        raise _wrong("retry_policy.backoff_coefficient", "from 1 to a million", coefficient)
    if not 0 <= attempts < 2**31:
        raise _wrong("retry_policy.maximum_attempts", "a whole number, 0 for no limit", attempts)
    if not all(isinstance(name, str) for name in names):
        raise _wrong("retry_policy.non_retryable_error_types", "a list of texts", names)
    return RetryPolicy(
        initial_interval_ms=initial,
        backoff_coefficient=float(coefficient),
        maximum_interval_ms=maximum,
        maximum_attempts=attempts,
        non_retryable_error_types=names,
    )


def _start(fields: _Fields) -> Record:
    record = StartWorkflow(
        workflow_id=fields.text("workflow_id"),
        workflow_type=fields.text("workflow_type"),
        task_queue=fields.text("task_queue", "default"),
        input=fields.arguments("input"),
        request=_request(fields),
        id_conflict_policy=fields.text("id_conflict_policy", "fail"),
        id_reuse_policy=fields.text("id_reuse_policy", "allow"),
        execution_timeout_ms=fields.milliseconds("execution_timeout"),
        run_timeout_ms=fields.milliseconds("run_timeout"),
        task_timeout_ms=fields.milliseconds("task_timeout"),
        start_delay_ms=fields.milliseconds("start_delay"),
        retry_policy=_policy(fields.object("retry_policy"), "StartWorkflow"),
        memo=fields.values("memo"),
        search_attributes=fields.values("search_attributes"),
        signal=fields.text("signal", ""),
        signal_input=fields.arguments("signal_args"),
        cron_schedule=fields.text("cron_schedule", ""),
        update=fields.text("update", ""),
        update_input=fields.arguments("update_args"),
        build_id=fields.text("build_id", ""),
    )
    if record.signal_input and not record.signal:
        raise ValueError("'signal_args' is for a 'signal', which is missing")
    if record.update_input and not record.update:
        raise ValueError("'update_args' is for an 'update', which is missing")
    if record.update and record.request is None:
        raise ValueError("'request_id' is missing: it is the ID of the 'update'")
    return record


def _signal(fields: _Fields) -> Record:
    return SignalWorkflow(
        workflow_id=fields.text("workflow_id"),
        signal=fields.text("signal"),
        run_id=fields.text("run_id", ""),
        input=fields.arguments("args"),
        request=_request(fields),
    )


def _update(fields: _Fields) -> Record:
    """Nobody gets an answer: history shows what became of it, and a refused one is in the dead letters."""
    record = UpdateWorkflow(
        workflow_id=fields.text("workflow_id"),
        update=fields.text("update"),
        run_id=fields.text("run_id", ""),
        input=fields.arguments("args"),
        request=_request(fields),
    )
    if record.request is None:
        raise ValueError("'request_id' is missing: it is the ID of the update")
    return record


def _cancel(fields: _Fields) -> Record:
    return CancelWorkflow(
        workflow_id=fields.text("workflow_id"),
        run_id=fields.text("run_id", ""),
        reason=fields.text("reason", ""),
        request=_request(fields),
    )


def _terminate(fields: _Fields) -> Record:
    return TerminateWorkflow(
        workflow_id=fields.text("workflow_id"),
        run_id=fields.text("run_id", ""),
        reason=fields.text("reason", ""),
        request=_request(fields),
    )


def _reset(fields: _Fields) -> Record:
    return ResetWorkflow(
        workflow_id=fields.text("workflow_id"),
        event_id=fields.take("event_id", int, "a whole number: an event of the history"),
        run_id=fields.text("run_id", ""),
        reason=fields.text("reason", ""),
        reapply=fields.text("reapply", "signals"),
        request=_request(fields),
        identity=fields.text("identity", ""),
        build_id=fields.text("build_id", ""),
    )


def _pause(fields: _Fields, kind: type[PauseWorkflow] | type[UnpauseWorkflow] = PauseWorkflow) -> Record:
    return kind(
        workflow_id=fields.text("workflow_id"),
        run_id=fields.text("run_id", ""),
        reason=fields.text("reason", ""),
        request=_request(fields),
        identity=fields.text("identity", ""),
    )


def _unpause(fields: _Fields) -> Record:
    return _pause(fields, UnpauseWorkflow)


def _change_activity(fields: _Fields) -> Record:
    """`activity`: its type, or its number, as in `describe`. A timeout of 0 is none."""
    activity = fields.take("activity", (str, int), "an activity's type, or its number")
    return ChangeActivity(
        workflow_id=fields.text("workflow_id"),
        action=fields.text("action"),
        run_id=fields.text("run_id", ""),
        seq=activity if isinstance(activity, int) else 0,
        activity_type=activity if isinstance(activity, str) else "",
        reason=fields.text("reason", ""),
        task_queue=fields.text("task_queue", ""),
        start_to_close_timeout_ms=fields.milliseconds("start_to_close_timeout", -1),
        schedule_to_start_timeout_ms=fields.milliseconds("schedule_to_start_timeout", -1),
        schedule_to_close_timeout_ms=fields.milliseconds("schedule_to_close_timeout", -1),
        heartbeat_timeout_ms=fields.milliseconds("heartbeat_timeout", -1),
        retry_policy=_policy(fields.object("retry_policy"), "ChangeActivity"),
        request=_request(fields),
        identity=fields.text("identity", ""),
    )


def _token(fields: _Fields) -> tuple[str, bytes]:
    """The workflow ID, which the token names too, and the token."""
    token = fields.text("task_token").encode()
    try:
        named = parse_task_token(token).workflow_id
    except ValueError as error:
        raise ValueError(f"'task_token': {error}") from error
    workflow_id = fields.text("workflow_id", named)
    if workflow_id != named:
        raise ValueError(f"'workflow_id' is {workflow_id[:40]!r}, but 'task_token' is of {named[:40]!r}")
    return workflow_id, token


def _complete(fields: _Fields) -> Record:
    workflow_id, token = _token(fields)
    return CompleteActivity(
        workflow_id=workflow_id, task_token=token, result=fields.value("result"), request=_request(fields)
    )


def _fail(fields: _Fields) -> Record:
    workflow_id, token = _token(fields)
    return FailActivity(workflow_id=workflow_id, task_token=token, failure=_failure(fields), request=_request(fields))


def _failure(fields: _Fields) -> Failure:
    value = fields.take("failure", (str, dict), "a text, or an object with 'message'")
    if isinstance(value, str):
        return Failure(message=value)
    inner = _Fields(value, "failure.")
    failure = Failure(
        message=inner.text("message"),
        type=inner.text("type", ""),
        non_retryable=inner.flag("non_retryable"),
        details=inner.arguments("details"),
    )
    inner.end("FailActivity")
    return failure


_KINDS: dict[str, Callable[[_Fields], Record]] = {
    "StartWorkflow": _start,
    "SignalWorkflow": _signal,
    "UpdateWorkflow": _update,
    "CancelWorkflow": _cancel,
    "TerminateWorkflow": _terminate,
    "ResetWorkflow": _reset,
    "PauseWorkflow": _pause,
    "UnpauseWorkflow": _unpause,
    "ChangeActivity": _change_activity,
    "CompleteActivity": _complete,
    "FailActivity": _fail,
}
