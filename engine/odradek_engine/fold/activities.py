"""Deciding on activities: dispatch, start, results, failures, timeouts, loss (rules W5, T5, T7).

An activity is (run, completion that scheduled it, sequence number); records of any other identity are
late ones of an activity that has ended, and change nothing. A success of any attempt counts, a failure
only of the current one.
"""

from __future__ import annotations

from odradek_schemas import decode, history
from odradek_schemas.commands import ScheduleActivity
from odradek_schemas.common import Failure, Payload, Position
from odradek_schemas.records import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityHandedBack,
    ActivityRetryDue,
    ActivityStarted,
    ActivityTimedOut,
    TaskReissued,
)
from odradek_schemas.replies import ActivityClaimed
from odradek_schemas.retry import backoff_ms, refusal
from odradek_schemas.tasks import ActivityTask

from . import deployments, events, keys
from .cancelling import end_cancelled
from .closing import request_cancel, stop_activity
from .limits import shorten
from .rows import ActivityRow, RunRow, SessionRow
from .step import MAX_EFFECT_BYTES, Step
from .tasks import EARLY_MS, wake

MAX_LOSSES = 5
"""So many losses of workers in a row count as one failed attempt, fewer as none (rule T7)."""


def schedule(step: Step, run: RunRow, command: ScheduleActivity, scheduled_by: str, session: str) -> None:
    """A command asks for an activity. An eager one is held by its worker already, if that worker lives (rule T5)."""
    step.append(
        run.workflow_id,
        run.run_id,
        history.ActivityScheduled(
            seq=command.seq,
            scheduled_by=scheduled_by,
            activity_type=command.activity_type,
            task_queue=command.task_queue or run.task_queue,
            input=command.input,
            headers=command.headers,
            start_to_close_timeout_ms=command.start_to_close_timeout_ms,
            schedule_to_start_timeout_ms=command.schedule_to_start_timeout_ms,
            schedule_to_close_timeout_ms=command.schedule_to_close_timeout_ms,
            heartbeat_timeout_ms=command.heartbeat_timeout_ms,
            retry_policy=command.retry_policy,
            delivery=command.delivery,
            summary=command.summary,
            cancellation_type=command.cancellation_type,
            on_exhausted=command.on_exhausted,
        ),
    )
    row = step.activity(run, command.seq, scheduled_by)
    if row is None:
        raise AssertionError("an activity is open once it is scheduled")
    if command.eager and step.session(session) is not None:
        step.apply(events.ActivityTaken(row.workflow_id, row.run_id, row.seq, session, step.now))
    else:
        dispatch(step, row, command.input, command.headers)


def dispatch(
    step: Step,
    row: ActivityRow,
    input: list[Payload] | None = None,
    headers: dict[str, Payload] | None = None,
    reissued_to: int | None = None,
) -> None:
    """Emit the task of the current attempt. One that is `reissued_to` a partition (-1: any) may be out twice, so it has
    to be claimed.

    To any partition of its queue, spread evenly: those of one run's open activities, and of one activity's attempts,
    go to different ones; where a run has one at a time, workflow IDs have spread them already.
    """
    at_most = MAX_EFFECT_BYTES
    if input is None or headers is None:
        scheduled = _scheduled(step, row)
        input, headers = scheduled.input, scheduled.headers
    elif not row.heartbeat_details:
        at_most = len(step.source.value)  # the command came with this record
    partition = step.partition
    run = step.run(row.workflow_id)
    others = run.open_activities if run is not None else 0
    target = (partition.partition + others + row.attempt - 2) % (partition.partitions or 1)
    if reissued_to is not None and 0 <= reissued_to < (partition.partitions or 1):
        target = reissued_to

    def make(position: Position) -> ActivityTask:
        return ActivityTask(
            position=position,
            workflow_id=row.workflow_id,
            run_id=row.run_id,
            workflow_type=_type_of(step, row),
            scheduled_by=row.scheduled_by,
            seq=row.seq,
            attempt=row.attempt,
            activity_type=row.activity_type,
            task_queue=row.task_queue,
            scheduled_ms=row.scheduled_ms,
            input=input,
            headers=headers,
            start_to_close_timeout_ms=row.start_to_close_timeout_ms,
            schedule_to_close_timeout_ms=row.schedule_to_close_timeout_ms,
            heartbeat_timeout_ms=row.heartbeat_timeout_ms,
            heartbeat_details=row.heartbeat_details,
            delivery=row.delivery,
            claim=row.cancellation_type == "wait" or reissued_to is not None,
            first_identity_run_id=row.first_run_id,
        )

    build = deployments.build_of(step.state, run, row.task_queue)
    position = step.effect(
        step.topics.activity_tasks(row.task_queue, build), target, row.workflow_id.encode(), make, at_most
    )
    if position is None:
        failure = Failure(message="the activity's input is too large for a task record", type="PayloadTooLarge",
                          kind="server", non_retryable=True)
        _close_failed(step, row, failure, "non_retryable")
        return
    step.apply(
        events.ActivityDispatched(
            row.workflow_id, row.run_id, row.seq, row.attempt, position.offset, position.index, step.now, target, build
        )
    )


