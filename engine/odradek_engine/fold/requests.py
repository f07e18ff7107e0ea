"""Deciding on requests: start, signal, cancel, terminate, completion by task token (rules Q1, Q2).

A request with an ID is answered once; a repeated one gets the stored answer again, until its deadline
has passed. After that it is `expired`, which means that its outcome is unknown.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from odradek_schemas import parse_task_token
from odradek_schemas.ephemeral import AwaitResult
from odradek_schemas.history import SignalReceived, WorkflowCancelRequested, WorkflowStarted, WorkflowTerminated
from odradek_schemas.records import (
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

from . import activities, callers, events, keys
from .cancelling import end_cancelled
from .closing import close
from .limits import brief, check_build, check_choice, check_id, check_start
from .outcomes import Outcome, flooded, is_flooded, not_open
from .pausing import change_activity, check_change, pause, unpause
from .reset import REAPPLY, reset
from .rows import RequestRow, RunRow
from .step import KEEP_REQUEST_MS, Step
from .tasks import wake
from .updates import ask_update, check_update, wait_again

AnyRequest: TypeAlias = (
    StartWorkflow
    | SignalWorkflow
    | UpdateWorkflow
    | CancelWorkflow
    | TerminateWorkflow
    | ResetWorkflow
    | PauseWorkflow
    | UnpauseWorkflow
    | ChangeActivity
    | CompleteActivity
    | FailActivity
)


def decide_request(step: Step, record: AnyRequest) -> None:
    """Answer a request: from memory if it was seen, as expired if it is late, else by doing it."""
    problem = _problem(record)
    if problem:
        if not callers.answer(step, record, Outcome("invalid", message=problem, accepted=False)):
            step.dead_letter(problem)
            step.reply(record.request, "invalid", message=problem)
        return
    request = record.request
    if request is None:
        done = _do(step, record)
        if not callers.answer(step, record, done):
            _report(step, done)
        return
    known = step.state.row(keys.request(record.workflow_id, request.request_id), RequestRow)
    if known is not None and known.expire_ms >= step.now:
        if known.outcome == "pending":
            wait_again(step, record.workflow_id, known, request, _wait_for(record))
        else:
            step.reply(request, known.outcome, known.run_id, known.message, known.result, known.failure)
        return
    if isinstance(record, UpdateWorkflow) and record.attach:
        message = f"workflow {record.workflow_id!r} has no such update, or its answer is not kept any more"
        step.reply(request, "not_found", message=message)  # not remembered: the update may still come
        return
    if request.deadline_ms and request.deadline_ms < step.now:
        step.reply(request, "expired", message="the request arrived after its deadline; its outcome is unknown")
        return
    done = _do(step, record)
    if done.outcome == "overloaded":  # not remembered: it may be asked again
        step.reply(request, done.outcome, done.run_id, done.message)
        if request.reply_partition < 0:
            _report(step, done)
        return
    expire = request.deadline_ms or step.now + KEEP_REQUEST_MS
    step.apply(
        events.RequestAnswered(
            record.workflow_id, request.request_id, done.outcome, done.run_id, done.message, expire, done.update_seq
        )
    )
    if done.outcome != "pending":
        step.reply(request, done.outcome, done.run_id, done.message)
    if request.reply_partition < 0:
        _report(step, done)


def _report(step: Step, done: Outcome) -> None:
    """Nobody waits for an answer: what was refused goes to the dead letters, so that people can see it."""
    if not done.accepted:
        step.dead_letter(f"{done.outcome}: {done.message}")


def _do(step: Step, record: AnyRequest) -> Outcome:
    if isinstance(record, StartWorkflow):
        return _start(step, record)
    if isinstance(record, SignalWorkflow):
        return _signal(step, record)
    if isinstance(record, UpdateWorkflow):
        return _update(step, record)
    if isinstance(record, CancelWorkflow):
        return _cancel(step, record)
    if isinstance(record, TerminateWorkflow):
        return _terminate(step, record)
    if isinstance(record, ResetWorkflow):
        return reset(step, record)
    if isinstance(record, PauseWorkflow):
        return pause(step, record)
    if isinstance(record, UnpauseWorkflow):
        return unpause(step, record)
    if isinstance(record, ChangeActivity):
        return change_activity(step, record)
    return _finish_activity(step, record)


# ---------------------------------------------------------------- checks of what users chose (rule E6)


def _problem(record: AnyRequest) -> str:
    """What is wrong with the names and values of a request; empty if nothing."""
    try:
        check_id("workflow_id", record.workflow_id)
        if record.request is not None:
            check_id("request_id", record.request.request_id)
        if isinstance(record, StartWorkflow):
            check_start(record)
            if record.update:
                check_update(record, record.update, record.update_input, record.update_wait_for)
        elif isinstance(record, SignalWorkflow):
            check_id("signal", record.signal)
        elif isinstance(record, UpdateWorkflow):
            check_update(record, record.update, record.input, record.wait_for)
        elif isinstance(record, (CompleteActivity, FailActivity)):
            parse_task_token(record.task_token)
        elif isinstance(record, ChangeActivity):
            check_change(record)
        elif isinstance(record, ResetWorkflow):
            check_choice("reapply", record.reapply, REAPPLY)
            check_build(record.build_id)
    except ValueError as error:
        return f"{type(record).__name__}: {error}"
    return ""


# ---------------------------------------------------------------- the requests


def _start(step: Step, record: StartWorkflow) -> Outcome:
    run = step.run(record.workflow_id)
    if run is not None and run.is_open:
        if record.id_conflict_policy == "fail":
            if record.signal or record.update:
                return _message_open(step, record, run)
            message = f"workflow {record.workflow_id!r} is already open"
            return Outcome("already_started", run.run_id, message, accepted=False)
        if record.id_conflict_policy == "use_existing":
            if record.signal or record.update:
                return _message_open(step, record, run)
            return Outcome("existing", run.run_id)
        close(step, run, WorkflowTerminated(reason="terminated by a start with id_conflict_policy terminate_existing"))
    elif run is not None:
        refused = record.id_reuse_policy == "reject" or (
            record.id_reuse_policy == "allow_if_failed" and run.status == "completed"
        )
        if refused:
            message = f"workflow {record.workflow_id!r} has closed as {run.status}, and id_reuse_policy forbids another"
            return Outcome("reuse_rejected", run.run_id, message, accepted=False)
    run_id = step.new_run_id(record.workflow_id)
    if record.result_request and record.request is not None:
        request = msgspec.structs.replace(record.request, request_id=record.result_request, deadline_ms=0)
        step.awaited.append(AwaitResult(workflow_id=record.workflow_id, run_id=run_id, barrier=0, request=request))
    step.append(
        record.workflow_id,
        run_id,
        WorkflowStarted(
            workflow_type=record.workflow_type,
            task_queue=record.task_queue,
            input=record.input,
            headers=record.headers,
            first_run_id=run_id,
            execution_timeout_ms=record.execution_timeout_ms,
            run_timeout_ms=record.run_timeout_ms,
            task_timeout_ms=record.task_timeout_ms,
            retry_policy=record.retry_policy,
            memo=record.memo,
            search_attributes=record.search_attributes,
            request_id=record.request.request_id if record.request else "",
            start_delay_ms=record.start_delay_ms,
            cron_schedule=record.cron_schedule,
            cron_pending=bool(record.cron_schedule) and not record.start_delay_ms,
            parent=record.parent,
            identity=brief(record.identity),
            build_id=record.build_id,
        ),
    )
    if record.signal:
        _append_start_signal(step, record, run_id)
    return _update_with_start(step, record, "started", run_id)


def _append_start_signal(step: Step, record: StartWorkflow, run_id: str) -> None:
    request_id = record.request.request_id if record.request else ""
    signal = SignalReceived(
        signal=record.signal,
        input=record.signal_input,
        headers=record.headers,
        request_id=request_id,
        identity=brief(record.identity),
    )
    step.append(record.workflow_id, run_id, signal)


def _message_open(step: Step, record: StartWorkflow, run: RunRow) -> Outcome:
    if is_flooded(run, record.update):
        return flooded(run)
    if record.signal:
        _append_start_signal(step, record, run.run_id)
    return _update_with_start(step, record, "existing", run.run_id)


def _update_with_start(step: Step, record: StartWorkflow, outcome: str, run_id: str) -> Outcome:
    """The end of a start that may carry an update, whose outcome is then the answer."""
    seq = 0
    if record.update and record.request is not None:
        run = step.open_run(record.workflow_id, run_id)
        assert run is not None, "the run was found open, or started just now"
        wait_for, by = record.update_wait_for, brief(record.identity)
        seq = ask_update(step, run, record.request, record.update, record.update_input, record.headers, wait_for, by)
    wake(step, record.workflow_id)
    return Outcome("pending" if seq else outcome, run_id, update_seq=seq)


def _update(step: Step, record: UpdateWorkflow) -> Outcome:
    run = step.open_run(record.workflow_id, record.run_id)
    if run is None:
        return not_open(step, record.workflow_id)
    assert record.request is not None, "it was checked"
    if is_flooded(run, record.update):
        return flooded(run)
    by = brief(record.identity)
    seq = ask_update(step, run, record.request, record.update, record.input, record.headers, record.wait_for, by)
    wake(step, run.workflow_id)
    return Outcome("pending", run.run_id, update_seq=seq)


def _wait_for(record: AnyRequest) -> str:
    if isinstance(record, StartWorkflow):
        return record.update_wait_for
    return record.wait_for if isinstance(record, UpdateWorkflow) else "completed"


def _receiver(step: Step, record: SignalWorkflow | CancelWorkflow | TerminateWorkflow) -> RunRow | None:
    """The open run that is meant. A parent means the child that its command started, through all that continue it."""
    run = step.open_run(record.workflow_id, record.run_id)
    if run is None or (record.child_of is not None and not callers.same(run.parent, record.child_of)):
        return None
    return run


def _signal(step: Step, record: SignalWorkflow) -> Outcome:
    run = _receiver(step, record)
    if run is None:
        return not_open(step, record.workflow_id)
    if is_flooded(run):
        return flooded(run)
    request_id = record.request.request_id if record.request else ""
    step.append(
        run.workflow_id,
        run.run_id,
        SignalReceived(
            signal=record.signal,
            input=record.input,
            headers=record.headers,
            request_id=request_id,
            identity=brief(record.identity),
        ),
    )
    wake(step, run.workflow_id)
    return Outcome("ok", run.run_id)


def _cancel(step: Step, record: CancelWorkflow) -> Outcome:
    run = _receiver(step, record)
    if run is None:
        return not_open(step, record.workflow_id)
    if not run.cancel_requested:
        request_id = record.request.request_id if record.request else ""
        requested = WorkflowCancelRequested(
            reason=record.reason, request_id=request_id, identity=brief(record.identity)
        )
        step.append(run.workflow_id, run.run_id, requested)
        wake(step, run.workflow_id)
    return Outcome("ok", run.run_id)


def _terminate(step: Step, record: TerminateWorkflow) -> Outcome:
    run = _receiver(step, record)
    if run is None:
        return not_open(step, record.workflow_id)
    close(step, run, WorkflowTerminated(reason=record.reason, identity=brief(record.identity)))
    return Outcome("ok", run.run_id)


def _finish_activity(step: Step, record: CompleteActivity | FailActivity) -> Outcome:
    """Completion by task token: of whichever attempt is open, by whoever has the token."""
    identity = parse_task_token(record.task_token)
    run = step.open_run(identity.workflow_id, identity.run_id)
    row = step.activity(run, identity.seq, identity.scheduled_by) if run is not None else None
    if run is None or row is None or identity.workflow_id != record.workflow_id:
        return Outcome("not_found", message="the activity of this task token is not open any more", accepted=False)
    if isinstance(record, CompleteActivity):
        activities.complete(step, row, record.result, session="")
    elif row.cancel_requested and record.failure.kind == "cancelled":
        end_cancelled(step, row, record.failure.details)
    elif row.state not in ("backing_off", "paused"):
        activities.fail_attempt(step, row, record.failure)
    wake(step, run.workflow_id)
    return Outcome("ok", run.run_id)
