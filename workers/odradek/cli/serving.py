"""Workers for every task queue of a namespace, as queues come into use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from odradek_log import TopicSpec
from odradek_log.embedded import EmbeddedLog
from odradek_schemas import Topics

from .. import Client, Worker
from .._schedules.state import TASK_QUEUE as SCHEDULES
from .loading import Definitions
from .stopping import Stop


class WatchedLog(EmbeddedLog):
    """An embedded log that tells when topics are made: `on_topics` is called with their names, from any thread."""

    on_topics: Callable[[list[str]], object] = staticmethod(lambda names: None)

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        wanted = list(specs)
        super().create_topics(wanted)
        self.on_topics([spec.name for spec in wanted])


class QueueWorkers:
    """A worker with everything in `definitions` for each task queue that is in use. Leave it with `close`."""

    def __init__(
        self, client: Client, definitions: Definitions, stop: Stop, on_served: Callable[[str], None]
    ) -> None:
        self._client = client
        self._definitions = definitions
        self._stop = stop
        self._on_served = on_served
        self._workers: dict[str, tuple[Worker, asyncio.Task[None]]] = {}
        self._closing = False

    def serve_all(self, log: WatchedLog, topics: Topics, queues: Iterable[str]) -> None:
        """Serve `queues`, those that the log knows, and those that it will know."""
        loop = asyncio.get_running_loop()
        log.on_topics = lambda names: loop.call_soon_threadsafe(self._serve_queues_of, topics, names)
        for queue in queues:
            self.serve(queue)
        self._serve_queues_of(topics, log.topics(topics.prefix))

    def _serve_queues_of(self, topics: Topics, names: Iterable[str]) -> None:
        for name in names:
            for prefix in (topics.workflow_tasks(""), topics.activity_tasks("")):
                if name.startswith(prefix) and name != prefix + SCHEDULES:
                    self.serve(name.removeprefix(prefix))

    def serve(self, queue: str) -> None:
        """Begin to serve a queue, if it is not served yet."""
        if queue in self._workers or self._closing:
            return
        worker = Worker(
            self._client,
            task_queue=queue,
            workflows=list(self._definitions.workflows.values()),
            activities=list(self._definitions.activities.values()),
        )
        task = asyncio.get_running_loop().create_task(worker.run())
        task.add_done_callback(self._ended)
        self._workers[queue] = worker, task
        self._on_served(queue)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._stop.fail(task.exception())

    async def close(self) -> None:
        """End all workers gracefully."""
        self._closing = True
        await asyncio.sleep(0)  # so that those just made have begun, and can be told to end
        workers: Mapping[str, tuple[Worker, asyncio.Task[Any]]] = self._workers
        for worker, _ in workers.values():
            worker.shutdown()
        await asyncio.gather(*(task for _, task in workers.values()), return_exceptions=True)
