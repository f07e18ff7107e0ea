"""What the client reads: results, queries, descriptions and histories, of an engine that answers as told."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from odradek import (
    ApplicationError,
    Client,
    QueryFailedError,
    QueryRejectedError,
    RequestTimeoutError,
    WorkflowCancelledError,
    WorkflowFailedError,
    WorkflowNotFoundError,
    WorkflowTerminatedError,
    WorkflowTimeoutError,
)
from odradek._handle import Target
from odradek._requests import WorkflowRequests
from odradek_schemas import encode, history, replies
from odradek_schemas.common import Failure, Position, Record, Request
from odradek_schemas.ephemeral import AwaitResult, DescribeWorkflow, FetchHistory, QueryWorkflow
from odradek_schemas.records import StartWorkflow

from .client_fakes import FakeEngine, nobody_answers, reply_to, unanswered
from .test_client import Order, Product, converter

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
