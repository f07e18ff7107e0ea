"""Limits on what users and workers send: checks of names and numbers, and failures made short (rule E6)."""

from __future__ import annotations

import math

import msgspec
from odradek_schemas import InvalidNameError, check_name
from odradek_schemas.commands import ScheduleActivity
from odradek_schemas.common import Failure, RetryPolicy

MAX_ID_BYTES = 1000
MAX_DURATION_MS = 1000 * 366 * 24 * 3600 * 1000
MAX_MESSAGE, MAX_STACK, MAX_DETAIL_BYTES, MAX_CAUSES = 10_000, 20_000, 50_000, 5


def check_id(field: str, value: str) -> None:
    """Raise ValueError unless `value` can be part of a key."""
    if not value or "\0" in value or len(value.encode()) > MAX_ID_BYTES:
        raise ValueError(f"{field} {value[:40]!r}: use 1 to {MAX_ID_BYTES} bytes of text without a zero byte")


def check_queue(value: str) -> None:
    """Raise ValueError unless `value` can be part of a topic's name."""
    try:
        check_name("task_queue", value)
    except InvalidNameError as error:
        raise ValueError(str(error)) from error


def check_durations(record: object, *fields: str) -> None:
    """Raise ValueError for a field that is no duration in ms: 0 to 1,000 years."""
    for field in fields:
        if not 0 <= getattr(record, field) <= MAX_DURATION_MS:
            raise ValueError(f"{field} {getattr(record, field)}: use 0 to {MAX_DURATION_MS} ms")


def check_retry_policy(policy: RetryPolicy | None) -> None:
    """Raise ValueError for a policy that cannot be followed."""
    if policy is None:
        return
    check_durations(policy, "initial_interval_ms", "maximum_interval_ms")
    if not (math.isfinite(policy.backoff_coefficient) and policy.backoff_coefficient >= 1):
        raise ValueError(f"backoff_coefficient {policy.backoff_coefficient}: use 1 or more")
    if policy.maximum_attempts < 0:
        raise ValueError(f"maximum_attempts {policy.maximum_attempts}: use 0 (no limit) or more")


def check_activity(command: ScheduleActivity) -> None:
    """Raise ValueError for a command whose activity could not be run."""
    check_id("activity_type", command.activity_type)
    if command.task_queue:
        check_queue(command.task_queue)
    check_durations(
        command,
        "start_to_close_timeout_ms",
        "schedule_to_start_timeout_ms",
        "schedule_to_close_timeout_ms",
        "heartbeat_timeout_ms",
    )
    check_retry_policy(command.retry_policy)
    for field, value, allowed in (
        ("delivery", command.delivery, ("at_least_once", "at_most_once")),
        ("cancellation_type", command.cancellation_type, ("try", "wait", "abandon")),
    ):
        if value not in allowed:
            raise ValueError(f"{field} {value[:40]!r}: use one of {', '.join(allowed)}")


def shorten(failure: Failure, depth: int = 0) -> Failure:
    """A failure as it is kept beside what is still running: without what would make the state large."""
    size = sum(len(d.data) for d in failure.details)
    cause = failure.cause
    return msgspec.structs.replace(
        failure,
        message=failure.message[:MAX_MESSAGE],
        stack_trace=failure.stack_trace[-MAX_STACK:],
        details=failure.details if size <= MAX_DETAIL_BYTES else [],
        cause=shorten(cause, depth + 1) if cause is not None and depth < MAX_CAUSES else None,
    )