def _scheduled(step: Step, row: ActivityRow) -> history.ActivityScheduled:
    """The event that holds the activity's input."""
    encoded = step.state.get(keys.event(row.workflow_id, row.run_id, row.scheduled_event_id))
    event = decode(encoded)
    if not isinstance(event, history.HistoryEvent) or not isinstance(event.attributes, history.ActivityScheduled):
        raise AssertionError("the event that scheduled an activity is there while the activity is open")
    return event.attributes


def _type_of(step: Step, row: ActivityRow) -> str:
    run = step.run(row.workflow_id)
    return run.workflow_type if run is not None else ""


def _find(
    step: Step, record: ActivityStarted | ActivityCompleted | ActivityFailed | ActivityCancelled | ActivityHandedBack
    | ActivityTimedOut | ActivityRetryDue
) -> ActivityRow | None:
    run = step.open_run(record.workflow_id, record.run_id)
    return None if run is None else step.activity(run, record.seq, record.scheduled_by)


# ---------------------------------------------------------------- what workers report


def decide_started(step: Step, record: ActivityStarted) -> None:
    """A worker takes the attempt. A claim is answered: it may run if it is the first (rules T4, T8)."""
    row = _find(step, record)
    session = step.session(record.session)
    if row is None or record.attempt != row.attempt:
        if record.claim:
            _answer_claim(step, record, session, False)
        elif row is None:
            stop_activity(step, session, record, "closed")
        elif row.state == "paused":
            stop_activity(step, session, record, "cancelled")
    elif record.deferred:
        if row.state not in ("backing_off", "paused"):
            since = row.started_ms if row.state == "started" else step.now
            step.apply(events.ActivityTaken(row.workflow_id, row.run_id, row.seq, "", since))
    elif row.state == "scheduled" and session is None:
        lose(step, row, [])
    elif row.state == "scheduled":
        step.apply(events.ActivityTaken(row.workflow_id, row.run_id, row.seq, record.session, step.now))
        if record.claim:
            _answer_claim(step, record, session, True)
    elif record.claim:
        _answer_claim(step, record, session, row.state == "started" and row.session == record.session)


def _answer_claim(step: Step, record: ActivityStarted, session: SessionRow | None, accepted: bool) -> None:
    step.tell(
        session,
        lambda position, live: ActivityClaimed(
            position=position,
            client_id=live.client_id,
            session=live.session,
            workflow_id=record.workflow_id,
            run_id=record.run_id,
            scheduled_by=record.scheduled_by,
            seq=record.seq,
            attempt=record.attempt,
            accepted=accepted,
        ),
    )


def decide_completed(step: Step, record: ActivityCompleted) -> None:
    """The first success wins, whichever attempt it is of (rule T7)."""
    row = _find(step, record)
    if row is not None:
        complete(step, row, record.result, record.session, record.attempt)
        wake(step, row.workflow_id)


def complete(step: Step, row: ActivityRow, result: Payload | None, session: str, attempt: int | None = None) -> None:
    """The activity has its result."""
    if row.session and row.session != session:
        request_cancel(step, row, "completed")
    step.append(
        row.workflow_id,
        row.run_id,
        history.ActivityCompleted(
            seq=row.seq,
            scheduled_event_id=row.scheduled_event_id,
            result=result,
            attempt=row.attempt if attempt is None else attempt,
            started_ms=row.started_ms,
            session=session,
        ),
    )


