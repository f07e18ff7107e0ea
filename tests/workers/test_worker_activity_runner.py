"""Running the code of activities: on the event loop, in threads, and what becomes of their errors."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from odradek import activity
from odradek._converter import DataConverter
from odradek._definitions import activity_definition
from odradek._worker.activity_runner import ActivityRunner
from odradek._worker.attempts import Attempt, Completed, Deferred, Failed, Late, Outcome, Stopped
from odradek._worker.heartbeats import HeartbeatThrottle
from odradek.errors import ApplicationError
from odradek_schemas import Payload, idempotency_key, task_token

from .activity_bench import activity_task

CONVERTER = DataConverter()
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@dataclass
class Product:
    id: int


class Running:
    """A runner on this test's event loop, and what it reported."""

    def __init__(self, *activities: Any) -> None:
        definitions = {a.name: activity_definition(a) for a in activities}
        self.beats: list[Any] = []
        self.outcomes: asyncio.Queue[tuple[Attempt, Outcome]] = asyncio.Queue()
        self.loop = asyncio.get_running_loop()
        self.runner = ActivityRunner(
            definitions, converter=CONVERTER, namespace="test", loop=self.loop, on_ended=self.ended,
            on_heartbeat=lambda attempt, details: self.beats.append(CONVERTER.from_payloads(details, [Any])),
        )

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        self.loop.call_soon_threadsafe(self.outcomes.put_nowait, (attempt, outcome))

    def launch(self, name: str, *args: Any, **fields: Any) -> Attempt:
        task = activity_task(activity_type=name, input=CONVERTER.to_payloads(args), **fields)
        attempt = Attempt(task, "s1", HeartbeatThrottle(0), state="running")
        self.runner.launch(attempt)
        return attempt

    async def outcome(self) -> Outcome:
        async with asyncio.timeout(10):
            return (await self.outcomes.get())[1]

    async def run(self, name: str, *args: Any, **fields: Any) -> Outcome:
        self.launch(name, *args, **fields)
        return await self.outcome()


def failed(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed)
    return outcome


async def test_attempts_that_are_launched_together_wake_the_event_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    @activity.define
    async def work(number: int) -> int:
        return number

    running = Running(work)
    wakes: list[object] = []
    wake = running.loop.call_soon_threadsafe
    with monkeypatch.context() as counting:
        counting.setattr(running.loop, "call_soon_threadsafe", lambda *call: (wakes.append(call), wake(*call)))
        for number in range(100):
            running.launch("work", number)
        assert len(wakes) == 1
    for number in range(100):
        assert await running.outcome() == Completed(CONVERTER.to_payload(number))
    assert await running.run("work", 100) == Completed(CONVERTER.to_payload(100)), "it is woken again"


async def test_an_attempt_that_was_late_and_begins_again_at_once_can_be_stopped() -> None:
    """Breaks when the end of the first time, which comes after the second has begun, counts as that of the second."""

    @activity.define
    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    begun = asyncio.Event()
    wrong: list[object] = []
    running = Running(wait)
    running.loop.set_exception_handler(lambda _, context: wrong.append(context))

    def granted(attempt: Attempt, outcome: Outcome) -> None:
        running.ended(attempt, outcome)
        if isinstance(outcome, Late):
            attempt.begin_before = float("inf")
            running.runner.launch(attempt)

    running.runner._on_ended = granted
    task = activity_task(activity_type="wait", input=[])
    attempt = Attempt(task, "s1", HeartbeatThrottle(0), state="running", begin_before=0.0)
    running.runner.launch(attempt)
    assert await running.outcome() == Late()
    async with asyncio.timeout(10):
        await begun.wait()
    attempt.cancel_reason = "requested"
    running.runner.cancel(attempt)
    assert not isinstance(await running.outcome(), Completed)
    await asyncio.sleep(0)
    assert wrong == []


async def test_async_activities_run_on_the_event_loop_with_their_arguments() -> None:
    @activity.define
    async def double(product: Product, by: int = 2) -> Product:
        assert asyncio.get_running_loop() is loop
        return Product(product.id * by)

    loop = asyncio.get_running_loop()
    outcome = await Running(double).run("double", Product(21))
    assert outcome == Completed(CONVERTER.to_payload(Product(42)))


