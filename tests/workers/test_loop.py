"""What the workflow loop does, and what it refuses."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import math
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from odradek._loop import WorkflowFuture, WorkflowTask
from odradek._loop_refused import RefusedCalls
from odradek.errors import NonDeterministicCallError, ReadOnlyError, WorkflowTaskError

from .loop_harness import VirtualTime

pytestmark = pytest.mark.filterwarnings("error")


def run(coro: Coroutine[Any, Any, Any]) -> Any:
    virtual = VirtualTime()
    try:
        return virtual.run(coro)
    finally:
        virtual.loop.close()


# ---------------------------------------------------------------- timers


def test_a_sleep_is_one_durable_timer() -> None:
    virtual = VirtualTime()
    virtual.loop.set_time(1_700_000_000.0)

    async def main() -> float:
        await asyncio.sleep(60)
        return asyncio.get_running_loop().time()

    assert virtual.run(main()) == 1_700_000_060.0
    assert virtual.started == [60]
    assert virtual.cancelled == []


def test_a_timeout_that_is_not_needed_is_cancelled() -> None:
    virtual = VirtualTime()

    async def main() -> None:
        async with asyncio.timeout(60):
            await asyncio.sleep(1)

    virtual.run(main())
    assert virtual.started == [60, 1]
    assert virtual.cancelled == [1]


def test_a_cancelled_sleep_cancels_its_timer_once_and_late_firing_is_ignored() -> None:
    virtual = VirtualTime()
    task = virtual.start(asyncio.sleep(60))
    with virtual.loop:
        task.cancel()
    virtual.loop.run_ready()
    assert task.cancelled()
    assert virtual.cancelled == [1]
    assert virtual.loop.fire_timer(1) is False


def test_no_delay_makes_no_timer() -> None:
    virtual = VirtualTime()

    async def main() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(-1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0)
        done, pending = await asyncio.wait([asyncio.create_task(asyncio.sleep(0))], timeout=0)
        return f"{len(done)} {len(pending)}"

    assert virtual.run(main()) == "1 0"
    assert virtual.started == []


def test_an_endless_sleep_needs_no_timer() -> None:
    virtual = VirtualTime()
    task = virtual.start(asyncio.sleep(math.inf))
    assert not task.done()
    assert virtual.started == []
    virtual.loop.close()


def test_time_never_goes_back() -> None:
    virtual = VirtualTime()
    virtual.loop.set_time(5)
    virtual.loop.set_time(4)
    assert virtual.loop.time() == 5


# ---------------------------------------------------------------- order


def test_tasks_and_futures_hash_by_order_and_names_are_the_workflows_own() -> None:
    def program() -> list[Any]:
        async def main() -> list[Any]:
            made: list[Any] = [asyncio.create_task(asyncio.sleep(0)) for _ in range(3)]
            made.append(asyncio.get_running_loop().create_future())
            return [asyncio.current_task().get_name(), *map(hash, made), [t.get_name() for t in made[:3]]]  # type: ignore[union-attr]

        return run(main())  # type: ignore[no-any-return]

    first = program()
    assert first == program()
    assert first[0] == "Task-1"
    assert first[-1] == ["Task-2", "Task-3", "Task-4"]
    assert [value - first[1] for value in first[1:5]] == [0, 1, 2, 3]


def test_hashes_of_different_workflows_are_apart_but_order_alike() -> None:
    async def main() -> list[str]:
        return [t.get_name() for t in {asyncio.create_task(asyncio.sleep(0)) for _ in range(50)}]

    one, two = VirtualTime("run-1"), VirtualTime("run-2")
    first, second = one.start(main()), two.start(main())
    assert hash(first) != hash(second)
    assert first.result() == second.result()


def test_as_completed_starts_coroutines_in_the_order_given() -> None:
    async def main() -> list[Any]:
        started = []

        async def step(number: int) -> int:
            started.append(number)
            return number

        keep: list[Any] = []  # scatters the addresses of the coroutines
        given: list[Coroutine[Any, Any, int]] = []
        for number in range(40):
            given.append(step(number))
            keep.append([object() for _ in range(number * 7 % 11)])
        results = [await one for one in asyncio.as_completed(given)]
        assert sorted(results) == list(range(40))
        return started

    assert run(main()) == list(range(40))


def test_as_completed_of_mixed_and_of_repeated_awaitables() -> None:
    async def main() -> list[int]:
        async def step(number: int) -> int:
            return number

        repeated = step(1)
        task = asyncio.create_task(step(0))
        given: dict[Awaitable[int], None] = dict.fromkeys([repeated, task, step(2)])
        return [await one for one in asyncio.as_completed([*given, repeated])]

    assert sorted(run(main())) == [0, 1, 2]


@pytest.mark.parametrize("kind", [set, iter])
def test_as_completed_without_an_order_is_refused(kind: Callable[[Any], Any]) -> None:
    async def main() -> None:
        given = [asyncio.sleep(0), asyncio.sleep(0)]
        try:
            with pytest.raises(NonDeterministicCallError, match="give it a list"):
                for one in asyncio.as_completed(kind(given)):
                    await one
        finally:
            for coro in given:
                coro.close()

    run(main())


def test_wait_of_futures_without_an_order_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(NonDeterministicCallError, match="give it tasks"):
            await asyncio.wait([asyncio.gather(asyncio.sleep(0))])

    run(main())


def test_all_tasks_is_refused_to_the_workflow_only() -> None:
    virtual = VirtualTime()

    async def main() -> None:
        if sys.version_info < (3, 14):
            with pytest.raises(NonDeterministicCallError, match="list"):
                asyncio.all_tasks()
        await asyncio.sleep(1)

    task = virtual.start(main())
    assert asyncio.all_tasks(virtual.loop) == {task}

    async def outside() -> int:
        return len(asyncio.all_tasks())

    assert asyncio.run(outside()) == 1
    virtual.loop.close()


# ---------------------------------------------------------------- refused

REFUSED: dict[str, Callable[[], Awaitable[Any]]] = {
    "to_thread": lambda: asyncio.to_thread(print),
    "open_connection": lambda: asyncio.open_connection("127.0.0.1", 9),
    "start_server": lambda: asyncio.start_server(print, "127.0.0.1", 0),
    "create_subprocess_exec": lambda: asyncio.create_subprocess_exec("true"),
    "create_subprocess_shell": lambda: asyncio.create_subprocess_shell("true"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_replay_could_not_repeat_is_refused(name: str) -> None:
    async def main() -> None:
        with pytest.raises(NonDeterministicCallError, match="activity"):
            await REFUSED[name]()

    run(main())


def test_each_refused_method_says_what_to_use() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        refused = [name for name in vars(RefusedCalls) if not name.startswith("__")]
        assert len(refused) > 40
        for name in refused:
            hint = "activity|workflow|await"
            with pytest.raises(NonDeterministicCallError, match=rf"loop\.{name}\(\) does not work .*: .*({hint})"):
                getattr(loop, name)()

    run(main())


def test_every_method_of_the_event_loop_is_there() -> None:
    missing = [
        name
        for name, method in vars(asyncio.AbstractEventLoop).items()
        if callable(method) and getattr(VirtualTime().loop.__class__, name) is method and not name.startswith("__")
    ]
    assert missing == []


def test_signal_handlers_executors_and_running_the_loop_are_refused() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for call in (
            lambda: loop.add_signal_handler(1, print),
            lambda: loop.run_in_executor(None, print),
            lambda: loop.add_reader(0, print),
            lambda: loop.run_until_complete(asyncio.sleep(0)),
            lambda: loop.set_task_factory(None),
            loop.stop,
        ):
            with pytest.raises(NonDeterministicCallError):
                call()

    run(main())


def test_another_thread_cannot_reach_in() -> None:
    virtual = VirtualTime()
    errors: list[BaseException] = []

    def reach_in() -> None:
        try:
            virtual.loop.call_soon_threadsafe(print)
        except NonDeterministicCallError as error:
            errors.append(error)

    async def main() -> None:
        thread = threading.Thread(target=reach_in)
        thread.start()
        thread.join()
        asyncio.get_running_loop().call_soon_threadsafe(errors.append, ValueError())  # its own thread may
        await asyncio.sleep(0)

    virtual.run(main())
    assert [type(error) for error in errors] == [NonDeterministicCallError, ValueError]


def test_a_future_of_a_thread_is_refused() -> None:
    virtual = VirtualTime()
    other: concurrent.futures.Future[int] = concurrent.futures.Future()

    async def main() -> int:
        return await asyncio.wrap_future(other)

    task = virtual.start(main())
    with pytest.raises(NonDeterministicCallError):
        virtual.loop.call_soon_threadsafe(print)
    assert not task.done()
    virtual.loop.close()


def test_nothing_can_be_started_while_read_only() -> None:
    virtual = VirtualTime()
    loop = virtual.loop
    queue: asyncio.Queue[int] = asyncio.Queue()
    getter = virtual.start(queue.get())
    loop.read_only = True
    calls: list[Callable[[], Any]] = [
        lambda: asyncio.create_task(asyncio.sleep(0)),
        lambda: loop.call_soon(print),
        lambda: loop.call_later(1, print),
        lambda: queue.put_nowait(1),
    ]
    with loop:
        for call in calls:
            with pytest.raises(ReadOnlyError):
                call()
    assert not getter.done()
    loop.read_only = False
    loop.close()


# ---------------------------------------------------------------- bounds and errors


def test_an_endless_loop_is_found() -> None:
    virtual = VirtualTime(max_iterations=1000)

    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(WorkflowTaskError, match="1000 iterations") as caught:
        virtual.start(main())
    assert caught.value.cause == "blocked"
    virtual.loop.close()


def test_the_bound_is_of_one_run() -> None:
    virtual = VirtualTime(max_iterations=50)

    async def main() -> int:
        for _ in range(5):
            for _ in range(40):
                await asyncio.sleep(0)
            await asyncio.sleep(1)
        return 1

    assert virtual.run(main()) == 1


def test_an_exception_of_a_background_task_is_told_once() -> None:
    virtual = VirtualTime()

    async def fail() -> None:
        raise KeyError("x")

    async def main() -> None:
        asyncio.create_task(fail())  # noqa: RUF006
        await asyncio.sleep(1)

    virtual.run(main())
    gc.collect()
    assert [repr(context["exception"]) for context in virtual.exceptions] == ["KeyError('x')"]


def test_an_exception_of_a_background_task_is_not_told_on_replay() -> None:
    virtual = VirtualTime()
    virtual.loop.quiet = True

    async def fail() -> None:
        raise KeyError("x")

    async def main() -> None:
        asyncio.create_task(fail())  # noqa: RUF006
        await asyncio.sleep(1)

    task = virtual.start(main())
    virtual.loop.quiet = False
    virtual.fire_next()
    gc.collect()
    assert task.done()
    assert virtual.exceptions == []


def test_halt_runs_nothing_more() -> None:
    virtual = VirtualTime()
    ran: list[int] = []

    async def main() -> None:
        virtual.loop.call_soon(ran.append, 1)
        virtual.loop.halt()

    virtual.start(main())
    assert ran == []
    virtual.loop.close()


# ---------------------------------------------------------------- inside of another loop


def test_it_runs_inside_of_a_running_loop() -> None:
    async def inner() -> str:
        assert asyncio.current_task().get_name() == "Task-1"  # type: ignore[union-attr]
        await asyncio.sleep(3600)
        return "done"

    async def outer() -> str:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        hooks = sys.get_asyncgen_hooks()
        result: str = run(inner())
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is task
        assert sys.get_asyncgen_hooks() == hooks
        await asyncio.sleep(0)
        return result

    assert asyncio.run(outer()) == "done"


def test_no_loop_is_running_between_runs() -> None:
    virtual = VirtualTime()
    virtual.start(asyncio.sleep(1))
    assert asyncio._get_running_loop() is None
    assert not virtual.loop.is_running()
    virtual.loop.close()


def test_context_variables_are_those_of_the_task() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def child() -> int:
        variable.set(variable.get() + 1)
        await asyncio.sleep(1)
        return variable.get()

    async def main() -> list[int]:
        variable.set(10)
        return [*await asyncio.gather(child(), child()), variable.get()]

    assert run(main()) == [11, 11, 10]
    assert variable.get() == 0


def test_futures_and_tasks_are_asyncios() -> None:
    async def main() -> None:
        assert isinstance(asyncio.current_task(), WorkflowTask)
        assert isinstance(asyncio.get_running_loop().create_future(), WorkflowFuture)

    run(main())
