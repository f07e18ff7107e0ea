"""An asyncio event loop of a simulated process: one handle at a time, in a simulated thread, on simulated time."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from .hub import Process


class SimLoop(asyncio.AbstractEventLoop):
    """What `asyncio` needs for tasks, futures, timers and `to_thread`. A process may end between any two handles."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._hub = process.hub
        self._handles: deque[asyncio.Handle] = deque()
        self._timers: list[asyncio.TimerHandle] = []
        self._stopped = False
        self._threads = 0
        self._thread = process.spawn("loop", self._run)
        self._hub.endings.append(self._end_tasks)

    def _run(self) -> None:
        while not self._stopped:
            while self._timers and self._timers[0].when() <= self._hub.now:
                self._handles.append(heapq.heappop(self._timers))
            if self._handles:
                self._call(self._handles.popleft())
                self._hub.give_way()
            else:
                self._hub.block(self._timers[0].when() - self._hub.now if self._timers else None)

    def _call(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        asyncio._set_running_loop(self)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(None)

    # ------------------------------------------------------------ what asyncio calls

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._handles.append(handle)
        self._hub.wake(self._thread)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._hub.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, handle)
        self._hub.wake(self._thread)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is skipped when its time comes."""

    def time(self) -> float:
        return self._hub.now

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, **options)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = self.create_future()
        self._threads += 1

        def run() -> None:
            try:
                result = func(*args)
            except Exception as error:
                self.call_soon_threadsafe(self._settle, future, None, error)
            else:
                self.call_soon_threadsafe(self._settle, future, result, None)

        self._process.spawn(f"executor-{self._threads}", run)
        return future

    @staticmethod
    def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def _end_tasks(self) -> None:
        """The coroutines of a world that is over. What they do about it fails, as there is nobody to do it; as
        garbage they would say so on stderr."""
        for task in asyncio.all_tasks(self):
            coroutine: Any = task.get_coro()
            while coroutine.cr_frame is not None:  # one that waits for its tasks first is not closed by one attempt
                with contextlib.suppress(BaseException):
                    coroutine.close()

    def stop(self) -> None:
        self._stopped = True
        self._hub.wake(self._thread)

    def is_running(self) -> bool:
        return not self._stopped

    def is_closed(self) -> bool:
        return self._stopped

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._process.alive and not self._stopped:
            error = context.get("exception")
            self._hub.errors.append(f"event loop of {self._process.name}: {context.get('message')}: {error!r}")