async def test_plain_activities_run_in_a_thread_with_the_workers_context() -> None:
    @activity.define
    def where() -> str:
        assert threading.current_thread() is not threading.main_thread()
        return variable.get()

    variable.set("set")
    running = Running(where)
    variable.set("later")
    assert await running.run("where") == Completed(CONVERTER.to_payload("set"))


async def test_plain_activities_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3)

    @activity.define
    def meet() -> int:
        return barrier.wait(10)

    running = Running(meet)
    for _ in range(3):
        running.launch("meet")
    results = [await running.outcome() for _ in range(3)]
    assert {type(r) for r in results} == {Completed}


async def test_a_plain_fake_that_returns_a_coroutine_is_awaited() -> None:
    @activity.define
    async def charge(product: Product) -> str:
        return "real"

    async def fake(product: Product) -> str:
        return f"fake {product.id}"

    running = Running(charge.with_fn(lambda product: fake(product)))
    assert await running.run("charge", Product(1)) == Completed(CONVERTER.to_payload("fake 1"))


async def test_info_tells_what_the_attempt_is() -> None:
    seen: list[activity.Info] = []

    @activity.define
    async def look() -> None:
        seen.append(activity.info())

    await Running(look).run(
        "look", attempt=3, heartbeat_details=CONVERTER.to_payloads([7, "x"]), heartbeat_timeout_ms=1500,
    )
    (info,) = seen
    assert (info.workflow_id, info.run_id, info.attempt, info.namespace) == ("w", "run", 3, "test")
    assert info.heartbeat_details == (7, "x")
    assert info.heartbeat_timeout == 1.5
    assert info.start_to_close_timeout is None
    assert info.idempotency_key == idempotency_key("run", "s9-1", 1)
    assert info.task_token == task_token("w", "run", "s9-1", 1)


@pytest.mark.parametrize("plain", [True, False])
async def test_errors_become_failures_with_their_retry_delay(plain: bool) -> None:
    def decline() -> None:
        raise ApplicationError("declined", "card", type="Declined", next_retry_delay=1.5)

    async def decline_async() -> None:
        decline()

    target: Callable[..., Any] = decline if plain else decline_async
    outcome = failed(await Running(activity.define(name="decline")(target)).run("decline"))
    assert (outcome.failure.message, outcome.failure.type) == ("declined", "Declined")
    assert outcome.next_retry_delay_ms == 1500
    assert not outcome.failure.non_retryable


@pytest.mark.parametrize("plain", [True, False])
async def test_complete_async_defers(plain: bool) -> None:
    def later() -> None:
        raise activity.CompleteAsync

    async def later_async() -> None:
        raise activity.CompleteAsync

    target: Callable[..., Any] = later if plain else later_async
    assert await Running(activity.define(name="later")(target)).run("later") == Deferred()


@pytest.mark.parametrize("plain", [True, False])
async def test_an_activity_that_exits_fails_and_the_worker_goes_on(plain: bool) -> None:
    def leave() -> None:
        raise SystemExit(3)

    async def leave_async() -> None:
        raise SystemExit(3)

    target: Callable[..., Any] = leave if plain else leave_async
    running = Running(activity.define(name="leave")(target))
    assert failed(await running.run("leave")).failure.type == "SystemExit"
    assert failed(await running.run("leave")).failure.type == "SystemExit"


async def test_unknown_activity_type_can_be_retried_and_names_those_that_are_there() -> None:
    @activity.define
    async def charge() -> None: ...

    failure = failed(await Running(charge).run("refund")).failure
    assert "'refund'" in failure.message
    assert "charge" in failure.message
    assert not failure.non_retryable, "another worker may have it"


async def test_input_that_does_not_fit_fails_for_good_and_names_the_activity() -> None:
    @activity.define
    async def charge(product: Product) -> None: ...

    running = Running(charge)
    for args in ((), (1, 2), ("no product",)):
        failure = failed(await running.run("charge", *args)).failure
        assert failure.non_retryable
        assert "charge" in failure.message


