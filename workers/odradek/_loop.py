"""A deterministic asyncio event loop for workflow code.

It has no selector, no threads and no clock. Time is set from outside, a delay asks for a durable timer
through a hook, and `run_ready` runs what is ready until nothing is. Tasks and futures hash by the order in
which they were made, so that the sets of them inside asyncio (`wait`, `TaskGroup`, `as_completed`) and in
workflow code have the same order on every replay and under every PYTHONHASHSEED.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import itertools
import math
import sys
import threading
import zlib
from asyncio import events, futures, tasks
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, KeysView, Mapping, Sequence, ValuesView
from types import CodeType, FrameType, TracebackType
from typing import Any, Protocol, TypeAlias, TypeVar, TypeVarTuple

from ._loop_refused import RefusedCalls
from .errors import NonDeterministicCallError, ReadOnlyError, WorkflowTaskError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
AnyCoroutine: TypeAlias = Coroutine[Any, Any, Any] | Generator[Any, None, Any]

DEFAULT_MAX_ITERATIONS = 1_000_000
_CLOSE_ATTEMPTS = 16
_ENDLESS = 1000 * 365 * 86_400.0  # seconds
# Loops with coroutines that have not ended. A coroutine that is dropped is ended by the garbage collector, which runs
# its `finally` blocks inside of whatever runs then, perhaps another workflow; so none is dropped before `close`.
_open: set[WorkflowLoop] = set()
# Coroutines that refused to end when their workflow was thrown away.
_unclosable: list[Any] = []


class Discarded(BaseException):
    """Raised in all coroutines of a workflow that is thrown away. Not GeneratorExit, which does not reach coroutines
    that are awaited by others first."""


class LoopHooks(Protocol):
    """What a loop asks of the workflow instance that owns it."""

    def start_timer(self, delay: float) -> int:
        """Start a durable timer of `delay` > 0 seconds; gives its number, for `WorkflowLoop.fire_timer`."""
        ...

    def cancel_timer(self, seq: int) -> None:
        """A timer that has not fired is not needed any more."""
        ...

    def unhandled(self, context: dict[str, Any]) -> None:
        """An exception that nobody will see, as `loop.call_exception_handler` gets it."""
        ...


class WorkflowFuture(asyncio.Future[Any]):
    """A future that hashes by the order in which its loop made it."""

    __slots__ = ("_order",)

    def __init__(self, order: int, loop: asyncio.AbstractEventLoop) -> None:
        self._order = order
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._order


class WorkflowTask(asyncio.Task[Any]):
    """A task that hashes by the order in which its loop made it."""

    __slots__ = ("_order",)

    def __init__(self, order: int, coro: AnyCoroutine, **options: Any) -> None:
        self._order = order
        super().__init__(coro, **options)
        self._log_destroy_pending = False  # dropping a workflow is no error of the program

    def __hash__(self) -> int:
        return self._order

    def get_loop(self) -> asyncio.AbstractEventLoop:
        loop = super().get_loop()
        caller = sys._getframe(1)
        if caller.f_code is _GET_LOOP_CODE and loop.is_running():
            _check_all_tasks(loop, caller)
        return loop


class _Timer(asyncio.TimerHandle):
    __slots__ = ("seq",)
    seq: int  # 0: not a durable timer


class WorkflowLoop(RefusedCalls):
    """The event loop of one workflow.

    `seed` (the run ID) keeps the hashes of different workflows apart; order depends on the counter alone.
    `max_iterations` bounds one `run_ready`: an endless `while True: await asyncio.sleep(0)` raises
    WorkflowTaskError with the cause "blocked".
    """

    def __init__(self, hooks: LoopHooks, *, seed: str = "", max_iterations: int = DEFAULT_MAX_ITERATIONS) -> None:
        self.read_only = False  # set while a query runs: nothing may be scheduled
        self.refused_writes = 0
        self.quiet = False  # set while replaying: exceptions of background tasks were reported before
        self._hooks = hooks
        self._max_iterations = max_iterations
        self._time = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._due: list[_Timer] = []  # delays of 0: ready at the next iteration, after what is ready now
        self._timers: dict[int, _Timer] = {}
        self._tasks: dict[int, WorkflowTask] = {}  # not done; a task that only its own waiting keeps alive must live
        self._generators: list[AsyncGenerator[Any, Any]] = []
        self._generators_limit = 16
        self._as_completed: dict[Any, WorkflowTask] = {}
        # All workflows' tasks share one WeakSet inside asyncio: high bits keep "task 1" of each apart there.
        # They are above the bits that choose the slots of a set, and so do not touch the order.
        self._orders = itertools.count((zlib.crc32(seed.encode()) & 0xFFFFF) << 40 | 1)
        self._names = itertools.count(1)
        self._bookkeeping = contextvars.Context()
        self._depth = 0
        self._thread: int | None = None
        self._outer: tuple[Any, ...] = ()
        self._halted = False
        self._closed = False

    # ------------------------------------------------------------ run from outside

    def set_time(self, seconds: float) -> None:
        """Set what `time` gives: seconds since the epoch. It never goes back."""
        self._time = max(self._time, seconds)

    def fire_timer(self, seq: int) -> bool:
        """Make the callback of a timer ready. False: it was cancelled, or there was none (rule W9)."""
        timer = self._timers.pop(seq, None)
        if timer is None:
            return False
        self._ready.append(timer)
        return True

    def run_ready(self) -> None:
        """Run until nothing is ready. WorkflowTaskError (cause "blocked") after `max_iterations` iterations."""
        if not self._depth:
            with self:
                self.run_ready()
            return
        ready = self._ready
        left = self._max_iterations
        while (ready or self._due) and not self._halted:
            if left <= 0:
                raise self._endless()
            left -= 1
            if self._due:
                ready.extend(self._due)
                self._due.clear()
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
                    if self._halted:
                        break

    @property
    def open_tasks(self) -> int:
        """How many tasks are not done."""
        return len(self._tasks)

    def refuse_write(self) -> ReadOnlyError:
        """The error for what must not be done while `read_only`; it is counted in `refused_writes`."""
        self.refused_writes += 1
        return ReadOnlyError("a query handler only reads: it cannot start tasks or timers or wake anyone; use a signal")

    def halt(self) -> None:
        """The workflow has ended: run nothing after the callback that runs now."""
        self._halted = True

    def close(self) -> None:
        """Throw away all tasks, quietly and in the order in which they were made.

        Python cannot drop a suspended coroutine without running its `finally` blocks; they run up to their first
        `await`, what they ask of the loop does nothing, and what they raise is dropped. A loop that is not closed
        is never freed.
        """
        if self._depth:
            raise RuntimeError("a workflow's loop cannot be closed by the code that it runs")
        if self._closed:
            return
        self._closed = True
        self._ready.clear()
        self._due.clear()
        self._timers.clear()
        with self:
            for task in list(self._tasks.values()):
                coro = task.get_coro()
                if coro is not None and not task.done():
                    asyncio._enter_task(self, task)  # so that asyncio.timeout() in a `finally` finds one
                    try:
                        _discard(coro)
                    finally:
                        asyncio._leave_task(self, task)
            for generator in self._generators:
                _discard_generator(generator)
        self._tasks.clear()
        self._generators.clear()
        _open.discard(self)
        del self._hooks  # which own this loop: without the cycle both are freed at once

    def __enter__(self) -> None:
        """Make this the running loop of the thread; another one may be running, and is put back at the end."""
        self._depth += 1
        if self._depth > 1:
            return
        outer = events._get_running_loop()
        # From 3.14 on the current task is kept per thread, not per loop.
        task = _swap_current_task(outer, None) if outer is not None and _swap_current_task else None
        self._outer = (outer, task, sys.get_asyncgen_hooks())
        events._set_running_loop(self)
        sys.set_asyncgen_hooks(self._keep_generator, _ignore_generator)
        self._thread = threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth:
            return
        outer, task, hooks = self._outer
        self._outer = ()
        self._thread = None
        sys.set_asyncgen_hooks(*hooks)
        events._set_running_loop(outer)
        if task is not None and _swap_current_task is not None:
            _swap_current_task(outer, task)

    # ------------------------------------------------------------ what asyncio calls

    def time(self) -> float:
        return self._time

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._depth > 0

    def is_closed(self) -> bool:
        return self._closed

    def get_task_factory(self) -> None:
        return None

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if self.read_only:
            raise self.refuse_write()
        handle = asyncio.Handle(callback, args, self, context)
        if not self._closed:
            self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if self._thread != threading.get_ident():
            raise NonDeterministicCallError(
                "loop.call_soon_threadsafe() from another thread does not work with a workflow's loop: nothing outside "
                "of it may reach in; send the workflow a signal, or return the value from an activity"
            )
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        if delay is None:
            raise TypeError("delay must not be None")
        if math.isnan(delay):
            raise ValueError("delay must be a number, not NaN")
        if self.read_only:
            raise self.refuse_write()
        timer = _Timer(self._time + delay, callback, args, self, context)
        timer.seq = 0
        if self._closed:
            return timer
        if delay <= 0:
            self._due.append(timer)
        elif delay < _ENDLESS:  # math.inf and the like need no timer: only a cancellation ends them
            timer.seq = self._hooks.start_timer(delay)
            self._timers[timer.seq] = timer
        return timer

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        if when is None:
            raise TypeError("when cannot be None")
        return self.call_later(when - self._time, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if isinstance(handle, _Timer) and handle.seq in self._timers:
            if self.read_only:
                raise self.refuse_write()
            del self._timers[handle.seq]
            self._hooks.cancel_timer(handle.seq)

    def create_future(self) -> asyncio.Future[Any]:
        caller = sys._getframe(1)
        if caller.f_code is _WAIT_CODE:
            _check_wait(caller)
        return WorkflowFuture(next(self._orders), self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        if self.read_only:
            if asyncio.iscoroutine(coro):
                coro.close()  # no "was never awaited" on top of the error
            raise self.refuse_write()
        if self._closed:
            return self._dead_task(coro)
        caller = sys._getframe(1)
        if caller.f_code in _ENSURE_FUTURE_CODES:
            task = self._task_of_as_completed(coro, caller)
            if task is not None:
                return task
        return self._new_task(coro, name, context, options)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed:
            self._hooks.unhandled(context)

    # ------------------------------------------------------------ inside

    def _new_task(
        self, coro: AnyCoroutine, name: object, context: contextvars.Context | None, options: dict[str, Any]
    ) -> WorkflowTask:
        order = next(self._orders)
        name = f"Task-{next(self._names)}" if name is None else name  # asyncio's own counter is the process's
        task = WorkflowTask(order, coro, loop=self, name=name, context=context, **options)
        if not task.done():  # eager tasks may be
            self._tasks[order] = task
            _open.add(self)
            task.add_done_callback(self._task_done, context=self._bookkeeping)
        return task

    def _dead_task(self, coro: AnyCoroutine) -> WorkflowTask:
        """A task that never runs, for code that goes on while its workflow is thrown away."""
        task = WorkflowTask(next(self._orders), coro, loop=self)
        if asyncio.iscoroutine(coro):
            coro.close()
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        assert isinstance(task, WorkflowTask)
        self._tasks.pop(task._order, None)
        if self.quiet and task._exception is not None:
            task._log_traceback = False

    def _task_of_as_completed(self, coro: Any, caller: FrameType) -> WorkflowTask | None:
        """The task of a coroutine given to `asyncio.as_completed`, which makes tasks in the order of a set of them.

        At the first one all are made, in the order in which the workflow code gave them.
        """
        frame: FrameType | None = caller
        while frame is not None and (frame.f_code in _ENSURE_FUTURE_CODES or frame.f_code.co_name == "<setcomp>"):
            frame = frame.f_back
        if frame is None or frame.f_code is not _AS_COMPLETED_CODE:
            return None
        if coro not in self._as_completed:
            given = frame.f_locals[_AS_COMPLETED_ARGUMENT]
            if not isinstance(given, Sequence | Mapping | KeysView | ValuesView) or coro not in list(given):
                coro.close()
                raise NonDeterministicCallError(
                    "asyncio.as_completed() of a set or an iterator of coroutines would start them in another order on "
                    "every replay; give it a list of coroutines, or tasks of asyncio.create_task()"
                )
            self._as_completed = {
                one: self._new_task(one, None, None, {}) for one in dict.fromkeys(given) if asyncio.iscoroutine(one)
            }
        return self._as_completed.pop(coro)

    def _endless(self) -> WorkflowTaskError:
        names = ", ".join(sorted({str(task.get_coro()) for task in self._tasks.values()})[:3])
        return WorkflowTaskError(
            f"workflow code was not done after {self._max_iterations} iterations of its event loop: it goes round and "
            f"round without waiting for anything (a `while` with `await asyncio.sleep(0)`?). Wait with "
            f"workflow.wait_condition(), an asyncio.Event, or a sleep of more than 0 seconds. Open: {names}",
            cause="blocked",
        )

    def _keep_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Hold every async generator, so that garbage collection cannot run the rest of one that was left."""
        _open.add(self)
        if len(self._generators) >= self._generators_limit:
            self._generators = [one for one in self._generators if getattr(one, "ag_frame", one) is not None]
            self._generators_limit = 16 + 2 * len(self._generators)
        self._generators.append(generator)


