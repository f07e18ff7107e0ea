"""Random programs end alike on the WorkflowLoop and on asyncio's own loop: the same trace, the same times."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odradek._loop import Discarded

from .loop_harness import Deadlock, VirtualTime, run_on_asyncio

Node = tuple[Any, ...]
SLOTS = 3  # tasks, locks, queues, events, conditions... each program has so many of each
slots = st.integers(0, SLOTS - 1)
moments = st.integers(1, 40)
policies = st.sampled_from([asyncio.ALL_COMPLETED, asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION])

leaves = st.one_of(
    st.tuples(st.just("sleep"), moments),
    st.tuples(st.just("yield")),
    st.tuples(st.just("raise"), slots),
    st.tuples(st.just("await"), slots),
    st.tuples(st.just("cancel"), slots),
    st.tuples(st.just("cancel_self")),
    st.tuples(st.just("put"), slots),
    st.tuples(st.just("get"), slots),
    st.tuples(st.just("set"), slots),
    st.tuples(st.just("clear"), slots),
    st.tuples(st.just("wait_event"), slots),
    st.tuples(st.just("notify"), slots),
    st.tuples(st.just("wait_condition"), slots),
    st.tuples(st.just("barrier"), slots),
    st.tuples(st.just("wait"), st.lists(slots, min_size=1, max_size=3), policies, st.none() | st.integers(0, 20)),
)


def _compound(block: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    blocks = st.lists(block, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("gather"), blocks, st.booleans()),
        st.tuples(st.just("group"), blocks),
        st.tuples(st.just("timeout"), st.integers(0, 40), block),
        st.tuples(st.just("wait_for"), st.integers(0, 40), block),
        st.tuples(st.just("spawn"), slots, block),
        st.tuples(st.just("shield"), block),
        st.tuples(st.just("lock"), slots, block),
        st.tuples(st.just("semaphore"), slots, block),
        st.tuples(st.just("as_completed"), blocks, st.none() | st.integers(1, 20)),
        st.tuples(st.just("finally"), block, block),
        st.tuples(st.just("swallow"), block),
    )


blocks = st.recursive(
    st.lists(leaves, min_size=1, max_size=4),
    lambda block: st.lists(st.one_of(leaves, _compound(block)), min_size=1, max_size=4),
    max_leaves=25,
)
programs = st.lists(st.one_of(_compound(blocks), leaves), min_size=2, max_size=6)


def shape(error: BaseException) -> Any:
    """An error as a value that can be compared."""
    if isinstance(error, BaseExceptionGroup):
        return type(error).__name__, [shape(one) for one in error.exceptions]
    return type(error).__name__, str(error) if isinstance(error, KeyError) else ""


class Interpreter:
    """Runs a program on whatever loop is running, and writes down all that can be seen of it."""

    def __init__(self) -> None:
        self.trace: list[Any] = []
        self.over = False
        self.used: Counter[str] = Counter()
        self._nodes = itertools.count(1)
        self._tasks: list[asyncio.Task[Any] | None] = [None] * SLOTS

    def _open(self) -> None:
        self._locks = [asyncio.Lock() for _ in range(SLOTS)]
        self._semaphores = [asyncio.Semaphore(2) for _ in range(SLOTS)]
        self._queues: list[asyncio.Queue[int]] = [asyncio.Queue(size) for size in range(SLOTS)]
        self._events = [asyncio.Event() for _ in range(SLOTS)]
        self._conditions = [asyncio.Condition() for _ in range(SLOTS)]
        self._barriers = [asyncio.Barrier(2) for _ in range(SLOTS)]

    async def main(self, program: list[Node]) -> None:
        self._open()
        try:
            await self.block(program)
        except BaseException as error:
            if self.over:
                raise
            self._see("main", shape(error))
        try:
            await asyncio.sleep(self._seconds(1000))  # what was spawned may end
        finally:
            self.stop()

    async def block(self, nodes: list[Node]) -> int:
        for node in nodes:
            number = next(self._nodes)
            self.used[node[0]] += 1
            self._see(number, "begins", node[0])
            try:
                result = await getattr(self, "_" + node[0])(*node[1:])
            except Discarded:
                raise
            except BaseException as error:
                self._see(number, "raises", shape(error))
                raise
            self._see(number, "ends", result)
        return len(nodes)

    def stop(self) -> None:
        """The run has ended; what its tasks do while they are thrown away does not count."""
        self.over = True

    def _see(self, *what: Any) -> None:
        if self.over:
            return
        self.trace.append((*what, round(asyncio.get_running_loop().time(), 6)))

    def _seconds(self, whole: int) -> float:
        """A duration that, added to others, gives a moment that nothing else falls on."""
        return 0 if whole == 0 else whole + math.sin(next(self._nodes)) * 1e4 % 1

    async def _sleep(self, moment: int) -> Any:
        return await asyncio.sleep(self._seconds(moment), moment)

    async def _yield(self) -> None:
        await asyncio.sleep(0)

    async def _raise(self, slot: int) -> None:
        raise KeyError(slot)

    async def _await(self, slot: int) -> Any:
        task = self._tasks[slot]
        return None if task is None else await task

    async def _cancel(self, slot: int) -> Any:
        task = self._tasks[slot]
        return None if task is None else task.cancel()

    async def _cancel_self(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def _put(self, slot: int) -> int:
        await self._queues[slot].put(len(self.trace))
        return self._queues[slot].qsize()

    async def _get(self, slot: int) -> int:
        return await self._queues[slot].get()

    async def _set(self, slot: int) -> None:
        self._events[slot].set()

    async def _clear(self, slot: int) -> None:
        self._events[slot].clear()

    async def _wait_event(self, slot: int) -> bool:
        return await self._events[slot].wait()

    async def _notify(self, slot: int) -> None:
        async with self._conditions[slot] as _:
            self._conditions[slot].notify(1)

    async def _wait_condition(self, slot: int) -> bool:
        async with self._conditions[slot]:
            return await self._conditions[slot].wait()

    async def _barrier(self, slot: int) -> int:
        return await self._barriers[slot].wait()

    async def _wait(self, wanted: list[int], return_when: str, timeout: int | None) -> Any:
        chosen = [task for slot in wanted if (task := self._tasks[slot]) is not None]
        if not chosen:
            return None
        seconds = None if timeout is None else self._seconds(timeout)
        done, pending = await asyncio.wait(chosen, return_when=return_when, timeout=seconds)
        return [self._tasks.index(task) for task in done], [self._tasks.index(task) for task in pending]

    async def _gather(self, parts: list[Any], return_exceptions: bool) -> Any:
        results = await asyncio.gather(*map(self.block, parts), return_exceptions=return_exceptions)
        return [shape(one) if isinstance(one, BaseException) else one for one in results]

    async def _group(self, parts: list[Any]) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.block(part)) for part in parts]
        return [task.result() for task in tasks]

    async def _timeout(self, moment: int, part: Any) -> int:
        async with asyncio.timeout(self._seconds(moment)):
            return await self.block(part)

    async def _wait_for(self, moment: int, part: Any) -> int:
        return await asyncio.wait_for(self.block(part), self._seconds(moment))

    async def _spawn(self, slot: int, part: Any) -> str:
        task = self._tasks[slot] = asyncio.create_task(self.block(part), name=f"slot-{slot}")
        return task.get_name()

    async def _shield(self, part: Any) -> int:
        return await asyncio.shield(self.block(part))

    async def _lock(self, slot: int, part: Any) -> int:
        async with self._locks[slot]:
            return await self.block(part)

    async def _semaphore(self, slot: int, part: Any) -> int:
        async with self._semaphores[slot]:
            return await self.block(part)

    async def _as_completed(self, parts: list[Any], timeout: int | None) -> Any:
        tasks = [asyncio.create_task(self.block(part)) for part in parts]
        seconds = None if timeout is None else self._seconds(timeout)
        return [await one for one in asyncio.as_completed(tasks, timeout=seconds)]

    async def _finally(self, part: Any, last: Any) -> int:
        try:
            return await self.block(part)
        finally:
            await self.block(last)

    async def _swallow(self, part: Any) -> Any:
        try:
            return await self.block(part)
        except Discarded:
            raise
        except BaseException as error:
            return shape(error)


def run(program: list[Node], on: Callable[[Any, Callable[[], None]], None]) -> Interpreter:
    interpreter = Interpreter()
    try:
        on(interpreter.main(program), interpreter.stop)
    except Deadlock:
        interpreter.trace.append("deadlock")
    except asyncio.CancelledError:
        interpreter.trace.append("cancelled")
    return interpreter


def run_in_workflow(coro: Any, at_end: Callable[[], None]) -> None:
    virtual = VirtualTime()
    try:
        virtual.run(coro)
    finally:
        at_end()
        virtual.loop.close()


used: Counter[str] = Counter()


@pytest.mark.filterwarnings("error")  # throwing a workflow away makes no noise
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs)
def test_random_programs_end_alike(program: list[Node]) -> None:
    ours = run(program, run_in_workflow)
    theirs = run(program, run_on_asyncio)
    assert ours.trace == theirs.trace
    used.update(ours.used)


def test_the_random_programs_used_everything() -> None:
    kinds = {name[1:] for name in vars(Interpreter) if name.startswith("_") and not name.startswith("__")}
    kinds -= {"open", "see", "seconds", "nodes", "tasks"}
    assert not {kind for kind in kinds if used[kind] < 20}, used