def decide_failed(step: Step, record: ActivityFailed) -> None:
    row = _find(step, record)
    if row is None or record.attempt != row.attempt or row.state in ("backing_off", "paused"):
        return
    fail_attempt(step, row, record.failure, record.next_retry_delay_ms, record.heartbeat_details)
    wake(step, row.workflow_id)


def fail_attempt(
    step: Step,
    row: ActivityRow,
    failure: Failure,
    next_retry_delay_ms: int = -1,
    heartbeat_details: list[Payload] | None = None,
) -> None:
    """The current attempt failed: another one later, or the activity has failed."""
    policy = row.retry_policy
    reason = refusal(policy, failure, row.counted_attempts) or ("cancelled" if row.cancel_requested else "")
    if row.delivery == "at_most_once":
        reason = reason or "maximum_attempts"
    delay = next_retry_delay_ms if next_retry_delay_ms >= 0 else backoff_ms(policy, row.counted_attempts)
    total = row.schedule_to_close_timeout_ms
    if not reason and total and step.now + delay >= row.scheduled_ms + total:
        reason = "timeout"
    if reason:
        _exhausted(step, row, failure, reason, heartbeat_details)
        return
    again = -1 if row.paused else step.now + delay
    step.apply(
        events.ActivityAttemptFailed(
            row.workflow_id, row.run_id, row.seq, shorten(failure), again, heartbeat_details or [], step.now
        )
    )


def _exhausted(
    step: Step, row: ActivityRow, failure: Failure, reason: str, heartbeat_details: list[Payload] | None
) -> None:
    """No attempt is left: the activity has failed, or waits for a person. Not one that must not run twice (T8)."""
    waits = row.on_exhausted == "pause" and row.delivery != "at_most_once" and reason != "non_retryable"
    if not waits:
        _close_failed(step, row, failure, reason, heartbeat_details)
        return
    why = f"no attempt is left ({reason})"
    details = heartbeat_details or []
    step.apply(
        events.ActivityAttemptFailed(
            row.workflow_id, row.run_id, row.seq, shorten(failure), -1, details, step.now, why
        )
    )


def _close_failed(
    step: Step, row: ActivityRow, failure: Failure, reason: str, heartbeat_details: list[Payload] | None = None
) -> None:
    if failure.kind == "timeout":
        ended: history.Attributes = history.ActivityTimedOut(
            seq=row.seq,
            scheduled_event_id=row.scheduled_event_id,
            timeout_type=failure.timeout_type,
            timeout_ms=_timeout_ms(row, failure.timeout_type),
            attempt=row.attempt,
            last_failure=row.last_failure,
            heartbeat_details=heartbeat_details or row.heartbeat_details,
        )
    else:
        ended = history.ActivityFailed(
            seq=row.seq,
            scheduled_event_id=row.scheduled_event_id,
            failure=failure,
            attempt=row.attempt,
            reason=reason,
            session=row.session,
        )
    step.append(row.workflow_id, row.run_id, ended)


def decide_cancelled(step: Step, record: ActivityCancelled) -> None:
    """The worker stopped the current attempt because it was asked to."""
    row = _find(step, record)
    if row is None or record.attempt != row.attempt:
        return
    end_cancelled(step, row, record.details)
    wake(step, row.workflow_id)


def decide_handed_back(step: Step, record: ActivityHandedBack) -> None:
    """The worker will not finish this attempt: it goes to another, at no cost."""
    row = _find(step, record)
    if row is None or record.attempt != row.attempt or row.state in ("backing_off", "paused"):
        return
    give_back(step, row, record.heartbeat_details)


# ---------------------------------------------------------------- loss, timeouts, backoff


def renew(step: Step, row: ActivityRow, lost: bool, heartbeat_details: list[Payload]) -> None:
    """Deliver again; this attempt does not count toward the policy's maximum."""
    step.apply(events.ActivityRenewed(row.workflow_id, row.run_id, row.seq, lost, heartbeat_details))
    renewed = step.state.row(keys.activity(row.workflow_id, row.run_id, row.seq), ActivityRow)
    if renewed is None:
        raise AssertionError("a renewed activity is open")
    if renewed.paused:
        by, since = renewed.paused_by, renewed.paused_ms
        paused = events.ActivityPaused(row.workflow_id, row.run_id, row.seq, True, renewed.pause_reason, by, since)
        step.apply(paused)
    else:
        dispatch(step, renewed)
    wake(step, row.workflow_id)


