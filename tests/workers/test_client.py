"""The client against an engine that answers as told, over the embedded log: requests, replies, errors, repetition."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from odradek import (
    ApplicationError,
    Client,
    DataConverter,
    QueryFailedError,
    QueryRejectedError,
    RequestTimeoutError,
    RetryPolicy,
    WorkflowAlreadyStartedError,
    WorkflowCancelledError,
    WorkflowFailedError,
    WorkflowNotFoundError,
    WorkflowTerminatedError,
    WorkflowTimeoutError,
    workflow,
)
from odradek._handle import Target
from odradek._requests import WorkflowRequests
from odradek.errors import (
    DefinitionError,
    InvalidRequestError,
    OdradekError,
    OutcomeUnknownError,
    PayloadError,
    RequestTooLargeError,
    WorkflowClosedError,
)
from odradek_schemas import encode, history, replies, task_token
from odradek_schemas.common import Failure, Position, Record, Request
from odradek_schemas.ephemeral import AwaitResult, DescribeWorkflow, FetchHistory, QueryWorkflow
from odradek_schemas.records import (
    CancelWorkflow,
    CompleteActivity,
    FailActivity,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)

from .client_fakes import FakeEngine, nobody_answers, reply_to, unanswered

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


# ---------------------------------------------------------------- results


def result_of(request: Request, status: str, **fields: Any) -> replies.WorkflowResult:
    return replies.WorkflowResult(
        client_id=request.client_id, request_id=request.request_id, status=status, run_id="r1", **fields
    )


async def test_a_result_is_read_by_the_workflows_annotation(client: Client, fake_engine: FakeEngine) -> None:
    def answer(record: Record, request: Request) -> list[Record]:
        if isinstance(record, StartWorkflow):
            return [reply_to(request, "started", "r1")]
        return [result_of(request, "completed", result=converter.to_payload(Product(5)))]

    fake_engine.answer = answer
    assert await client.execute(Order, Product(1), id="o") == Product(5)
    assert await client.execute("Order", Product(1), id="o") == {"id": 5}
    assert await client.execute("Order", Product(1), id="o", result_type=Product) == Product(5)
    assert await client.get("o", Order).result() == Product(5)
    asked = [record for record in fake_engine.seen if isinstance(record, AwaitResult)]
    assert [record.run_id for record in asked] == ["r1", "r1", "r1", ""]
    assert asked[0].barrier >= 1  # the run is there once its start is folded
    assert asked[3].barrier == -1


async def test_a_result_is_asked_for_behind_what_the_start_was_answered_for(
    client: Client, fake_engine: FakeEngine
) -> None:
    def answer(record: Record, request: Request) -> list[Record]:
        if isinstance(record, StartWorkflow):
            at = Position(partition=0, offset=41, index=0)
            return [msgspec.structs.replace(reply_to(request, "existing"), position=at)]
        return [result_of(request, "completed")]

    fake_engine.answer = answer
    await (await client.start("Order", id="o")).result()
    [asked] = [record for record in fake_engine.seen if isinstance(record, AwaitResult)]
    assert asked.barrier == 42, "whatever the client knows of its own append"


async def test_a_result_follows_the_runs_that_continue_a_workflow(client: Client, fake_engine: FakeEngine) -> None:
    def answer(record: Record, request: Request) -> list[Record]:
        assert isinstance(record, AwaitResult)
        if record.run_id == "r3":
            return [result_of(request, "completed", result=converter.to_payload(3))]
        return [result_of(request, "continued_as_new", next_run_id={"": "r2", "r2": "r3"}[record.run_id])]

    fake_engine.answer = answer
    assert await client.get("o").result() == 3


async def test_a_workflow_without_a_result_gives_none(client: Client, fake_engine: FakeEngine) -> None:
    fake_engine.answer = lambda record, request: [result_of(request, "completed")]
    assert await client.get("o", Order).result() is None


FAILURE = converter.to_failure(KeyError("k"))
ENDINGS: list[tuple[str, Failure | None, type[BaseException], str]] = [
    ("failed", FAILURE, KeyError, "workflow 'o' failed: KeyError: 'k'"),
    (
        "cancelled",
        Failure(message="stop", kind="cancelled"),
        WorkflowCancelledError,
        "workflow 'o' was cancelled: stop",
    ),
    ("cancelled", None, WorkflowCancelledError, "workflow 'o' was cancelled"),
    ("terminated", Failure(message="broken"), WorkflowTerminatedError, "workflow 'o' was terminated: broken"),
    ("timed_out", Failure(message="too long", timeout_type="run"), WorkflowTimeoutError, "workflow 'o' timed out: too"),
]


@pytest.mark.parametrize(("status", "failure", "cause", "message"), ENDINGS)
async def test_a_workflow_that_ends_otherwise_raises_its_reason(
    client: Client,
    fake_engine: FakeEngine,
    status: str,
    failure: Failure | None,
    cause: type[BaseException],
    message: str,
) -> None:
    fake_engine.answer = lambda record, request: [result_of(request, status, failure=failure)]
    with pytest.raises(WorkflowFailedError, match=message) as caught:
        await client.get("o").result()
    assert isinstance(caught.value.cause, cause)
    assert (caught.value.workflow_id, caught.value.run_id) == ("o", "r1")


async def test_an_unknown_workflow_has_no_result(client: Client, fake_engine: FakeEngine) -> None:
    fake_engine.answer = lambda record, request: [result_of(request, "not_found")]
    with pytest.raises(WorkflowNotFoundError, match="there is no workflow 'o' with a run r7 in this namespace"):
        await client.get("o", run_id="r7").result()


async def test_a_result_is_asked_for_until_it_is_there(impatient: WorkflowRequests, fake_engine: FakeEngine) -> None:
    def answer(record: Record, request: Request) -> list[Record]:
        if len(fake_engine.seen) < 4:
            return [result_of(request, "running")] * (len(fake_engine.seen) % 2)  # some are lost
        return [result_of(request, "completed", result=converter.to_payload(3))]

    fake_engine.answer = answer
    assert await impatient.result(Target("o"), int) == 3
    assert len({record.request.request_id for record in fake_engine.seen if isinstance(record, AwaitResult)}) == 1


async def test_waiting_for_a_result_can_end_before_the_workflow(client: Client, fake_engine: FakeEngine) -> None:
    fake_engine.answer = nobody_answers
    with pytest.raises(RequestTimeoutError, match=r"has not ended within 0\.05 s, or no engine answered: describe"):
        await client.get("o").with_options(timeout=0.05).result()


# ---------------------------------------------------------------- queries


def query_result(request: Request, status: str, **fields: Any) -> replies.QueryResult:
    return replies.QueryResult(client_id=request.client_id, request_id=request.request_id, status=status, **fields)


async def test_a_query_is_read_by_its_annotation(client: Client, fake_engine: FakeEngine) -> None:
    payload = converter.to_payload(Product(5))
    fake_engine.answer = lambda record, request: [query_result(request, "answered", result=payload)]
    assert await client.get("o").query(Order.status, verbose=True) == Product(5)
    assert await client.get("o").query("status") == {"id": 5}
    assert await client.get("o").query("status", result_type=Product) == Product(5)
    record = fake_engine.first(QueryWorkflow)
    assert (record.query, record.barrier, converter.from_payloads(record.input, [])) == ("status", -1, [True])


async def test_a_query_without_an_answer_says_why(client: Client, fake_engine: FakeEngine) -> None:
    fake_engine.answer = lambda record, request: [query_result(request, "failed", failure=FAILURE)]
    with pytest.raises(QueryFailedError, match="query 'status' of workflow 'o' failed: KeyError: 'k'") as caught:
        await client.get("o").query("status")
    assert isinstance(caught.value.__cause__, KeyError)
    refused = Failure(message="no such query")
    fake_engine.answer = lambda record, request: [query_result(request, "rejected", failure=refused)]
    with pytest.raises(QueryRejectedError, match="was rejected: no such query"):
        await client.get("o").query("status")
    fake_engine.answer = lambda record, request: [query_result(request, "not_found")]
    with pytest.raises(WorkflowNotFoundError):
        await client.get("o").query("status")
    fake_engine.answer = nobody_answers
    error = await unanswered(lambda timeout: client.get("o").with_options(timeout=timeout).query("status"))
    assert re.search(r"is `odradek engine` running.*does one poll the workflow's", str(error))


# ---------------------------------------------------------------- looking


async def test_a_description_is_readable(client: Client, fake_engine: FakeEngine) -> None:
    def answer(record: Record, request: Request) -> list[Record]:
        assert isinstance(record, DescribeWorkflow)
        return [
            replies.WorkflowDescription(
                client_id=request.client_id,
                request_id=request.request_id,
                found=True,
                workflow_id="o",
                run_id="r1",
                workflow_type="Order",
                task_queue="orders",
                status="running",
                start_ms=1_000,
                now_ms=5_000,
                memo={"a": converter.to_payload(1)},
                task_failure=Failure(message="oops", type="KeyError", kind="bug", stack_trace="File x"),
                task_failure_cause="bug",
                task_retry_ms=6_000,
                missing_queues=["orders", "push"],
                pending_activities=[
                    replies.PendingActivity(
                        seq=1,
                        activity_type="charge",
                        task_queue="orders",
                        state="backing_off",
                        attempt=3,
                        next_retry_ms=9_000,
                        last_failure=FAILURE,
                        heartbeat_details=converter.to_payloads([7]),
                    )
                ],
                pending_timers=[replies.PendingTimer(seq=2, due_ms=8_000)],
            )
        ]

    fake_engine.answer = answer
    described = await client.get("o").describe()
    assert (described.id, described.status, described.memo) == ("o", "running", {"a": 1})
    assert described.start_time == datetime.fromtimestamp(1, UTC)
    assert described.close_time is None
    [activity] = described.pending_activities
    assert (activity.state, activity.attempt, activity.maximum_attempts) == ("backing_off", 3, None)
    assert activity.next_retry_time == datetime.fromtimestamp(9, UTC)
    assert isinstance(activity.last_failure, KeyError)
    assert activity.heartbeat_details == (7,)
    assert described.pending_timers[0].due_time == datetime.fromtimestamp(8, UTC)
    assert described.task_failure_traceback == "File x"
    assert described.warnings[0].startswith("no worker polls task queue 'orders'")
    assert described.warnings[1].startswith("no worker polls task queue 'push'")
    assert "cannot advance (bug): KeyError: oops" in described.warnings[2]
    assert len(described.warnings) == 3


def event(number: int, attributes: history.Attributes) -> bytes:
    return encode(history.HistoryEvent(event_id=number, time_ms=number * 1000, attributes=attributes))


async def test_history_is_read_page_by_page(client: Client, fake_engine: FakeEngine) -> None:
    events = [
        event(
            1, history.WorkflowStarted(workflow_type="Order", task_queue="q", input=converter.to_payloads([{"a": 1}]))
        ),
        event(2, history.SignalReceived(signal="paid", input=converter.to_payloads([b"x", None]))),
        event(3, history.WorkflowFailed(failure=converter.to_failure(ApplicationError("no", 5, type="Declined")))),
    ]

    def answer(record: Record, request: Request) -> list[Record]:
        assert isinstance(record, FetchHistory)
        number = record.from_event_id
        assert record.run_id == ("" if number == 1 else "r1")
        return [
            replies.HistoryPage(
                client_id=request.client_id,
                request_id=request.request_id,
                found=True,
                run_id="r1",
                events=[events[number - 1]],
                next_event_id=number + 1 if number < 3 else 0,
            )
        ]

    fake_engine.answer = answer
    started, signalled, failed = await client.get("o").history()
    assert (started.id, started.type, started.time) == (1, "WorkflowStarted", datetime.fromtimestamp(1, UTC))
    assert started.attributes["input"] == [{"a": 1}]
    assert signalled.attributes["input"] == [b"x", None]
    failure = failed.attributes["failure"]
    assert (failure["message"], failure["type"], failure["details"]) == ("no", "Declined", [5])


async def test_an_unknown_workflow_has_no_description_and_no_history(client: Client, fake_engine: FakeEngine) -> None:
    def answer(record: Record, request: Request) -> list[Record]:
        kind: Any = replies.HistoryPage if isinstance(record, FetchHistory) else replies.WorkflowDescription
        return [kind(client_id=request.client_id, request_id=request.request_id, found=False)]

    fake_engine.answer = answer
    for look in (client.get("o").describe, client.get("o").history):
        with pytest.raises(WorkflowNotFoundError, match="there is no workflow 'o'"):
            await look()
