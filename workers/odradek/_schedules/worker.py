"""The worker that runs the workflows of schedules, beside an engine: from when there is one on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from odradek_log import Log, LogError
from odradek_schemas import Topics

from .._client import Client
from .._worker.worker import Worker
from ..errors import OdradekError
from .opaque import OpaqueConverter
from .state import TASK_QUEUE
from .system import ScheduleWorkflow

logger = logging.getLogger("odradek.schedules")

_AGAIN_SECONDS = 5.0


class ScheduleWorker:
    """Runs the schedules of a namespace. `odradek engine`, `odradek dev` and `file:` clients have one. Beside an engine
    in a program of yours: `async with Engine(...), Client(...) as client, ScheduleWorker.of(client): ...`

    It has a client of its own, on an open log: what schedules know is not encrypted (but for what they pass on).
    `now_ms`: the clock of its requests, default the wall clock.
    """

    def __init__(self, log: Log, namespace: str, *, now_ms: Callable[[], int] | None = None) -> None:
        self._log = log
        self._namespace = namespace
        self._now_ms = now_ms
        self._exit = AsyncExitStack()

    @classmethod
    def of(cls, client: Client) -> ScheduleWorker:
        """For the namespace of an open client."""
        return cls(client._worker_connection().log, client.namespace, now_ms=client._now_ms)

    def _parts(self) -> tuple[Client, Worker]:
        client = Client(self._log, namespace=self._namespace, data_converter=OpaqueConverter())
        client._now_ms = self._now_ms
        return client, Worker(client, task_queue=TASK_QUEUE, workflows=[ScheduleWorkflow])

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for part in self._parts():
                await stack.enter_async_context(part)
            self._exit = stack.pop_all()
        return self

    async def run(self) -> None:
        """Run until the task is cancelled. Raises the error if the worker cannot go on."""
        client, worker = self._parts()
        async with client:
            await worker.run()

    @property
    def working(self) -> int:
        """How many activities run here: none ever."""
        return 0

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._exit.aclose()


class SchedulesOnDemand:
    """A ScheduleWorker from when a namespace has a schedule on: without one, nothing runs.

    `noticed` is to be called, from any thread, with the names of topics that an engine sends to.
    """

    def __init__(self, log: Log, namespace: str) -> None:
        self._log = log
        self._namespace = namespace
        self._topic = Topics(namespace).workflow_tasks(TASK_QUEUE)
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if await asyncio.to_thread(self._log.partitions, self._topic):
            self._begin()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def noticed(self, topic: str) -> None:
        """An engine sends to a topic."""
        if topic == self._topic:
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            try:
                await ScheduleWorker(self._log, self._namespace).run()
            except Exception as error:
                known = isinstance(error, (OdradekError, LogError))
                again = "the schedules stand still: %s. Trying again in %g s"
                logger.error(again, error, _AGAIN_SECONDS, exc_info=not known)
            await asyncio.sleep(_AGAIN_SECONDS)
