# ruff: noqa
"""As usage_neg.py, for what else there is: updates, children, the next run, messages to others, interceptors."""
from __future__ import annotations

from typing import Any

from odradek import Client, DataConverter, ScheduleActionStartWorkflow, SchedulePolicy, Worker, ZlibCodec, activity, workflow
from odradek.interceptors import ActivityInterceptor, Interceptor, WorkflowInterceptor
from odradek.testing import Environment, replay
from usage_neg import Other
from usage_pos import Five, Greet, Nil, Order, Product, charge, greet, log, notify, refund


@workflow.define
class Parent:
    async def run(self, product: Product) -> str:
        n: int = await workflow.execute_child(Greet, "x")  # type: ignore[call-overload]  # pyright: ignore[reportAssignmentType]
        m: int = await workflow.execute_child(greet, "x")  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
        print(n, m)
        await workflow.execute_child(Five, 1, "b", 2.0, "d")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
        await workflow.execute_child(Nil, 1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
        await workflow.execute_child(Order, product, id=3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
        await workflow.execute_child(Order, product, id_conflict_policy="fail")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
        await workflow.start_child(Order, "p")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
        child = await workflow.start_child(Order, product)
        await child.signal(Other.poke, 1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
        await child.signal(Order.picked_up)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
        result: int = await child  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        other: int = await child.result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        print(result, other)
        await workflow.external("o", Order).signal(Order.picked_up, by=3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
        await workflow.external(7).cancel()  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
        if workflow.patched("one"):
            workflow.continue_as_new(Order, product, "yes")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
        if workflow.patched("two"):
            workflow.continue_as_new(Order, product, id="x")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
        return ""

    @workflow.signal
    def poke(self) -> None: ...


async def activities(product: Product) -> None:
    number: int = await charge(product)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    receipt: str = await refund(product, "x")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(number, receipt)
    await log("x", level="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await notify(b"x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await charge.with_options(retry_policy=3)(product)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await charge.with_options(delivery="once")(product)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    size: str = await workflow.execute_activity("size", result_type=int)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    print(size)
    activity.info().attempt = 2  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


async def client_side(client: Client, product: Product) -> None:
    order = await client.start(Order, product, id="o")
    started = await order.start_update(Order.rename, "x")
    renamed: int = await started.result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(renamed)
    await order.start_update(Order.rename, 3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await order.start_update(Other.add, 3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await order.query(Other.add)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    answer: int = await order.query(Order.status)  # type: ignore[call-overload]  # pyright: ignore[reportAssignmentType]
    print(answer)
    await order.reset("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await order.reset(3, reapply="all")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.signal_with_start(Order, "p", id="o", signal=Order.picked_up, signal_args=["x"])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    Worker(client, workflows=[Order])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Worker(client, task_queue="q", workflows=[Product])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    Worker(client, task_queue="q", activities=[len])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


class Wrong(Interceptor):
    def intercept_workflow(self, next: WorkflowInterceptor) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return "no"


class WrongToo(ActivityInterceptor):
    async def execute_activity(self, input: int) -> Any:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return input


Client("file:./x", interceptors=[Wrong])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
DataConverter(codec=ZlibCodec)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Environment(workflows=[Order], activities=[charge.fn])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
replay(3, workflows=[Order])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
ScheduleActionStartWorkflow(Order, "p", id="x")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
ScheduleActionStartWorkflow(Nil, 1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
ScheduleActionStartWorkflow(greet, "x", start_delay=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
SchedulePolicy(overlap="sometimes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
