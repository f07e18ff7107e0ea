"""The public Worker: what it runs, how it begins, and how it ends gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from odradek_log.protocol import LogError, Producer, TopicSpec
from odradek_log.renewing import RenewingProducer
from odradek_schemas import check_name
from odradek_schemas.common import Record
from odradek_schemas.replies import ActivityCancelRequest, ActivityClaimed, SessionEnded

from .._activity import Activity
from .._connection import unavailable
from .._interceptors import Interceptor, checked
from .._options import seconds
from .._types import Duration, TakesMany
from .activity_worker import ActivityWorker
from .bounded_history import DEFAULT_MAX_HISTORY_BYTES
from .cache import DEFAULT_CACHE_BYTES
from .dividing import DividingProducer
from .local_activities import LocalActivities
from .outlet import OVERHEAD_BYTES, Outlet
from .ports import WorkerConnection
from .rates import ActivityRates
from .registry import RegisteredWorkflows, activity_definitions, workflow_definitions
from .session import HEARTBEAT_PARTS, WorkerSession
from .storing import StoringProducer
from .timers import TimerThread
from .workflow_worker import WorkflowWorker

if TYPE_CHECKING:
    from .._client import Client

logger = logging.getLogger("odradek.worker")

_TASK_RETENTION_MS = 7 * 24 * 3600 * 1000
_FLUSH_SECONDS = 5.0
_CANCEL_GRACE_SECONDS = 1.0
_GIVE_UP_SECONDS = 30.0
_STALE_SECONDS = 1.0
"""A task that was read so long ago, or an attempt that has not begun for so long, is claimed before it runs."""


class Worker:
    """Runs workflows and activities of one task queue, in this process.

        async with Worker(client, task_queue="orders", workflows=[Order], activities=[charge]):
            ...
        await Worker(client, task_queue="orders", workflows=[Order]).run()

    max_concurrent_activities: more wait for their turn. max_activities_per_second: of this worker (default: no limit).
    max_task_queue_activities_per_second: of all workers of the queue together; give all of them the same number: each
    keeps to its part, by the partitions that it has. cache_bytes: for running workflows kept in memory (others
    are replayed when they go on). max_history_bytes: a workflow whose history takes more memory (its bytes, and 700
    for each event) is not replayed: its workflow tasks fail, and are tried again, until a worker may hold so much.
    From half of it on, the log warns. lost_after: seconds without a sign of life after which other workers take over
    its activities, a second or two later at most. blocked_after: seconds after which a workflow that does not give
    its thread back is reported.
    shutdown_timeout: seconds that running activities get to finish; after that they are cancelled and handed to
    others. identity: shown in descriptions (default: process ID and host). eager_activities: run at once
    what its own workflows schedule, without a task, where a slot is free; of a fan-out three, the rest is shared.
    False: each is a task, which any worker of the queue may take.
    local_activities: only for `workflow.execute_local_activity`, which can call `activities` as well; they take no
    tasks from the queue.
    interceptors: used behind those of the client.

    build_id: names the version of this code. Such a worker gets only what is for its build: new workflows once the
    build is current for the queue (`Client.set_current_build`, `odradek deployment set-current`), and its own ones.
    versioning (for workers with a build): pinned, a workflow ends on the build that it began on; auto_upgrade, it goes
    to the current build with its next task, so that changes of its code need `workflow.patched`.

    Entering raises UnavailableError if the log cannot be reached.
    Raises ValueError if there is nothing to run or an option makes no sense, DefinitionError for what is no
    workflow or activity, and for two of one name.
    """

    def __init__(
        self,
        client: Client,
        *,
        task_queue: str,
        workflows: Sequence[TakesMany[Any, Any]] = (),
        activities: Sequence[Activity[..., Any]] = (),
        local_activities: Sequence[Activity[..., Any]] = (),
        max_concurrent_activities: int = 100,
        max_activities_per_second: float | None = None,
        max_task_queue_activities_per_second: float | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        max_history_bytes: int = DEFAULT_MAX_HISTORY_BYTES,
        lost_after: Duration = 8,
        blocked_after: Duration = 2,
        shutdown_timeout: Duration = 10,
        identity: str | None = None,
        build_id: str | None = None,
        versioning: Literal["pinned", "auto_upgrade"] = "pinned",
        eager_activities: bool = True,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        check_name("task queue", task_queue)
        if build_id is not None:
            check_name("build ID", build_id)
        if versioning not in ("pinned", "auto_upgrade"):
            raise ValueError(f"versioning is 'pinned' or 'auto_upgrade', not {versioning!r}")
        if not workflows and not activities:
            raise ValueError("a worker needs something to run: give it workflows=[...], activities=[...] or both")
        for option, number in (
            ("max_concurrent_activities", max_concurrent_activities), ("max_history_bytes", max_history_bytes)
        ):  # fmt: skip
            if number < 1:
                raise ValueError(f"{option} is at least 1, not {number}")
        self._rates = (max_activities_per_second, max_task_queue_activities_per_second)
        if any(rate is not None and not 0 < rate < float("inf") for rate in self._rates):
            raise ValueError("a limit of activities per second is more than 0; None is no limit")
        for name, value in (("lost_after", lost_after), ("blocked_after", blocked_after)):
            if seconds(value) <= 0:
                raise ValueError(f"{name} is more than 0 seconds")
        self.task_queue = task_queue
        self.build_id = build_id or ""
        self.versioning = versioning
        self.identity = identity or f"{os.getpid()}@{socket.gethostname()}"
        self._client = client
        self._eager_activities = eager_activities
        self._workflows = workflow_definitions(workflows)
        self._activities = activity_definitions(activities)
        self._local_activities = activity_definitions([*activities, *local_activities])
        self._interceptors = checked([*client.interceptors, *interceptors])
        self._limit = max_concurrent_activities
        self._cache_bytes = cache_bytes
        self._max_history_bytes = max_history_bytes
        self._lost_after = seconds(lost_after)
        self._blocked_after = seconds(blocked_after)
        self._shutdown_timeout = seconds(shutdown_timeout)
        self._running: _RunningWorker | None = None
        self._stop: asyncio.Event | None = None

    async def __aenter__(self) -> Self:
        if self._running is not None:
            raise RuntimeError("this worker runs already; make another one")
        loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        running = self._running = _RunningWorker(self, _connection_of(self._client), loop, self._stop)
        running.connection.workers.add(self)
        try:
            await _in_a_thread(running.start)
        except LogError as error:
            self._running = None
            running.connection.workers.discard(self)
            raise unavailable(error) from error
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        error = await self._finish()
        if error is not None and exc is None:
            raise error

    async def run(self) -> None:
        """Run until `shutdown` is called, or the task is cancelled; then end gracefully.

        Raises the error if the worker cannot go on, for instance because the log is corrupt.
        """
        async with self:
            assert self._stop is not None
            await self._stop.wait()

    def shutdown(self) -> None:
        """Have `run` end gracefully. Returns at once; call it in the event loop, for instance from a signal handler."""
        if self._stop is not None:
            self._stop.set()

    @property
    def working(self) -> int:
        """How many activities run here now, or are about to."""
        running = self._running
        return 0 if running is None else running.working

    async def _finish(self) -> BaseException | None:
        """Shut down in another thread, so that activities on this event loop go on meanwhile."""
        running, self._running = self._running, None
        if running is None:
            return None
        running.connection.workers.discard(self)
        ending = _in_a_thread(running.stop)
        cancelled = False
        while not ending.done():
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                cancelled = True  # the worker is stopped orderly first: it takes shutdown_timeout at most
        ending.result()
        if cancelled:
            raise asyncio.CancelledError
        return running.error


def _in_a_thread(call: Callable[[], None]) -> asyncio.Future[None]:
    """What `call` comes to, in a thread of its own: those of `asyncio.to_thread` may all be taken by activities."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if ended.cancelled():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            call()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the event loop has ended: nobody waits any more
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="odradek-worker-life", daemon=True).start()
    return ended


