"""The JSON form of the records that people and other services write by hand.

Names and defaults are those of the client: durations in seconds, arguments as plain JSON values.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from .common import Failure, Payload, Record, Request, RetryPolicy
from .identity import parse_task_token
from .records import CancelWorkflow, CompleteActivity, FailActivity, SignalWorkflow, StartWorkflow

_SECONDS = ("execution_timeout", "run_timeout", "task_timeout", "start_delay")


def json_payload(value: Any) -> Payload:
    """A payload that holds a plain JSON value; None has an encoding of its own."""
    if value is None:
        return Payload(metadata={"encoding": b"binary/null"})
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value, separators=(",", ":")).encode())


def from_json(data: bytes) -> Record:
    """The record that a JSON object stands for. Raises ValueError that names the field at fault."""
    value = json.loads(data)
    kind = value.pop("type", None)
    read = _KINDS.get(kind)
    if read is None:
        raise ValueError(f"type {kind!r}: use one of {', '.join(sorted(_KINDS))}")
    request = _request(value)
    record = read(value)
    if value:
        raise ValueError(f"{kind} has no field {sorted(value)[0]!r}")
    # convert checks every field's type, which the constructor does not
    return msgspec.convert(
        msgspec.to_builtins(msgspec.structs.replace(record, request=request), builtin_types=(bytes,)), type(record)
    )


def _request(value: dict[str, Any]) -> Request | None:
    request_id = value.pop("request_id", "")
    deadline = value.pop("deadline", None)
    if not request_id:
        return None
    return Request(request_id=request_id, deadline_ms=0 if deadline is None else round(deadline * 1000))


def _arguments(value: dict[str, Any], name: str) -> list[Payload]:
    arguments = value.pop(name, [])
    if not isinstance(arguments, list):
        raise ValueError(f"{name!r} is a list of arguments, also for one: [{json.dumps(arguments)[:60]}]")
    return [json_payload(a) for a in arguments]


def _mapping(value: dict[str, Any], name: str) -> dict[str, Payload]:
    mapping = value.pop(name, {})
    if not isinstance(mapping, dict):
        raise ValueError(f"{name!r} is an object")
    return {k: json_payload(v) for k, v in mapping.items()}


def _take(value: dict[str, Any], *names: str) -> dict[str, Any]:  # the types are checked at the end
    return {n: value.pop(n) for n in names if n in value}


def _milliseconds(value: dict[str, Any], *names: str) -> dict[str, Any]:
    seconds = {n: value.pop(n) for n in names if n in value}
    return {f"{n}_ms": round(s * 1000) for n, s in seconds.items() if s is not None}


def _policy(value: dict[str, Any]) -> RetryPolicy | None:
    policy = value.pop("retry_policy", None)
    if policy is None:
        return None
    fields = {**_milliseconds(policy, "initial_interval", "maximum_interval"), **policy}
    return msgspec.convert(fields, RetryPolicy)


def _start(value: dict[str, Any]) -> Record:
    return StartWorkflow(
        input=_arguments(value, "input"),
        retry_policy=_policy(value),
        memo=_mapping(value, "memo"),
        search_attributes=_mapping(value, "search_attributes"),
        signal_input=_arguments(value, "signal_args"),
        **_milliseconds(value, *_SECONDS),
        **{"task_queue": "default", **_take(value, "workflow_id", "workflow_type", "task_queue")},
        **_take(value, "id_conflict_policy", "id_reuse_policy", "signal"),
    )


def _signal(value: dict[str, Any]) -> Record:
    return SignalWorkflow(input=_arguments(value, "args"), **_take(value, "workflow_id", "run_id", "signal"))


def _cancel(value: dict[str, Any]) -> Record:
    return CancelWorkflow(**_take(value, "workflow_id", "run_id", "reason"))


def _token(value: dict[str, Any]) -> dict[str, Any]:
    fields = _take(value, "workflow_id", "task_token")
    token = str(fields.pop("task_token", "")).encode()
    return {"workflow_id": parse_task_token(token).workflow_id, **fields, "task_token": token}


def _complete(value: dict[str, Any]) -> Record:
    return CompleteActivity(result=json_payload(value.pop("result", None)), **_token(value))


def _fail(value: dict[str, Any]) -> Record:
    failure = value.pop("failure", {})
    if isinstance(failure, str):
        failure = {"message": failure}
    if not isinstance(failure, dict) or "message" not in failure:
        raise ValueError("'failure' is a text, or an object with 'message'")
    details = _arguments(failure, "details")
    fields = _take(failure, "message", "type", "non_retryable")
    if failure:
        raise ValueError(f"'failure' has no field {sorted(failure)[0]!r}")
    return FailActivity(failure=Failure(details=details, **fields), **_token(value))


_KINDS: dict[str, Callable[[dict[str, Any]], Record]] = {
    "StartWorkflow": _start,
    "SignalWorkflow": _signal,
    "CancelWorkflow": _cancel,
    "CompleteActivity": _complete,
    "FailActivity": _fail,
}