def _ignore_generator(generator: AsyncGenerator[Any, Any]) -> None:
    """Left generators are closed with their loop."""


def _discard(coro: AnyCoroutine) -> None:
    """End a coroutine, whatever it does about it."""
    for _ in range(_CLOSE_ATTEMPTS):
        try:
            coro.throw(Discarded)
        except KeyboardInterrupt:
            raise
        except BaseException:  # what a discarded workflow raises concerns nobody
            return
        # It awaits something in `finally`: throw again.
    _unclosable.append(coro)


def _discard_generator(generator: AsyncGenerator[Any, Any]) -> None:
    """End an async generator, whatever it does about it."""

    async def end() -> None:
        await generator.athrow(Discarded())

    ending = end()
    try:
        ending.send(None)
    except KeyboardInterrupt:
        raise
    except BaseException:  # see _discard
        return
    _discard(ending)


@atexit.register
def _close_all() -> None:
    """Leave no coroutines for the end of the interpreter, which would end them noisily."""
    for loop in list(_open):
        if not loop.is_running():
            loop.close()


def _check_wait(frame: FrameType) -> None:
    """Refuse futures in `asyncio.wait` that do not hash by order: the sets it gives would have no fixed order."""
    for future in frame.f_locals["fs"]:
        if not isinstance(future, WorkflowTask | WorkflowFuture):
            raise NonDeterministicCallError(
                f"asyncio.wait() of a {type(future).__name__} gives sets whose order differs on every replay; "
                "give it tasks of asyncio.create_task(), or use asyncio.gather() or a TaskGroup"
            )


