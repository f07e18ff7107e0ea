"""Garbage collection does not touch a workflow, and throwing one away is quiet."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from odradek._loop import _open

from .loop_harness import VirtualTime

pytestmark = pytest.mark.filterwarnings("error")


def test_garbage_collection_does_not_touch_waiting_tasks() -> None:
    virtual = VirtualTime()
    ends = []

    async def lost() -> None:
        try:
            await asyncio.get_running_loop().create_future()  # a cycle that only this task keeps alive
        finally:
            ends.append("lost")

    async def main() -> None:
        asyncio.create_task(lost())  # noqa: RUF006
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(1)

    virtual.run(main())
    gc.collect()
    assert ends == []
    virtual.loop.close()
    assert ends == ["lost"]


def test_garbage_collection_does_not_end_async_generators() -> None:
    virtual = VirtualTime()
    ends = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(1)
            ends.append("after an await")

    async def main() -> None:
        async for _ in numbers():
            break
        gc.collect()
        await asyncio.sleep(1)

    virtual.run(main())
    gc.collect()
    assert virtual.started == [1]
    assert ends == []
    virtual.loop.close()
    assert ends == []
    assert virtual.started == [1]


def test_generators_that_ended_are_let_go() -> None:
    virtual = VirtualTime()

    async def numbers() -> AsyncIterator[int]:
        yield 1

    async def main() -> None:
        for _ in range(1000):
            async for _ in numbers():
                pass

    virtual.run(main())
    assert len(virtual.loop._generators) <= 16


def test_closing_is_quiet_in_order_and_asks_for_nothing(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    virtual = VirtualTime()
    ends: list[str] = []

    async def stubborn(name: str) -> None:
        try:
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(5))
                await asyncio.Event().wait()
        finally:
            ends.append(name)
            asyncio.create_task(asyncio.sleep(1))  # noqa: RUF006
            await asyncio.gather(asyncio.sleep(2), asyncio.to_thread(print, "never"))
            ends.append("never")

    async def main() -> None:
        await asyncio.gather(*[stubborn(f"{number}") for number in range(5)])

    task = virtual.start(main())
    started, cancelled = len(virtual.started), len(virtual.cancelled)
    virtual.loop.close()
    virtual.loop.close()
    del task
    gc.collect()
    assert ends == ["0", "1", "2", "3", "4"]
    assert (len(virtual.started), len(virtual.cancelled)) == (started, cancelled)
    assert virtual.exceptions == []
    assert caplog.records == []
    assert capsys.readouterr() == ("", "")


def test_closing_ends_coroutines_from_the_innermost_out_and_leaves_none() -> None:
    virtual = VirtualTime()
    ends: list[str] = []

    async def inner() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            ends.append("inner")
            await asyncio.sleep(2)
            ends.append("never")

    async def outer() -> None:
        try:
            await inner()
        finally:
            ends.append("outer")
            await asyncio.sleep(3)

    virtual.start(outer())
    virtual.loop.close()
    assert ends == ["inner", "outer"]
    gc.collect()  # with warnings as errors: nothing is left to be ended now
    assert virtual.started == [1]


def test_a_loop_that_is_not_closed_is_not_ended_by_the_garbage_collector() -> None:
    ends: list[str] = []

    async def main() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            ends.append("ended")

    def drop() -> int:
        virtual = VirtualTime()
        virtual.start(main())
        return id(virtual.loop)

    dropped = drop()
    gc.collect()
    assert ends == []
    (loop,) = [loop for loop in _open if id(loop) == dropped]
    loop.close()
    assert ends == ["ended"]
    assert loop not in _open


def test_what_refuses_to_end_is_kept_rather_than_left_to_the_garbage_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Coroutine[Any, Any, None]] = []
    monkeypatch.setattr("odradek._loop._unclosable", kept)
    virtual = VirtualTime()
    refusing = True

    async def main() -> None:
        while refusing:
            with contextlib.suppress(BaseException):
                await asyncio.sleep(0 if kept else 1)

    task = virtual.start(main())
    virtual.loop.close()
    assert kept == [task.get_coro()]
    refusing = False
    kept[0].close()


def test_a_closed_workflow_is_freed() -> None:
    virtual = VirtualTime()

    class Held:
        pass

    held = Held()
    reference = weakref.ref(held)

    async def main(held: Held) -> None:
        await asyncio.gather(*[asyncio.sleep(number) for number in range(1, 5)])

    virtual.start(main(held))
    virtual.loop.close()
    del held
    gc.collect()
    assert reference() is None


def test_the_code_of_a_workflow_cannot_close_its_loop() -> None:
    virtual = VirtualTime()

    async def main() -> None:
        virtual.loop.close()

    with pytest.raises(RuntimeError):
        virtual.run(main())
