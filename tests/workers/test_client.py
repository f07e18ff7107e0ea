"""The client against an engine that answers as told, over the embedded log: starts, messages, outcomes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from odradek import (
    ApplicationError,
    Client,
    DataConverter,
    RetryPolicy,
    WorkflowAlreadyStartedError,
    WorkflowNotFoundError,
    workflow,
)
from odradek.errors import (
    DefinitionError,
    InvalidRequestError,
    OdradekError,
    OutcomeUnknownError,
    PayloadError,
    RequestTooLargeError,
    WorkflowClosedError,
)
from odradek_schemas import task_token
from odradek_schemas.records import (
    CancelWorkflow,
    CompleteActivity,
    FailActivity,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)

from .client_fakes import FakeEngine, reply_to

converter = DataConverter()


@dataclass
class Product:
    id: int


@workflow.define
class Order:
    async def run(self, product: Product, gift: bool = False) -> Product:
        return product

    @workflow.signal
    def paid(self, by: str, at: int = 0) -> None: ...

    @workflow.query
    def status(self, verbose: bool = False) -> Product:
        return Product(1)


# ---------------------------------------------------------------- starting


async def test_start_appends_everything_that_was_asked_for(client: Client, fake_engine: FakeEngine) -> None:
    fake_engine.answer = lambda record, request: [reply_to(request, "started", "run-1")]
    before = time.time()
    handle = await client.start(
        Order,
        Product(7),
        True,
        id="o-1",
        task_queue="orders",
        id_conflict_policy="use_existing",
        id_reuse_policy="reject",
        execution_timeout=timedelta(days=1),
        run_timeout=3600,
        task_timeout=5,
        start_delay=0.5,
        retry_policy=RetryPolicy(maximum_attempts=3),
        memo={"from": "web"},
        search_attributes={"city": "Prague"},
    )
    assert (handle.id, handle.run_id) == ("o-1", "run-1")
    record = fake_engine.first(StartWorkflow)
    assert (record.workflow_id, record.workflow_type, record.task_queue) == ("o-1", "Order", "orders")
    assert converter.from_payloads(record.input, [Product, bool]) == [Product(7), True]
    assert (record.id_conflict_policy, record.id_reuse_policy) == ("use_existing", "reject")
    assert (record.execution_timeout_ms, record.run_timeout_ms, record.task_timeout_ms) == (86_400_000, 3_600_000, 5000)
    assert record.start_delay_ms == 500
    assert record.retry_policy is not None
    assert record.retry_policy.maximum_attempts == 3
    assert {k: converter.from_payload(v) for k, v in record.memo.items()} == {"from": "web"}
    assert {k: converter.from_payload(v) for k, v in record.search_attributes.items()} == {"city": "Prague"}
    assert record.signal == ""
    assert record.request is not None
    assert before + 30 <= record.request.deadline_ms / 1000 <= time.time() + 90


@pytest.mark.parametrize(("queue", "expected"), [(None, "default"), ("from-env", "from-env")])
async def test_the_task_queue_has_a_default(
    client: Client, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, queue: str | None, expected: str
) -> None:
    monkeypatch.delenv("ODRADEK_TASK_QUEUE", raising=False)
    if queue:
        monkeypatch.setenv("ODRADEK_TASK_QUEUE", queue)
    fake_engine.answer = lambda record, request: [reply_to(request, "started")]
    await client.start("Order", id="o")
    assert fake_engine.first(StartWorkflow).task_queue == expected


async def test_an_existing_run_is_used(client: Client, fake_engine: FakeEngine) -> None:
    fake_engine.answer = lambda record, request: [reply_to(request, "existing", "run-0")]
    handle = await client.start(Order, Product(1), id="o", id_conflict_policy="use_existing")
    assert handle.run_id == "run-0"


async def test_signal_with_start_is_one_record(client: Client, fake_engine: FakeEngine) -> None:
    fake_engine.answer = lambda record, request: [reply_to(request, "started")]
    await client.signal_with_start(Order, Product(1), id="o", signal=Order.paid, signal_args=["me", 3])
    record = fake_engine.first(StartWorkflow)
    assert (record.signal, record.id_conflict_policy) == ("paid", "use_existing")
    assert converter.from_payloads(record.signal_input, []) == ["me", 3]
    with pytest.raises(DefinitionError, match=r"signal=Class\.method"):
        await client.signal_with_start(Order, Product(1), id="o")  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="contradicts"):
        await client.signal_with_start(Order, Product(1), id="o", signal="paid", id_conflict_policy="fail")


WRONG_STARTS: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((Order, Product(1)), {}, "needs an ID, such as id='order-42'"),
    ((Order, Product(1)), {"id": ""}, "needs an ID"),
    ((Order,), {"id": "o"}, r"workflow Order\(product, gift=False\): missing a required argument: 'product'"),
    ((Order, Product(1), True, 3), {"id": "o"}, "too many positional"),
    ((Product, 1), {"id": "o"}, "Product is not a workflow: put @workflow.define on it"),
    ((Order, Product(1)), {"id": "o", "taskqueue": "q"}, "unknown option 'taskqueue'; there are"),
    ((Order, Product(1)), {"id": "o", "id_conflict_policy": "use-existing"}, "fail, use_existing, terminate_existing"),
    ((Order, Product(1)), {"id": "o", "run_timeout": 0}, "run_timeout is more than 0"),
    ((Order, Product(1)), {"id": "o", "memo": 3}, "memo is a dict"),
]


@pytest.mark.parametrize(("args", "options", "message"), WRONG_STARTS, ids=[m[:30] for *_, m in WRONG_STARTS])
async def test_wrong_starts_are_refused_before_anything_is_sent(
    client: Client, fake_engine: FakeEngine, args: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    start: Any = client.start
    with pytest.raises(DefinitionError, match=message):
        await start(*args, **options)
    assert fake_engine.seen == []


async def test_values_that_cannot_be_written_or_are_too_large_are_refused(
    client: Client, fake_engine: FakeEngine
) -> None:
    with pytest.raises(PayloadError, match="cannot be written as JSON"):
        await client.start("Order", object(), id="o")
    with pytest.raises(RequestTooLargeError, match=r"a value has 1,200,002 bytes.*1,000,000.*a reference"):
        await client.start("Order", "x" * 1_200_000, id="o")
    with pytest.raises(RequestTooLargeError, match=r"StartWorkflow has 1,200,\d+ bytes.*up to 1,000,000.*by reference"):
        await client.start("Order", *["x" * 600_000] * 2, id="o")
    assert fake_engine.seen == []


# ---------------------------------------------------------------- messages


async def test_messages_name_their_run_only_if_it_was_asked_for(client: Client, fake_engine: FakeEngine) -> None:
    handle = client.get("o", Order, run_id="run-3")
    await handle.signal(Order.paid, by="me")
    await handle.cancel("no stock")
    await handle.terminate("broken")
    await client.get("o").signal("paid", "me", 3)
    signal, cancel, terminate, latest = fake_engine.seen
    assert isinstance(signal, SignalWorkflow)
    assert (signal.workflow_id, signal.run_id, signal.signal) == ("o", "run-3", "paid")
    assert converter.from_payloads(signal.input, []) == ["me"]
    assert isinstance(cancel, CancelWorkflow)
    assert (cancel.run_id, cancel.reason) == ("run-3", "no stock")
    assert isinstance(terminate, TerminateWorkflow)
    assert (terminate.run_id, terminate.reason) == ("run-3", "broken")
    assert isinstance(latest, SignalWorkflow)
    assert latest.run_id == ""


async def test_wrong_messages_are_refused_before_anything_is_sent(client: Client, fake_engine: FakeEngine) -> None:
    handle: Any = client.get("o", Order)
    with pytest.raises(DefinitionError, match=r"signal paid\(by, at=0\): missing a required argument: 'by'"):
        await handle.signal(Order.paid)
    with pytest.raises(DefinitionError, match=r"is not a signal: pass `Class\.method` of one"):
        await handle.signal(Order.status)
    with pytest.raises(DefinitionError, match="is not a query"):
        await handle.query(Order.run)
    with pytest.raises(DefinitionError, match="by name are positional"):
        await handle.signal("paid", by="me")
    assert fake_engine.seen == []


async def test_activities_are_completed_by_their_token(client: Client, fake_engine: FakeEngine) -> None:
    token = task_token("o", "r", "t-1", 3)
    await client.complete_activity(token, Product(1))
    await client.fail_activity(token.decode(), ApplicationError("no"))
    completed, failed = fake_engine.seen
    assert isinstance(completed, CompleteActivity)
    assert (completed.workflow_id, completed.task_token) == ("o", token)
    assert completed.result is not None
    assert converter.from_payload(completed.result, Product) == Product(1)
    assert isinstance(failed, FailActivity)
    assert failed.failure.message == "no"
    with pytest.raises(InvalidRequestError, match=r"not a task token.*task_token as it is"):
        await client.complete_activity(b"nonsense")


# ---------------------------------------------------------------- outcomes

OUTCOMES: list[tuple[str, type[OdradekError], str]] = [
    (
        "already_started",
        WorkflowAlreadyStartedError,
        r"m \(run r9\)\. Choose another ID, or another id_conflict",
    ),
    ("reuse_rejected", WorkflowAlreadyStartedError, "another id_reuse_policy"),
    ("not_found", WorkflowNotFoundError, "m"),
    ("closed", WorkflowClosedError, "m"),
    ("closed", WorkflowNotFoundError, "m"),
    ("invalid", InvalidRequestError, "m"),
    ("expired", OutcomeUnknownError, r"not known: look with describe\(\).*clock"),
    ("newer", OdradekError, "may be of another version"),
]


@pytest.mark.parametrize(("outcome", "error", "message"), OUTCOMES)
async def test_each_outcome_has_its_error(
    client: Client, fake_engine: FakeEngine, outcome: str, error: type[OdradekError], message: str
) -> None:
    fake_engine.answer = lambda record, request: [reply_to(request, outcome, "r9", "m")]
    with pytest.raises(error, match=message):
        await client.start(Order, Product(1), id="o")
    with pytest.raises(error, match=message):
        await client.get("o").signal("paid")