def _check_all_tasks(loop: asyncio.AbstractEventLoop, frame: FrameType) -> None:
    """Refuse `asyncio.all_tasks` to workflow code: the order of its set depends on the tasks of all other loops."""
    caller = frame.f_back
    while caller is not None and caller.f_code.co_name == "<setcomp>":
        caller = caller.f_back
    if caller is not None and caller.f_code is _ALL_TASKS_CODE and caller.f_locals["loop"] is loop:
        raise NonDeterministicCallError(
            "asyncio.all_tasks() gives a set whose order differs on every replay; keep the tasks of this workflow in a "
            "list, or use a TaskGroup"
        )


def _as_completed_code() -> CodeType:
    iterator = getattr(tasks, "_AsCompletedIterator", None)  # 3.13
    function: Any = tasks.as_completed if iterator is None else iterator.__init__
    return function.__code__  # type: ignore[no-any-return]


_swap_current_task: Callable[..., Any] | None = getattr(tasks, "_swap_current_task", None)  # 3.12
_GET_LOOP_CODE: CodeType = futures._get_loop.__code__  # type: ignore[attr-defined]
# In C from 3.14 on, and in a fixed order.
_ALL_TASKS_CODE: CodeType | None = getattr(tasks.all_tasks, "__code__", None)
_WAIT_CODE: CodeType = tasks._wait.__code__  # type: ignore[attr-defined]
_AS_COMPLETED_CODE = _as_completed_code()
_AS_COMPLETED_ARGUMENT = next(name for name in ("fs", "aws") if name in _AS_COMPLETED_CODE.co_varnames)
_ENSURE_FUTURE_CODES = {
    function.__code__ for name in ("ensure_future", "_ensure_future") if (function := getattr(tasks, name, None))
}
