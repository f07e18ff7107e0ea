"""The client's connection: repeated and lost requests (rule Q1), what breaks, opening and closing, workers on it."""

from __future__ import annotations

import asyncio
import queue
import re
from collections.abc import Iterable
from typing import Any

import pytest
from odradek import (
    Client,
    DataConverter,
    RequestTimeoutError,
    _client_calls,
)
from odradek._connection import Connection
from odradek._handle import Target
from odradek._interceptors import StartWorkflowInput
from odradek._requests import WorkflowRequests
from odradek.errors import (
    ClientClosedError,
    InvalidRequestError,
    NotAvailableError,
    UnavailableError,
)
from odradek_engine.engine import ensure_topics, topic_specs
from odradek_log import LogUnavailableError, OnDelivery
from odradek_log.embedded import EmbeddedLog
from odradek_log.memory import MemoryLog
from odradek_schemas import Topics, decode, encode, replies
from odradek_schemas.common import Position, Record, Request
from odradek_schemas.ephemeral import AwaitResult, FetchHistory
from odradek_schemas.records import (
    SignalWorkflow,
    StartWorkflow,
)

from .client_fakes import FakeEngine, create_topics, nobody_answers, reply_to, unanswered

converter = DataConverter()


# ---------------------------------------------------------------- repetition (rule Q1)


async def test_a_lost_request_or_reply_is_asked_for_again_under_the_same_id(
    impatient: WorkflowRequests, fake_engine: FakeEngine
) -> None:
    fake_engine.answer = lambda record, request: [] if len(fake_engine.seen) < 3 else [reply_to(request, "ok")]
    await impatient.signal(Target("o"), "paid", [1])
    assert len(fake_engine.seen) >= 3
    assert len(set(fake_engine.raw)) == 1


async def test_replies_that_come_twice_or_late_or_to_others_do_no_harm(client: Client, fake_engine: FakeEngine) -> None:
    def answer(record: Record, request: Request) -> list[Record]:
        stranger = reply_to(Request(request_id="nobody-asked", client_id=request.client_id), "ok")
        return [stranger, reply_to(request, "ok"), reply_to(request, "not_found")]

    fake_engine.answer = answer
    connection = client._worker_connection()
    for number in range(5):
        fake_engine.send(connection.reply_partition, "another-client", b"not for us")
        fake_engine.send(connection.reply_partition, connection.client_id, b"of a newer engine")
        await client.get(f"o-{number}").signal("paid")


async def test_a_request_id_of_the_users_own_has_no_deadline(client: Client, fake_engine: FakeEngine) -> None:
    await client.get("o").with_options(request_id="mine").signal("paid")
    request = fake_engine.first(SignalWorkflow).request
    assert request is not None
    assert (request.request_id, request.deadline_ms) == ("mine", 0)


async def test_the_same_request_twice_at_once_is_one_record(client: Client, fake_engine: FakeEngine) -> None:
    held: list[Request] = []

    def hold(record: Record, request: Request) -> Iterable[Record]:
        held.append(request)
        return []

    fake_engine.answer = hold
    handle = client.get("o").with_options(request_id="mine")
    calls = [asyncio.ensure_future(handle.signal("paid")) for _ in range(2)]
    await asyncio.to_thread(fake_engine.wait_for, 1)
    with pytest.raises(InvalidRequestError, match="request ID 'mine' is in use by a call about workflow 'o'"):
        await client.get("other").with_options(request_id="mine").signal("paid")
    fake_engine.send(held[0].reply_partition, held[0].client_id, encode(reply_to(held[0], "ok")))
    await asyncio.gather(*calls)
    assert len(fake_engine.seen) == 1


async def test_many_requests_at_once_each_get_their_own_answer(client: Client, fake_engine: FakeEngine) -> None:
    def answer(record: Record, request: Request) -> list[Record]:
        assert isinstance(record, StartWorkflow)
        return [reply_to(request, "started", f"run of {record.workflow_id}")]

    fake_engine.answer = answer
    handles = await asyncio.gather(*[client.start("Order", id=f"o-{number}") for number in range(300)])
    assert [handle.run_id for handle in handles] == [f"run of o-{number}" for number in range(300)]


# ---------------------------------------------------------------- results asked for with a start


def ended(request: Request, request_id: str, run_id: str = "r1") -> Record:
    return replies.WorkflowResult(
        client_id=request.client_id, request_id=request_id, status="completed", run_id=run_id,
        result=converter.to_payload(7),
    )


@pytest.mark.parametrize("order", [1, -1], ids=["after the start's answer", "before it"])
async def test_executing_is_one_request(client: Client, fake_engine: FakeEngine, order: int) -> None:
    def answer(record: Record, request: Request) -> list[Record]:
        if not isinstance(record, StartWorkflow):
            return []
        return [reply_to(request, "started"), ended(request, record.result_request)][::order]

    fake_engine.answer = answer
    assert await client.execute("Order", id="o", result_type=int) == 7
    assert [type(decode(value)) for value in fake_engine.raw] == [StartWorkflow]
    assert client._worker_connection()._expected == {}


