"""Replay brings a new instance to where its history ends, and tells what the code does otherwise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from odradek import workflow
from odradek._replay import replay
from odradek.errors import NonDeterminismError, WorkflowTaskError
from odradek_schemas import commands, history
from odradek_schemas.history import summarize

from .engine_model import EngineModel, new_instance

pytestmark = pytest.mark.filterwarnings("error")


def step(name: str) -> Any:
    return workflow.execute_activity(name)


@workflow.define(name="Order")
class Order:
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def run(self) -> str:
        await step("charge")
        async with asyncio.timeout(60):
            await workflow.wait_condition(lambda: self.seen)
        await asyncio.gather(step("pack"), step("notify"))
        return self.seen[0]

    @workflow.signal
    def see(self, what: str) -> None:
        self.seen.append(what)


def advanced() -> EngineModel:
    """An order that waits for two activities, in three tasks."""
    engine = EngineModel(Order)
    engine.advance()
    engine.complete(1)
    engine.advance()
    engine.signal("see", "driver")
    engine.advance()
    return engine


def changed(run: Any) -> Any:
    """The order with another `run`."""

    @workflow.define(name="Order")
    class Order:
        def __init__(self) -> None:
            self.seen: list[str] = []

        async def run(self) -> str:
            return await run(self)  # type: ignore[no-any-return]

        @workflow.signal
        def see(self, what: str) -> None:
            self.seen.append(what)

    return Order


def test_a_replayed_instance_goes_on_where_the_live_one_was() -> None:
    engine = advanced()
    again = new_instance(Order)
    replay(again, engine.events)
    assert again.take_commands() == []
    assert again.fed_through == engine.consumed_through
    assert not again.is_replaying()
    engine.instance = again
    engine.complete(3)
    engine.complete(4)
    engine.advance()
    assert engine.result() == "driver"


def test_inputs_that_no_task_has_seen_are_left_unfed() -> None:
    engine = advanced()
    engine.signal("see", "unread")
    again = new_instance(Order)
    replay(again, engine.events)
    assert again._core.object.seen == ["driver"]
    assert again.fed_through == engine.consumed_through


def test_nothing_is_fed_before_the_first_task_is_completed() -> None:
    engine = EngineModel(Order)
    again = new_instance(Order)
    replay(again, engine.events)
    assert again.fed_through == 0


def test_w10_inputs_are_fed_in_the_order_of_their_ids() -> None:
    engine = EngineModel(Order)
    engine.advance()
    for what in ("first", "second", "third"):
        engine.signal("see", what)
    engine.advance()
    again = new_instance(Order)
    replay(again, engine.events)
    assert again._core.object.seen == ["first", "second", "third"]


def test_w10_local_results_are_fed_after_the_inputs_that_the_task_saw() -> None:
    """Rule W10: a signal that was folded before the worker's own results was fed after them."""
    engine = EngineModel(Order)
    engine.advance()
    engine.signal("see", "early")
    early = engine.events[-1]
    waiting = engine.advance(0, local=[1])  # the worker ran the activity itself, and has not seen the signal
    assert [type(command).__name__ for command in waiting] == ["StartTimer"]
    again = new_instance(Order)
    replay(again, engine.events)
    assert again._core.object.seen == []
    again.feed(early)
    assert [type(command).__name__ for command in again.take_commands()] == [
        "CancelTimer",
        "ScheduleActivity",
        "ScheduleActivity",
    ]


def test_a_closed_run_replays_to_its_end() -> None:
    engine = advanced()
    engine.complete(3)
    engine.complete(4)
    engine.advance()
    again = new_instance(Order)
    replay(again, engine.events)
    assert again.ended


