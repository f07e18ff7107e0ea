# ruff: noqa
"""What the client and the worker offer beyond usage_pos.py; also passes both checkers."""
from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from typing_extensions import assert_type

from odradek import (
    Client,
    DataConverter,
    HistoryEvent,
    ListedWorkflow,
    PendingActivity,
    ResetResult,
    Worker,
    WorkflowDescription,
    WorkflowFailedError,
    WorkflowHandle,
    activity,
    workflow,
)
from usage_pos import Order, Product, charge, greet, notify


async def more(product: Product) -> None:
    client = Client(
        "kafka://localhost:9092", namespace="shop", data_converter=DataConverter(), identity="till 7",
        request_timeout=timedelta(seconds=5), log_settings={"security.protocol": "SSL"},
    )
    worker = Worker(
        client, task_queue="orders", workflows=[Order, greet], activities=[charge, notify], max_concurrent_activities=10,
        cache_bytes=1_000_000, max_history_bytes=1_000_000, lost_after=5, blocked_after=timedelta(seconds=1),
        shutdown_timeout=30, identity="w1",
    )
    await worker.run()
    order = await client.start(
        Order, product, id="o", id_reuse_policy="allow_if_failed", id_conflict_policy="terminate_existing",
        execution_timeout=timedelta(days=1), run_timeout=60, start_delay=1, memo={"from": "web"}, request_id="r-1",
    )
    assert_type(order, WorkflowHandle[Order, str])
    assert_type(order.id, str)
    assert_type(order.run_id, str | None)
    assert_type(client.get("o", Order, run_id="r"), WorkflowHandle[Order, str])
    description = await order.describe()
    assert_type(description, WorkflowDescription)
    assert_type(description.pending_activities, tuple[PendingActivity, ...])
    assert_type(description.pending_activities[0].next_retry_time, datetime | None)
    assert_type(await order.history(), list[HistoryEvent])
    await order.cancel("no stock")
    await order.terminate("broken")
    assert_type(await order.with_options(timeout=timedelta(seconds=3)).result(), str)
    try:
        await order.result()
    except WorkflowFailedError as error:
        assert_type(error.cause, BaseException | None)
    await client.complete_activity(b"token", {"ok": True})
    await client.fail_activity("token", ValueError("no"))


async def batches(client: Client) -> None:
    async for found in client.list_workflows(workflow_type="Order", status="running", stuck=True):
        assert_type(found, ListedWorkflow)
    async for done in client.reset_batch(activity="charge", request_id="ticket-7", dry_run=True):
        assert_type(done, ResetResult)
    again: WorkflowHandle[Order, str] = await client.get("order-42", Order).reset(7, reason="why", reapply="none")
    await again.pause("lunch")


@activity.define
async def progress(steps: int) -> int:
    last: tuple[Any, ...] = activity.info().heartbeat_details
    activity.heartbeat(steps, "done")
    if activity.is_cancelled():
        activity.logger.info("stopped at %s", last)
    assert_type(activity.info().scheduled_time, datetime)
    assert_type(activity.info().idempotency_key, str)
    return steps


@workflow.define
async def about() -> str:
    assert_type(workflow.now(), datetime)
    assert_type(workflow.info().workflow_id, str)
    assert_type(workflow.all_handlers_finished(), bool)
    workflow.logger.info("run %s", workflow.info().run_id)
    return str(workflow.uuid4())