async def test_a_result_that_went_with_a_start_is_asked_for_again(
    impatient: WorkflowRequests, fake_engine: FakeEngine
) -> None:
    def answer(record: Record, request: Request) -> list[Record]:
        if isinstance(record, StartWorkflow):
            return [reply_to(request, "started", "r9")]
        asked = any(isinstance(decode(value), AwaitResult) for value in fake_engine.raw)
        return [ended(request, request.request_id, "r9")] if asked else []  # what the fake makes of a start is lost

    fake_engine.answer = answer
    call = StartWorkflowInput(workflow_type="Order", id="o", args=[], options={})
    with impatient.connection.expecting() as call.result_request:
        handle = await impatient.calls.start_workflow(call)
        assert await handle.result() == 7
    again = next(record for record in map(decode, fake_engine.raw) if isinstance(record, AwaitResult))
    assert (again.run_id, again.request.request_id) == ("r9", call.result_request)


@pytest.mark.parametrize("why", ["existing", "late"])
async def test_a_start_that_may_have_asked_for_nothing_is_followed_by_the_question(
    client: Client, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Breaks when the result of a run that this start did not begin, or whose engine went, is awaited in vain."""
    if why == "late":
        monkeypatch.setattr(_client_calls, "PROMPT_SECONDS", 0.0)

    def answer(record: Record, request: Request) -> list[Record]:
        if isinstance(record, StartWorkflow):
            return [reply_to(request, "existing" if why == "existing" else "started")]
        assert isinstance(record, AwaitResult)
        return [ended(request, request.request_id)] if record.run_id == "r1" and len(fake_engine.raw) > 1 else []

    fake_engine.answer = answer
    assert await client.execute("Order", id="o", result_type=int) == 7
    assert [type(decode(value)) for value in fake_engine.raw] == [StartWorkflow, AwaitResult]


# ---------------------------------------------------------------- what can go wrong


async def test_without_an_engine_a_request_times_out_and_says_that_it_is_in_the_log(
    client: Client, fake_engine: FakeEngine
) -> None:
    fake_engine.answer = nobody_answers
    error = await unanswered(lambda timeout: client.get("o").with_options(timeout=timeout).signal("paid"))
    assert re.search(r"no engine answered within [0-9.]+ s; is `odradek engine` running\?", str(error))
    assert "The request is safely in the log" in str(error)
    assert fake_engine.first(SignalWorkflow).signal == "paid"
    assert waiting(client) == 0


def waiting(client: Client) -> int:
    return len(client._worker_connection()._calls)


class BrokenProducer:
    """Appends never land; or fail with an error."""

    def __init__(self, error: LogUnavailableError | None = None) -> None:
        self._error = error

    def send(self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        if self._error is not None and on_delivery is not None:
            on_delivery(-1, self._error)

    def flush(self, timeout: float) -> int:
        return 0

    def close(self) -> None: ...


async def test_an_append_that_does_not_land_is_told_from_one_that_is_not_answered(
    client_log: EmbeddedLog, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_log, "producer", BrokenProducer)
    async with Client(client_log) as client:
        with pytest.raises(RequestTimeoutError, match="the log did not take the request") as caught:
            await client.get("o").with_options(timeout=0.05).signal("paid")
    assert not caught.value.durable


async def test_an_append_that_fails_is_an_error_at_once(
    client_log: EmbeddedLog, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_log, "producer", lambda: BrokenProducer(LogUnavailableError("the disk is full")))
    async with Client(client_log) as client:
        with pytest.raises(UnavailableError, match="the request is not in the log: the disk is full"):
            await client.get("o").signal("paid")
        assert waiting(client) == 0


async def test_closing_the_client_ends_the_calls_that_wait(client_log: EmbeddedLog, fake_engine: FakeEngine) -> None:
    fake_engine.answer = nobody_answers
    async with Client(client_log) as client:
        handle = client.get("o")
        calls = [asyncio.ensure_future(handle.signal("paid")), asyncio.ensure_future(handle.result())]
        await asyncio.to_thread(fake_engine.wait_for, 2)
    for call in calls:
        with pytest.raises(ClientClosedError, match="may still take effect"):
            await call
    with pytest.raises(ClientClosedError):
        await handle.signal("paid")


async def test_a_client_that_is_not_open_says_so(client_log: EmbeddedLog) -> None:
    with pytest.raises(ClientClosedError, match="async with Client"):
        Client(client_log).get("o")


async def test_a_cancelled_call_is_forgotten(client: Client, fake_engine: FakeEngine) -> None:
    fake_engine.answer = nobody_answers
    call = asyncio.ensure_future(client.get("o").result())
    await asyncio.to_thread(fake_engine.wait_for, 1)
    assert waiting(client) == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert waiting(client) == 0


async def test_a_log_that_breaks_ends_the_calls_that_wait(
    client_log: EmbeddedLog, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_engine.answer = nobody_answers
    async with Client(client_log) as client:
        call = asyncio.ensure_future(client.get("o").result())
        await asyncio.to_thread(fake_engine.wait_for, 1)
        consumer = client._worker_connection()._consumer

        def broken(timeout: float, max_records: int = 500) -> list[Any]:
            raise LogUnavailableError("the disk is gone")

        monkeypatch.setattr(consumer, "poll", broken)
        consumer.wake()
        with pytest.raises(UnavailableError, match="the log cannot be used: the disk is gone"):
            await call
        with pytest.raises(UnavailableError, match="the disk is gone"):
            await client.get("o").signal("paid")


# ---------------------------------------------------------------- opening


async def test_a_namespace_that_no_engine_serves_is_an_error(client_log: EmbeddedLog) -> None:
    with pytest.raises(UnavailableError, match=r"no engine has served namespace 'shop' yet\. Start"):
        async with Client(client_log, namespace="shop", request_timeout=0):
            pass


async def test_a_client_waits_for_the_first_engine(client_log: EmbeddedLog) -> None:
    opening = asyncio.ensure_future(Client(client_log, namespace="shop").__aenter__())
    await asyncio.to_thread(create_topics, client_log, Topics("shop"))
    client = await opening
    await client.__aexit__(None, None, None)


async def test_a_folder_that_is_open_elsewhere_is_an_error(client_log: EmbeddedLog) -> None:
    with pytest.raises(UnavailableError, match="the log cannot be used"):
        async with Client(f"file:{client_log.folder}"):
            pass


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ODRADEK_ADDRESS", raising=False)
    for wrong in ("localhost:9092", "redis://x", ""):
        with pytest.raises(ValueError, match="kafka://host:port"):
            Client(wrong)
    with pytest.raises(NotAvailableError, match="connect to the log"):
        Client("http://localhost:7233")
    with pytest.raises(ValueError, match="namespace 'a b'"):
        Client("kafka://x:1", namespace="a b")
    monkeypatch.setenv("ODRADEK_ADDRESS", "kafka://x:1")
    monkeypatch.setenv("ODRADEK_NAMESPACE", "shop")
    assert Client().namespace == "shop"


async def test_what_is_not_there_yet_says_so(client: Client) -> None:
    with pytest.raises(NotAvailableError):
        client.list("WorkflowType = 'Order'")
    for call in (client.count(),):
        with pytest.raises(NotAvailableError, match="not available in this version"):
            await call


# ---------------------------------------------------------------- for workers


async def test_workers_fetch_history_until_it_is_there(impatient: WorkflowRequests, fake_engine: FakeEngine) -> None:
    def answer(record: Record, request: Request) -> list[Record]:
        if len(fake_engine.seen) < 3:
            return []
        page = replies.HistoryPage(client_id=request.client_id, request_id=request.request_id, found=True, run_id="r")
        return [page]

    fake_engine.answer = answer
    pages: queue.Queue[Any] = queue.Queue()
    impatient.connection.fetch_history("o", "r", 5, 3, pages.put)
    assert isinstance(await asyncio.to_thread(pages.get, timeout=30), replies.HistoryPage)
    asked = fake_engine.first(FetchHistory)
    assert (asked.run_id, asked.barrier, asked.from_event_id) == ("r", 5, 3)
    assert len(fake_engine.seen) >= 3


async def test_workers_are_told_of_a_closed_connection(client_log: EmbeddedLog, fake_engine: FakeEngine) -> None:
    connection = await asyncio.to_thread(Connection, client_log, "default", converter)
    await asyncio.to_thread(connection.close)
    got: list[Any] = []
    connection.fetch_history("o", "r", -1, 1, got.append)
    assert isinstance(got[0], ClientClosedError)


async def test_workers_hear_what_answers_no_request(client: Client, fake_engine: FakeEngine) -> None:
    heard: queue.Queue[Record] = queue.Queue()
    connection = client._worker_connection()

    def broken(record: Record) -> None:
        raise RuntimeError("a callback that fails must not stop the others")

    connection.on_reply(replies.SessionEnded, broken)
    connection.on_reply(replies.SessionEnded, heard.put)
    ended = replies.SessionEnded(
        position=Position(partition=0, offset=0, index=0), client_id=connection.client_id, session="s", partition=0
    )
    fake_engine.send(connection.reply_partition, connection.client_id, encode(ended))
    assert await asyncio.to_thread(heard.get, timeout=30) == ended


class _SlowToLearn(MemoryLog):
    """The first to be asked about a topic knows it, the next one does not know it yet, as brokers of a cluster."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: set[str] = set()

    def partitions(self, topic: str) -> int:
        known = topic not in self._asked
        self._asked.add(topic)
        return super().partitions(topic) if known else 0


def test_a_topic_that_not_all_brokers_know_yet_has_its_partitions() -> None:
    """Breaks when the count is asked for again: a worker divided by zero, found on three brokers."""
    log = _SlowToLearn()
    log.create_topics(topic_specs(Topics("default"), 4))
    connection = Connection(log, "default", converter)
    assert connection.partitions == 4
    connection.close()
    assert ensure_topics(_SlowToLearn(), Topics("other"), 3) == 3
    log.close()
