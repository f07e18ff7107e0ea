"""One run after another: continue-as-new, retries of a workflow, cron (rule W3).

The next run begins in the step that closes the last one, and what the code never read comes first in it, before
anything newer: messages are neither lost nor doubled, whenever they arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
from odradek_schemas import commands, decode, history, retry
from odradek_schemas.common import Failure
from odradek_schemas.history import HistoryEvent, WorkflowStarted

from . import keys
from .closing import close, end
from .deployments import inherited
from .limits import brief
from .outcomes import timed_out
from .rows import RunRow
from .step import Step
from .tasks import wake
from .updates import carry, take_undecided

MESSAGES = (history.SignalReceived, history.WorkflowCancelRequested)
"""Unread events that go on into the next run. What was meant for this run's activities and timers ends with it."""

_Continuing: TypeAlias = (
    history.WorkflowContinuedAsNew | history.WorkflowCompleted | history.WorkflowFailed | history.WorkflowTimedOut
)

replace = msgspec.structs.replace


def continue_as_new(step: Step, run: RunRow, command: commands.ContinueAsNewWorkflow, _: Any) -> None:
    """The code asks for a next run, or a run of a cron workflow for its time."""
    started = _started(step, run)
    delay = max(0, command.begin_ms - step.now)
    if command.initiator == "cron":
        following = replace(started, cron_pending=False, start_delay_ms=delay, build_id="")
    else:
        queue = command.task_queue or run.task_queue
        following = replace(
            started,
            workflow_type=command.workflow_type or run.workflow_type,
            task_queue=queue,
            input=command.input,
            headers=command.headers,
            run_timeout_ms=started.run_timeout_ms if command.run_timeout_ms < 0 else command.run_timeout_ms,
            task_timeout_ms=started.task_timeout_ms if command.task_timeout_ms < 0 else command.task_timeout_ms,
            retry_policy=command.retry_policy or started.retry_policy,
            memo=run.memo if command.keep_memo else command.memo,
            search_attributes=run.search_attributes if command.keep_search_attributes else command.search_attributes,
            attempt=1,
            start_delay_ms=delay,
            cron_pending=False,
            last_failure=None,
            build_id="" if command.versioning == "auto_upgrade" else inherited(run, queue),
        )
    following = replace(following, initiator=command.initiator)
    closing = history.WorkflowContinuedAsNew(
        workflow_type=following.workflow_type, task_queue=following.task_queue, initiator=command.initiator
    )
    _begin_next(step, run, closing, following, command.kept)


def complete(step: Step, run: RunRow, command: commands.CompleteWorkflow, _: Any) -> None:
    """The code has a result. A cron workflow goes on, unless it was asked to cancel."""
    closing = history.WorkflowCompleted(result=command.result)
    if command.next_cron_ms and _may_follow(step, run, command.next_cron_ms - step.now):
        started = _started(step, run)
        if started.cron_schedule:
            following = _at_cron_time(step, started, command.next_cron_ms)
            _begin_next(step, run, closing, replace(following, last_result=command.result, last_failure=None))
            return
    close(step, run, closing)


def fail(step: Step, run: RunRow, command: commands.FailWorkflow, _: Any) -> None:
    """The code has failed: the retry policy is asked first, then the cron schedule."""
    closing = history.WorkflowFailed(failure=command.failure)
    _after_failure(step, run, closing, command.failure, command.next_retry_delay_ms, command.next_cron_ms)


def time_out(step: Step, run: RunRow, timeout_type: str) -> None:
    """A run that took too long is like one that failed; the timeout of the execution ends the whole chain."""
    closing = history.WorkflowTimedOut(timeout_type=timeout_type)
    if timeout_type == "execution":
        close(step, run, closing)
        return
    _after_failure(step, run, closing, timed_out(timeout_type), -1, 0)


