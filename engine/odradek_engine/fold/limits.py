"""Limits on what users and workers send: checks of names and numbers, and failures made short (rule E6)."""

from __future__ import annotations

import math

import msgspec
from odradek_schemas import InvalidNameError, check_name
from odradek_schemas.commands import ContinueAsNewWorkflow, ScheduleActivity
from odradek_schemas.common import Failure, Payload, RetryPolicy
from odradek_schemas.records import StartWorkflow

MAX_ID_BYTES = 1000
MAX_DURATION_MS = 1000 * 366 * 24 * 3600 * 1000
MAX_CRON_BYTES = 200
MAX_SEARCH_ATTRIBUTES_BYTES = 64_000
MAX_REASON = 1_000
MAX_MESSAGE, MAX_STACK, MAX_DETAIL_BYTES, MAX_CAUSES = 10_000, 20_000, 50_000, 5


def payload_bytes(payload: Payload) -> int:
    """How many bytes a payload has, with its metadata."""
    return len(payload.data) + sum(len(name) + len(value) for name, value in payload.metadata.items())


def brief(text: str) -> str:
    """A reason or a name for people, as much of it as is kept."""
    return text[:MAX_REASON]


def check_id(field: str, value: str) -> None:
    """Raise ValueError unless `value` can be part of a key."""
    if not value or "\0" in value or (4 * len(value) > MAX_ID_BYTES and len(value.encode()) > MAX_ID_BYTES):
        raise ValueError(f"{field} {value[:40]!r}: use 1 to {MAX_ID_BYTES} bytes of text without a zero byte")


def check_queue(value: str) -> None:
    """Raise ValueError unless `value` can be part of a topic's name."""
    try:
        check_name("task_queue", value)
    except InvalidNameError as error:
        raise ValueError(str(error)) from error


def check_build(value: str) -> None:
    """Raise ValueError unless `value` is empty, or can be part of a topic's name."""
    try:
        if value:
            check_name("build_id", value)
    except InvalidNameError as error:
        raise ValueError(str(error)) from error


def check_durations(record: object, *fields: str) -> None:
    """Raise ValueError for a field that is no duration in ms: 0 to 1,000 years."""
    for field in fields:
        if not 0 <= getattr(record, field) <= MAX_DURATION_MS:
            raise ValueError(f"{field} {getattr(record, field)}: use 0 to {MAX_DURATION_MS} ms")


def check_delays(record: object, *fields: str) -> None:
    """Raise ValueError for a field, if it is there, that is neither a duration in ms nor -1, which is none."""
    check_durations(record, *(field for field in fields if getattr(record, field, -1) != -1))


def check_time(field: str, at_ms: int, now_ms: int) -> None:
    """Raise ValueError for what is no moment in ms up to 1,000 years ahead."""
    if not 0 <= at_ms <= now_ms + MAX_DURATION_MS:
        raise ValueError(f"{field} {at_ms}: use a time in ms that is not more than {MAX_DURATION_MS} ms ahead")


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
    if command.on_exhausted not in ("fail", "pause"):
        raise ValueError(f"on_exhausted {command.on_exhausted[:40]!r}: use fail or pause")


def check_cron(schedule: str) -> None:
    """Raise ValueError for a schedule that cannot be one; what it means is for the worker to say."""
    if len(schedule.encode()) > MAX_CRON_BYTES:
        raise ValueError(f"cron_schedule {schedule[:40]!r}...: use up to {MAX_CRON_BYTES} bytes")


def check_search_attributes(attributes: dict[str, Payload]) -> None:
    """Raise ValueError for names that are none, and for more than is kept with a run."""
    for name in attributes:
        check_id("search attribute", name)
    size = sum(len(name.encode()) + len(value.data) for name, value in attributes.items())
    if size > MAX_SEARCH_ATTRIBUTES_BYTES:
        raise ValueError(f"search_attributes of {size} bytes: use up to {MAX_SEARCH_ATTRIBUTES_BYTES}")


def check_continue_as_new(command: ContinueAsNewWorkflow) -> None:
    """Raise ValueError for a next run that could not be begun."""
    if command.initiator not in ("workflow", "cron"):
        raise ValueError(f"initiator {command.initiator!r}: use workflow or cron")
    if command.workflow_type:
        check_id("workflow_type", command.workflow_type)
    if command.task_queue:
        check_queue(command.task_queue)
    check_delays(command, "run_timeout_ms", "task_timeout_ms")
    check_retry_policy(command.retry_policy)
    check_search_attributes(command.search_attributes)
    check_choice("versioning", command.versioning, ("", "auto_upgrade"))
    for kept in command.kept:
        check_id("signal", kept.signal)


def check_start(record: StartWorkflow) -> None:
    """Raise ValueError for a start that could not be carried out."""
    check_id("workflow_id", record.workflow_id)
    check_id("workflow_type", record.workflow_type)
    check_queue(record.task_queue)
    check_build(record.build_id)
    if record.signal:
        check_id("signal", record.signal)
    check_choice("id_conflict_policy", record.id_conflict_policy, ("fail", "use_existing", "terminate_existing"))
    check_choice("id_reuse_policy", record.id_reuse_policy, ("allow", "allow_if_failed", "reject"))
    check_durations(record, "execution_timeout_ms", "run_timeout_ms", "task_timeout_ms", "start_delay_ms")
    check_retry_policy(record.retry_policy)
    check_cron(record.cron_schedule)
    check_search_attributes(record.search_attributes)


def check_choice(field: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError for a value that is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{field} {value[:40]!r}: use one of {', '.join(allowed)}")


def shorten(failure: Failure, depth: int = 0) -> Failure:
    """A failure as it is kept beside what is still running: without what would make the state large."""
    encoded = failure.encoded_attributes
    size = sum(len(d.data) for d in failure.details) + (0 if encoded is None else len(encoded.data))
    cause = failure.cause
    return msgspec.structs.replace(
        failure,
        message=failure.message[:MAX_MESSAGE],
        stack_trace=failure.stack_trace[-MAX_STACK:],
        details=failure.details if size <= MAX_DETAIL_BYTES else [],
        encoded_attributes=encoded if size <= MAX_DETAIL_BYTES else None,
        cause=shorten(cause, depth + 1) if cause is not None and depth < MAX_CAUSES else None,
    )
