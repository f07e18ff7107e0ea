"""The threads behind activity tasks: one reads and claims them; their code runs elsewhere and reports from there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from odradek_log.protocol import LogError, OnDelivery
from odradek_schemas import Payload
from odradek_schemas.replies import ActivityCancelRequest, ActivityClaimed
from odradek_schemas.tasks import ActivityTask

from .._definitions import ActivityDefinition
from .._interceptors import Interceptor
from .activities import Activities
from .activity_runner import ActivityRunner
from .attempts import Attempt, Outcome
from .consumer import TaskConsumer
from .intake import Taken
from .outlet import Outlet
from .ports import WorkerConnection
from .rates import ActivityRates
from .session import WorkerSession
from .timers import TimerThread

HELD_BACK_MS = 400
"""A task that is so old when its turn comes is claimed: the engine hands over what waits for longer."""


class ActivityWorker:
    """Runs activities of one task queue, at most `limit` at once. The core is used under one lock."""

    def __init__(
        self,
        connection: WorkerConnection,
        topic: str,
        *,
        definitions: Mapping[str, ActivityDefinition],
        session: WorkerSession,
        outlet: Outlet,
        timer: TimerThread,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        stale_after: float,
        rates: ActivityRates,
        on_error: Callable[[BaseException], None],
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self._connection = connection
        self._definitions = definitions
        self.local: Callable[[Attempt, Payload | None], bool] = lambda attempt, result: False
        self._session = session
        self._outlet = outlet
        self._timer = timer
        self._lock = threading.RLock()  # the core's
        self._idle = threading.Condition(self._lock)
        self._finishing = False
        self._backlog: deque[Taken] = deque()
        self._delivered: deque[Callable[[], None]] = deque()
        self._runner = ActivityRunner(
            definitions, converter=connection.converter, namespace=connection.namespace, loop=loop,
            on_ended=self._ended, on_heartbeat=self._heartbeat, interceptors=interceptors,
        )
        self._core = Activities(
            reports=self, launcher=self._runner, later=self._later, clock=time.monotonic, limit=limit,
            stale_after=stale_after, rates=rates, local=lambda attempt, result: self.local(attempt, result),
        )
        self._rates = rates
        self._waking = False
        self._stopping = False
        self._partitions = connection.partitions
        self._consumer = TaskConsumer(
            connection.log, topic, handle=self._backlog.append, capacity=self._capacity, between=self._between,
            on_error=on_error, stale_after=stale_after,
        )

    @property
    def working(self) -> int:
        """How many attempts run here, are about to, or have results that are on their way into a completion."""
        with self._lock:
            return self._core.unsettled + len(self._backlog)

    def start(self) -> None:
        self._consumer.start()

    def stop(self) -> None:
        """Take no more tasks."""
        self._stopping = True
        self._consumer.stop()

    def leave(self) -> None:
        """After `stop` and a flush of the producer: commit what was claimed, and leave the group."""
        self._consumer.leave()

    def finish(self, timeout: float, grace: float) -> None:
        """Wait up to `timeout` seconds for the running activities; then ask them to stop, and give back what has not
        done so `grace` seconds later."""
        with self._lock:
            self._finishing = True
            if not self._idle.wait_for(lambda: not self._core.running, timeout):
                self._core.stop_all()
                self._idle.wait_for(lambda: not self._core.running, grace)
                self._core.hand_back()
        self._runner.close()

    def cancel(self, request: ActivityCancelRequest) -> None:
        """The engine asks an activity to stop. From any thread."""
        with self._lock:
            self._core.on_cancel(request)

    def claimed(self, reply: ActivityClaimed) -> None:
        """The engine answers a claim. From any thread."""
        with self._lock:
            self._take_delivered()
            self._core.on_claimed(reply)
            self._tell_finisher()
        self._consumer.wake()

    def session_ended(self, session: str) -> None:
        """This session of the worker was declared lost, and another has begun. From any thread."""
        with self._lock:
            self._core.on_session_ended(session)
        self._consumer.wake()

    # ------------------------------------------------------------ eager ones (EagerRunner), from any thread

    def hold(self, task: ActivityTask, session: str) -> Attempt | None:
        if task.activity_type not in self._definitions:
            return None
        with self._lock:
            return self._core.hold(task, session) if self._capacity() > 0 else None

    def begin(self, attempts: Sequence[Attempt]) -> None:
        self._each(self._core.begin, attempts)

    def give_back(self, attempts: Sequence[Attempt]) -> None:
        self._each(self._core.give_back, attempts)

    def withdraw(self, attempts: Sequence[Attempt]) -> None:
        self._each(self._core.withdraw, attempts)

    def settle(self, attempts: Sequence[Attempt]) -> None:
        self._each(self._core.settle, attempts)

    def report(self, attempt: Attempt, result: Payload | None) -> None:
        with self._lock:
            self._core.report(attempt, result)

    def _tell_finisher(self) -> None:
        """Under the lock."""
        if self._finishing:
            self._idle.notify_all()

    def _each(self, act: Callable[[Attempt], None], attempts: Sequence[Attempt]) -> None:
        with self._lock:
            full = self._core.free <= 0
            for attempt in attempts:
                act(attempt)
            self._tell_finisher()
        if full:
            self._consumer.wake()

    # ------------------------------------------------------------ in the consumer's thread

    def _capacity(self) -> int:
        with self._lock:
            if self._rates.limited:
                self._rates.share(len(self._consumer.partitions), self._partitions)
                self._wake_when_allowed()
            return self._core.free - len(self._backlog)

    def _held_back(self, taken: Taken) -> bool:
        """Whether the task has waited so long here that it may have been given to another worker, if there is one."""
        age_ms = time.time() * 1000 - taken.appended_ms
        return age_ms > HELD_BACK_MS and len(self._consumer.partitions) < self._partitions

    def room(self) -> tuple[int, list[int]]:
        """How many more activities could begin, and of which partitions tasks come here. From any thread."""
        if self._stopping:
            return 0, []
        with self._lock:
            free = self._core.free - len(self._backlog)
        return free, sorted(p.partition for p in self._consumer.partitions)

    def _wake_when_allowed(self) -> None:
        """A rate limit holds tasks back: look again when it lets one begin."""
        wait = self._rates.wait()
        if 0 < wait < float("inf") and not self._waking:
            self._waking = True
            self._timer.later(wait, self._allowed)

    def _allowed(self) -> None:
        with self._lock:
            self._waking = False
        self._consumer.wake()

    def _between(self) -> None:
        with self._lock:
            self._take_delivered()
            while self._backlog and self._core.free > 0:
                taken = self._backlog.popleft()
                if isinstance(taken.task, ActivityTask):
                    self._core.on_task(taken.task, taken.ticket, taken.fresh and not self._held_back(taken))
                else:
                    taken.ticket.finish()

    def _take_delivered(self) -> None:
        """Under the lock."""
        while self._delivered:
            self._delivered.popleft()()

    # ------------------------------------------------------------ from the threads of activities

    def _ended(self, attempt: Attempt, outcome: Outcome) -> None:
        with self._lock:
            full = self._core.free <= 0
            self._core.on_ended(attempt, outcome)
            self._tell_finisher()
        if full:
            self._consumer.wake()

    def _heartbeat(self, attempt: Attempt, details: list[Payload]) -> None:
        with self._lock:
            self._core.on_heartbeat(attempt, details)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        def locked() -> None:
            with self._lock:
                action()

        self._timer.later(seconds, locked)

    # ------------------------------------------------------------ the core's way out

    def announce(self, workflow_id: str, again: bool = False) -> str:
        return self._session.announce(self._outlet.partition(workflow_id), again)

    def append(self, workflow_id: str, value: bytes, on_delivery: OnDelivery) -> None:
        def delivered(offset: int, error: LogError | None) -> None:
            self._delivered.append(partial(on_delivery, offset, error))
            if error is not None or self._core.has_early_answers:
                self._consumer.wake()

        self._outlet.event(workflow_id, value, delivered)

    def heartbeat(self, workflow_id: str, value: bytes) -> None:
        self._outlet.ephemeral(workflow_id, value)

    def fits(self, workflow_id: str, value: bytes) -> bool:
        return self._outlet.fits(workflow_id, value)
