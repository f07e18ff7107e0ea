"""Descriptions and history, from the records of replies to what users read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from odradek_schemas import history, replies
from odradek_schemas.common import Failure, Payload, Record

from ._claims import described, is_reference
from ._converter import DataConverter
from ._description import (
    HistoryEvent,
    PendingActivity,
    PendingChild,
    PendingLocalActivity,
    PendingTimer,
    PendingUpdate,
    WorkflowDescription,
    WorkflowStatus,
)
from ._guards import is_dict, is_list
from .errors import PayloadError


def description(record: replies.WorkflowDescription, converter: DataConverter) -> WorkflowDescription:
    """The public form of a description."""
    failure = None if record.task_failure is None else _opened(record.task_failure, converter)
    return WorkflowDescription(
        id=record.workflow_id,
        run_id=record.run_id,
        first_run_id=record.first_run_id,
        workflow_type=record.workflow_type,
        task_queue=record.task_queue,
        status=cast(WorkflowStatus, record.status),
        start_time=moment(record.start_ms),
        close_time=moment(record.close_ms),
        history_length=record.history_length,
        history_size=record.history_size,
        memo={name: readable(payload, converter) for name, payload in record.memo.items()},
        search_attributes={name: readable(payload, converter) for name, payload in record.search_attributes.items()},
        pending_activities=tuple(_pending_activity(activity, converter) for activity in record.pending_activities),
        pending_timers=tuple(
            PendingTimer(due_time=_moment(timer.due_ms), summary=timer.summary, seq=timer.seq)
            for timer in record.pending_timers
        ),
        pending_children=tuple(_pending_child(child) for child in record.pending_children),
        parent_id=record.parent.workflow_id if record.parent is not None else "",
        parent_run_id=record.parent.run_id if record.parent is not None else "",
        task_attempt=record.task_attempt,
        task_failure=_error(failure, converter) if failure is not None else None,
        task_failure_cause=record.task_failure_cause,
        task_failure_traceback=failure.stack_trace if failure is not None else "",
        task_retry_time=moment(record.task_retry_ms),
        workers=record.workers,
        build_id=record.build_id or None,
        versioning=record.versioning or None,
        missing_queues=tuple(record.missing_queues),
        warnings=tuple(_warnings(record, failure)),
        time=moment(record.now_ms),
        paused=record.paused,
        pause_reason=record.pause_reason,
        paused_by=record.paused_by,
        started_by=record.started_by,
        paused_time=moment(record.paused_ms),
        pending_updates=tuple(map(_pending_update, record.pending_updates)),
        pending_local_activities=tuple(
            PendingLocalActivity(activity_type=one.activity_type, since=moment(one.since_ms), seq=one.seq)
            for one in record.local_activities
        ),
    )


def _warnings(record: replies.WorkflowDescription, failure: Failure | None) -> list[str]:
    if record.status != "running":
        return []
    build = record.build_id
    if build and not record.workers:
        return [
            f"no worker of build {build!r} polls task queue {record.task_queue!r}: start one"
            + ("" if record.versioning == "pinned" else ", or make another build current (odradek deployment)")
        ]
    found = [
        f"no worker polls task queue {queue!r}: start one, or check the name of the queue"
        for queue in dict.fromkeys([*([] if record.workers else [record.task_queue]), *record.missing_queues])
    ]
    if record.paused:
        found.append(f"the workflow is paused{_why_paused(record)}: unpause it, and it goes on")
    found += [
        f"activity {activity.activity_type} is paused{_why_paused(activity)}: unpause it, or retry it"
        for activity in record.pending_activities
        if activity.state == "paused"
    ]
    if failure is not None:
        found.append(
            f"the workflow's code cannot advance ({record.task_failure_cause or 'bug'}): {failure.type}: "
            f"{failure.message}. It is tried again; deploy a fix, and it carries on where it was"
        )
    return found


def _why_paused(record: replies.WorkflowDescription | replies.PendingActivity) -> str:
    by = f" by {record.paused_by}" if record.paused_by else ""
    return by + (f" ({record.pause_reason})" if record.pause_reason else "")


def _pending_update(record: replies.OpenUpdate) -> PendingUpdate:
    return PendingUpdate(
        id=record.update_id,
        name=record.update,
        state=record.state,
        asked_time=moment(record.asked_ms),
        identity=record.identity,
    )


def _pending_child(record: replies.PendingChild) -> PendingChild:
    return PendingChild(
        id=record.workflow_id,
        workflow_type=record.workflow_type,
        state=record.state,
        run_id=record.run_id,
        parent_close_policy=record.parent_close_policy,
        initiated_time=moment(record.initiated_ms),
        seq=record.seq,
    )


def _pending_activity(record: replies.PendingActivity, converter: DataConverter) -> PendingActivity:
    return PendingActivity(
        activity_type=record.activity_type,
        task_queue=record.task_queue,
        state=record.state,
        attempt=record.attempt,
        maximum_attempts=record.maximum_attempts or None,
        scheduled_time=moment(record.scheduled_ms),
        started_time=moment(record.started_ms),
        next_retry_time=moment(record.next_retry_ms),
        last_failure=_error(record.last_failure, converter) if record.last_failure is not None else None,
        heartbeat_details=tuple(readable(detail, converter) for detail in record.heartbeat_details),
        worker=record.identity or record.session,
        task_token=record.task_token,
        seq=record.seq,
        paused=record.paused,
        pause_reason=record.pause_reason,
        paused_by=record.paused_by,
        paused_time=moment(record.paused_ms),
    )


def history_event(event: history.HistoryEvent, converter: DataConverter) -> HistoryEvent:
    """The public form of a history event."""
    return HistoryEvent(
        id=event.event_id,
        time=_moment(event.time_ms),
        type=type(event.attributes).__name__,
        attributes={
            name: readable(getattr(event.attributes, name), converter) for name in event.attributes.__struct_fields__
        },
    )


def readable(value: Any, converter: DataConverter) -> Any:
    """`value` with payloads read as plain values, and records as dicts. What cannot be read is described."""
    if isinstance(value, Payload):
        try:
            return converter.from_payload(value)
        except PayloadError:
            if is_reference(value):
                return described(value)
            encoding = value.metadata.get("encoding", b"?").decode(errors="replace")
            return f"<{len(value.data)} bytes, encoding {encoding}>"
    if is_list(value):
        return [readable(item, converter) for item in value]
    if is_dict(value):
        return {name: readable(item, converter) for name, item in value.items()}
    if isinstance(value, Failure):
        return _failure(value, converter)
    if isinstance(value, Record):
        return msgspec.to_builtins(value)
    return value


def _opened(failure: Failure, converter: DataConverter) -> Failure:
    """The failure with its texts, or as it is where this converter has not the codec."""
    try:
        return converter.open_failure(failure)
    except PayloadError:
        return failure


def _error(failure: Failure, converter: DataConverter) -> BaseException:
    try:
        return converter.from_failure(failure)
    except PayloadError as error:
        return error


def _failure(failure: Failure, converter: DataConverter) -> dict[str, Any]:
    """The parts of a failure that say something."""
    failure = _opened(failure, converter)
    fields = {name: getattr(failure, name) for name in failure.__struct_fields__ if name != "encoded_attributes"}
    return {name: readable(value, converter) for name, value in fields.items() if value}


def moment(milliseconds: int) -> datetime | None:
    """A point in time; None for 0, which records use for none."""
    return _moment(milliseconds) if milliseconds else None


def _moment(milliseconds: int) -> datetime:
    """A point in time; the first or the last one there is for what lies beyond, as a timer of a million years does."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return (datetime.max if milliseconds > 0 else datetime.min).replace(tzinfo=UTC)
