"""The children of one running workflow, and its messages to other workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from odradek_schemas import commands, history
from odradek_schemas.common import Failure, Payload

from ._handle import ChildWorkflowHandle, bind_message
from ._instance_core import InstanceCore
from ._interceptors import SignalExternalWorkflowInput, StartChildWorkflowInput
from ._options import milliseconds, retry_policy_record
from .errors import (
    ChildWorkflowError,
    OdradekError,
    WorkflowAlreadyStartedError,
    WorkflowCancelledError,
    WorkflowClosedError,
    WorkflowNotFoundError,
    WorkflowTerminatedError,
    WorkflowTimeoutError,
)

_MakeError = Callable[[], BaseException]


@dataclass
class Child:
    """A child as its parent's code sees it. `closed` is also set when it could not be started.

    `error` makes the error that it ended with; None: it has a result, or has not ended.
    """

    seq: int
    id: str
    workflow_type: str
    result_type: Any
    cancellation_type: str
    run_id: str = ""
    started: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    result: Any = None
    error: _MakeError | None = None
    cancel_requested: bool = False


class InstanceChildren:
    """Implements what handles of children and of other workflows ask for."""

    def __init__(self, core: InstanceCore) -> None:
        self._core = core
        self._children: dict[int, Child] = {}
        self._messages: dict[int, tuple[asyncio.Future[None], str]] = {}

    # ------------------------------------------------------------ children

    async def start(
        self, call: StartChildWorkflowInput, headers: dict[str, Payload]
    ) -> ChildWorkflowHandle[Any, Any]:
        """Start a child; returns when it runs."""
        core, options = self._core, call.options
        seq = core.seq + 1
        write, plain = core.converter.to_payload, core.converter.plain.to_payload
        command = commands.StartChildWorkflow(
            seq=seq,
            workflow_id=options.get("id") or f"{core.info.run_id}_{seq}",
            workflow_type=call.workflow_type,
            task_queue=options.get("task_queue") or core.info.task_queue,
            input=core.converter.to_payloads(call.args),
            headers=headers,
            id_reuse_policy=options.get("id_reuse_policy", "allow"),
            parent_close_policy=options.get("parent_close_policy", "terminate"),
            execution_timeout_ms=milliseconds(options.get("execution_timeout")),
            run_timeout_ms=milliseconds(options.get("run_timeout")),
            task_timeout_ms=milliseconds(options.get("task_timeout")),
            retry_policy=retry_policy_record(options.get("retry_policy")),
            memo={key: write(value) for key, value in options.get("memo", {}).items()},
            search_attributes={key: plain(value) for key, value in options.get("search_attributes", {}).items()},
            close_signal=options.get("close_signal", ""),
        )
        core.emit(command)
        core.next_seq()
        how = options.get("cancellation_type", "wait")
        child = Child(seq, command.workflow_id, call.workflow_type, call.result_type, how)
        self._children[seq] = child
        await self._until(child, child.started)
        if not child.run_id and child.error is not None:
            raise child.error()
        return ChildWorkflowHandle(self, child)

    async def result(self, child: Child) -> Any:
        """The child's result, as often as it is asked for. Cancelling the wait cancels the child."""
        await self._until(child, child.closed)
        if child.error is not None:
            raise child.error()
        return child.result

    async def _until(self, child: Child, moment: asyncio.Event) -> None:
        try:
            await moment.wait()
        except asyncio.CancelledError:
            if child.cancellation_type != "abandon":
                self.cancel(child)
                if child.cancellation_type == "wait":
                    await child.closed.wait()
            raise

    def cancel(self, child: Child) -> None:
        """Ask a child to cancel, once."""
        if not child.closed.is_set() and not child.cancel_requested:
            self._core.emit(commands.CancelChildWorkflow(seq=child.seq))
            child.cancel_requested = True

    async def signal_child(self, child: Child, signal: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Signal that very child, not another workflow that took its ID later."""
        await self._pass_signal(signal, args, kwargs, id=child.id, child_seq=child.seq)

    # ------------------------------------------------------------ other workflows

    async def signal_external(
        self, workflow_id: str, run_id: str, signal: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        """Signal another workflow; returns when it has the signal."""
        await self._pass_signal(signal, args, kwargs, id=workflow_id, run_id=run_id)

    async def _pass_signal(self, signal: Any, args: Sequence[Any], kwargs: Mapping[str, Any], **where: Any) -> None:
        name, values, _ = bind_message("signal", signal, args, kwargs)
        call = SignalExternalWorkflowInput(signal=name, args=values, **where)
        await self._core.calls.signal_external_workflow(call)

    async def signal(self, call: SignalExternalWorkflowInput, headers: dict[str, Payload]) -> None:
        """Send a signal to a child or to another workflow; returns when it has it."""
        command = commands.SignalExternalWorkflow(
            seq=self._core.seq + 1,
            workflow_id=call.id,
            signal=call.signal,
            run_id=call.run_id,
            child_seq=call.child_seq,
            input=self._core.converter.to_payloads(call.args),
            headers=headers,
        )
        await self._send(command)

    async def cancel_external(self, workflow_id: str, run_id: str, reason: str, *, terminate: bool = False) -> None:
        """Ask another workflow to cancel, or end it; returns when it has the request."""
        seq = self._core.seq + 1
        command = commands.CancelExternalWorkflow(
            seq=seq, workflow_id=workflow_id, run_id=run_id, reason=reason, terminate=terminate
        )
        await self._send(command)

    async def _send(self, command: commands.SignalExternalWorkflow | commands.CancelExternalWorkflow) -> None:
        self._core.emit(command)
        self._core.next_seq()
        future = self._core.loop.create_future()
        self._messages[command.seq] = (future, command.workflow_id)
        try:
            await future
        except asyncio.CancelledError:
            self._messages.pop(command.seq, None)  # it is sent all the same; its answer is ignored (rule W9)
            raise

    # ------------------------------------------------------------ events

    def on_started(self, event: history.ChildWorkflowStarted) -> None:
        child = self._children.get(event.seq)
        if child is not None:
            child.id, child.run_id = event.workflow_id, event.run_id
            child.started.set()

    def on_start_failed(self, event: history.ChildWorkflowStartFailed) -> None:
        child = self._children.get(event.seq)
        if child is None:
            return

        def error() -> BaseException:
            text = event.message or f"child workflow {event.workflow_id!r} was not started: {event.cause}"
            failed = _child_error(child, text)
            if event.cause not in ("already_started", "reuse_rejected"):
                return failed
            used = WorkflowAlreadyStartedError(text, workflow_id=event.workflow_id, run_id=event.run_id)
            used.__cause__ = failed
            return used

        self._end(child, error)

    def on_completed(self, event: history.ChildWorkflowCompleted) -> None:
        child = self._children.get(event.seq)
        if child is None:
            return
        error: _MakeError | None = None
        try:
            if event.result is not None:
                self._core.count((event.result,))
                child.result = self._core.converter.from_payload(event.result, child.result_type)
        except Exception as unreadable:
            refused = unreadable
            error = lambda: refused  # noqa: E731
        self._end(child, error)

    def on_failed(self, event: history.ChildWorkflowFailed) -> None:
        self._fail(event.seq, "failed", lambda: self._core.converter.from_failure(event.failure), event.failure)

    def on_cancelled(self, event: history.ChildWorkflowCancelled) -> None:
        self._fail(event.seq, "was cancelled", lambda: WorkflowCancelledError("cancelled"), event.failure)

    def on_terminated(self, event: history.ChildWorkflowTerminated) -> None:
        reason = event.reason or "terminated"
        self._fail(event.seq, "was terminated", lambda: WorkflowTerminatedError(reason, reason=event.reason))

    def on_timed_out(self, event: history.ChildWorkflowTimedOut) -> None:
        kind = event.timeout_type
        text = f"the workflow reached its {kind}_timeout"
        self._fail(event.seq, "timed out", lambda: WorkflowTimeoutError(text, timeout_type=kind))

    def _fail(self, seq: int, what: str, cause: _MakeError, failure: Failure | None = None) -> None:
        child = self._children.get(seq)
        if child is None:
            return

        def error() -> BaseException:
            said = f": {failure.type}: {failure.message}" if failure is not None else ""
            failed = _child_error(child, f"child workflow {child.id!r} {what}{said}")
            failed.__cause__ = cause()
            return failed

        self._end(child, error)

    def _end(self, child: Child, error: _MakeError | None) -> None:
        del self._children[child.seq]
        child.error = error
        child.started.set()
        child.closed.set()

    def on_delivered(self, event: history.ExternalSignalDelivered | history.ExternalCancelDelivered) -> None:
        future, _ = self._messages.pop(event.seq, (None, ""))
        if future is not None and not future.done():
            future.set_result(None)

    def on_not_delivered(self, event: history.ExternalSignalFailed | history.ExternalCancelFailed) -> None:
        future, workflow_id = self._messages.pop(event.seq, (None, ""))
        if future is None or future.done():
            return
        classes: dict[str, type[OdradekError]] = {"closed": WorkflowClosedError}
        kind = classes.get(event.cause, WorkflowNotFoundError)
        message = event.message or f"workflow {workflow_id!r}: {event.cause}"
        error = kind(message)
        if isinstance(error, WorkflowNotFoundError):
            error.workflow_id = workflow_id
        future.set_exception(error)


def _child_error(child: Child, message: str) -> ChildWorkflowError:
    return ChildWorkflowError(
        message, workflow_id=child.id, run_id=child.run_id, workflow_type=child.workflow_type
    )
