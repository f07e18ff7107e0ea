"""A workflow instance: what it asks for, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import weakref
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from odradek import workflow
from odradek.errors import (
    ActivityError,
    ActivityTimeoutError,
    WorkflowTaskError,
)
from odradek_schemas import commands, history
from odradek_schemas.common import Failure

from .engine_model import START_MS, EngineModel, converter, new_instance
from .sample_workflow import CardDeclined, Order, Product, price

pytestmark = pytest.mark.filterwarnings("error")


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


@workflow.define
class Waiting:
    """Cancels an activity with cancellation_type `how` when it is told to, and says what came of it."""

    async def run(self, how: str) -> str:
        options: Any = {"cancellation_type": how}
        self.task = asyncio.create_task(workflow.execute_activity("work", **options))
        outcome: Any = (await asyncio.gather(self.task, return_exceptions=True))[0]
        await asyncio.sleep(1)
        return outcome if isinstance(outcome, str) else type(outcome).__name__

    @workflow.signal
    def stop(self) -> None:
        self.task.cancel()


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (history.ActivityCancelled(seq=1, scheduled_event_id=3), "CancelledError"),
        (history.ActivityCompleted(seq=1, scheduled_event_id=3, result=converter.to_payload("done")), "done"),
        (history.ActivityFailed(seq=1, scheduled_event_id=3, failure=Failure(message="no")), "ActivityError"),
    ],
)
def test_wait_waits_for_the_end_of_the_activity_however_often_it_is_cancelled(
    event: history.Attributes, outcome: str
) -> None:
    engine = EngineModel(Waiting, "wait")
    (schedule,) = engine.advance()
    assert isinstance(schedule, commands.ScheduleActivity)
    assert schedule.cancellation_type == "wait"
    engine.signal("stop")
    assert engine.advance() == [commands.CancelActivity(seq=1)]
    engine.signal("stop")
    assert engine.advance() == []
    engine.append(event)
    engine.advance()
    engine.fire(2)
    engine.advance()
    assert engine.result() == outcome


def test_wait_keeps_a_result_that_comes_in_one_step_with_the_cancellation() -> None:
    engine = EngineModel(Waiting, "wait")
    engine.advance()
    engine.complete(1, "done")
    engine.signal("stop")
    assert engine.advance() == [commands.StartTimer(seq=2, duration_ms=1000)]
    engine.fire(2)
    engine.advance()
    assert engine.result() == "done"


def test_abandon_asks_for_nothing_and_ignores_what_comes() -> None:
    engine = EngineModel(Waiting, "abandon")
    engine.advance()
    engine.signal("stop")
    assert engine.advance() == [commands.StartTimer(seq=2, duration_ms=1000)]
    engine.complete(1, "done")
    assert engine.advance() == []
    engine.fire(2)
    engine.advance()
    assert engine.result() == "CancelledError"


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


@pytest.mark.parametrize("result", ["ch_1", None])
def test_a_workflow_that_was_closed_is_freed_without_looking_for_garbage(result: str | None) -> None:
    gc.collect()
    gc.disable()
    try:
        engine = EngineModel(Order, Product("Poke", 1299))
        engine.advance()
        if result is not None:
            engine.complete(1, result)
            engine.signal("picked_up")
            engine.signal("delivered")
            engine.advance()
            assert engine.instance.ended
        left = weakref.ref(engine.instance), weakref.ref(engine.instance._core)
        engine.instance.close()
        del engine
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()


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
