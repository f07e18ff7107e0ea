"""A workflow instance: what it asks for, what it makes of the answers, and all ways out of `run`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from odradek import activity, workflow
from odradek._types import RetryPolicy
from odradek.errors import (
    ActivityError,
    ActivityTimeoutError,
    ApplicationError,
    NonDeterministicCallError,
    QueryRejectedError,
    ReadOnlyError,
    WorkflowTaskError,
)
from odradek_schemas import commands, history
from odradek_schemas.common import Failure

from .engine_model import START_MS, EngineModel, converter, new_instance

pytestmark = pytest.mark.filterwarnings("error")


@dataclass
class Product:
    name: str
    cents: int


class CardDeclined(ApplicationError, non_retryable=True):
    pass


@activity.define(start_to_close_timeout=10, retry_policy=RetryPolicy(maximum_attempts=5, maximum_interval=60))
async def charge(product: Product) -> str:
    raise AssertionError("a workflow does not run activities itself")


@activity.define
def price(name: str) -> Product:
    raise AssertionError("a workflow does not run activities itself")


@workflow.define
class Order:
    def __init__(self) -> None:
        self.state = "charging card"
        self.log: list[str] = []

    async def run(self, product: Product) -> str:
        charge_id = await charge(product)
        self.state = "paid"
        try:
            for step in ("picked up", "delivered"):
                async with asyncio.timeout(60):
                    await workflow.wait_condition(lambda step=step: self.state == step)  # type: ignore[misc]
                self.log.append(step)
        except TimeoutError:
            raise ApplicationError(f"never {step}", type="NotDelivered") from None
        return charge_id

    @workflow.signal
    def picked_up(self) -> None:
        if self.state == "paid":
            self.state = "picked up"

    @workflow.signal
    def delivered(self, at: datetime | None = None) -> None:
        if self.state == "picked up":
            self.state = "delivered"

    @workflow.query
    def status(self) -> str:
        return self.state

    @workflow.query
    def steps(self, first: int, *, last: int = 10) -> list[str]:
        return self.log[first:last]


# ---------------------------------------------------------------- activities


def test_an_activity_becomes_a_command_with_its_options_in_milliseconds() -> None:
    engine = EngineModel(Order, Product("Poke", 1299))
    (command,) = engine.advance()
    assert command == commands.ScheduleActivity(
        seq=1,
        activity_type="charge",
        task_queue="queue",
        input=converter.to_payloads([Product("Poke", 1299)]),
        start_to_close_timeout_ms=10_000,
        retry_policy=command.retry_policy,  # type: ignore[union-attr]
    )
    assert command.retry_policy is not None
    assert (command.retry_policy.maximum_attempts, command.retry_policy.maximum_interval_ms) == (5, 60_000)


def test_the_defaults_of_activities() -> None:
    @workflow.define
    async def defaults() -> None:
        await asyncio.gather(
            price("a"),
            price.with_options(task_queue="push", start_to_close_timeout=None, heartbeat_timeout=timedelta(minutes=1))(
                "b"
            ),
            workflow.execute_activity("by name", 1, "x", delivery="at_most_once"),
        )

    engine = EngineModel(defaults, default_activity_queue="activities")
    first, second, third = engine.advance()
    assert isinstance(first, commands.ScheduleActivity)
    assert isinstance(second, commands.ScheduleActivity)
    assert isinstance(third, commands.ScheduleActivity)
    assert (first.task_queue, first.start_to_close_timeout_ms, first.retry_policy) == ("activities", 600_000, None)
    assert (second.task_queue, second.start_to_close_timeout_ms, second.heartbeat_timeout_ms) == ("push", 0, 60_000)
    assert (third.activity_type, third.delivery, third.seq) == ("by name", "at_most_once", 3)
    assert converter.from_payloads(third.input, []) == [1, "x"]


def test_results_are_read_by_the_annotation() -> None:
    seen: list[Any] = []

    @workflow.define
    async def results() -> None:
        seen.append(await price("a"))
        seen.append(await workflow.execute_activity("x", result_type=list[Product]))
        seen.append(await workflow.execute_activity("x"))

    engine = EngineModel(results)
    engine.advance()
    for seq, value in ((1, Product("a", 1)), (2, [Product("b", 2)]), (3, Product("c", 3))):
        engine.complete(seq, value)
        engine.advance()
    assert seen == [Product("a", 1), [Product("b", 2)], {"name": "c", "cents": 3}]
    assert engine.result() is None


def test_an_error_arrives_as_its_own_class_with_activity_error_as_its_cause() -> None:
    caught: list[BaseException] = []

    @workflow.define
    async def fails() -> None:
        try:
            await price("a")
        except CardDeclined as error:
            caught.append(error)

    engine = EngineModel(fails)
    engine.advance()
    engine.fail(1, CardDeclined("no funds", 12), attempt=3)
    engine.advance()
    (error,) = caught
    assert isinstance(error, CardDeclined)
    assert error.details == (12,)
    cause = error.__cause__
    assert isinstance(cause, ActivityError)
    assert (cause.attempt, cause.activity_type, cause.type, cause.message) == (3, "price", "CardDeclined", "no funds")
    assert engine.result() is None


def test_an_error_that_cannot_be_imported_arrives_as_activity_error() -> None:
    caught: list[BaseException] = []

    @workflow.define
    async def fails() -> None:
        try:
            await price("a")
        except ActivityError as error:
            caught.append(error)

    engine = EngineModel(fails)
    engine.advance()
    engine.fail(1, Failure(message="boom", type="GoError", details=converter.to_payloads([1])), attempt=2)
    engine.advance()
    (error,) = caught
    assert isinstance(error, ActivityError)
    assert (error.type, error.message, error.details, error.attempt) == ("GoError", "boom", (1,), 2)


def test_a_timed_out_activity() -> None:
    caught: list[ActivityTimeoutError] = []

    @workflow.define
    async def slow() -> None:
        try:
            await price("a")
        except ActivityTimeoutError as error:
            caught.append(error)

    engine = EngineModel(slow)
    engine.advance()
    engine.append(
        history.ActivityTimedOut(
            seq=1,
            scheduled_event_id=3,
            timeout_type="start_to_close",
            timeout_ms=600_000,
            attempt=4,
            last_failure=converter.to_failure(KeyError("x")),
            heartbeat_details=converter.to_payloads([7]),
        )
    )
    engine.advance()
    assert (caught[0].timeout_type, caught[0].attempt, caught[0].details) == ("start_to_close", 4, (7,))
    assert not isinstance(caught[0], TimeoutError)
    assert "start_to_close" in str(caught[0])
    assert isinstance(caught[0].__cause__, KeyError)


def test_an_activity_that_was_cancelled_raises_cancelled_error() -> None:
    @workflow.define
    async def cancelled() -> str:
        try:
            await price("a")
        except asyncio.CancelledError:
            return "cancelled"
        return "not"

    engine = EngineModel(cancelled)
    engine.advance()
    engine.append(history.ActivityCancelled(seq=1, scheduled_event_id=3))
    engine.advance()
    assert engine.result() == "cancelled"


def test_cancelling_who_waits_cancels_the_activity_at_once_and_its_late_result_is_ignored() -> None:
    @workflow.define
    async def hurried() -> str:
        try:
            async with asyncio.timeout(5):
                await price("a")
        except TimeoutError:
            await asyncio.sleep(1)
        return "late"

    engine = EngineModel(hurried)
    assert [type(command).__name__ for command in engine.advance()] == ["StartTimer", "ScheduleActivity"]
    result = history.ActivityCompleted(seq=2, scheduled_event_id=4, result=converter.to_payload(None))
    engine.fire(1)
    assert engine.advance() == [commands.CancelActivity(seq=2), commands.StartTimer(seq=3, duration_ms=1000)]
    engine.append(result)
    assert engine.advance() == []
    engine.fire(3)
    engine.advance()
    assert engine.result() == "late"


def test_a_result_and_a_cancellation_in_one_step_leave_no_cancel_command() -> None:
    @workflow.define
    class Both:
        async def run(self) -> None:
            self.task = asyncio.create_task(price("a"))
            await asyncio.gather(self.task, return_exceptions=True)
            await asyncio.sleep(1)

        @workflow.signal
        def stop(self) -> None:
            self.task.cancel()

    engine = EngineModel(Both)
    engine.advance()
    engine.complete(1, Product("a", 1))
    engine.signal("stop")
    assert engine.advance() == [commands.StartTimer(seq=2, duration_ms=1000)]


def test_a_result_that_does_not_fit_the_annotation_is_a_bug() -> None:
    @workflow.define
    async def wrong() -> None:
        await price("a")

    engine = EngineModel(wrong)
    engine.advance()
    engine.complete(1, "not a product")
    with pytest.raises(WorkflowTaskError) as caught:
        engine.advance()
    assert caught.value.cause == "bug"


# ---------------------------------------------------------------- timers and time


def test_timers_are_commands_and_time_is_that_of_the_events() -> None:
    times: list[Any] = []

    @workflow.define
    async def sleeper() -> None:
        times.append(workflow.time())
        await asyncio.sleep(0.25)
        times.append(workflow.now())
        async with asyncio.timeout(60):
            await price("a")

    engine = EngineModel(sleeper)
    assert engine.advance() == [commands.StartTimer(seq=1, duration_ms=250)]
    engine.fire(1)
    _, schedule = engine.advance()
    assert isinstance(schedule, commands.ScheduleActivity)
    engine.complete(3, Product("a", 1))
    assert engine.advance()[0] == commands.CancelTimer(seq=2)
    assert times == [START_MS / 1000, datetime.fromtimestamp(START_MS / 1000 + 0.25, UTC)]


@pytest.mark.parametrize("seconds", [0.0001, 1, 60, 3600.5, 30 * 24 * 3600])
def test_a_timeout_is_as_long_as_it_says(seconds: float) -> None:
    @workflow.define
    async def waiter() -> None:
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()

    assert EngineModel(waiter).advance() == [commands.StartTimer(seq=1, duration_ms=max(1, round(seconds * 1000)))]


def test_random_and_uuid_are_the_same_on_every_replay_and_others_in_other_runs() -> None:
    seen: list[Any] = []

    @workflow.define
    async def chance() -> None:
        seen.append((workflow.random().random(), workflow.uuid4(), workflow.random().random()))

    EngineModel(chance).advance()
    EngineModel(chance).advance()
    assert seen[0] == seen[1]
    assert seen[0][1].version == 4
    assert seen[0][0] != seen[0][2]


def test_info_and_memo() -> None:
    seen: list[Any] = []

    @workflow.define
    async def about() -> None:
        seen.append((workflow.info(), workflow.memo()))
        await price("a")
        seen.append(workflow.info().history_length)

    instance = new_instance(about, namespace="shop")
    started = history.WorkflowStarted(
        workflow_type="about",
        task_queue="queue",
        attempt=2,
        run_timeout_ms=1500,
        first_run_id="run-0",
        memo={"who": converter.to_payload("me")},
        search_attributes={"City": converter.to_payload("Berlin")},
    )
    instance.feed(history.HistoryEvent(event_id=1, time_ms=START_MS, attributes=started))
    done = history.ActivityCompleted(seq=1, scheduled_event_id=3, result=converter.to_payload(Product("a", 1)))
    instance.feed(history.HistoryEvent(event_id=4, time_ms=START_MS, attributes=done))
    info, memo = seen[0]
    assert (info.workflow_id, info.run_id, info.workflow_type, info.task_queue) == ("w-1", "run-1", "about", "queue")
    assert (info.attempt, info.run_timeout, info.execution_timeout, info.first_run_id) == (2, 1.5, None, "run-0")
    assert info.start_time == datetime.fromtimestamp(START_MS / 1000, UTC)
    assert (info.history_length, seen[1]) == (1, 4)
    assert (info.namespace, info.search_attributes, memo) == ("shop", {"City": "Berlin"}, {"who": "me"})


# ---------------------------------------------------------------- signals and conditions


def test_two_signals_in_one_task_do_not_skip_the_first_state() -> None:
    engine = EngineModel(Order, Product("Poke", 1299))
    engine.advance()
    engine.complete(1, "ch_1")
    engine.advance()
    engine.signal("picked_up")
    engine.signal("delivered", None)
    engine.advance()
    assert engine.result() == "ch_1"
    assert engine.instance._object.log == ["picked up", "delivered"]


def test_a_signal_right_after_the_start_finds_a_workflow_that_runs() -> None:
    engine = EngineModel(Order, Product("Poke", 1299))
    engine.signal("picked_up")  # before the card is charged: ignored by the handler
    engine.advance()
    assert converter.from_payload(engine.instance.query("status", [])) == "charging card"


def test_waiters_wake_in_order_and_each_finds_its_condition_true() -> None:
    @workflow.define
    class Shared:
        def __init__(self) -> None:
            self.items: list[int] = []
            self.taken: list[tuple[int, int]] = []

        async def run(self) -> list[tuple[int, int]]:
            async with asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(self.take(number))
            return self.taken

        async def take(self, number: int) -> None:
            await workflow.wait_condition(lambda: self.items)
            self.taken.append((number, self.items.pop()))

        @workflow.signal
        def put(self, *items: int) -> None:
            self.items += items

    engine = EngineModel(Shared)
    engine.advance()
    engine.signal("put", 1, 2)
    engine.advance()
    assert engine.instance._object.taken == [(0, 2), (1, 1)]
    engine.signal("put", 3)
    engine.advance()
    assert [list(pair) for pair in [(0, 2), (1, 1), (2, 3)]] == engine.result()


def test_wait_condition_gives_the_value_and_times_out() -> None:
    @workflow.define
    class Waits:
        def __init__(self) -> None:
            self.value: str | None = None

        async def run(self) -> list[str]:
            first = await workflow.wait_condition(lambda: self.value, timeout=timedelta(minutes=1))
            try:
                await workflow.wait_condition(lambda: self.value is None, timeout=5)
            except TimeoutError:
                return [first, "too late"]
            return [first]

        @workflow.signal
        async def set(self, value: str) -> None:
            self.value = value

    engine = EngineModel(Waits)
    assert engine.advance() == [commands.StartTimer(seq=1, duration_ms=60_000)]
    engine.signal("set", "x")
    assert engine.advance() == [commands.CancelTimer(seq=1), commands.StartTimer(seq=2, duration_ms=5000)]
    engine.fire(2)
    engine.advance()
    assert engine.result() == ["x", "too late"]


def test_what_a_condition_raises_is_raised_where_it_is_waited_for() -> None:
    @workflow.define
    class Broken:
        def __init__(self) -> None:
            self.values = [1]

        async def run(self) -> str:
            try:
                await workflow.wait_condition(lambda: self.values[0] == 2)
            except IndexError:
                return "seen"
            return "not"

        @workflow.signal
        def clear(self) -> None:
            self.values.clear()

    engine = EngineModel(Broken)
    engine.advance()
    engine.signal("clear")
    engine.advance()
    assert engine.result() == "seen"


def test_conditions_that_wake_one_another_for_ever_are_found() -> None:
    @workflow.define
    class PingPong:
        def __init__(self) -> None:
            self.ball = -1

        async def run(self) -> None:
            await asyncio.gather(self.play(0), self.play(1))

        async def play(self, side: int) -> None:
            while True:
                await workflow.wait_condition(lambda: self.ball == side)
                self.ball = 1 - side

        @workflow.signal
        def serve(self) -> None:
            self.ball = 0

    engine = EngineModel(PingPong, max_iterations=100)
    engine.advance()
    engine.signal("serve")
    with pytest.raises(WorkflowTaskError) as caught:
        engine.advance()
    assert caught.value.cause == "blocked"


def test_async_handlers_are_tasks_and_counted() -> None:
    @workflow.define
    class Handlers:
        def __init__(self) -> None:
            self.done: list[str] = []

        async def run(self) -> list[str]:
            await workflow.wait_condition(lambda: len(self.done) == 1 and workflow.all_handlers_finished())
            return self.done

        @workflow.signal
        async def buy(self, name: str) -> None:
            product = await price(name)
            self.done.append(product.name)

    engine = EngineModel(Handlers)
    engine.advance()
    engine.signal("buy", "a")
    assert [type(command).__name__ for command in engine.advance()] == ["ScheduleActivity"]
    assert not engine.instance.all_handlers_finished()
    engine.complete(1, Product("a", 1))
    engine.advance()
    assert engine.result() == ["a"]


def test_a_signal_without_a_handler_is_kept_and_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    engine = EngineModel(Order, Product("Poke", 1299))
    engine.signal("unknown", 1)
    engine.advance()
    assert [signal.signal for signal in engine.instance._unhandled_signals] == ["unknown"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("args", [("not a date",), (None, 2)])
def test_a_signal_whose_arguments_do_not_fit_is_dropped_with_an_error(
    args: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    engine = EngineModel(Order, Product("Poke", 1299))
    engine.signal("delivered", *args)
    assert len(engine.advance()) == 1
    assert ["delivered" in record.getMessage() for record in caplog.records] == [True]


# ---------------------------------------------------------------- ways out of run

FAILING: dict[str, BaseException] = {
    "application": ApplicationError("no", type="NotDelivered"),
    "subclass": CardDeclined("no"),
    "group": ExceptionGroup("both", [CardDeclined("no"), ApplicationError("x")]),
}
BUGS: dict[str, BaseException] = {
    "key": KeyError("x"),
    "timeout": TimeoutError(),
    "cancelled": asyncio.CancelledError(),
    "exit": SystemExit(1),
    "mixed group": ExceptionGroup("both", [CardDeclined("no"), KeyError("x")]),
    "stop": StopAsyncIteration(),
}


@pytest.mark.parametrize("name", FAILING)
@pytest.mark.parametrize("where", ["run", "init", "signal", "async signal"])
def test_errors_that_fail_the_workflow(name: str, where: str) -> None:
    engine = EngineModel(_raising(FAILING[name], where))
    engine.signal("go")
    engine.advance()
    assert engine.instance.ended
    assert engine.failure().type in ("NotDelivered", "CardDeclined", "ExceptionGroup")


@pytest.mark.parametrize(
    ("name", "where"),
    [
        (name, where)
        for name in BUGS
        for where in ("run", "init", "signal", "async signal")
        if (name, where) != ("cancelled", "async signal")  # a handler may be cancelled
    ],
)
def test_errors_that_are_bugs(name: str, where: str) -> None:
    engine = EngineModel(_raising(BUGS[name], where))
    engine.signal("go")
    with pytest.raises(WorkflowTaskError) as caught:
        engine.advance()
    assert caught.value.cause == "bug"
    cause = caught.value.__cause__
    assert cause is BUGS[name] or isinstance(cause, RuntimeError)  # Python makes one of StopAsyncIteration
    assert "raise_it" in str(_frames(cause))
    with pytest.raises(ValueError, match="failed"):
        engine.instance.feed(engine.events[-1])


def _frames(error: BaseException | None) -> list[str]:
    names = []
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            names.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
    return names


def _raising(error: BaseException, where: str) -> Any:
    def raise_it() -> None:
        raise error

    @workflow.define
    class Raising:
        def __init__(self) -> None:
            if where == "init":
                raise_it()

        async def run(self) -> None:
            if where == "run":
                raise_it()
            await asyncio.Event().wait()

        if where == "async signal":

            @workflow.signal
            async def go(self) -> None:
                raise_it()
        else:

            @workflow.signal
            def go(self) -> None:
                if where == "signal":
                    raise_it()

    return Raising


def test_an_unhandled_error_of_an_activity_fails_the_workflow_however_it_is_wrapped() -> None:
    @workflow.define
    async def grouped() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(price("a"))
            group.create_task(price("b"))

    @workflow.define
    async def wrapped() -> None:
        try:
            await price("a")
        except KeyError as error:
            raise RuntimeError("wrapped") from error

    for flow, kind in ((grouped, "ExceptionGroup"), (wrapped, "RuntimeError")):
        engine = EngineModel(flow)
        engine.advance()
        engine.fail(1, KeyError("x"))
        assert type(engine.advance()[-1]).__name__ == "FailWorkflow"
        failure = engine.failure()
        assert failure.type == kind
        assert failure.cause is not None
        assert failure.cause.type == "KeyError"


def test_a_cancel_request_closes_as_cancelled_after_the_clean_up() -> None:
    @workflow.define
    async def careful() -> None:
        try:
            await price("a")
        except asyncio.CancelledError:
            await asyncio.shield(price("clean up"))
            raise

    engine = EngineModel(careful)
    engine.advance()
    engine.cancel()
    cancel, clean_up = engine.advance()
    assert cancel == commands.CancelActivity(seq=1)
    assert isinstance(clean_up, commands.ScheduleActivity)
    engine.complete(2, Product("x", 1))
    assert engine.advance() == [commands.CancelledWorkflow()]


def test_a_cancel_request_can_be_answered_with_a_result() -> None:
    @workflow.define
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "not cancelled"
        return "slept"

    engine = EngineModel(stubborn)
    engine.advance()
    engine.cancel()
    assert isinstance(engine.advance()[-1], commands.CompleteWorkflow)
    assert engine.result() == "not cancelled"


def test_nothing_runs_after_the_end_and_the_close_command_is_the_last() -> None:
    ran: list[str] = []

    @workflow.define
    async def ends() -> None:
        async def other() -> None:
            ran.append("other")
            await price("never")

        asyncio.create_task(other())  # noqa: RUF006

    engine = EngineModel(ends)
    assert engine.advance() == [commands.CompleteWorkflow(result=converter.to_payload(None))]
    assert ran == []
    with pytest.raises(ValueError, match="ended"):
        engine.instance.feed(engine.events[0])
    engine.instance.close()


def test_arguments_that_do_not_fit_and_results_that_cannot_be_written_are_bugs() -> None:
    @workflow.define
    async def unwritable() -> object:
        return object()

    for engine in (EngineModel(Order, "not a product"), EngineModel(Order), EngineModel(unwritable)):
        with pytest.raises(WorkflowTaskError) as caught:
            engine.advance()
        assert caught.value.cause == "bug"


def test_an_endless_loop_is_found() -> None:
    @workflow.define
    async def endless() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(WorkflowTaskError, match="round and round") as caught:
        EngineModel(endless, max_iterations=100).advance()
    assert caught.value.cause == "blocked"


def test_threads_are_refused_with_what_to_use_instead() -> None:
    @workflow.define
    async def threaded() -> None:
        await asyncio.to_thread(print)

    with pytest.raises(WorkflowTaskError) as caught:
        EngineModel(threaded).advance()
    assert isinstance(caught.value.__cause__, NonDeterministicCallError)
    assert "activity" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "event", [history.TimerFired(seq=1, started_event_id=1), history.TimerStarted(seq=1, due_ms=1)]
)
def test_the_first_event_is_workflow_started_and_only_inputs_are_fed(event: history.Attributes) -> None:
    with pytest.raises(ValueError, match="event 1"):
        new_instance(Order).feed(history.HistoryEvent(event_id=1, time_ms=1, attributes=event))


# ---------------------------------------------------------------- queries


def test_queries_read_the_state_also_after_the_end() -> None:
    engine = EngineModel(Order, Product("Poke", 1299))
    engine.advance()
    assert converter.from_payload(engine.instance.query("status", [])) == "charging card"
    engine.complete(1, "ch_1")
    engine.signal("picked_up")
    engine.signal("delivered")
    engine.advance()
    assert engine.instance.ended
    assert converter.from_payload(engine.instance.query("status", [])) == "delivered"
    arguments = converter.to_payloads([0, 1])
    assert converter.from_payload(engine.instance.query("steps", arguments)) == ["picked up"]
    engine.instance.close()
    assert converter.from_payload(engine.instance.query("status", [])) == "delivered"


def test_queries_that_cannot_be_answered_are_rejected() -> None:
    engine = EngineModel(Order, Product("Poke", 1299))
    with pytest.raises(QueryRejectedError, match="not begun"):
        engine.instance.query("status", [])
    engine.advance()
    with pytest.raises(QueryRejectedError, match="there are: status, steps"):
        engine.instance.query("unknown", [])
    with pytest.raises(QueryRejectedError, match="do not fit"):
        engine.instance.query("steps", converter.to_payloads(["x"]))


@workflow.define
class Nosy:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[int] = asyncio.Queue()
        self.numbers: list[float] = []

    async def run(self) -> int:
        self.numbers.append(workflow.random().random())
        number = await self.queue.get()
        self.numbers.append(workflow.random().random())
        return number

    @workflow.query
    def draw(self) -> float:
        return workflow.random().random()

    @workflow.query
    def task(self) -> None:
        asyncio.create_task(asyncio.sleep(0))  # noqa: RUF006

    @workflow.query
    def wake(self) -> None:
        self.queue.put_nowait(1)

    @workflow.query
    def hidden(self) -> int:
        with contextlib.suppress(ReadOnlyError):
            self.queue.put_nowait(1)
        return 1

    @workflow.query
    def coroutine(self) -> object:
        return price("a")

    @workflow.query
    def fails(self) -> None:
        raise KeyError("x")


@pytest.mark.parametrize("name", ["task", "wake", "hidden"])
def test_a_query_that_changes_the_workflow_makes_the_instance_unusable(name: str) -> None:
    engine = EngineModel(Nosy)
    engine.advance()
    with pytest.raises(WorkflowTaskError) as caught:
        engine.instance.query(name, [])
    assert isinstance(caught.value.__cause__, ReadOnlyError)
    assert engine.instance.take_commands() == []
    engine.cancel()
    with pytest.raises(ValueError, match="failed"):
        engine.advance()
    engine.instance.close()


def test_a_query_draws_random_numbers_of_its_own_and_its_errors_are_its_answer() -> None:
    engine, other = EngineModel(Nosy), EngineModel(Nosy)
    engine.advance()
    other.advance()
    assert engine.instance.query("draw", []) == engine.instance.query("draw", [])
    with pytest.raises(KeyError):
        engine.instance.query("fails", [])
    with pytest.raises(TypeError, match="coroutine"):
        engine.instance.query("coroutine", [])
    for one in (engine, other):
        one.cancel()
        one.advance()
    assert engine.instance._object.numbers == other.instance._object.numbers


# ---------------------------------------------------------------- surroundings


def test_context_variables_of_the_worker_are_not_the_workflows() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    @workflow.define
    async def reads() -> None:
        seen.append(variable.get())

    variable.set("worker")
    EngineModel(reads).advance()
    assert seen == ["none"]


def test_a_background_error_is_logged_once_and_not_on_replay(caplog: pytest.LogCaptureFixture) -> None:
    @workflow.define
    async def background() -> None:
        async def fail() -> None:
            workflow.logger.info("about to fail")
            raise KeyError("x")

        asyncio.create_task(fail())  # noqa: RUF006
        await asyncio.sleep(60)

    caplog.set_level(logging.INFO)
    engine = EngineModel(background)
    engine.advance()
    gc.collect()
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR"]
    caplog.clear()
    again = new_instance(background)
    again.replaying = True
    again.feed(engine.events[0])
    again.replaying = False
    gc.collect()
    assert caplog.records == []


def test_closing_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    ends: list[str] = []

    @workflow.define
    async def clean_up() -> None:
        try:
            await price("a")
        finally:
            ends.append("finally")
            workflow.logger.warning("cleaning up")
            await price("b")
            ends.append("never")

    caplog.set_level(logging.DEBUG)
    engine = EngineModel(clean_up)
    engine.advance()
    engine.instance.close()
    engine.instance.close()
    assert engine.instance.take_commands() == []
    gc.collect()
    assert ends == ["finally"]
    assert caplog.records == []


def test_size_grows_with_what_is_fed_and_what_is_open() -> None:
    sizes: list[int] = []
    engine = EngineModel(Order, Product("Poke" * 1000, 1299))
    sizes.append(engine.instance.size)
    engine.advance()
    sizes.append(engine.instance.size)
    engine.complete(1, "x" * 10_000)
    engine.advance()
    sizes.append(engine.instance.size)
    assert sizes[0] + 4000 < sizes[1] < sizes[2] - 10_000


def test_it_runs_inside_of_an_asyncio_program() -> None:
    async def worker() -> Any:
        engine = EngineModel(Order, Product("Poke", 1299))
        engine.advance()
        await asyncio.sleep(0)
        engine.complete(1, "ch_1")
        engine.signal("picked_up")
        engine.signal("delivered")
        engine.advance()
        return engine.result()

    assert asyncio.run(worker()) == "ch_1"
