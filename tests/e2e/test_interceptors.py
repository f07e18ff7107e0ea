"""Headers from a client through a workflow to an activity, a child and another workflow, on both logs."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import pytest
from odradek import Client, Worker, WorkflowHandle, activity, workflow
from odradek.interceptors import (
    ActivityInterceptor,
    ClientInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleSignalInput,
    Interceptor,
    ScheduleActivityInput,
    SignalExternalWorkflowInput,
    StartChildWorkflowInput,
    StartWorkflowInput,
    WorkflowInterceptor,
)

from .system import System

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
trace: ContextVar[list[str]] = ContextVar("trace", default=[])  # noqa: B039  # never changed in place


class TracedClient(ClientInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.headers["trace"] = ["client"]
        return await self.next.start_workflow(input)


class TracedWorkflow(WorkflowInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        trace.set([*input.headers["trace"], workflow.info().workflow_type])
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        trace.set([*input.headers["trace"], input.signal])
        await self.next.handle_signal(input)

    async def execute_activity(self, input: ScheduleActivityInput) -> Any:
        input.headers["trace"] = trace.get()
        return await self.next.execute_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> Any:
        input.headers["trace"] = trace.get()
        return await self.next.start_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        input.headers["trace"] = trace.get()
        await self.next.signal_external_workflow(input)


class TracedActivity(ActivityInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        trace.set([*input.headers["trace"], activity.info().activity_type])
        return await self.next.execute_activity(input)


class Traces(Interceptor):
    def intercept_client(self, next: ClientInterceptor) -> ClientInterceptor:
        return TracedClient(next)

    def intercept_workflow(self, next: WorkflowInterceptor) -> WorkflowInterceptor:
        return TracedWorkflow(next)

    def intercept_activity(self, next: ActivityInterceptor) -> ActivityInterceptor:
        return TracedActivity(next)


@activity.define
def look() -> list[str]:
    return trace.get()


@workflow.define
class Listener:
    heard: list[str] | None = None

    async def run(self) -> list[str]:
        return await workflow.wait_condition(lambda: self.heard)

    @workflow.signal
    def tell(self) -> None:
        self.heard = trace.get()


@workflow.define
async def inner() -> list[str]:
    return await look()


@workflow.define
async def outer(listener: str) -> list[list[str]]:
    await workflow.external(listener, Listener).signal(Listener.tell)
    return [await look(), await workflow.execute_child(inner)]


async def test_a_trace_goes_through_everything(system: System) -> None:
    async with (
        Client(system.log, namespace=system.namespace, interceptors=[Traces()]) as client,
        Worker(client, task_queue="traced", workflows=[outer, inner, Listener], activities=[look]),
    ):
        listener = await client.start(Listener, id=system.name("listener"), task_queue="traced")
        found = await client.execute(outer, listener.id, id=system.name("outer"), task_queue="traced")
        assert found == [["client", "outer", "look"], ["client", "outer", "inner", "look"]]
        assert await listener.result() == ["client", "outer", "tell"]
