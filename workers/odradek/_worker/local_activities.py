"""Local activities: they run in the workflow's own worker, which sees to their retries and timeouts."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import msgspec
from odradek_schemas import Failure, Payload, Position
from odradek_schemas.retry import backoff_ms, refusal
from odradek_schemas.tasks import ActivityTask, WorkflowTask

from .._converter import DataConverter
from .._definitions import ActivityDefinition
from .._instance_locals import LocalCall
from .._interceptors import Interceptor
from .activity_runner import ActivityRunner
from .attempts import Attempt, Completed, Deferred, Failed, Outcome, Stopped
from .heartbeats import HeartbeatThrottle
from .ports import Later

_NOWHERE = Position(partition=-1, offset=-1, index=-1)
_NEVER = float("inf")
SCHEDULED_BY = "local"
"""Stands in the identity of a local activity for the completion that schedules others: its key does not depend on
where it runs again."""


class LocalEnd(NamedTuple):
    """How a local activity ended; with a failure, no attempt is left."""

    attempt: int
    result: Payload | None = None
    failure: Failure | None = None


@dataclass(slots=True, eq=False)
class LocalRun:
    """A local activity that has not ended. `close_by`, `attempt_by`: on the clock, when it takes too long."""

    call: LocalCall
    task: ActivityTask
    on_end: Callable[[LocalEnd], None]
    close_by: float
    attempt: Attempt | None = None
    attempt_by: float = _NEVER
    last: Failure | None = None


class LocalActivities:
    """Runs local activities, at most `limit` at once. Its methods may be called from any thread."""

    def __init__(
        self,
        definitions: Mapping[str, ActivityDefinition],
        *,
        converter: DataConverter,
        namespace: str,
        loop: asyncio.AbstractEventLoop,
        later: Later,
        limit: int,
        interceptors: Sequence[Interceptor] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.names = list(definitions)
        self._later = later
        self._limit = limit
        self._clock = clock
        self._lock = threading.RLock()
        self._open: dict[LocalRun, None] = {}
        self._running: dict[Attempt, LocalRun] = {}
        self._queue: deque[LocalRun] = deque()
        self._looks_at = _NEVER
        self._runner = ActivityRunner(
            definitions, converter=converter, namespace=namespace, loop=loop, on_ended=self._ended,
            on_heartbeat=lambda attempt, details: None, interceptors=interceptors,
        )

    @property
    def working(self) -> int:
        """How many attempts run."""
        return len(self._running)

    def start(self, task: WorkflowTask | ActivityTask, call: LocalCall, on_end: Callable[[LocalEnd], None]) -> LocalRun:
        """Run a call of the workflow that `task` is of. `on_end` is told once, from any thread."""
        now = self._clock()
        first = ActivityTask(
            position=_NOWHERE, workflow_id=task.workflow_id, run_id=task.run_id, workflow_type=task.workflow_type,
            scheduled_by=SCHEDULED_BY, seq=call.seq, attempt=1, activity_type=call.activity_type,
            task_queue=getattr(task, "task_queue", ""), scheduled_ms=time.time_ns() // 1_000_000,
            input=list(call.input), headers=dict(call.headers), start_to_close_timeout_ms=call.start_to_close_ms,
        )
        close_by = now + call.schedule_to_close_ms / 1000 if call.schedule_to_close_ms else _NEVER
        run = LocalRun(call, first, on_end, close_by)
        with self._lock:
            self._open[run] = None
            self._queue.append(run)
            self._begin_queued()
            self._look(run.close_by)
        return run

    def cancel(self, run: LocalRun) -> None:
        """Nobody waits for it any more: ask it to stop, and forget it."""
        with self._lock:
            self._forget(run, "cancelled")
            self._begin_queued()

    def close(self) -> None:
        """Begin nothing more; what runs is left alone."""
        with self._lock:
            for run in list(self._open):
                self._forget(run, "shutdown")
        self._runner.close()

    # ------------------------------------------------------------ under the lock

    def _begin_queued(self) -> None:
        while self._queue and len(self._running) < self._limit:
            run = self._queue.popleft()
            run.attempt = Attempt(run.task, "", HeartbeatThrottle(0), "running")
            length = run.call.start_to_close_ms
            run.attempt_by = self._clock() + length / 1000 if length else _NEVER
            self._running[run.attempt] = run
            self._runner.launch(run.attempt)
            self._look(run.attempt_by)

    def _forget(self, run: LocalRun, reason: str) -> None:
        self._open.pop(run, None)
        if run in self._queue:
            self._queue.remove(run)
        self._stop_attempt(run, reason)

    def _stop_attempt(self, run: LocalRun, reason: str) -> None:
        if run.attempt is not None and self._running.pop(run.attempt, None) is not None:
            run.attempt.cancel_reason = reason
            self._runner.cancel(run.attempt)
        run.attempt, run.attempt_by = None, _NEVER

    def _look(self, at: float) -> None:
        """Have `_look_around` called at that time, if nothing has it called before."""
        if at < self._looks_at:
            self._looks_at = at
            self._later(max(0.0, at - self._clock()), partial(self._look_around, at))

    # ------------------------------------------------------------ ends, from any thread

    def _ended(self, attempt: Attempt, outcome: Outcome) -> None:
        with self._lock:
            run = self._running.pop(attempt, None)
            if run is None:
                return  # cancelled, or it took too long
            run.attempt, run.attempt_by = None, _NEVER
            self._begin_queued()
            end = self._end_of(run, outcome)
        if end is not None:
            run.on_end(end)

    def _look_around(self, at: float) -> None:
        """End what takes too long."""
        ended: list[tuple[LocalRun, LocalEnd | None]] = []
        with self._lock:
            if at != self._looks_at:
                return
            now = self._clock()
            for run in list(self._open):
                if now >= run.close_by:
                    self._forget(run, "timed_out")
                    failure = self._timeout(run, "schedule_to_close", run.call.schedule_to_close_ms)
                    ended.append((run, LocalEnd(run.task.attempt, failure=failure)))
                elif now >= run.attempt_by:
                    self._stop_attempt(run, "timed_out")
                    ended.append((run, self._end_of(run, Failed(self._timeout(
                        run, "start_to_close", run.call.start_to_close_ms
                    )))))
            self._begin_queued()
            self._looks_at = _NEVER
            self._look(min((min(r.close_by, r.attempt_by) for r in self._open), default=_NEVER))
        for run, end in ended:
            if end is not None:
                run.on_end(end)

    def _end_of(self, run: LocalRun, outcome: Outcome) -> LocalEnd | None:
        """What becomes of it after an attempt; None: there is another one, or nobody waits."""
        attempts = run.task.attempt
        if isinstance(outcome, Completed):
            del self._open[run]
            return LocalEnd(attempts, outcome.result)
        if isinstance(outcome, Deferred):
            outcome = Failed(Failure(
                message=f"activity {run.call.activity_type} raised CompleteAsync: a local activity has no task token; "
                "call the activity itself", type="CompleteAsync", non_retryable=True,
            ))
        if not isinstance(outcome, Failed):
            if isinstance(outcome, Stopped):
                self._open.pop(run, None)
            return None
        policy, delay_ms = run.call.retry_policy, outcome.next_retry_delay_ms
        delay = (delay_ms if delay_ms >= 0 else backoff_ms(policy, attempts)) / 1000
        if refusal(policy, outcome.failure, attempts) or self._clock() + delay >= run.close_by:
            del self._open[run]
            return LocalEnd(attempts, failure=outcome.failure)
        run.last = outcome.failure
        run.task = msgspec.structs.replace(run.task, attempt=attempts + 1)
        self._later(delay, partial(self._again, run))
        return None

    def _again(self, run: LocalRun) -> None:
        with self._lock:
            if run in self._open:
                self._queue.append(run)
                self._begin_queued()

    def _timeout(self, run: LocalRun, kind: str, length_ms: int) -> Failure:
        name, last = run.call.activity_type, run.last
        if last is not None and last.kind == "timeout":
            last = None  # chains of them would grow with every attempt
        return Failure(
            message=f"local activity {name} reached its {kind}_timeout of {length_ms / 1000:g} s", type="Timeout",
            kind="timeout", timeout_type=kind, activity_type=name, attempt=run.task.attempt, cause=last,
        )
