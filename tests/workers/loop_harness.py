"""Two ways to run the same coroutine: on a WorkflowLoop with a virtual clock, and on asyncio's own loop with one."""

from __future__ import annotations

import asyncio
import itertools
import selectors
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

from odradek._loop import WorkflowFuture, WorkflowLoop, WorkflowTask, _discard


class Deadlock(Exception):
    """Nothing is ready and no timer is pending, and the coroutine has not ended."""


class VirtualTime:
    """Hooks of a WorkflowLoop whose timers fire one by one, in the order of their due times."""

    def __init__(self, seed: str = "run", **settings: Any) -> None:
        self.loop = WorkflowLoop(self, seed=seed, **settings)
        self.due: dict[int, float] = {}
        self.started: list[float] = []
        self.cancelled: list[int] = []
        self.exceptions: list[dict[str, Any]] = []

    def start_timer(self, delay: float) -> int:
        self.started.append(delay)
        self.due[len(self.started)] = self.loop.time() + delay
        return len(self.started)

    def cancel_timer(self, seq: int) -> None:
        self.cancelled.append(seq)
        del self.due[seq]

    def unhandled(self, context: dict[str, Any]) -> None:
        self.exceptions.append(context)

    def start(self, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        with self.loop:
            task = self.loop.create_task(coro)
            self.loop.run_ready()
        return task

    def fire_next(self) -> None:
        seq = min(self.due, key=lambda seq: (self.due[seq], seq))
        self.loop.set_time(self.due.pop(seq))
        assert self.loop.fire_timer(seq)
        self.loop.run_ready()

    def run(self, coro: Coroutine[Any, Any, Any]) -> Any:
        task = self.start(coro)
        while not task.done():
            if not self.due:
                raise Deadlock
            self.fire_next()
        return task.result()


class _VirtualSelector(selectors.SelectSelector):
    """Moves the clock instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Deadlock
        self.now += timeout
        return []


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop on a virtual clock, with tasks and futures that hash by the order they were made in."""

    def __init__(self, selector: Any = None) -> None:
        self._virtual = selector or _VirtualSelector()
        self._orders = itertools.count(1)
        super().__init__(self._virtual)
        self.set_task_factory(self._make_task)
        self.set_exception_handler(lambda loop, context: None)

    @staticmethod
    def _make_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        assert isinstance(loop, VirtualClockLoop)
        return WorkflowTask(next(loop._orders), coro, loop=loop, **options)

    def create_future(self) -> asyncio.Future[Any]:
        return WorkflowFuture(next(self._orders), self)

    def time(self) -> float:
        now: float = self._virtual.now
        return now


def run_on_asyncio(coro: Coroutine[Any, Any, Any], at_end: Callable[[], None]) -> Any:
    loop = VirtualClockLoop()
    try:
        return loop.run_until_complete(coro)
    finally:
        at_end()
        discard_tasks(loop)
        loop.close()


def discard_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Throw away what has not ended on asyncio's own loop."""
    asyncio._set_running_loop(loop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # asyncio's way of ending them is not what is tested
        ended: set[asyncio.Task[Any]] = set()
        while left := asyncio.all_tasks(loop) - ended:  # ending one may make others
            ended |= left
            for task in left:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                unfinished = task.get_coro()
                assert unfinished is not None
                _discard(unfinished)
    asyncio._set_running_loop(None)
