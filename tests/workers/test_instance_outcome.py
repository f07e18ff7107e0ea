"""All ways out of `run`, and code that does not come to an end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from odradek import workflow
from odradek.errors import (
    ApplicationError,
    NonDeterministicCallError,
    WorkflowTaskError,
)
from odradek_schemas import commands, history

from .engine_model import EngineModel, converter, new_instance
from .sample_workflow import CardDeclined, Order, Product, price

pytestmark = pytest.mark.filterwarnings("error")


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
