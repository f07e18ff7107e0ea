"""The threads behind workflow tasks: one reads, one runs workflow code, and a new one takes over if that blocks."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeAlias

from odradek_log.protocol import LogError, OnDelivery
from odradek_schemas import Payload
from odradek_schemas.replies import HistoryPage
from odradek_schemas.tasks import QueryTask, WorkflowTask

from ..errors import PayloadError
from .acceptance import Acceptance
from .attempts import Attempt
from .bounded_history import BoundedHistory
from .cache import BoundedCache
from .cached_run import CachedRun
from .consumer import TaskConsumer
from .eager import Eager, EagerRunner, LocalReady
from .eager_results import EagerResults
from .fetching import Fetching
from .intake import Taken
from .local_activities import LocalActivities
from .offsets import Ticket
from .outlet import Outlet
from .ports import OnPage, WorkerConnection, Workflows
from .queries import Queries
from .readback import ReadBack
from .session import WorkerSession
from .steps import StepAbandoned, Steps
from .timers import TimerThread
from .workflow_tasks import WorkflowTasks

logger = logging.getLogger("odradek.worker")

_Action: TypeAlias = Callable[[], None]
_MAX_QUEUED, _MAX_WAITING = 1_000, 200
"""Things to do, and workflows that wait for their history, above which no more tasks are read."""

_DELIVERIES_AFTER = 0.1
"""Seconds after which deliveries are taken in that nobody waits for, if nothing else is to be done before."""


class WorkflowWorker:
    """Runs workflow tasks and queries of one task queue.

    The cores are used by one thread at a time: whatever happens elsewhere (a task read, a delivery, a page of
    history) is put into their inbox.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        topic: str,
        *,
        workflows: Workflows,
        session: WorkerSession,
        outlet: Outlet,
        timer: TimerThread,
        cache_bytes: int,
        max_history_bytes: int,
        blocked_after: float,
        stale_after: float,
        on_error: Callable[[BaseException], None],
        task_queue: str = "",
        runner: EagerRunner | None = None,
        local_activities: LocalActivities | None = None,
    ) -> None:
        """`runner`: of the activities that may run eagerly here; None: none may."""
        self._local_activities = local_activities
        self._connection = connection
        self._outlet = outlet
        self._timer = timer
        self._blocked_after = blocked_after
        self._on_error = on_error
        self._inbox: SimpleQueue[_Action | None] = SimpleQueue()
        self._deliveries: deque[_Action] = deque()
        self._reminded = False  # of the deliveries
        self._fetching = Fetching(connection.converter.claims)
        self._steps = Steps(time.monotonic)
        self._ended = threading.Event()
        self._cache: BoundedCache[CachedRun] = BoundedCache(cache_bytes)
        self._closed = threading.Lock()
        self._takes_results = runner is not None
        eager = self._read_back = None
        if runner is not None:
            acceptance = Acceptance(time.monotonic, overdue_after=stale_after)
            eager = Eager(acceptance, runner, session, task_queue, connection.now_ms)
            self._read_back = ReadBack(
                connection.log, connection.topics.events, acceptance, on_settled=eager.on_settled, on_error=on_error
            )
        failure_of = connection.converter.to_failure
        history = BoundedHistory(self, longest=max_history_bytes)
        self._tasks = WorkflowTasks(
            workflows=workflows, session=session, appender=self, history=history, cache=self._cache, steps=self._steps,
            later=self._later, failure_of=failure_of, eager=eager, local_activities=local_activities,
            now_ms=connection.now_ms, max_history_bytes=max_history_bytes,
        )
        self._eager_results = EagerResults(self._tasks, eager) if eager is not None else None
        self._queries = Queries(
            workflows=workflows, appender=self, history=history, cache=self._cache, steps=self._steps,
            failure_of=failure_of, now_ms=connection.now_ms,
        )
        self._consumer = TaskConsumer(
            connection.log, topic, handle=self._handle, capacity=self._capacity, between=lambda: None,
            on_error=on_error, stale_after=stale_after,
            on_partitions=self._read_back.follow if self._read_back is not None else lambda partitions: None,
        )

    def start(self) -> None:
        self._begin_thread()
        if self._read_back is not None:
            self._read_back.start()
        self._timer.every(self._blocked_after / 8, self._watch)
        self._consumer.start()

    def stop(self) -> None:
        """Take no more tasks. What is being answered is answered; the rest is left for others."""
        with self._closed:
            self._takes_results = False
            self._tasks.closing = True
        self._consumer.stop()
        if self._local_activities is not None:
            self._local_activities.close()

    @property
    def working(self) -> int:
        """How many local activities run."""
        return self._local_activities.working if self._local_activities is not None else 0

    def leave(self) -> None:
        """After `stop` and a flush of the producer: settle what was delivered, commit, and leave the group."""
        self._inbox.put(None)
        self._ended.wait(self._blocked_after)
        self._consumer.leave()
        if self._read_back is not None:
            self._read_back.stop()

    def take_result(self, attempt: Attempt, result: Payload | None) -> bool:
        """An eager activity has its result. False: it is too late to go on with it here. From any thread."""
        with self._closed:
            if not self._takes_results or self._eager_results is None:
                return False
            self._inbox.put(partial(self._eager_results.on_result, LocalReady(attempt, result)))
            return True

    # ------------------------------------------------------------ from other threads, into the inbox

    def _handle(self, taken: Taken) -> None:
        task = taken.task
        taken.ticket.fresh = taken.fresh
        if isinstance(task, WorkflowTask):
            self._fetching.open(task, partial(self._take, taken.ticket), partial(self._cannot_take, taken.ticket, task))
            return
        taken.ticket.finish()
        if isinstance(task, QueryTask):
            self._fetching.open(
                task,
                lambda opened: self._inbox.put(partial(self._queries.on_query, opened)),
                lambda error: self._inbox.put(partial(self._queries.cannot_read, task, error)),
            )

    def _take(self, ticket: Ticket, task: WorkflowTask) -> None:
        ticket.grow(sum(map(len, task.events)))  # what was fetched counts, too
        self._inbox.put(partial(self._tasks.on_task, task, ticket))

    def _cannot_take(self, ticket: Ticket, task: WorkflowTask, error: PayloadError) -> None:
        """What the task refers to is not to be had: it is answered with that, and comes again."""
        failure = self._connection.converter.to_failure(error)
        self._inbox.put(partial(self._tasks.fail, task, ticket, failure, "bug", raised=error))

    def _capacity(self) -> int:
        return min(_MAX_QUEUED - self._inbox.qsize() - self._fetching.count, _MAX_WAITING - self._tasks.waiting)

    def _later(self, seconds: float, action: _Action) -> None:
        if not seconds:
            self._inbox.put(action)
            return
        self._timer.later(seconds, partial(self._inbox.put, action))

    # ------------------------------------------------------------ the cores' way out

    def append(
        self,
        workflow_id: str,
        value: bytes,
        on_delivery: OnDelivery | None = None,
        at_once: Callable[[int], None] | None = None,
    ) -> None:
        self._outlet.event(workflow_id, value, partial(self._delivered, on_delivery, at_once))

    def _delivered(
        self, on_delivery: OnDelivery | None, at_once: Callable[[int], None] | None, offset: int,
        error: LogError | None,
    ) -> None:
        """Most deliveries are no news: they do not wake the workflow thread, but are taken in when it wakes next."""
        if at_once is not None and error is None:
            at_once(offset)
        if on_delivery is None:
            return
        self._deliveries.append(partial(on_delivery, offset, error))
        if error is not None or self._tasks.waiting:
            self._inbox.put(_nothing)
        elif not self._reminded:
            self._reminded = True
            self._timer.later(_DELIVERIES_AFTER, self._remind)

    def _remind(self) -> None:
        self._reminded = False
        if self._deliveries:
            self._inbox.put(_nothing)

    def reply(self, partition: int, client_id: str, value: bytes) -> None:
        self._outlet.reply(partition, client_id, value)

    def fits(self, workflow_id: str, value: bytes) -> bool:
        return self._outlet.fits(workflow_id, value)

    def fetch(self, workflow_id: str, run_id: str, barrier: int, from_event_id: int, on_page: OnPage) -> None:
        def taken(page: HistoryPage | Exception) -> None:
            self._inbox.put(partial(on_page, page))

        def answered(page: HistoryPage | Exception) -> None:
            if isinstance(page, HistoryPage):
                self._fetching.open(page, taken, taken)
            else:
                taken(page)

        self._connection.fetch_history(workflow_id, run_id, barrier, from_event_id, answered)

    # ------------------------------------------------------------ the workflow thread and its watchdog

    def _begin_thread(self, first: _Action | None = None) -> None:
        threading.Thread(target=self._run, args=(first,), name="odradek-workflows", daemon=True).start()

    def _run(self, first: _Action | None) -> None:
        get, deliveries = self._inbox.get, self._deliveries
        try:
            if first is not None:
                first()
            while True:
                action = get()
                while deliveries:
                    deliveries.popleft()()
                if action is None:
                    break
                action()
            self._cache.clear()
        except StepAbandoned as gone:  # another thread does this one's work since
            gone.step.running.close()
            logger.warning("workflow %s has come back after blocking its thread", gone.step.workflow_id)
            self._inbox.put(partial(self._tasks.on_unblocked, gone.step))
            return
        except BaseException as error:
            logger.exception("the workflow thread of the worker has ended")
            self._on_error(error)
        self._ended.set()

    def _watch(self) -> None:
        blocked = self._steps.blocked(self._blocked_after)
        if blocked is None:
            return
        logger.error(
            "workflow %s has blocked its thread for %.1f s; other workflows go on in another one. It is at:\n%s",
            blocked.step.workflow_id, self._blocked_after, blocked.stack,
        )
        self._begin_thread(partial(self._tasks.on_blocked, blocked.step, blocked.stack))


def _nothing() -> None:
    """What the workflow thread is given to look at its deliveries."""