def _after_failure(
    step: Step,
    run: RunRow,
    closing: history.WorkflowFailed | history.WorkflowTimedOut,
    failure: Failure,
    retry_delay_ms: int,
    next_cron_ms: int,
) -> None:
    started = _started(step, run)
    # A next time is given, or nobody could give one: then the next run asks for it itself.
    cron = started.cron_schedule and (next_cron_ms or isinstance(closing, history.WorkflowTimedOut))
    delay = _backoff_ms(started, failure, retry_delay_ms)
    if delay is not None and _may_follow(step, run, delay):
        again = replace(
            started,
            attempt=started.attempt + 1,
            initiator="retry",
            start_delay_ms=delay,
            cron_pending=False,
            last_failure=failure,
        )
        _begin_next(step, run, closing, again)
    elif cron and _may_follow(step, run, next_cron_ms - step.now):
        _begin_next(step, run, closing, replace(_at_cron_time(step, started, next_cron_ms), last_failure=failure))
    else:
        close(step, run, closing)


def _backoff_ms(started: WorkflowStarted, failure: Failure, retry_delay_ms: int) -> int | None:
    """How long to wait before the next attempt; None: there is none.

    An activity that was not to be repeated says nothing of the workflow around it.
    """
    policy = started.retry_policy
    if policy is None:
        return None
    if failure.kind != "application":
        failure = replace(failure, non_retryable=False)
    if retry.refusal(policy, failure, started.attempt):
        return None
    return retry_delay_ms if retry_delay_ms >= 0 else retry.backoff_ms(policy, started.attempt)


def _may_follow(step: Step, run: RunRow, delay_ms: int) -> bool:
    """Whether another run may begin by itself: not after a request to cancel, nor after the chain's deadline."""
    if run.cancel_requested:
        return False
    return not run.execution_deadline_ms or step.now + max(0, delay_ms) < run.execution_deadline_ms


def _at_cron_time(step: Step, started: WorkflowStarted, begin_ms: int) -> WorkflowStarted:
    """The next run at `begin_ms`; 0: nobody knows when, so it asks first."""
    delay = max(0, begin_ms - step.now)
    return replace(
        started, attempt=1, initiator="cron", start_delay_ms=delay, cron_pending=not begin_ms, build_id=""
    )


def _started(step: Step, run: RunRow) -> WorkflowStarted:
    event = decode(step.state.get(keys.event(run.workflow_id, run.run_id, 1)))
    if not isinstance(event, HistoryEvent) or not isinstance(event.attributes, WorkflowStarted):
        raise AssertionError("the first event of an open run says how it was started")
    return event.attributes


def _begin_next(
    step: Step,
    run: RunRow,
    closing: _Continuing,
    started: WorkflowStarted,
    kept: Sequence[commands.KeptSignal] = (),
) -> None:
    """Close `run`, begin the next one, and give it the messages that nobody took: fed in vain, then never fed."""
    run_id = step.new_run_id(run.workflow_id)
    updates = take_undecided(step, run)
    unread = end(step, run, replace(closing, new_run_id=run_id))
    following = replace(
        started,
        first_run_id=run.first_run_id,
        continued_from_run_id=run.run_id,
        execution_deadline_ms=run.execution_deadline_ms,
        request_id="",
        seed="",  # random numbers are the run's own, also behind a reset
    )
    step.append(run.workflow_id, run_id, following)
    if run.paused:  # a person has paused the workflow: a task that was out does not end that
        paused = history.WorkflowPaused(reason=run.pause_reason, identity=run.paused_by)
        step.append(run.workflow_id, run_id, paused)
    for signal in kept:
        again = history.SignalReceived(
            signal=signal.signal,
            input=signal.input,
            headers=signal.headers,
            request_id=signal.request_id,
            identity=brief(signal.identity),
        )
        step.append(run.workflow_id, run_id, again)
    for event, _ in unread:
        if isinstance(event.attributes, MESSAGES):
            updates = carry(step, run.workflow_id, updates, event.event_id)
            step.append(run.workflow_id, run_id, event.attributes)
    carry(step, run.workflow_id, updates)
    wake(step, run.workflow_id)
