# ruff: noqa
"""Interceptors, codecs, the next run, what people do to workflows: passes both checkers."""
from __future__ import annotations

import warnings
from typing import Any, NoReturn

from typing_extensions import assert_type

from odradek import (
    AESGCMCodec,
    ChildWorkflowError,
    Client,
    DataConverter,
    DeterminismWarning,
    RetryPolicy,
    Worker,
    WorkflowDescription,
    WorkflowHandle,
    ZlibCodec,
    activity,
    workflow,
)
from odradek.interceptors import (
    ActivityInterceptor,
    ClientInterceptor,
    CompleteActivityInput,
    ContinueAsNewInput,
    DescribeWorkflowInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    ResetWorkflowInput,
    ScheduleActivityInput,
    StartChildWorkflowInput,
    StartWorkflowInput,
    WorkflowInterceptor,
)
from odradek.testing import Environment, replay
from usage_pos import Greet, Order, Product, charge


class Tenant(WorkflowInterceptor):
    def __init__(self, next: WorkflowInterceptor) -> None:
        super().__init__(next)
        self.tenant = ""

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        self.tenant = str(input.headers.get("tenant", ""))
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        await super().handle_signal(input)

    def handle_query(self, input: HandleQueryInput) -> Any:
        return self.next.handle_query(input)

    def validate_update(self, input: HandleUpdateInput) -> None:
        self.next.validate_update(input)

    async def execute_activity(self, input: ScheduleActivityInput) -> Any:
        input.headers["tenant"] = self.tenant
        assert_type(input.activity_type, str)
        return await self.next.execute_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:
        return await self.next.start_child_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        self.next.continue_as_new(input)


class TenantOfClient(ClientInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.headers["tenant"] = input.id.partition("-")[0]
        return await self.next.start_workflow(input)

    async def reset_workflow(self, input: ResetWorkflowInput) -> str:
        input.reason = f"{input.reason} ({input.event_id})"
        return await self.next.reset_workflow(input)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowDescription:
        return await super().describe_workflow(input)

    async def complete_activity(self, input: CompleteActivityInput) -> None:
        assert_type(input.task_token, bytes)
        await self.next.complete_activity(input)


class Timing(ActivityInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return await self.next.execute_activity(input)


class Tenants(Interceptor):
    def intercept_client(self, next: ClientInterceptor) -> ClientInterceptor:
        return TenantOfClient(next)

    def intercept_workflow(self, next: WorkflowInterceptor) -> WorkflowInterceptor:
        return Tenant(next)

    def intercept_activity(self, next: ActivityInterceptor) -> ActivityInterceptor:
        return Timing(next)


@workflow.define
async def parent(rounds: int) -> int:
    try:
        child = await workflow.start_child(Greet, "x", retry_policy=RetryPolicy(maximum_attempts=3))
        assert_type(child, workflow.ChildWorkflowHandle[Greet, bytes])
        assert_type(child.id, str)
        await child.cancel()
        assert_type(await child.result(), bytes)
        assert_type(await workflow.execute_child("Greet", "x", result_type=bytes | None), bytes | None)
    except ChildWorkflowError as error:
        workflow.logger.info("%s", error.workflow_id)
    assert_type(workflow.get_last_completion_result(int), int | None)
    assert_type(workflow.get_last_failure(), BaseException | None)
    if workflow.info().continue_as_new_suggested:
        workflow.continue_as_new(parent, rounds + 1, run_timeout=60, memo={"a": 1})
    workflow.upsert_search_attributes({"City": "Graz", "Old": None})
    return rounds


def free(product: Product) -> str:
    return product.name


async def people(client: Client, history: str) -> None:
    warnings.simplefilter("error", DeterminismWarning)
    converter = DataConverter(codec=[ZlibCodec(), AESGCMCodec({"k": b"0" * 32})])
    async with Client("file:./x", data_converter=converter, interceptors=[Tenants()]) as other:
        Worker(other, task_queue="q", workflows=[parent], interceptors=[Tenants()])
        order = other.get("o", Order)
        assert_type(await order.reset(7, reason="bug", reapply="none"), WorkflowHandle[Order, str])
        await order.pause("wait")
        await order.unpause()
        await order.retry_activity("charge")
        await order.update_activity_options("charge", start_to_close_timeout=5, retry_policy=RetryPolicy())
        assert_type(await other.execute(parent, 1, id="p"), int)
    replay(history, workflows=[Order, parent], data_converter=converter, interceptors=[Tenants()])
    async with Environment(workflows=[Order], activities={charge: free}, interceptors=[Tenants()]) as env:
        await env.sleep(60)
        assert_type(await env.client.execute(Order, Product(1, "x", 1), id="o"), str)


@activity.define(on_exhausted="pause", cancellation_type="wait", heartbeat_timeout=5, delivery="at_most_once")
async def careful(item: Product) -> list[Product]:
    activity.heartbeat(item)
    raise activity.CompleteAsync()
