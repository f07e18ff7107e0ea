"""Random workflow programs, and one interpreter for them: in a workflow, and in plain asyncio (see random_model.py).

A program is a list of segments, each a run of its own: between them the workflow continues as new. Every duration is a
different one, so that no two things happen at the same moment unless a test wants them to.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections import Counter
from typing import Any, Protocol

from hypothesis import strategies as st

Node = list[Any]
SLOTS = 2
ATTEMPTS = 3
slots = st.integers(0, SLOTS - 1)
salts = st.integers(0, 2**32)
used: Counter[str] = Counter()

_leaves = st.one_of(
    st.tuples(st.just("activity"), salts, st.integers(0, ATTEMPTS)),
    st.tuples(st.just("activity"), salts, st.just(0)),
    st.tuples(st.just("effect"), salts),
    st.tuples(st.just("local"), salts, st.booleans()),
    st.tuples(st.just("sleep"), salts),
    st.tuples(st.just("wait"), slots, st.integers(1, 3)),
    st.tuples(st.just("wait_for"), slots, st.integers(1, 3), salts),
    st.tuples(st.just("change"), slots),
    st.tuples(st.just("tell"), slots, salts),
    st.tuples(st.just("cancel"), slots),
    st.tuples(st.just("await"), slots),
)


def _compound(block: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(block, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("gather"), several),
        st.tuples(st.just("group"), several),
        st.tuples(st.just("first"), several),
        st.tuples(st.just("timeout"), salts, block),
        st.tuples(st.just("spawn"), slots, block),
        st.tuples(st.just("shield"), block),
        st.tuples(st.just("finally"), block, block),
        st.tuples(st.just("swallow"), block),
        st.tuples(st.just("child"), salts, block),
        st.tuples(st.just("child"), salts, block),
    )


_blocks = st.recursive(
    st.lists(_leaves, min_size=1, max_size=3),
    lambda block: st.lists(st.one_of(_leaves, _compound(block)), min_size=1, max_size=3),
    max_leaves=10,
)
_segments = st.lists(st.one_of(_leaves, _compound(_blocks)), min_size=1, max_size=4)
programs = st.lists(_segments, min_size=1, max_size=3)

messages = st.one_of(
    st.tuples(st.just("put"), slots),
    st.tuples(st.just("put"), slots),
    st.tuples(st.just("work"), slots, salts),
    st.tuples(st.just("bump"), slots, st.integers(-1, 2)),
    st.tuples(st.just("slow"), slots, salts, st.integers(0, ATTEMPTS)),
)
bursts = st.lists(st.tuples(salts, st.lists(messages, min_size=1, max_size=4)), max_size=5)
cancels = st.none() | salts
"""When the workflow is asked to cancel, if it is."""


def duration_ms(*what: Any) -> int:
    """A duration that is like no other, up to a day."""
    return int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:6], "big") % 86_400_000 + 1


_SALTED = {"activity": 1, "sleep": 1, "wait_for": 3, "tell": 2, "timeout": 1, "child": 1, "work": 2, "slow": 2}
"""Where a node, or a message, has its salt."""


def distinct(what: Any) -> Any:
    """The same program or messages as JSON, each salt another one."""
    numbers = itertools.count(1)

    def walk(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        found = [walk(item) for item in value]
        if found and isinstance(found[0], str) and found[0] in _SALTED:
            place = _SALTED[found[0]]
            found[place] = found[place] * 1000 + next(numbers)
        return found

    return walk(what)


def normal(value: Any) -> Any:
    """A trace, or what holds some, without the order of what happened at the same moment: tasks of a group are
    cancelled in the order of a set."""
    if not isinstance(value, (list, tuple)):
        return value
    found = [normal(item) for item in value]
    if all(isinstance(item, list) and len(item) == 3 and isinstance(item[0], str) for item in found):
        return sorted(found, key=lambda item: (item[2], json.dumps(item)))
    return found


class World(Protocol):
    """What a program asks for beyond asyncio."""

    path: str

    def now_ms(self) -> int: ...

    async def activity(self, ms: int, fails: int) -> str: ...

    async def effect(self, value: int) -> int: ...

    async def local(self, value: int, fails: bool) -> int: ...

    async def wait(self, fn: Any, timeout: float | None) -> Any: ...

    async def child(self, path: str, program: Any) -> Any: ...

    async def tell(self, root: str, slot: int) -> None: ...

    def refusal(self, message: str, *details: Any) -> BaseException: ...

    def kind_of(self, error: BaseException) -> str: ...


class Interpreter:
    """Goes through one segment of a program. `trace`: what happened, when, and what came of it."""

    def __init__(self, world: World, state: dict[str, Any]) -> None:
        self.world = world
        self.root: str = state["root"]
        self.slots: list[int] = state["slots"]
        self.trace: list[Any] = state["trace"]
        self.handling = 0
        self.pauses = 0
        self.tasks: list[asyncio.Task[Any] | None] = [None] * SLOTS

    def state(self) -> dict[str, Any]:
        return {"root": self.root, "slots": self.slots, "trace": self.trace}

    def note(self, what: str, came: Any) -> None:
        self.trace.append([what, came, self.world.now_ms()])

    async def block(self, nodes: Any) -> int:
        for node in nodes:
            used[node[0]] += 1
            try:
                came = await getattr(self, "_" + node[0])(*node[1:])
            except (Exception, asyncio.CancelledError) as error:
                self.note(node[0], self.world.kind_of(error))
                raise
            self.note(node[0], came)
        return len(nodes)

    # ------------------------------------------------------------ nodes

    async def _activity(self, salt: int, fails: int) -> str:
        return await self.world.activity(duration_ms(self.world.path, salt), fails)

    async def _effect(self, salt: int) -> int:
        return await self.world.effect(salt)

    async def _local(self, salt: int, fails: bool) -> int:
        return await self.world.local(salt, fails)

    async def _sleep(self, salt: int) -> None:
        await asyncio.sleep(duration_ms(self.world.path, salt) / 1000)

    async def _wait(self, slot: int, value: int) -> Any:
        return await self.world.wait(lambda: self.slots[slot] >= value, None)

    async def _wait_for(self, slot: int, value: int, salt: int) -> Any:
        timeout = duration_ms(self.world.path, salt) / 1000
        return await self.world.wait(lambda: self.slots[slot] == value, timeout)

    async def _change(self, slot: int) -> None:
        self.slots[slot] += 1

    async def _tell(self, slot: int, salt: int) -> None:
        await self.world.tell(self.root, slot)
        await self._sleep(salt)  # what the other does at this moment comes before what is next here

    async def _child(self, name: int, program: Any) -> Any:
        return await self.world.child(f"{self.world.path}/{name}", [program])

    async def _cancel(self, slot: int) -> None:
        task = self.tasks[slot]
        if task is not None:
            task.cancel()
            await self.let_others_end()

    async def let_others_end(self) -> None:
        """A child that is cancelled ends at this moment, and not after its parent has closed at the same one."""
        self.pauses += 1
        await asyncio.sleep(duration_ms(f"{self.world.path}/pause", self.pauses) / 1000)

    async def _await(self, slot: int) -> Any:
        task = self.tasks[slot]
        if task is None or task is asyncio.current_task():
            return None
        done, _ = await asyncio.wait([task])
        return len(done)

    async def _gather(self, parts: Any) -> Any:
        return list(await asyncio.gather(*map(self.block, parts)))

    async def _group(self, parts: Any) -> None:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(self.block(part))

    async def _first(self, parts: Any) -> None:
        tasks = [asyncio.create_task(self.block(part)) for part in parts]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in pending:
                task.cancel()
        if pending:
            await self.let_others_end()
        for task in tasks:
            if task in done:
                await task

    async def _timeout(self, salt: int, part: Any) -> int:
        async with asyncio.timeout(duration_ms(self.world.path, salt) / 1000):
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
            return self.world.kind_of(error)

    # ------------------------------------------------------------ messages

    def put(self, slot: int) -> None:
        self.slots[slot] += 1
        self.note("put", slot)

    async def work(self, slot: int, salt: int) -> None:
        self.note("work", await self._activity(salt, 0))
        self.slots[slot] += 1

    def check_bump(self, slot: int, by: int) -> None:
        if by < 0:
            raise self.world.refusal("not below 0")

    def bump(self, slot: int, by: int) -> int:
        self.slots[slot] += by
        self.note("bump", by)
        return self.slots[slot]

    async def slow(self, slot: int, salt: int, fails: int) -> str:
        came = await self._activity(salt, fails)
        self.put(slot)
        return came
