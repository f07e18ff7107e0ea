"""A client, workers and an engine in one process, with time that skips."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from odradek_engine import Engine
from odradek_log.memory import MemoryLog

from .._activity import Activity
from .._client import Client
from .._converter import DataConverter
from .._interceptors import Interceptor
from .._options import seconds
from .._schedules.state import TASK_QUEUE as SCHEDULES
from .._schedules.worker import ScheduleWorker
from .._types import Duration, Serving, TakesMany
from .._worker.worker import Worker
from ._clock import VirtualClock
from ._driver import ClockDriver, Surroundings

_PARTITIONS = 1
_NO_DEADLINE_SECONDS = 1000 * 365 * 86_400.0
"""Callers wait in real time: time that is skipped meanwhile is none of theirs."""


class Environment:
    """Runs workflows on the real engine and worker, with a log in memory and a clock that jumps to the next timer
    when nothing runs and somebody waits for a result. A month of sleeping takes milliseconds.

        async with Environment(workflows=[Order], activities=[charge.with_fn(lambda product: "ch_1")]) as env:
            assert await env.client.execute(Order, product, id="order-1") == "ch_1"

    workflows, activities: served on every task queue that is used, other than those of workers that the test begins
    itself. activities may be a dict of an activity and what is run in its place. start_time: what time it is at first
    (default: now). data_converter, interceptors: as of Client. away: task queues whose workers are away.

    `client` is open inside `async with`. While activities run, time does not skip; nor while nobody waits, so that
    messages may be sent before a timeout strikes. Raises what Worker and Client raise.
    """

    client: Client

    def __init__(
        self,
        *,
        workflows: Sequence[TakesMany[Any, Any]],
        activities: Sequence[Activity[..., Any]] | Mapping[Activity[..., Any], Callable[..., Any]] = (),
        start_time: datetime | None = None,
        data_converter: DataConverter | None = None,
        interceptors: Sequence[Interceptor] = (),
        away: Collection[str] = (),
    ) -> None:
        if isinstance(activities, Mapping):
            activities = [activity.with_fn(fn) for activity, fn in activities.items()]
        self._workflows = list(workflows)
        self._activities = list(activities)
        self._converter = data_converter
        self._away = frozenset(away)
        self._interceptors = interceptors
        self._clock = VirtualClock(None if start_time is None else round(start_time.timestamp() * 1000))
        self._workers: dict[str, Worker | ScheduleWorker] = {}
        self._served_by_others: set[str] = set()
        self._exit: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="odradek-test-"))
            self._log = MemoryLog(self._clock.now_ms)
            stack.callback(self._log.close)
            self._engine = Engine(log=self._log, data_dir=folder, partitions=_PARTITIONS, clock=self._clock)
            await stack.enter_async_context(self._engine)
            self.client = Client(
                self._log, namespace="default", data_converter=self._converter, interceptors=self._interceptors
            )
            self.client._now_ms = self._clock.now_ms
            self.client._deadline_slack = _NO_DEADLINE_SECONDS
            await stack.enter_async_context(self.client)
            self._stack = stack
            await self._serve("default")
            self._driver = ClockDriver(self._clock, self._log, self._surroundings())
            self._driver.start()
            stack.push_async_callback(asyncio.to_thread, self._driver.stop)
            self._exit = stack.pop_all()
            self._stack = self._exit
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        stack, self._exit = self._exit, None
        if stack is not None:
            await stack.aclose()

    def now(self) -> datetime:
        """The time that workflows see, in UTC."""
        return datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)

    async def sleep(self, duration: Duration) -> None:
        """Let time pass: whatever is due meanwhile happens, in its order. Returns as soon as it has."""
        slept = self._loop.create_future()
        until = self._clock.now_ms() + round(seconds(duration) * 1000)

        def wake() -> None:
            self._loop.call_soon_threadsafe(lambda: None if slept.done() else slept.set_result(None))

        self._driver.sleep_until(until, wake)
        await slept

    # ------------------------------------------------------------ what the driver looks at

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            outlook=lambda now_ms: self._engine.outlook(now_ms, self._without_workers()),
            working=lambda: sum(w.working for w in {*self._workers.values(), *self._running()}),
            waiting=lambda: self.client._worker_connection().waiting,
            serve=self._serve_new_queues,
            look_again=self._engine.look_again,
        )

    def _running(self) -> list[Serving]:
        """The workers that run on the client: those of the test, and those of the environment."""
        return list(self.client._worker_connection().workers)

    def _without_workers(self) -> frozenset[str]:
        """Task queues whose workers are away, or were the test's and have ended: time need not wait for their tasks."""
        return self._away | (self._served_by_others - {worker.task_queue for worker in self._running()})

    async def _serve(self, queue: str) -> None:
        worker: Worker | ScheduleWorker
        if queue == SCHEDULES:
            worker = ScheduleWorker.of(self.client)
        else:
            worker = Worker(self.client, task_queue=queue, workflows=self._workflows, activities=self._activities)
        await self._stack.enter_async_context(worker)
        self._workers[queue] = worker

    def _serve_new_queues(self) -> bool:
        """Begin a worker for each task queue that was used for the first time. In the driver's thread.

        A worker of the test has its queue for itself, also once it has ended: one that knows other workflows would
        take its tasks."""
        self._served_by_others |= {worker.task_queue for worker in self._running()} - self._workers.keys()
        topics = self._engine.topics
        found = set()
        for kind in (topics.workflow_tasks(""), topics.activity_tasks("")):
            found |= {name.removeprefix(kind) for name in self._log.topics(kind)}
        new = sorted(found - self._workers.keys() - self._served_by_others - self._away)
        for queue in new:
            asyncio.run_coroutine_threadsafe(self._serve(queue), self._loop).result()
        return bool(new)


class NewEnvironment(Protocol):
    """What the pytest fixture `new_odradek_env` gives: makes an Environment that is open until the test ends."""

    async def __call__(
        self,
        *,
        workflows: Sequence[TakesMany[Any, Any]],
        activities: Sequence[Activity[..., Any]] | Mapping[Activity[..., Any], Callable[..., Any]] = (),
        start_time: datetime | None = None,
        data_converter: DataConverter | None = None,
        interceptors: Sequence[Interceptor] = (),
        away: Collection[str] = (),
    ) -> Environment: ...
