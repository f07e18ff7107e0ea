"""Interceptors: where the headers go that they send. On the real engine and worker, with time that skips."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, NoReturn

import pytest
from odradek import (
    AESGCMCodec,
    ApplicationError,
    DataConverter,
    RetryPolicy,
    Worker,
    WorkflowHandle,
    activity,
    workflow,
)
from odradek.errors import PayloadError, UpdateRejectedError
from odradek.interceptors import (
    ActivityInterceptor,
    ClientInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    QueryWorkflowInput,
    ScheduleActivityInput,
    SignalExternalWorkflowInput,
    SignalWorkflowInput,
    StartChildWorkflowInput,
    StartWorkflowInput,
    UpdateWorkflowInput,
    WorkflowInterceptor,
)
from odradek.testing import Environment, replay
from odradek_schemas import history

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
NAME = "tenant"


def headers_with(headers: dict[str, Any]) -> dict[str, Any]:
    return headers | {NAME: tenant.get()}


class TenantOfClient(ClientInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.headers[NAME] = tenant.get()
        return await super().start_workflow(input)

    async def update_with_start(self, input: StartWorkflowInput) -> Any:
        input.headers[NAME] = tenant.get()
        return await super().update_with_start(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        input.headers[NAME] = tenant.get()
        await super().signal_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        input.headers[NAME] = tenant.get()
        return await super().query_workflow(input)

    async def update_workflow(self, input: UpdateWorkflowInput) -> Any:
        input.headers[NAME] = tenant.get()
        return await super().update_workflow(input)


class TenantOfWorkflow(WorkflowInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        tenant.set(input.headers.get(NAME, "nobody"))
        return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        tenant.set(input.headers.get(NAME, "nobody"))
        await super().handle_signal(input)

    def handle_query(self, input: HandleQueryInput) -> Any:
        tenant.set(input.headers.get(NAME, "nobody"))
        return super().handle_query(input)

    def validate_update(self, input: HandleUpdateInput) -> None:
        if input.headers.get(NAME) == "banned":
            raise ApplicationError("this tenant may not")
        super().validate_update(input)

    async def handle_update(self, input: HandleUpdateInput) -> Any:
        tenant.set(input.headers.get(NAME, "nobody"))
        return await super().handle_update(input)

    async def execute_activity(self, input: ScheduleActivityInput) -> Any:
        input.headers[NAME] = tenant.get()
        return await super().execute_activity(input)

    async def execute_local_activity(self, input: ScheduleActivityInput) -> Any:
        input.headers[NAME] = tenant.get() + " here"
        return await super().execute_local_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> Any:
        input.headers[NAME] = tenant.get()
        return await super().start_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        input.headers[NAME] = tenant.get()
        await super().signal_external_workflow(input)


class TenantOfActivity(ActivityInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        tenant.set(input.headers.get(NAME, "nobody"))
        return await super().execute_activity(input)


class Tenants(Interceptor):
    def intercept_client(self, next: ClientInterceptor) -> ClientInterceptor:
        return TenantOfClient(next)

    def intercept_workflow(self, next: WorkflowInterceptor) -> WorkflowInterceptor:
        return TenantOfWorkflow(next)

    def intercept_activity(self, next: ActivityInterceptor) -> ActivityInterceptor:
        return TenantOfActivity(next)


@activity.define(retry_policy=RetryPolicy(initial_interval=1))
async def ask_async(fails: int = 0) -> str:
    if activity.info().attempt <= fails:
        raise RuntimeError("again")
    return tenant.get()


@activity.define
def ask_plain() -> str:
    assert threading.current_thread() is not threading.main_thread()
    return tenant.get()


@workflow.define
async def child(again: int = 0) -> str:
    if again:
        workflow.continue_as_new(child, again - 1)
    return f"{tenant.get()} {await ask_async(1)}"


@workflow.define
class Order:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.done = False

    async def run(self) -> list[str]:
        found = [tenant.get(), await ask_async(1), await ask_plain()]
        found.append(await workflow.execute_child(child, 1))
        other = await workflow.start_child(Listener, id=workflow.info().workflow_id + "-listener")
        await other.signal(Listener.tell)
        found.append(await other)
        await workflow.wait_condition(lambda: self.done)
        return [*found, *self.seen]

    @workflow.signal
    def plain(self) -> None:
        self.seen.append(f"plain {tenant.get()}")

    @workflow.signal
    async def waits(self) -> None:
        self.seen.append(f"waits {tenant.get()} {await ask_async()}")

    @workflow.query
    def who(self) -> str:
        return tenant.get()

    @workflow.update
    def change(self) -> str:
        return tenant.get()

    @workflow.update
    async def change_slowly(self) -> str:
        return f"{tenant.get()} {await ask_async()}"

    @workflow.signal
    def end(self) -> None:
        self.done = True


@workflow.define
class Listener:
    told = ""

    async def run(self) -> str:
        return f"{tenant.get()} heard {await workflow.wait_condition(lambda: self.told)}"

    @workflow.signal
    def tell(self) -> None:
        self.told = tenant.get()


WORKFLOWS = [Order, child, Listener]
ACTIVITIES = [ask_async, ask_plain]


@pytest.fixture(autouse=True)
def nobody() -> None:
    tenant.set("nobody")


@pytest.mark.parametrize("codec", [None, AESGCMCodec({"k": os.urandom(32)})])
async def test_headers_go_from_the_client_through_workflow_activities_children_and_messages(codec: Any) -> None:
    converter = DataConverter(codec=codec)
    async with Environment(
        workflows=WORKFLOWS, activities=ACTIVITIES, interceptors=[Tenants()], data_converter=converter
    ) as env:
        tenant.set("acme")
        order = await env.client.start(Order, id="o")
        assert await order.query(Order.who) == "acme"
        tenant.set("bolt")
        assert await order.query(Order.who) == "bolt"
        assert await order.update(Order.change) == "bolt"
        assert await order.update(Order.change_slowly) == "bolt bolt"
        await order.signal(Order.plain)
        await order.signal(Order.waits)
        tenant.set("banned")
        with pytest.raises(UpdateRejectedError, match="this tenant may not"):
            await order.update(Order.change)
        await order.signal(Order.end)
        seen = await order.result()
        assert seen[:5] == ["acme", "acme", "acme", "acme acme", "acme heard acme"]
        assert sorted(seen[5:]) == ["plain bolt", "waits bolt bolt"]
        exported = await order.export()
        replay(exported, workflows=WORKFLOWS, interceptors=[Tenants()], data_converter=converter)
        replay(exported, workflows=WORKFLOWS, data_converter=converter)  # headers are no part of what must be the same


@workflow.define
async def local() -> list[str]:
    return [await workflow.execute_local_activity(ask_async), await workflow.execute_local_activity(ask_plain)]


async def test_headers_go_to_local_activities() -> None:
    async with Environment(workflows=[local], activities=ACTIVITIES, interceptors=[Tenants()]) as env:
        tenant.set("acme")
        assert await env.client.execute(local, id="l") == ["acme here", "acme here"]


@workflow.define
async def fails_twice() -> str:
    if workflow.info().attempt < 3:
        raise ApplicationError("again")
    return tenant.get()


by_cron: dict[str, str] = {}


@workflow.define
async def each_day() -> None:
    by_cron[workflow.info().run_id] = tenant.get()


async def test_headers_stay_on_retries_under_cron_and_after_a_reset() -> None:
    async with Environment(
        workflows=[fails_twice, each_day],
        activities=[],
        interceptors=[Tenants()],
        start_time=datetime(2026, 11, 21, tzinfo=UTC),
    ) as env:
        tenant.set("acme")
        retried = await env.client.start(fails_twice, id="r", retry_policy=RetryPolicy(initial_interval=60))
        assert await retried.result() == "acme"
        again = await retried.reset(1)
        tenant.set("bolt")
        assert await again.result() == "acme"
        tenant.set("cron")
        await env.client.start(each_day, id="c", cron_schedule="0 9 * * *")
        await env.sleep(3 * 86_400)
        assert set(by_cron.values()) == {"cron"}
        assert len(by_cron) >= 3


async def test_a_message_that_starts_a_workflow_has_the_headers_too() -> None:
    async with Environment(workflows=WORKFLOWS, activities=ACTIVITIES, interceptors=[Tenants()]) as env:
        tenant.set("acme")
        heard = await env.client.signal_with_start(Listener, id="l", signal=Listener.tell)
        assert await heard.result() == "acme heard acme"
        update = await env.client.update_with_start(Order, id="o", update=Order.change_slowly)
        assert await update.result() == "acme acme"


class Changing(Interceptor):
    def __init__(self, change: Callable[[Any], None]) -> None:
        self.change = change

    def intercept_workflow(self, next: WorkflowInterceptor) -> WorkflowInterceptor:
        change = self.change

        class Changed(WorkflowInterceptor):
            async def execute_activity(self, input: ScheduleActivityInput) -> Any:
                change(input)
                return await self.next.execute_activity(input)

            def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
                change(input)
                self.next.continue_as_new(input)

        return Changed(next)


async def test_continue_as_new_takes_the_headers_along_unless_an_interceptor_changes_them() -> None:
    async with Environment(workflows=[child], activities=ACTIVITIES, interceptors=[Tenants()]) as env:
        tenant.set("acme")
        assert await env.client.execute(child, 2, id="c") == "acme acme"

    def take_away(input: Any) -> None:
        input.headers.clear()

    async with Environment(
        workflows=[child], activities=ACTIVITIES, interceptors=[Tenants(), Changing(take_away)]
    ) as env:
        assert await env.client.execute(child, 2, id="c") == "nobody nobody"


async def test_headers_go_on_through_workers_without_interceptors() -> None:
    """Continue-as-new on a worker that knows nothing of the headers loses none."""
    async with Environment(workflows=[fails_twice], activities=[]) as env:
        plain = Worker(env.client, task_queue="q", workflows=[child], activities=ACTIVITIES)
        env.client.interceptors = (Tenants(),)
        requests = env.client._requests()
        async with plain:
            given = StartWorkflowInput(
                workflow_type="child", id="c", args=[1], options={"task_queue": "q"}, headers={NAME: "acme"}
            )
            handle = await requests.calls.start_workflow(given)
            assert await handle.result() == "nobody nobody"
            records = await requests.history_records(handle._target)
    started = records[0].attributes
    assert isinstance(started, history.WorkflowStarted)
    assert set(started.headers) == {NAME}


# ---------------------------------------------------------------- activities in threads, behind interceptors


@activity.define(heartbeat_timeout=5, cancellation_type="wait", start_to_close_timeout=None)
def until_cancelled() -> str:
    while True:
        activity.heartbeat()


@activity.define(retry_policy=RetryPolicy(maximum_attempts=1))
def stops() -> None:
    raise StopIteration("not for coroutines")


@workflow.define
class Cancels:
    go = False

    async def run(self) -> str:
        with pytest.raises(RuntimeError):
            await stops()
        task = asyncio.create_task(until_cancelled())
        await workflow.wait_condition(lambda: self.go)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return "cancelled"

    @workflow.signal
    def now(self) -> None:
        self.go = True


async def test_a_plain_activity_behind_interceptors_runs_in_a_thread_and_is_cancelled_by_its_heartbeat() -> None:
    async with Environment(workflows=[Cancels], activities=[until_cancelled, stops], interceptors=[Tenants()]) as env:
        handle = await env.client.start(Cancels, id="w")
        while not (await handle.describe()).pending_activities:
            await asyncio.sleep(0)
        await handle.signal(Cancels.now)
        assert await handle.result() == "cancelled"


def test_a_header_that_cannot_be_written_or_read_is_named() -> None:
    from odradek._interceptors import read_headers, write_headers

    with pytest.raises(PayloadError, match="header 'x': "):
        write_headers({"x": object()}, DataConverter())
    written = write_headers({"x": 1}, DataConverter(codec=AESGCMCodec({"k": bytes(32)})))
    with pytest.raises(PayloadError, match="'x'"):
        read_headers(written, DataConverter())
