"""The sender's side of messages between workflows: children, signals to others, and what is heard of them.

A child is (run, sequence number) of the command that started it. A message becomes a record in the partition of the
other workflow, whose answer becomes one here; answers to what has ended change nothing (rule W9).
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from odradek_schemas import DecodeError, decode, history
from odradek_schemas.commands import (
    CancelChildWorkflow,
    CancelExternalWorkflow,
    SignalExternalWorkflow,
    StartChildWorkflow,
)
from odradek_schemas.common import Caller, Failure, Payload
from odradek_schemas.records import (
    CancelWorkflow,
    ChildClosed,
    ChildStarted,
    ChildStartFailed,
    ExternalAnswered,
    ForwardedRecord,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)

from . import keys
from .callers import send
from .deployments import inherited
from .limits import check_choice, check_id, check_start
from .rows import ChildRow, ExternalRow, RunRow
from .step import Step
from .tasks import wake

PARENT_CLOSE_POLICIES = ("terminate", "abandon", "request_cancel")
_TOO_LARGE = "its arguments are too large for a message: hand large data over by reference"


def is_open(step: Step, run: RunRow, seq: int) -> bool:
    """Whether a child or a message of the run has this number."""
    return _child(step, run, seq) is not None or _external(step, run, seq) is not None


def _child(step: Step, run: RunRow, seq: int) -> ChildRow | None:
    return step.state.row(keys.child(run.workflow_id, run.run_id, seq), ChildRow) if seq >= 0 else None


def _external(step: Step, run: RunRow, seq: int) -> ExternalRow | None:
    return step.state.row(keys.external(run.workflow_id, run.run_id, seq), ExternalRow) if seq >= 0 else None


# ---------------------------------------------------------------- commands about children


def initiate(step: Step, run: RunRow, command: StartChildWorkflow) -> None:
    """Start a child. What cannot even be sent fails at once, so that the parent never waits for it (rule E6)."""
    queue = command.task_queue or run.task_queue
    step.append(
        run.workflow_id,
        run.run_id,
        history.ChildWorkflowInitiated(
            seq=command.seq,
            workflow_id=command.workflow_id,
            workflow_type=command.workflow_type,
            task_queue=queue,
            input=command.input,
            parent_close_policy=command.parent_close_policy,
        ),
    )
    start = StartWorkflow(
        workflow_id=command.workflow_id,
        workflow_type=command.workflow_type,
        task_queue=queue,
        input=command.input,
        headers=command.headers,
        id_reuse_policy=command.id_reuse_policy,
        execution_timeout_ms=command.execution_timeout_ms,
        run_timeout_ms=command.run_timeout_ms,
        task_timeout_ms=command.task_timeout_ms,
        retry_policy=command.retry_policy,
        memo=command.memo,
        search_attributes=command.search_attributes,
        parent=Caller(
            workflow_id=run.workflow_id, run_id=run.run_id, seq=command.seq, close_signal=command.close_signal
        ),
        build_id=inherited(run, queue),
    )
    try:
        check_start(start)
        if command.close_signal:
            check_id("close_signal", command.close_signal)
        check_choice("parent_close_policy", command.parent_close_policy, PARENT_CLOSE_POLICIES)
    except ValueError as error:
        _start_failed(step, run, command.seq, "invalid", str(error))
        return
    if send(step, start) is None:
        _start_failed(step, run, command.seq, "too_large", _TOO_LARGE)


def request_cancel(step: Step, run: RunRow, command: CancelChildWorkflow) -> None:
    """Ask a child to cancel, once. The message follows its start, so it cannot come too early."""
    row = _child(step, run, command.seq)
    if row is None or row.cancel_requested:
        return
    reason = command.reason[:10_000]
    requested = history.ChildWorkflowCancelRequested(
        seq=row.seq, initiated_event_id=row.initiated_event_id, reason=reason
    )
    step.append(run.workflow_id, run.run_id, requested)
    send(step, CancelWorkflow(workflow_id=row.child_workflow_id, reason=reason, child_of=row.link))


def release(step: Step, run: RunRow, kept_through: int = 0) -> None:
    """The run closes: each child goes the way of its parent-close policy. Not those that a reset keeps."""
    if not run.open_children:
        return
    reason = f"its parent {run.workflow_id!r} has closed"
    for _, row in list(step.state.scan(keys.of_run(keys.CHILD, run.workflow_id, run.run_id))):
        if row.initiated_event_id <= kept_through:
            continue
        if row.parent_close_policy == "terminate":
            send(step, TerminateWorkflow(workflow_id=row.child_workflow_id, reason=reason, child_of=row.link))
        elif row.parent_close_policy == "request_cancel" and not row.cancel_requested:
            send(step, CancelWorkflow(workflow_id=row.child_workflow_id, reason=reason, child_of=row.link))


# ---------------------------------------------------------------- commands about other workflows


def signal_external(step: Step, run: RunRow, command: SignalExternalWorkflow) -> None:
    """Send a signal; what cannot be sent fails at once."""
    requested = history.ExternalSignalRequested(
        seq=command.seq,
        workflow_id=command.workflow_id,
        signal=command.signal,
        run_id=command.run_id,
        input=command.input,
    )
    step.append(run.workflow_id, run.run_id, requested)
    row = _child(step, run, command.child_seq)
    child = Caller(workflow_id=run.workflow_id, run_id=run.run_id, seq=command.child_seq) if row is None else row.link
    signal = SignalWorkflow(
        workflow_id=command.workflow_id,
        signal=command.signal,
        run_id=command.run_id,
        input=command.input,
        headers=command.headers,
        caller=Caller(workflow_id=run.workflow_id, run_id=run.run_id, seq=command.seq),
        child_of=child if command.child_seq else None,
    )
    _send_external(step, run, command.seq, signal)


def cancel_external(step: Step, run: RunRow, command: CancelExternalWorkflow) -> None:
    """Ask another workflow to cancel, or end it."""
    requested = history.ExternalCancelRequested(
        seq=command.seq, workflow_id=command.workflow_id, run_id=command.run_id, reason=command.reason
    )
    step.append(run.workflow_id, run.run_id, requested)
    message = (TerminateWorkflow if command.terminate else CancelWorkflow)(
        workflow_id=command.workflow_id,
        run_id=command.run_id,
        reason=command.reason,
        caller=Caller(workflow_id=run.workflow_id, run_id=run.run_id, seq=command.seq),
    )
    _send_external(step, run, command.seq, message)


def _send_external(
    step: Step, run: RunRow, seq: int, message: SignalWorkflow | CancelWorkflow | TerminateWorkflow
) -> None:
    try:
        check_id("workflow_id", message.workflow_id)
    except ValueError as error:
        answer_external(step, run, seq, "invalid", str(error))
        return
    if send(step, message) is None:
        answer_external(step, run, seq, "too_large", _TOO_LARGE)


# ---------------------------------------------------------------- what is heard


def _heard_of(
    step: Step, record: ChildStarted | ChildStartFailed | ChildClosed
) -> tuple[RunRow | None, ChildRow | None]:
    """The parent's open run, and its child that a record is about: begun by it, or given to it by a reset."""
    run = step.open_run(record.workflow_id, "")
    row = _child(step, run, record.seq) if run is not None else None
    return run, row if row is not None and row.begun_by == record.run_id else None


