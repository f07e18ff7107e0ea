"""How query tasks are answered (rule W12)."""

from __future__ import annotations

from odradek.errors import NonDeterminismError
from odradek_log.protocol import LogUnavailableError
from odradek_schemas import Request

from .worker_fakes import Bench, completed_event, event, page, query_task


def cached() -> Bench:
    """A run whose tip is s1-1."""
    bench = Bench()
    bench.task()
    bench.producer.sent[0].deliver(15)
    return bench


def test_w12_query_is_answered_from_the_cache_if_its_tip_is_the_base() -> None:
    bench = cached()
    bench.queries.on_query(query_task(base="s1-1"))
    ((partition, client_id, answer),) = bench.replies
    assert (partition, client_id, answer.request_id, answer.status) == (2, "c9", "r1", "answered")
    assert answer.result.data == b"status at 1"
    bench.task(base="s1-1", events=[event(2)], consumed_through=1, offset=20)
    assert len(bench.workflows.created) == 1, "the cached run goes on"


def test_w12_query_on_another_base_is_answered_from_a_replay_that_is_thrown_away() -> None:
    bench = cached()
    bench.queries.on_query(query_task(base="b2"))
    assert bench.replies == []
    (fetch,) = bench.fetches
    assert (fetch.workflow_id, fetch.run_id, fetch.barrier) == ("w", "run", 20)
    fetch.answer(page(
        event(1), event(2), completed_event(3, "b2", "run", 2), event(4), base="b2", consumed_through=2,
    ))
    assert bench.replies[0][2].result.data == b"status at 2", "unread input is not fed for a query"
    kept, replayed = bench.workflows.created
    assert replayed.closed
    assert not kept.closed


def test_query_on_a_closed_run_is_answered() -> None:
    bench = Bench()
    bench.queries.on_query(query_task(base="b1"))
    bench.fetches[0].answer(page(
        event(1), completed_event(2, "b1", "run", 1), base="b1", consumed_through=1, status="completed",
    ))
    assert bench.replies[0][2].status == "answered"


def test_query_handler_that_raises_is_the_answer() -> None:
    bench = cached()
    bench.queries.on_query(query_task("fails", base="s1-1"))
    answer = bench.replies[0][2]
    assert (answer.status, answer.failure.message) == ("failed", "no answer")
    bench.task(base="s1-1", events=[event(2)], consumed_through=1, offset=20)
    assert len(bench.workflows.created) == 1


def test_query_result_too_large_for_the_log_is_a_failure() -> None:
    bench = cached()
    bench.max_record_bytes = 5_000
    bench.queries.on_query(query_task("large", base="s1-1"))
    answer = bench.replies[0][2]
    assert answer.status == "failed"
    assert "10," in answer.failure.message


def test_query_on_a_run_that_is_gone_is_not_found() -> None:
    bench = Bench()
    bench.queries.on_query(query_task())
    bench.fetches[0].answer(page(found=False))
    assert bench.replies[0][2].status == "not_found"


def test_query_of_an_unknown_type_is_rejected() -> None:
    bench = Bench()
    bench.queries.on_query(query_task(workflow_type="Invoice"))
    answer = bench.replies[0][2]
    assert answer.status == "rejected"
    assert "'Invoice'" in answer.failure.message


def test_query_on_a_run_that_cannot_be_replayed_is_rejected() -> None:
    bench = Bench()
    bench.workflows.replay_error = NonDeterminismError("differs")
    bench.queries.on_query(query_task())
    bench.fetches[0].answer(page(event(1)))
    answer = bench.replies[0][2]
    assert (answer.status, answer.failure.message) == ("rejected", "differs")


def test_query_that_nobody_waits_for_any_more_is_dropped() -> None:
    bench = cached()
    request = Request(request_id="r", client_id="c", reply_partition=1, deadline_ms=bench.now_ms - 1)
    bench.queries.on_query(query_task(base="s1-1", request=request))
    assert bench.replies == []


def test_query_without_history_is_left_to_the_client_to_ask_again() -> None:
    bench = Bench()
    bench.queries.on_query(query_task())
    bench.fetches[0].answer(LogUnavailableError("no broker"))
    assert bench.replies == []
