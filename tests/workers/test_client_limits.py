"""What a client keeps in memory of what it asked for, and what calls beyond that get (back-pressure)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from odradek import Client, DataConverter, OverloadedError
from odradek._gateway.errors import details_of, error_of
from odradek._room import Room
from odradek_log.embedded import EmbeddedLog
from odradek_schemas import encode
from odradek_schemas.common import Record, Request

from .client_fakes import FakeEngine, nobody_answers, reply_to

LIMIT = 20_000
SMALL = "x" * 400


class Holding:
    """An engine that keeps requests until it is told to answer them. `answered`: the IDs of those."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.held: deque[Request] = deque()
        self.answered: set[str] = set()
        engine.answer = self._hold

    def _hold(self, record: Record, request: Request) -> Iterable[Record]:
        self.held.append(request)
        return ()

    def answer_all(self) -> None:
        while self.held:
            request = self.held.popleft()
            self.engine.send(request.reply_partition, request.client_id, encode(reply_to(request, "ok")))
            self.answered.add(request.request_id)


async def test_calls_beyond_the_bytes_in_flight_wait_for_answers(
    client_log: EmbeddedLog, fake_engine: FakeEngine
) -> None:
    engine = Holding(fake_engine)
    most = 0
    async with Client(client_log, max_in_flight_bytes=LIMIT) as client:
        connection = client._worker_connection()
        calls = [asyncio.ensure_future(client.get(f"o-{n}").signal("paid", SMALL)) for n in range(100)]
        while len(engine.answered) < 100:
            await asyncio.to_thread(fake_engine.wait_for, len(engine.answered) + 1)
            most = max(most, connection.in_flight())
            engine.answer_all()
        await asyncio.gather(*calls)
        assert connection.in_flight() == 0
    assert LIMIT / 2 < most < LIMIT + 2_000, "the limit, and one call over it"


async def test_without_answers_calls_beyond_it_raise_after_their_patience(
    client_log: EmbeddedLog, fake_engine: FakeEngine
) -> None:
    fake_engine.answer = nobody_answers
    async with Client(client_log, max_in_flight_bytes=LIMIT) as client:
        connection = client._worker_connection()
        sent = []
        while connection.in_flight() < LIMIT:
            sent.append(asyncio.ensure_future(client.get(f"o-{len(sent)}").signal("paid", SMALL)))
            await asyncio.sleep(0)
        handle = client.get("one-too-many").with_options(timeout=0.05)
        refused = await asyncio.gather(*(handle.signal("paid", SMALL) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in refused] == [OverloadedError] * 3
        assert "max_in_flight_bytes is 20,000" in str(refused[0])
        await asyncio.to_thread(fake_engine.wait_for, len(sent))
        asked = {getattr(record, "workflow_id", "") for record in fake_engine.seen}
        assert len(asked) == len(sent), "nothing was sent of the others"
        for one in sent:
            one.cancel()
        await asyncio.gather(*sent, return_exceptions=True)
        assert connection.in_flight() == 0


async def test_waits_for_results_leave_room_for_requests(client_log: EmbeddedLog, fake_engine: FakeEngine) -> None:
    """Breaks when a client that waits for many workflows can signal none of them any more."""
    fake_engine.answer = lambda record, request: [reply_to(request, "ok")] if hasattr(record, "signal") else []
    async with Client(client_log, max_in_flight_bytes=LIMIT, request_timeout=10) as client:
        waits = [asyncio.ensure_future(client.get(f"o-{n}").result()) for n in range(60)]
        await client.get("o-1").signal("paid", SMALL)
        assert client._worker_connection().in_flight(waits=True) >= LIMIT
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        assert client._worker_connection().in_flight(waits=True) == 0


async def test_an_answered_call_keeps_no_record(client: Client, fake_engine: FakeEngine) -> None:
    """Breaks when the schedule of repetitions holds the bytes of what was answered long ago."""
    await asyncio.gather(*(client.get(f"o-{n}").signal("paid", SMALL) for n in range(50)))
    assert sum(len(due.call.value) for due in client._worker_connection()._due) == 0


async def test_a_line_goes_on_when_one_in_it_gives_up() -> None:
    taken = 10
    room = Room(10, lambda waits: taken)
    first, second = (asyncio.ensure_future(room.enter(False, 30)) for _ in range(2))
    await asyncio.sleep(0)
    taken = 5
    room.left()
    first.cancel()  # its turn has come, and it does not take it
    await asyncio.wait_for(second, 5)
    assert first.cancelled()


def test_over_http_it_is_too_many_requests() -> None:
    error = OverloadedError("too much")
    details, status = details_of(error, DataConverter())
    assert status == 429
    assert isinstance(error_of(details), OverloadedError)