async def test_input_that_cannot_be_decoded_fails_for_good() -> None:
    @activity.define
    async def charge(product: Product) -> None: ...

    running = Running(charge)
    task = activity_task(activity_type="charge", input=[Payload(metadata={"encoding": b"json/plain"}, data=b"\xff")])
    running.runner.launch(Attempt(task, "s1", HeartbeatThrottle(0), state="running"))
    failure = failed(await running.outcome()).failure
    assert failure.non_retryable
    assert "parameter 'product': this cannot be read as Product" in failure.message


async def test_input_of_a_codec_that_is_missing_is_tried_again() -> None:
    @activity.define
    async def charge(product: Product) -> None: ...

    running = Running(charge)
    task = activity_task(activity_type="charge", input=[Payload(metadata={"encoding": b"binary/zlib"}, data=b"\xff")])
    running.runner.launch(Attempt(task, "s1", HeartbeatThrottle(0), state="running"))
    failure = failed(await running.outcome()).failure
    assert (failure.type, failure.non_retryable) == ("CodecError", False)


async def test_result_that_cannot_be_written_fails_for_good() -> None:
    @activity.define
    async def socket() -> Any:
        return object()

    failure = failed(await Running(socket).run("socket")).failure
    assert failure.non_retryable
    assert "result of activity socket" in failure.message


async def test_async_activity_is_cancelled_on_request() -> None:
    began = asyncio.Event()

    @activity.define
    async def wait() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            assert activity.is_cancelled()

    running = Running(wait)
    attempt = running.launch("wait")
    await began.wait()
    attempt.cancel_reason = "cancelled"
    running.runner.cancel(attempt)
    assert await running.outcome() == Stopped()


async def test_async_activity_cancelled_before_its_first_step_is_reported() -> None:
    @activity.define
    async def wait() -> None:
        raise AssertionError("never begun")

    running = Running(wait)
    attempt = running.launch("wait")
    attempt.cancel_reason = "cancelled"
    running.runner.cancel(attempt)
    assert await running.outcome() == Stopped()


async def test_plain_activity_learns_of_the_cancellation_at_its_next_heartbeat() -> None:
    began, asked = threading.Event(), threading.Event()

    @activity.define
    def work() -> None:
        activity.heartbeat(1)
        assert not activity.is_cancelled()
        began.set()
        assert asked.wait(10)
        assert activity.is_cancelled()
        activity.heartbeat(2)
        raise AssertionError("went on after the cancellation")

    running = Running(work)
    attempt = running.launch("work")
    await asyncio.to_thread(began.wait, 10)
    attempt.cancel_reason = "cancelled"
    running.runner.cancel(attempt)
    asked.set()
    assert await running.outcome() == Stopped()
    assert running.beats == [[1], [2]], "the last heartbeat goes out before it is told to stop"


async def test_an_activity_that_cancels_itself_has_failed() -> None:
    @activity.define
    async def odd() -> None:
        raise asyncio.CancelledError

    assert isinstance(await Running(odd).run("odd"), Failed)


async def launched(plain: bool, **given: Any) -> tuple[list[int], Any]:
    """Launch an attempt of an activity, in a thread or on the event loop: how often it began, and what came of it."""
    begun: list[int] = []

    @activity.define
    async def on_loop() -> None:
        begun.append(1)

    @activity.define
    def in_thread() -> None:
        begun.append(1)

    running = Running(on_loop, in_thread)
    task = activity_task(activity_type="in_thread" if plain else "on_loop")
    running.runner.launch(Attempt(task, "s1", HeartbeatThrottle(0), state="running", **given))
    return begun, await running.outcome()


@pytest.mark.parametrize("plain", [False, True])
async def test_t4_code_that_would_begin_too_late_does_not_begin(plain: bool) -> None:
    """The process stood still between taking the task and running it."""
    begun, outcome = await launched(plain, begin_before=time.monotonic() - 1)
    assert outcome == Late()
    assert begun == []


@pytest.mark.parametrize("plain", [False, True])
async def test_t7_code_that_is_wanted_no_more_before_it_begins_does_not_begin(plain: bool) -> None:
    """Breaks when an attempt that waits for a thread, or for the event loop, begins after another one's result."""
    begun, outcome = await launched(plain, cancel_reason="completed")
    assert outcome == Stopped()
    assert begun == []
