"""The receiver's side of messages between workflows: what the workflow that sent one is told of it.

Messages and answers are records in the other's partition, in a chain of their own (rule E1), so each arrives exactly
once and in order: the start of a child before its end.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from odradek_schemas import DecodeError, decode, encode, history
from odradek_schemas.common import Caller, Failure, Position, Record
from odradek_schemas.records import (
    CancelWorkflow,
    ChildClosed,
    ChildStarted,
    ChildStartFailed,
    ExternalAnswered,
    ForwardedRecord,
    ReportChild,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)

from . import keys
from .limits import shorten
from .outcomes import Outcome, terminated, timed_out
from .rows import RunRow
from .step import Step

_ANSWERS = (ChildStarted, ChildStartFailed, ChildClosed, ExternalAnswered)
_LINKS = ("parent", "caller", "child_of")


def send(step: Step, record: Any) -> Position | None:
    """Send a record to the partition of its workflow. None: it is too large, nothing is sent."""
    key = record.workflow_id.encode()
    value = encode(record)
    return step.effect(
        step.topics.events,
        step.home(record.workflow_id),
        key,
        lambda position: ForwardedRecord(position=position, key=key, value=value),
    )


def is_from_a_workflow(record: Record) -> bool:
    """Whether only an engine may send this, on behalf of a workflow."""
    for link in _links_of(type(record)):
        if getattr(record, link) is not None:
            return True
    return isinstance(record, _ANSWERS)


def may_be_from_a_workflow(kind: type[Record]) -> bool:
    """Whether there are such records of that class."""
    return bool(_links_of(kind)) or issubclass(kind, _ANSWERS)


@cache
def _links_of(kind: type[Record]) -> tuple[str, ...]:
    return tuple(link for link in _LINKS if link in kind.__struct_fields__)


def answer(step: Step, record: Record, done: Outcome) -> bool:
    """Tell the workflow that asked what came of it; False if no workflow asked. Of a close policy nobody is told."""
    if isinstance(record, StartWorkflow) and record.parent is not None:
        _answer_start(step, record.parent, done)
        return True
    if isinstance(record, (SignalWorkflow, CancelWorkflow, TerminateWorkflow)) and record.caller is not None:
        told = ExternalAnswered(**_to(record.caller), outcome=done.outcome, message=done.message)
        _send_answer(step, told)
        return True
    return getattr(record, "child_of", None) is not None


def _answer_start(step: Step, parent: Caller, done: Outcome) -> None:
    if done.outcome == "started":
        _send_answer(step, ChildStarted(**_to(parent), child_run_id=done.run_id))
        return
    failed = ChildStartFailed(**_to(parent), cause=done.outcome, message=done.message, child_run_id=done.run_id)
    _send_answer(step, failed)


def same(one: Caller | None, other: Caller | None) -> bool:
    """Whether two links are of the same command."""
    return one is not None and other is not None and _to(one) == _to(other)


def _to(caller: Caller) -> dict[str, Any]:
    return {"workflow_id": caller.workflow_id, "run_id": caller.run_id, "seq": caller.seq}


def _send_answer(step: Step, record: ChildStarted | ChildStartFailed | ExternalAnswered) -> None:
    if send(step, record) is None:
        step.dead_letter(f"{type(record).__name__} is too large to be sent to the workflow that asked")


# ---------------------------------------------------------------- the end of a child


def report_close(step: Step, run: RunRow, closing: history.Attributes) -> None:
    """Tell the parent how its child ended. A run that another one continues is not its end."""
    end = _end(closing)
    if run.parent is None or end is None or bool(getattr(closing, "new_run_id", "")):
        return
    status, failure = end
    closed = ChildClosed(
        **_to(run.parent),
        child_run_id=run.run_id,
        status=status,
        result=closing.result if isinstance(closing, history.WorkflowCompleted) else None,
        failure=failure,
        close_signal=run.parent.close_signal,
        child_workflow_id=run.workflow_id if run.parent.close_signal else "",
    )
    if send(step, closed) is None and send(step, _reduced(closed, "is too large for a message to its parent")) is None:
        step.dead_letter(f"the end of {run.workflow_id[:1_000]!r} is too large to be sent to its parent")


def decide_report(step: Step, record: ReportChild) -> None:
    """A parent asks again how its child stands. An open one tells its end when it comes."""
    parent = record.child_of
    run = step.run(record.workflow_id)
    if run is None or not same(run.parent, parent):
        gone = "nothing is known of this child any more"
        _send_answer(step, ChildStartFailed(**_to(parent), cause="not_found", message=gone))
        closed = ChildClosed(
            **_to(parent), child_run_id=record.child_run_id, status="terminated", failure=terminated(gone)
        )
        send(step, closed)
        return
    _send_answer(step, ChildStarted(**_to(parent), child_run_id=run.first_run_id))
    last = decode(step.state.get(keys.event(run.workflow_id, run.run_id, run.last_event_id)))
    if not run.is_open and isinstance(last, history.HistoryEvent):
        report_close(step, msgspec.structs.replace(run, parent=parent), last.attributes)  # without its close_signal


def _end(closing: history.Attributes) -> tuple[str, Failure | None] | None:
    """Status and failure of a child whose run closed so; None if its end is still to come."""
    if isinstance(closing, history.WorkflowCompleted):
        return "completed", None
    if isinstance(closing, history.WorkflowFailed):
        return "failed", closing.failure
    if isinstance(closing, history.WorkflowCancelled):
        return "cancelled", closing.failure
    if isinstance(closing, history.WorkflowTerminated):
        return "terminated", terminated(closing.reason)
    if isinstance(closing, history.WorkflowTimedOut):
        return "timed_out", timed_out(closing.timeout_type)
    return None


def _reduced(closed: ChildClosed, why: str) -> ChildClosed:
    """The same end without what makes it large; a result that cannot be handed over is a failure."""
    if closed.result is not None:
        failure: Failure | None = Failure(message=f"the child's result {why}", type="ResultNotDelivered", kind="server")
        return msgspec.structs.replace(closed, status="failed", result=None, failure=failure)
    failure = closed.failure
    if failure is not None:
        small = shorten(failure)
        failure = msgspec.structs.replace(small, message=small.message[:1_000], details=[], encoded_attributes=None,
                                          cause=None)
    return msgspec.structs.replace(closed, failure=failure)


def undeliverable(step: Step, message: ForwardedRecord, reason: str) -> None:
    """The log refuses the report of a child's end: send it without what may be the reason (rule E6)."""
    try:
        closed = decode(message.value)
    except DecodeError:
        return
    if isinstance(closed, ChildClosed):
        reduced = _reduced(closed, f"cannot be handed to its parent: {reason[:1_000]}")
        if reduced != closed:
            send(step, reduced)
