"""Random workflows with random inputs in random batches: every prefix of their history replays to the same commands,
and a changed program is found out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odradek import workflow
from odradek._definitions import WorkflowDefinition, definition_of
from odradek._replay import replay
from odradek.errors import ApplicationError, NonDeterminismError, WorkflowTaskError

from .engine_model import EngineModel, new_instance

Node = tuple[Any, ...]
SLOTS = 2
slots = st.integers(0, SLOTS - 1)
seconds = st.integers(1, 9)
used: Counter[str] = Counter()

leaves = st.one_of(
    st.tuples(st.just("activity"), st.integers(0, 10**6)),
    st.tuples(st.just("activity"), st.integers(0, 10**6)),
    st.tuples(st.just("sleep"), seconds),
    st.tuples(st.just("yield")),
    st.tuples(st.just("wait_state"), slots, st.integers(1, 3), st.none() | seconds),
    st.tuples(st.just("change_state"), slots),
    st.tuples(st.just("chance")),
    st.tuples(st.just("cancel"), slots),
    st.tuples(st.just("await"), slots),
)


def _compound(block: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    blocks = st.lists(block, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("gather"), blocks),
        st.tuples(st.just("group"), blocks),
        st.tuples(st.just("first"), blocks),
        st.tuples(st.just("as_completed"), blocks),
        st.tuples(st.just("timeout"), seconds, block),
        st.tuples(st.just("spawn"), slots, block),
        st.tuples(st.just("shield"), block),
        st.tuples(st.just("finally"), block, block),
        st.tuples(st.just("swallow"), block),
    )


blocks = st.recursive(
    st.lists(leaves, min_size=1, max_size=3),
    lambda block: st.lists(st.one_of(leaves, _compound(block)), min_size=1, max_size=3),
    max_leaves=15,
)
programs = st.lists(st.one_of(leaves, _compound(blocks)), min_size=2, max_size=5)


class Interpreter:
    """A workflow whose `run` goes through a program."""

    program: list[Node] = []
    renamed: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.trace: list[Any] = []
        self.state = [0] * SLOTS
        self.tasks: list[asyncio.Task[Any] | None] = [None] * SLOTS

    async def run(self) -> int:
        await self.block(self.program)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return len(self.trace)

    async def block(self, nodes: list[Node]) -> int:
        for node in nodes:
            used[node[0]] += 1
            try:
                result = await getattr(self, "_" + node[0])(*node[1:])
            except (Exception, asyncio.CancelledError) as error:
                self.trace.append((node[0], type(error).__name__, workflow.time()))
                raise
            self.trace.append((node[0], result, workflow.time()))
        return len(nodes)

    def activity(self, name: str) -> Coroutine[Any, Any, Any]:
        return workflow.execute_activity("renamed" if name in self.renamed else name)

    async def _activity(self, number: int) -> Any:
        return await self.activity(f"activity {number}")

    async def _sleep(self, moment: int) -> None:
        await asyncio.sleep(moment)

    async def _yield(self) -> None:
        await asyncio.sleep(0)

    async def _wait_state(self, slot: int, value: int, timeout: int | None) -> Any:
        return await workflow.wait_condition(lambda: self.state[slot] == value, timeout)

    async def _change_state(self, slot: int) -> None:
        self.state[slot] += 1

    async def _chance(self) -> Any:
        return await self.activity(f"chance {workflow.random().randrange(3)} {workflow.uuid4()}")

    async def _cancel(self, slot: int) -> None:
        task = self.tasks[slot]
        if task is not None:
            task.cancel()

    async def _await(self, slot: int) -> Any:
        task = self.tasks[slot]
        if task is None or task is asyncio.current_task():
            return None
        done, _ = await asyncio.wait([task])
        return [one.get_name() for one in done]

    async def _gather(self, parts: list[Any]) -> Any:
        return await asyncio.gather(*map(self.block, parts))

    async def _group(self, parts: list[Any]) -> None:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(self.block(part))

    async def _first(self, parts: list[Any]) -> None:
        tasks = [asyncio.create_task(self.block(part)) for part in parts]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            await task

    async def _as_completed(self, parts: list[Any]) -> list[int]:
        return [await one for one in asyncio.as_completed([self.block(part) for part in parts])]

    async def _timeout(self, moment: int, part: Any) -> int:
        async with asyncio.timeout(moment):
            return await self.block(part)

    async def _spawn(self, slot: int, part: Any) -> None:
        self.tasks[slot] = asyncio.create_task(self.block(part))

    async def _shield(self, part: Any) -> int:
        return await asyncio.shield(self.block(part))

    async def _finally(self, part: Any, last: Any) -> int:
        try:
            return await self.block(part)
        finally:
            await self.block(last)

    async def _swallow(self, part: Any) -> Any:
        try:
            return await self.block(part)
        except (Exception, asyncio.CancelledError) as error:
            return type(error).__name__

    @workflow.signal
    def put(self, slot: int) -> None:
        self.state[slot] += 1

    @workflow.signal
    async def work(self, slot: int) -> None:
        await self.activity(f"work {slot}")
        self.state[slot] += 1


def make(program: list[Node], renamed: str | None = None) -> WorkflowDefinition:
    names = frozenset() if renamed is None else frozenset([renamed])
    body = {"program": program, "renamed": names, "run": Interpreter.run}
    return definition_of(workflow.define(name="Random")(type("Random", (Interpreter,), body)))


def drive(engine: EngineModel, data: st.DataObject) -> None:
    """Give the workflow random inputs until it has ended, or enough."""
    cancelled = False
    for _ in range(30):
        try:
            unread = len(engine.unread)
            count = data.draw(st.integers(min(1, unread), unread), "inputs in the task")
            local = (
                data.draw(st.lists(st.sampled_from(sorted(engine.activities)), max_size=1)) if engine.activities else []
            )
            engine.advance(count, local=local)
        except WorkflowTaskError:
            return
        if engine.closed_by is not None:
            return
        for _ in range(data.draw(st.integers(0 if engine.unread else 1, 4), "new inputs")):
            choices = ["put", "work"] + ["cancel"] * (not cancelled)
            choices += ["complete", "complete", "complete", "fail"] * bool(engine.activities)
            choices += ["fire", "fire"] * bool(engine.timers)
            choice = data.draw(st.sampled_from(choices))
            cancelled |= choice == "cancel"
            give(engine, choice, data)


def give(engine: EngineModel, choice: str, data: st.DataObject) -> None:
    engine.now_ms += 7
    match choice:
        case "put" | "work":
            engine.signal(choice, data.draw(slots))
        case "cancel":
            engine.cancel()
        case "complete":
            engine.complete(data.draw(st.sampled_from(sorted(engine.activities))), engine.now_ms)
        case "fail":
            engine.fail(data.draw(st.sampled_from(sorted(engine.activities))), ApplicationError("no"))
        case "fire":
            engine.fire_next()


totals: Counter[str] = Counter()


@pytest.mark.timeout(400)  # much work, on a machine that may be busy
@pytest.mark.filterwarnings("error")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs, st.data())
def test_every_prefix_of_a_random_history_replays(program: list[Node], data: st.DataObject) -> None:
    definition = make(program)
    engine = EngineModel(definition)
    drive(engine, data)
    totals[type(engine.closed_by).__name__] += 1
    totals["events"] += len(engine.events)
    for length in range(1, len(engine.events) + 1):
        again = new_instance(definition)
        replay(again, engine.events[:length])
        assert again.take_commands() == []
        if length == len(engine.events) and engine.instance._usable:
            assert again._core.object.trace == engine.instance._core.object.trace
            assert (again._core.seq, again.ended) == (engine.instance._core.seq, engine.instance.ended)
        again.close()
    scheduled = {one.name for batch in engine.events for one in getattr(batch.attributes, "commands", ()) if one.name}
    for name in sorted(scheduled)[:3]:
        totals["mutants"] += 1
        mutant = new_instance(make(program, name))
        with pytest.raises(NonDeterminismError):
            replay(mutant, engine.events)
        mutant.close()
    engine.instance.close()


def test_the_random_workflows_were_worth_it() -> None:
    kinds = {name[1:] for name in vars(Interpreter) if name.startswith("_") and not name.startswith("__")}
    assert not {kind for kind in kinds if used[kind] < 20}, used
    for kind, least in {"CompleteWorkflow": 30, "CancelledWorkflow": 10, "FailWorkflow": 10, "mutants": 100}.items():
        assert totals[kind] >= least, totals
