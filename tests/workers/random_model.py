"""What a random program should do: the same interpreter in plain asyncio on a virtual clock, without a log, an engine,
or a replay. Runs are tasks; whatever one says to another is done as soon as nothing else can go on."""

from __future__ import annotations

import asyncio
import copy
import selectors
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from odradek import ActivityError, ApplicationError, ChildWorkflowError, WorkflowNotFoundError

from .loop_harness import VirtualClockLoop, discard_tasks
from .random_programs import ATTEMPTS, Interpreter


class Stopped(Exception):
    """Nothing can happen any more."""


class Selector(selectors.SelectSelector):
    """Where the loop waits: here it does what comes next, or moves its clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.messages: deque[tuple[float, list[Callable[[], None]]]] = deque()
        self.pending: deque[Callable[[], None]] = deque()
        self.together: deque[Callable[[], None]] = deque()
        self.on_the_spot: deque[Callable[[], None]] = deque()
        self.behind_effects: deque[Callable[[], None]] = deque()
        self.conditions: dict[asyncio.Future[Any], Callable[[], Any]] = {}
        self.sweep: deque[asyncio.Future[Any]] | None = None

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout == 0 or self._woke():
            return []
        for waiting in (self.together, self.on_the_spot, self.behind_effects, self.pending):
            if waiting:
                action = waiting.popleft()
                self._take_along(action)
                action()
                return []
        at = self.messages[0][0] if self.messages else None
        if at is not None and (timeout is None or at <= self.now + timeout):
            self.now = at
            self.pending.extend(self.messages.popleft()[1])
        elif timeout is None:
            raise Stopped
        else:
            self.now += timeout
        return []

    def _take_along(self, action: Callable[[], None]) -> None:
        """The first message of a burst asks for a task; the others come with the next, before its results (W10)."""
        burst = getattr(action, "burst", None)
        while burst is not None and self.pending and getattr(self.pending[0], "burst", None) == burst:
            self.together.append(self.pending.popleft())

    def _woke(self) -> bool:
        """Resume the next whose condition is true: each is looked at in its turn, until a whole round finds none."""
        while True:
            fresh = self.sweep is None
            sweep = self.sweep = deque(self.conditions) if self.sweep is None else self.sweep
            while sweep:
                future = sweep.popleft()
                if future in self.conditions and not future.done() and (value := self.conditions[future]()):
                    self.woken = True
                    future.set_result(value)
                    return True
            self.sweep = None
            if fresh or not self.woken:
                self.woken = False
                return False
            self.woken = False

    woken = False


class ModelLoop(VirtualClockLoop):
    def __init__(self) -> None:
        self.selector = Selector()
        super().__init__(self.selector)


class Run:
    """One run of a workflow. It is also the World of its program."""

    def __init__(self, model: Model, path: str, segments: Any, state: dict[str, Any], parent: Run | None) -> None:
        self.model = model
        self.path = path
        self.segments = segments
        self.parent = parent
        self.children: list[Run] = []
        self.closed = asyncio.Event()
        self.outcome: tuple[str, Any] | None = None
        self.dead = False
        self.cancel_requested = False
        self.interpreter = Interpreter(self, state)
        self.main: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        if not self.dead:
            self.main = asyncio.get_event_loop().create_task(self._run())

    async def _run(self) -> None:
        it = self.interpreter
        try:
            await it.block(self.segments[0])
        except asyncio.CancelledError as error:
            self.close("cancelled" if error.args == ("asked",) else "completed", it.trace)
        except Exception as error:
            self.close("failed", [self.kind_of(error), it.trace])
        else:
            if self.dead:
                return
            if self.segments[1:]:
                self._continue()
            else:
                self.close("completed", it.trace)

    def _continue(self) -> None:
        state = copy.deepcopy(self.interpreter.state())
        self._end()
        following = Run(self.model, self.path, self.segments[1:], state, self.parent)
        following.closed = self.closed
        self.model.replace(self, following)
        self.model.carry(self.path)
        following.begin()

    def close(self, status: str, value: Any) -> None:
        if self.dead:
            return
        self._end()
        self.outcome = (status, copy.deepcopy(value))  # what is left of its tasks may go on
        self.model.ended(self)

    def _end(self) -> None:
        self.dead = True
        for child in self.children:
            self.model.runs[child.path].terminate()

    def terminate(self) -> None:
        if not self.dead:
            self._end()
            self.outcome = ("terminated", None)

    def cancel(self, reason: str | None) -> None:
        if not self.dead and not self.cancel_requested and self.main is not None:
            self.cancel_requested = True
            self.main.cancel(reason) if reason else self.main.cancel()

    # ------------------------------------------------------------ the world of the program

    def now_ms(self) -> int:
        return round(self.model.loop.time() * 1000)

    async def activity(self, ms: int, fails: int) -> str:
        for attempt in range(1, ATTEMPTS + 1):
            await asyncio.sleep(ms / 1000)
            if attempt > fails:
                return f"{ms} by {attempt}"
            if attempt < ATTEMPTS:
                await asyncio.sleep(2 ** (attempt - 1))
        raise ActivityError("no")

    async def effect(self, value: int) -> int:
        await self._alive()
        done: asyncio.Future[int] = self.model.loop.create_future()
        self.model.on_the_spot(lambda: None if done.done() else done.set_result(value))
        return await done

    async def local(self, value: int, fails: bool) -> int:
        await self._alive()
        done: asyncio.Future[None] = self.model.loop.create_future()
        self.model.behind_effects(lambda: None if done.done() else done.set_result(None))
        await done
        if fails:
            raise ActivityError("no")
        return value

    async def wait(self, fn: Any, timeout: float | None) -> Any:
        async with asyncio.timeout(timeout):
            if value := fn():
                return value
            future = self.model.loop.create_future()
            conditions = self.model.loop.selector.conditions
            conditions[future] = lambda: not self.dead and fn()
            try:
                return await future
            finally:
                conditions.pop(future, None)

    async def child(self, path: str, program: Any) -> Any:
        await self._alive()
        child = self.model.start(path, program, self)
        try:
            await child.closed.wait()
        except asyncio.CancelledError:
            await self._alive()
            if not child.closed.is_set():
                self.model.later(lambda: self.model.runs[path].cancel(None))
                await child.closed.wait()
            raise
        status, value = self.model.runs[path].outcome or ("", None)
        if status != "completed":
            raise ChildWorkflowError(status)
        return value

    async def tell(self, root: str, slot: int) -> None:
        await self._alive()
        answered: asyncio.Future[bool] = self.model.loop.create_future()

        def deliver() -> None:
            run = self.model.runs[root]
            taken = not run.dead
            if taken:
                run.interpreter.put(slot)
            self.model.later(lambda: None if answered.done() else answered.set_result(taken))

        self.model.later(deliver)
        if not await answered:
            raise WorkflowNotFoundError(root)

    async def _alive(self) -> None:
        """What an ended run has left behind says nothing more to others."""
        if self.dead:
            await self.model.loop.create_future()

    def refusal(self, message: str, *details: Any) -> BaseException:
        return ApplicationError(message)

    def kind_of(self, error: BaseException) -> str:
        return type(error).__name__


class Model:
    """`updates`: what came of each, by its number."""

    def __init__(self) -> None:
        self.loop = ModelLoop()
        self.runs: dict[str, Run] = {}
        self.updates: dict[int, Any] = {}

    def later(self, action: Callable[[], None]) -> None:
        self.loop.selector.pending.append(action)

    def on_the_spot(self, action: Callable[[], None]) -> None:
        """In the same workflow task: before anything gets to others, or comes from them."""
        self.loop.selector.on_the_spot.append(action)

    def behind_effects(self, action: Callable[[], None]) -> None:
        """In the same workflow task, once no side effect is left."""
        self.loop.selector.behind_effects.append(action)

    def start(self, path: str, segments: Any, parent: Run | None) -> Run:
        root = parent.interpreter.root if parent is not None else path
        state = {"root": root, "slots": [0, 0], "trace": []}
        run = self.runs[path] = Run(self, path, segments, state, parent)
        if parent is not None:
            parent.children.append(run)
        self.later(run.begin)
        return run

    def replace(self, run: Run, following: Run) -> None:
        self.runs[run.path] = following
        if run.parent is not None:
            run.parent.children = [following if child is run else child for child in run.parent.children]

    def carry(self, path: str) -> None:
        """Messages that a run has not read are the first that the next one reads, when its code waits for anything."""
        together, pending = self.loop.selector.together, self.loop.selector.pending
        for action in [one for one in pending if isinstance(one, partial) and one.args[0] == path]:
            pending.remove(action)
            together.append(action)

    def ended(self, run: Run) -> None:
        if run.parent is None:
            self.loop.stop()
        else:
            self.later(run.closed.set)

    def execute(self, path: str, segments: Any, bursts: Any, cancel_ms: int | None) -> tuple[str, Any]:
        """Run a program to its end, or until nothing can happen. Its status, and its value or trace."""
        asyncio.set_event_loop(self.loop)
        asyncio._set_running_loop(None)
        number = 0
        planned: list[tuple[float, list[Callable[[], None]]]] = []
        for at_ms, burst in bursts:
            actions: list[Callable[[], None]] = []
            for kind, *args in burst:
                number += 1
                action = partial(self._deliver, path, number, kind, args)
                if actions:
                    action.burst = at_ms  # type: ignore[attr-defined]  # a partial takes any attribute
                actions.append(action)
            planned.append((at_ms / 1000, actions))
        if cancel_ms is not None:
            planned.append((cancel_ms / 1000, [lambda: self.runs[path].cancel("asked")]))
        self.loop.selector.messages.extend(sorted(planned, key=lambda one: one[0]))
        try:
            self.loop.call_soon(lambda: self.start(path, segments, None))
            self.loop.run_forever()
        except Stopped:
            return "running", self.runs[path].interpreter.trace
        assert self.runs[path].outcome is not None
        return self.runs[path].outcome or ("", None)

    def _deliver(self, path: str, number: int, kind: str, args: Any) -> None:
        """A message from outside."""
        run = self.runs[path]
        if run.dead:
            return
        if kind == "put":
            run.interpreter.put(*args)
        elif kind == "bump":
            self._bump(run, number, args)
        else:
            self.loop.create_task(self._handle(run, number, kind, args))

    def _bump(self, run: Run, number: int, args: Any) -> None:
        try:
            run.interpreter.check_bump(*args)
        except ApplicationError:
            self.updates[number] = "rejected"
        else:
            self.updates[number] = run.interpreter.bump(*args)

    async def _handle(self, run: Run, number: int, kind: str, args: Any) -> None:
        try:
            came = await getattr(run.interpreter, kind)(*args)
        except ActivityError:
            came = "failed"
        if kind == "slow" and not run.dead:
            self.updates[number] = came

    def close(self) -> None:
        discard_tasks(self.loop)
        self.loop.close()
        asyncio.set_event_loop(None)