def give_back(step: Step, row: ActivityRow, heartbeat_details: list[Payload]) -> None:
    """A worker will not finish the attempt. One that may run at most once, and has begun, is as good as lost (T8)."""
    if row.cancel_requested or (row.delivery == "at_most_once" and row.state == "started"):
        lose(step, row, heartbeat_details)
    else:
        renew(step, row, False, heartbeat_details)


def lose(step: Step, row: ActivityRow, heartbeat_details: list[Payload]) -> None:
    """The worker that ran the attempt is gone (rule T7). At-most-once activities are not delivered twice, and what
    the code has cancelled is not delivered again."""
    if row.cancel_requested:
        end_cancelled(step, row, heartbeat_details or row.heartbeat_details)
        wake(step, row.workflow_id)
        return
    once = row.delivery == "at_most_once"
    failure = Failure(
        message=f"the worker that ran attempt {row.attempt} is gone"
        + ("; the activity may or may not have run, and at_most_once forbids to run it again" if once else ""),
        type="WorkerLost",
        kind="server",
        non_retryable=once,
    )
    if not once and row.losses + 1 < MAX_LOSSES:
        renew(step, row, True, heartbeat_details)
        return
    fail_attempt(step, row, failure, heartbeat_details=heartbeat_details)
    wake(step, row.workflow_id)


def decide_timed_out(step: Step, record: ActivityTimedOut) -> None:
    """A timeout struck; of an attempt only if it is the current one, and only if it is really due."""
    row = _find(step, record)
    if row is None or record.attempt != row.attempt:
        return
    kind = record.timeout_type
    since = {
        "schedule_to_close": row.scheduled_ms,
        "schedule_to_start": row.queued_ms if row.state == "scheduled" else None,
        "start_to_close": row.started_ms if row.state == "started" else None,
        "heartbeat": row.started_ms if row.state == "started" else None,
    }.get(kind)
    length = _timeout_ms(row, kind)
    if since is None or not length or step.now < since + length - EARLY_MS:
        return
    failure = Failure(
        message=f"activity {row.activity_type} reached its {kind}_timeout of {length / 1000:g} s",
        type="Timeout",
        kind="timeout",
        timeout_type=kind,
        activity_type=row.activity_type,
        attempt=row.attempt,
    )
    if row.state == "started":
        request_cancel(step, row, "timed_out")
    if kind in ("schedule_to_close", "schedule_to_start"):
        _exhausted(step, row, failure, "timeout", record.heartbeat_details)
    else:
        fail_attempt(step, row, failure, heartbeat_details=record.heartbeat_details)
    wake(step, row.workflow_id)


def _timeout_ms(row: ActivityRow, kind: str) -> int:
    return {
        "schedule_to_close": row.schedule_to_close_timeout_ms,
        "schedule_to_start": row.schedule_to_start_timeout_ms,
        "start_to_close": row.start_to_close_timeout_ms,
        "heartbeat": row.heartbeat_timeout_ms,
    }.get(kind, 0)


def decide_retry_due(step: Step, record: ActivityRetryDue) -> None:
    """The backoff is over: emit the task of the next attempt."""
    row = _find(step, record)
    if row is None or row.state != "backing_off" or record.attempt != row.attempt:
        return
    if step.now >= row.next_retry_ms - EARLY_MS:
        dispatch(step, row)
        wake(step, row.workflow_id)


def decide_reissued(step: Step, record: TaskReissued, run: RunRow) -> None:
    """The task of an activity seems to have been skipped (rule T3). Only if it is still the one that is out."""
    row = step.open_activity(run, record.seq)
    if row is None or row.state != "scheduled" or row.attempt != record.attempt:
        return
    if (row.task_offset, row.task_index) == (record.offset, record.index):
        dispatch(step, row, reissued_to=record.partition)
        wake(step, row.workflow_id)
