"""Behind the interceptors of a client: what people do to runs and activities, and how they look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek_schemas import parse_task_token
from odradek_schemas.common import Record, Request
from odradek_schemas.ephemeral import HeartbeatActivity
from odradek_schemas.records import (
    CancelWorkflow,
    ChangeActivity,
    CompleteActivity,
    FailActivity,
    PauseWorkflow,
    ResetWorkflow,
    TerminateWorkflow,
    UnpauseWorkflow,
)
from odradek_schemas.replies import HeartbeatNoted

from . import _read
from ._calls import MakeRecord
from ._description import HistoryEvent, WorkflowDescription
from ._handle import Target
from ._interceptors import (
    CancelWorkflowInput,
    ChangeActivityInput,
    ClientInterceptor,
    CompleteActivityInput,
    DescribeWorkflowInput,
    FailActivityInput,
    FetchHistoryInput,
    HeartbeatActivityInput,
    MessageInput,
    PauseWorkflowInput,
    ResetWorkflowInput,
    TerminateWorkflowInput,
    UnpauseWorkflowInput,
)
from ._options import pending_activity_changes
from ._refusals import refused
from .errors import ActivityCancelRequestedError, ActivityNotFoundError

if TYPE_CHECKING:
    from ._requests import WorkflowRequests


class ClientOperations(ClientInterceptor):
    """Half of what the last interceptor calls; the other half is ClientCalls."""

    def __init__(self, requests: WorkflowRequests) -> None:
        self._requests = requests
        self._converter = requests.converter

    # ------------------------------------------------------------ runs

    async def reset_workflow(self, input: ResetWorkflowInput) -> str:
        def make(request: Request) -> Record:
            return ResetWorkflow(
                workflow_id=input.id,
                run_id=input.run_id or "",
                event_id=input.event_id,
                reason=input.reason,
                reapply=input.reapply,
                request=request,
                identity=self._identity(input),
                build_id=input.build_id,
            )

        return await self._requests.change(target_of(input), make)

    async def pause_workflow(self, input: PauseWorkflowInput) -> None:
        await self._change_run(input, PauseWorkflow)

    async def unpause_workflow(self, input: UnpauseWorkflowInput) -> None:
        await self._change_run(input, UnpauseWorkflow)

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        await self._change_run(input, CancelWorkflow)

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        await self._change_run(input, TerminateWorkflow)

    async def _change_run(
        self,
        input: PauseWorkflowInput | UnpauseWorkflowInput | CancelWorkflowInput | TerminateWorkflowInput,
        kind: type[PauseWorkflow | UnpauseWorkflow | CancelWorkflow | TerminateWorkflow],
    ) -> None:
        """What needs nothing but a reason."""

        def make(request: Request) -> Record:
            return kind(
                workflow_id=input.id,
                run_id=input.run_id or "",
                reason=input.reason,
                request=request,
                identity=self._identity(input),
            )

        await self._requests.change(target_of(input), make)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowDescription:
        return _read.description(await self._requests.description(target_of(input)), self._converter)

    async def fetch_history(self, input: FetchHistoryInput) -> list[HistoryEvent]:
        records = await self._requests.history_records(target_of(input))
        return [_read.history_event(event, self._converter) for event in records]

    # ------------------------------------------------------------ activities

    async def change_activity(self, input: ChangeActivityInput) -> None:
        changes = pending_activity_changes(input.options)

        def make(request: Request) -> Record:
            return ChangeActivity(
                workflow_id=input.id,
                action=input.action,
                run_id=input.run_id or "",
                seq=input.activity if isinstance(input.activity, int) else 0,
                activity_type=input.activity if isinstance(input.activity, str) else "",
                reason=input.reason,
                request=request,
                identity=self._identity(input),
                **changes,
            )

        await self._requests.change(target_of(input), make)

    async def complete_activity(self, input: CompleteActivityInput) -> None:
        payload = self._converter.to_payload(input.result)
        workflow_id = parse_task_token(input.task_token).workflow_id

        def make(request: Request) -> Record:
            return CompleteActivity(
                workflow_id=workflow_id, task_token=input.task_token, result=payload, request=request
            )

        await self._finish_activity(workflow_id, make)

    async def fail_activity(self, input: FailActivityInput) -> None:
        failure = self._converter.to_failure(input.error)
        workflow_id = parse_task_token(input.task_token).workflow_id

        def make(request: Request) -> Record:
            return FailActivity(workflow_id=workflow_id, task_token=input.task_token, failure=failure, request=request)

        await self._finish_activity(workflow_id, make)

    async def heartbeat_activity(self, input: HeartbeatActivityInput) -> None:
        payloads = self._converter.to_payloads(input.details)
        workflow_id = parse_task_token(input.task_token).workflow_id

        def make(request: Request) -> Record:
            return HeartbeatActivity(
                workflow_id=workflow_id, task_token=input.task_token, details=payloads, request=request
            )

        reply = await self._requests.ask(Target(workflow_id), make, HeartbeatNoted)
        if reply.status == "not_found":
            raise _activity_not_found(workflow_id)
        if reply.status == "cancel_requested":
            raise ActivityCancelRequestedError(
                f"an activity of workflow {workflow_id!r} is cancelled: stop, then fail_activity(token, "
                "asyncio.CancelledError())"
            )

    async def _finish_activity(self, workflow_id: str, make: MakeRecord) -> None:
        reply = await self._requests.append(Target(workflow_id), make)
        if reply.outcome in ("not_found", "closed"):
            raise _activity_not_found(workflow_id)
        if reply.outcome != "ok":
            refused(workflow_id, reply)

    def _identity(self, input: MessageInput) -> str:
        return input.identity or self._requests.identity


def target_of(call: MessageInput) -> Target:
    """The run that a call is about, after the interceptors."""
    return Target(call.id, call.run_id, request_id=call.request_id, timeout=call.timeout)


def _activity_not_found(workflow_id: str) -> ActivityNotFoundError:
    return ActivityNotFoundError(
        f"no activity with this task token is open in workflow {workflow_id!r}: it has ended, timed out or was "
        "cancelled, or the workflow has closed; nothing was changed",
        workflow_id=workflow_id,
    )