def test_the_message_shows_both_sides_with_event_ids_and_what_to_do() -> None:
    async def run(self: Any) -> str:
        await step("charge")
        async with asyncio.timeout(60):
            await workflow.wait_condition(lambda: self.seen)
        await asyncio.gather(step("pack"), step("thank"))
        return ""

    with pytest.raises(NonDeterminismError) as caught:
        replay(new_instance(changed(run)), advanced().events)
    assert caught.value.cause == "non_determinism"
    assert str(caught.value).splitlines()[:9] == [
        "workflow Order (w-1, run run-1): the code does not ask for what it asked when this history was written.",
        "",
        "At the task completed in event 8, after event 7 SignalReceived see:",
        "",
        "      history holds                            the code now asks",
        "    1 CancelTimer #2  (event 9)                CancelTimer #2",
        "    2 ScheduleActivity pack #3  (event 10)     ScheduleActivity pack #3",
        ">   3 ScheduleActivity notify #4  (event 11)   ScheduleActivity thank #4",
        "",
    ]
    assert "workflow.define(name=...)" in str(caught.value)


async def _more(self: Any) -> str:
    await step("charge")
    await asyncio.gather(step("log"), workflow.wait_condition(lambda: self.seen, 60))
    return ""


async def _less(self: Any) -> str:
    await step("charge")
    await workflow.wait_condition(lambda: self.seen)
    return ""


async def _ends(self: Any) -> str:
    await step("charge")
    return ""


async def _ends_early(self: Any) -> str:
    return ""


async def _other_order(self: Any) -> str:
    await step("charge")
    async with asyncio.timeout(60):
        await workflow.wait_condition(lambda: self.seen)
    await asyncio.gather(step("notify"), step("pack"))
    return ""


@pytest.mark.parametrize(
    ("run", "hint"),
    [
        (_more, "now asks for more"),
        (_less, "asks for less"),
        (_ends, "now ends here"),
        (_ends_early, "now ends here"),
        (_other_order, "in another order"),
    ],
)
def test_changed_code_is_told_with_a_hint(run: Any, hint: str) -> None:
    with pytest.raises(NonDeterminismError, match=hint):
        replay(new_instance(changed(run)), advanced().events)


def test_code_that_ends_before_an_event_that_the_task_saw_is_told() -> None:
    engine = EngineModel(Order)
    engine.advance()
    engine.complete(1)
    engine.signal("see", "driver")
    engine.signal("see", "again")
    engine.advance()

    async def run(self: Any) -> str:
        await step("charge")
        await workflow.wait_condition(lambda: self.seen, 60)
        return ""

    with pytest.raises(NonDeterminismError, match=r"before it saw event 6 \(SignalReceived see\)"):
        replay(new_instance(changed(run)), engine.events)


def test_a_long_difference_is_cut_around_where_it_begins() -> None:
    async def many(self: Any, name: str) -> str:
        await asyncio.gather(*[step(name if number == 50 else "same") for number in range(100)])
        return ""

    engine = EngineModel(changed(lambda self: many(self, "old")))
    engine.advance()
    with pytest.raises(NonDeterminismError) as caught:
        replay(new_instance(changed(lambda self: many(self, "new"))), engine.events)
    message = str(caught.value)
    assert "(47 alike)" in message
    assert "(42 more)" in message
    assert message.count("ScheduleActivity same") == 20


def test_a_bug_while_replaying_is_a_bug() -> None:
    async def run(self: Any) -> str:
        raise KeyError("x")

    with pytest.raises(WorkflowTaskError) as caught:
        replay(new_instance(changed(run)), advanced().events)
    assert caught.value.cause == "bug"


def test_the_whole_history_is_needed() -> None:
    with pytest.raises(ValueError, match="from event 1"):
        replay(new_instance(Order), advanced().events[1:])


def test_summaries_are_the_class_name_the_number_and_the_name() -> None:
    assert summarize(commands.ScheduleActivity(seq=3, activity_type="a")) == history.CommandSummary(
        kind="ScheduleActivity", seq=3, name="a"
    )
    assert summarize(commands.StartTimer(seq=4, duration_ms=1)) == history.CommandSummary(kind="StartTimer", seq=4)
    assert summarize(commands.CompleteWorkflow()) == history.CommandSummary(kind="CompleteWorkflow")