def decide_started(step: Step, record: ChildStarted) -> None:
    """The child runs."""
    run, row = _heard_of(step, record)
    if run is None or row is None or row.child_run_id:
        return
    started = history.ChildWorkflowStarted(
        seq=row.seq,
        initiated_event_id=row.initiated_event_id,
        workflow_id=row.child_workflow_id,
        run_id=record.child_run_id,
    )
    step.append(run.workflow_id, run.run_id, started)
    wake(step, run.workflow_id)


def decide_start_failed(step: Step, record: ChildStartFailed) -> None:
    """There is no child: its ID is in use, or it was refused."""
    run, row = _heard_of(step, record)
    if run is not None and row is not None and not row.child_run_id:
        _start_failed(step, run, record.seq, record.cause, record.message, record.child_run_id)
        wake(step, run.workflow_id)


def _start_failed(step: Step, run: RunRow, seq: int, cause: str, message: str, in_the_way: str = "") -> None:
    row = _child(step, run, seq)
    if row is None:
        return
    failed = history.ChildWorkflowStartFailed(
        seq=seq,
        initiated_event_id=row.initiated_event_id,
        workflow_id=row.child_workflow_id,
        cause=cause,
        message=message,
        run_id=in_the_way,
    )
    step.append(run.workflow_id, run.run_id, failed)


_Ended: TypeAlias = (
    history.ChildWorkflowCompleted
    | history.ChildWorkflowFailed
    | history.ChildWorkflowCancelled
    | history.ChildWorkflowTerminated
    | history.ChildWorkflowTimedOut
)