def _connection_of(client: Client) -> WorkerConnection:
    """The open connection of the client. Raises ClientClosedError outside of `async with client`."""
    return client._worker_connection()


class _RunningWorker:
    """One life of a worker, from start to stop."""

    def __init__(
        self, worker: Worker, connection: WorkerConnection, loop: asyncio.AbstractEventLoop, stop: asyncio.Event
    ) -> None:
        self.error: BaseException | None = None
        self._worker = worker
        self.connection = connection
        self._loop = loop
        self._stop_event = stop
        log, topics, queue = connection.log, connection.topics, worker.task_queue
        build = worker.build_id
        self._workflow_topic = topics.workflow_tasks(queue, build)
        self._activity_topic = topics.activity_tasks(queue, build)
        most = log.max_record_bytes - OVERHEAD_BYTES
        renewing = RenewingProducer(log.producer)  # a worker's records may come twice (rules W6, T7)
        self._producer: Producer = DividingProducer(renewing, most)
        claims = connection.converter.claims
        if claims is not None:
            self._producer = StoringProducer(self._producer, claims, most)
        self._timer = TimerThread("odradek-worker-timer")
        self._session = WorkerSession(
            self._producer, topics, connection.partitions, new_id=lambda: secrets.token_hex(10),
            client_id=connection.client_id, reply_partition=connection.reply_partition, identity=worker.identity,
            lost_after=worker._lost_after, workflow_queues=[queue] if worker._workflows else [],
            activity_queues=[queue] if worker._activities else [], room=self._room,
            build_id=build, versioning=worker.versioning,
        )
        outlet = Outlet(self._producer, topics, connection.partitions, log.max_record_bytes)
        self._for_activities = self._activity_worker(outlet) if worker._activities else None
        self._for_workflows = self._workflow_worker(outlet) if worker._workflows else None
        if self._for_workflows is not None and self._for_activities is not None:
            self._for_activities.local = self._for_workflows.take_result

    def _workflow_worker(self, outlet: Outlet) -> WorkflowWorker:
        worker = self._worker
        workflows = RegisteredWorkflows(
            worker._workflows, task_queue=worker.task_queue, namespace=self.connection.namespace,
            converter=self.connection.converter, interceptors=worker._interceptors,
        )
        return WorkflowWorker(
            self.connection, self._workflow_topic, workflows=workflows, session=self._session, outlet=outlet,
            timer=self._timer, cache_bytes=worker._cache_bytes, max_history_bytes=worker._max_history_bytes,
            blocked_after=worker._blocked_after,
            stale_after=min(_STALE_SECONDS, worker._lost_after / 2), on_error=self._on_error,
            task_queue=worker.task_queue, runner=self._for_activities if worker._eager_activities else None,
            local_activities=LocalActivities(
                worker._local_activities, converter=self.connection.converter, namespace=self.connection.namespace,
                loop=self._loop, later=self._timer.later, limit=worker._limit,
                interceptors=worker._interceptors,
            ),
        )

    def _room(self) -> tuple[int, list[int]]:
        return self._for_activities.room() if self._for_activities is not None else (0, [])

    def _activity_worker(self, outlet: Outlet) -> ActivityWorker:
        worker = self._worker
        return ActivityWorker(
            self.connection, self._activity_topic, definitions=worker._activities, session=self._session,
            outlet=outlet, timer=self._timer, loop=self._loop, limit=worker._limit,
            stale_after=min(_STALE_SECONDS, worker._lost_after / 2), on_error=self._on_error,
            rates=ActivityRates(*worker._rates, time.monotonic), interceptors=worker._interceptors,
        )

    @property
    def working(self) -> int:
        return sum(part.working for part in (self._for_activities, self._for_workflows) if part is not None)

    def start(self) -> None:
        """Make the topics, begin to heartbeat, and read. Blocks for the log's answers."""
        self.connection.log.create_topics(
            TopicSpec(topic, self.connection.partitions, _TASK_RETENTION_MS, durable=False)
            for topic in (self._workflow_topic, self._activity_topic)
        )
        self.connection.on_reply(SessionEnded, self._session_ended)
        if self._for_activities is not None:
            self.connection.on_reply(ActivityCancelRequest, self._activity_reply)
            self.connection.on_reply(ActivityClaimed, self._activity_reply)
        self._timer.start()
        self._timer.every(self._session.heartbeat_interval / HEARTBEAT_PARTS, self._session.heartbeat_in_turn)
        for part in (self._for_workflows, self._for_activities):
            if part is not None:
                part.start()

    def stop(self) -> None:
        """End gracefully: take nothing more, commit, leave the groups, give running activities their time, end the
        session. Blocks for as long as that takes; a log that is away and full of what is to be appended is given up."""
        ended = threading.Event()
        watch = threading.Thread(target=self._give_up, args=(ended,), name="odradek-worker-end", daemon=True)
        watch.start()
        try:
            self._end()
        except LogError as error:
            logger.error("the worker has ended, but could not say so: %s", error)
        finally:
            self._timer.stop()
            ended.set()
            self._producer.close()

    def _give_up(self, ended: threading.Event) -> None:
        """Let nobody wait for room in the log any more, if the end takes too long."""
        if not ended.wait(self._worker._shutdown_timeout + _GIVE_UP_SECONDS):
            logger.error("the worker ends although the log does not answer: what it ran is given to others later")
            self._producer.close()

    def _end(self) -> None:
        parts = [part for part in (self._for_workflows, self._for_activities) if part is not None]
        for part in parts:
            part.stop()
        self._producer.flush(_FLUSH_SECONDS)
        for part in parts:
            part.leave()
        if self._for_activities is not None:
            self._for_activities.finish(self._worker._shutdown_timeout, _CANCEL_GRACE_SECONDS)
        self._session.stop()
        out = self._producer.flush(_FLUSH_SECONDS)
        if out:
            logger.error("%d records of the worker were not appended before it ended: the log does not answer", out)

    def _session_ended(self, reply: Record) -> None:
        if isinstance(reply, SessionEnded) and self._session.ended(reply.session) and self._for_activities is not None:
            self._for_activities.session_ended(reply.session)

    def _activity_reply(self, reply: Record) -> None:
        if self._for_activities is None:
            return
        if isinstance(reply, ActivityCancelRequest):
            self._for_activities.cancel(reply)
        elif isinstance(reply, ActivityClaimed):
            self._for_activities.claimed(reply)

    def _on_error(self, error: BaseException) -> None:
        """A thread cannot go on: the worker as a whole ends."""
        if self.error is None:
            self.error = error
        with contextlib.suppress(RuntimeError):  # the event loop has ended before its worker
            self._loop.call_soon_threadsafe(self._stop_event.set)
