"""Signals, conditions and queries of a workflow instance."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odradek import workflow
from odradek._replay import replay
from odradek.errors import (
    QueryRejectedError,
    ReadOnlyError,
    WorkflowTaskError,
)
from odradek_schemas import commands

from .engine_model import EngineModel, converter, new_instance
from .sample_workflow import Order, Product, price

pytestmark = pytest.mark.filterwarnings("error")


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
    assert engine.instance._core.object.log == ["picked up", "delivered"]


@workflow.define
class Machine:
    """A state machine: waits for the states of `wanted`, in this order, and notes each; a second task notes every
    change."""

    def __init__(self) -> None:
        self.state = 0
        self.found: list[str] = []

    async def run(self, wanted: list[int]) -> list[str]:
        changes = asyncio.create_task(self.note_changes())
        for state in wanted:
            await workflow.wait_condition(lambda state=state: self.state == state)  # type: ignore[misc]
            self.found.append(f"found {state}")
        changes.cancel()
        return self.found

    async def note_changes(self) -> None:
        while True:
            last = self.state
            await workflow.wait_condition(lambda last=last: self.state != last)  # type: ignore[misc]
            self.found.append(f"{last} to {self.state}")

    @workflow.signal
    def move(self, state: int) -> None:
        self.state = state

    @workflow.signal
    async def move_later(self, state: int) -> None:
        await asyncio.sleep(0)
        self.state = state


MOVES = st.lists(st.tuples(st.sampled_from(["move", "move_later"]), st.integers(0, 3)), max_size=20)


def _moved(wanted: list[int], moves: list[tuple[str, int]], sizes: list[int]) -> EngineModel:
    """A machine to which the moves came in tasks of these sizes; of 1 when they have been used up."""
    engine = EngineModel(Machine, wanted)
    engine.advance()
    rest = iter(sizes)
    left = next(rest, 1)
    for name, state in moves:
        if engine.closed_by is not None:
            break
        engine.signal(name, state)
        left -= 1
        if not left:
            engine.advance()
            left = next(rest, 1)
    if engine.closed_by is None:
        engine.advance()
    return engine


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), MOVES, st.lists(st.integers(1, 8), max_size=6))
def test_messages_in_one_task_do_what_they_do_one_by_one(
    wanted: list[int], moves: list[tuple[str, int]], sizes: list[int]
) -> None:
    """Conditions are looked at after every single message: however many come in one task, no state is skipped."""
    engine = _moved(wanted, moves, sizes)
    found = engine.instance._core.object.found
    assert found == _moved(wanted, moves, []).instance._core.object.found
    states = [0, *(state for _, state in moves)]
    changes = [f"{before} to {after}" for before, after in itertools.pairwise(states) if before != after]
    noted = [one for one in found if " to " in one]
    assert noted == changes[: len(noted)], "in order, and none left out"
    assert engine.closed_by is not None or len(noted) == len(changes)
    again = new_instance(Machine)
    replay(again, engine.events)
    assert again._core.object.found == found


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
    assert engine.instance._core.object.taken == [(0, 2), (1, 1)]
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
    assert [signal.signal for signal in engine.instance._messages.unhandled] == ["unknown"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("args", [("not a date",), (None, 2)])
def test_a_signal_whose_arguments_do_not_fit_is_dropped_with_an_error(
    args: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    engine = EngineModel(Order, Product("Poke", 1299))
    engine.signal("delivered", *args)
    assert len(engine.advance()) == 1
    assert ["delivered" in record.getMessage() for record in caplog.records] == [True]


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
    assert engine.instance._core.object.numbers == other.instance._core.object.numbers