def decide_closed(step: Step, record: ChildClosed) -> None:
    """The child has ended."""
    run, row = _heard_of(step, record)
    if run is not None and row is not None and row.child_run_id:
        step.append(run.workflow_id, run.run_id, _ended(row, record))
        wake(step, run.workflow_id)
    if record.close_signal:
        _signal_end(step, record)


def _signal_end(step: Step, record: ChildClosed) -> None:
    """Tell whichever run of the parent's ID is open; a child that was left alone outlives the run that began it."""
    run = step.open_run(record.workflow_id, "")
    if run is None:
        return
    told = {"workflow_id": record.child_workflow_id, "run_id": record.child_run_id, "status": record.status}
    payload = Payload(metadata={"encoding": b"json/plain"}, data=msgspec.json.encode(told))
    step.append(run.workflow_id, run.run_id, history.SignalReceived(signal=record.close_signal, input=[payload]))
    wake(step, run.workflow_id)


def _ended(row: ChildRow, record: ChildClosed) -> _Ended:
    """The history event of a child's end. `child_run_id` is that of its last run."""
    seq, initiated, workflow_id = row.seq, row.initiated_event_id, row.child_workflow_id
    run_id = record.child_run_id
    failure = record.failure or Failure(message=record.status, kind="server")
    if record.status == "completed":
        return history.ChildWorkflowCompleted(
            seq=seq, initiated_event_id=initiated, workflow_id=workflow_id, run_id=run_id, result=record.result
        )
    if record.status == "cancelled":
        return history.ChildWorkflowCancelled(
            seq=seq, initiated_event_id=initiated, workflow_id=workflow_id, run_id=run_id, failure=record.failure
        )
    if record.status == "terminated":
        return history.ChildWorkflowTerminated(
            seq=seq, initiated_event_id=initiated, workflow_id=workflow_id, run_id=run_id, reason=failure.message
        )
    if record.status == "timed_out":
        return history.ChildWorkflowTimedOut(
            seq=seq, initiated_event_id=initiated, workflow_id=workflow_id, run_id=run_id,
            timeout_type=failure.timeout_type,
        )  # fmt: skip
    return history.ChildWorkflowFailed(
        seq=seq, initiated_event_id=initiated, workflow_id=workflow_id, run_id=run_id, failure=failure
    )


def decide_answered(step: Step, record: ExternalAnswered) -> None:
    """Another workflow got the message, or could not."""
    run = step.open_run(record.workflow_id, "")
    row = _external(step, run, record.seq) if run is not None else None
    if run is not None and row is not None and row.begun_by == record.run_id:
        answer_external(step, run, record.seq, record.outcome, record.message)
        wake(step, run.workflow_id)


def answer_external(step: Step, run: RunRow, seq: int, outcome: str, message: str) -> None:
    """Tell the code what became of its message. To one that was answered, a no-op."""
    row = _external(step, run, seq)
    if row is None:
        return
    requested = row.requested_event_id
    answer: history.Attributes
    if outcome == "ok" and row.is_signal:
        answer = history.ExternalSignalDelivered(seq=seq, requested_event_id=requested)
    elif outcome == "ok":
        answer = history.ExternalCancelDelivered(seq=seq, requested_event_id=requested)
    elif row.is_signal:
        answer = history.ExternalSignalFailed(seq=seq, requested_event_id=requested, cause=outcome, message=message)
    else:
        answer = history.ExternalCancelFailed(seq=seq, requested_event_id=requested, cause=outcome, message=message)
    step.append(run.workflow_id, run.run_id, answer)


def undeliverable(step: Step, message: ForwardedRecord, reason: str) -> None:
    """The log refuses a message of this partition's workflows: whoever waits for its answer gets one (rule E6)."""
    try:
        inner = decode(message.value)
    except DecodeError:
        return
    caller = inner.parent if isinstance(inner, StartWorkflow) else getattr(inner, "caller", None)
    run = step.open_run(caller.workflow_id, "") if caller is not None else None
    if caller is None or run is None:
        return
    row = _child(step, run, caller.seq) or _external(step, run, caller.seq)
    if row is None or row.begun_by != caller.run_id:
        return
    if isinstance(inner, StartWorkflow):
        _start_failed(step, run, caller.seq, "undeliverable", reason)
    else:
        answer_external(step, run, caller.seq, "undeliverable", reason)
    wake(step, run.workflow_id)
