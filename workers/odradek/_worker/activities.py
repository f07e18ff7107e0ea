"""Activity tasks: which attempts run here, and what is appended about them (rules T1, T4, T7, W5).

A core without threads: the worker calls it under one lock, and runs the attempts that it launches.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

import msgspec
from odradek_log.protocol import LogError, LogUnavailableError, OnDelivery, RecordTooLargeError
from odradek_schemas import Failure, Payload, encode
from odradek_schemas.ephemeral import ActivityHeartbeat
from odradek_schemas.records import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityHandedBack,
    ActivityStarted,
)
from odradek_schemas.replies import ActivityCancelRequest, ActivityClaimed
from odradek_schemas.tasks import ActivityTask

from .attempts import Attempt, Completed, Deferred, Key, Late, Outcome, Stopped
from .heartbeats import HeartbeatThrottle
from .limits import compact
from .offsets import Ticket
from .ports import Later
from .rates import ActivityRates

logger = logging.getLogger("odradek.worker")

CLAIM_AGAIN_SECONDS = 10.0
"""After which a claim without an answer is appended again."""

REPORT_AGAIN_SECONDS = 1.0
"""After which a result that the log could not take is appended again."""

_Result: TypeAlias = ActivityCompleted | ActivityFailed | ActivityCancelled | ActivityHandedBack


class Launcher(Protocol):
    """Runs the code of attempts; reports with `Activities.on_ended`."""

    def launch(self, attempt: Attempt) -> None: ...

    def cancel(self, attempt: Attempt) -> None:
        """Ask it to stop."""
        ...


class Reports(Protocol):
    """Appends of this worker about activities; deliveries come under the core's lock."""

    def announce(self, workflow_id: str, again: bool = False) -> str:
        """Make the worker session known on the workflow's partition, be it once more; return its ID."""
        ...

    def append(self, workflow_id: str, value: bytes, on_delivery: OnDelivery) -> None:
        """To `events`."""
        ...

    def heartbeat(self, workflow_id: str, value: bytes) -> None:
        """To `ephemeral`, to the workflow's partition."""
        ...

    def fits(self, workflow_id: str, value: bytes) -> bool: ...


class Activities:
    """The attempts on this worker, at most `limit` at once.

    An attempt that ends within `start_after` seconds is not announced as started: its result says it all. One that
    has not begun within `stale_after` seconds is claimed before it does (rule T4).
    """

    def __init__(
        self,
        *,
        reports: Reports,
        launcher: Launcher,
        later: Later,
        clock: Callable[[], float],
        limit: int = 100,
        start_after: float = 0.005,
        stale_after: float = 5.0,
        rates: ActivityRates | None = None,
        local: Callable[[Attempt, Payload | None], bool] = lambda attempt, result: False,
    ) -> None:
        self._reports = reports
        self._launcher = launcher
        self._later = later
        self._clock = clock
        self._limit = limit
        self._start_after = start_after
        self._stale_after = stale_after
        self._rates = rates or ActivityRates(None, None, clock)
        self._local = local
        self._attempts: dict[Key, Attempt] = {}
        self._unstarted: deque[tuple[float, Attempt]] = deque()
        self._busy = 0
        self._early: set[Attempt] = set()

    @property
    def free(self) -> int:
        """How many more attempts may begin now."""
        allowed = self._rates.available()
        return self._limit - self._busy if allowed is None else min(allowed, self._limit - self._busy)

    @property
    def has_early_answers(self) -> bool:
        """Whether answers came before the offsets of their claims: those are waited for."""
        return bool(self._early)

    @property
    def running(self) -> list[Attempt]:
        """Attempts that have begun and not ended."""
        return [a for a in self._attempts.values() if a.state not in ("reporting", "local")]

    @property
    def unsettled(self) -> int:
        """How many attempts have not ended, or have a local result that is in no completion yet."""
        return sum(attempt.state != "reporting" for attempt in self._attempts.values())

    # ------------------------------------------------------------ eager ones

    def hold(self, task: ActivityTask, session: str) -> Attempt:
        """A completion that is about to be appended says that this session runs the activity: keep a slot for it.

        It is to begin within `stale_after` seconds from now: a process that stood still longer may be taken for lost.
        """
        attempt = Attempt(task, session, HeartbeatThrottle(task.heartbeat_timeout_ms / 1000), "held", eager=True)
        attempt.begin_before = self._clock() + self._stale_after
        self._attempts[attempt.key] = attempt
        self._rates.take()
        self._busy += 1
        return attempt

    def begin(self, attempt: Attempt) -> None:
        """The completion was accepted (rule W4)."""
        if attempt.state == "held" and self._attempts.get(attempt.key) is attempt:
            if attempt.cancel_reason:
                self.on_ended(attempt, Stopped())
            else:
                attempt.state = "running"
                self._launcher.launch(attempt)

    def give_back(self, attempt: Attempt) -> None:
        """Whether the completion was accepted is in doubt: it does not begin here."""
        if attempt.state == "held" and self._attempts.get(attempt.key) is attempt:
            self._report(attempt, ActivityHandedBack(**self._identity(attempt)))

    def withdraw(self, attempt: Attempt) -> None:
        """The completion was never sent."""
        self._forget(attempt)

    def settle(self, attempt: Attempt) -> None:
        """The local result is recorded, or wanted no more."""
        if self._attempts.get(attempt.key) is attempt:
            del self._attempts[attempt.key]

    def report(self, attempt: Attempt, result: Payload | None) -> None:
        """The local result cannot go into a completion: it is appended on its own."""
        self._busy += 1
        self._report(attempt, ActivityCompleted(**self._identity(attempt), result=result))

    # ------------------------------------------------------------ tasks

    def on_task(self, task: ActivityTask, ticket: Ticket, fresh: bool = True) -> None:
        """A task came. A fresh one runs at once. Claimed first are: an older one, which another worker may have done
        (rule T4); a repeated attempt, for the one before may have a result after all (T7); one that may run only once
        (T8), or whose cancellation is waited for. The ticket is finished when the start is durable, or the result of
        an attempt that was so short that its start was never appended (T1).
        """
        known = self._attempts.get(Key(task.run_id, task.scheduled_by, task.seq, task.attempt))
        if known is not None:
            self._delivered_again(known, ticket)
            return
        self._busy += 1
        self._rates.take()
        attempt = Attempt(task, "", HeartbeatThrottle(task.heartbeat_timeout_ms / 1000))
        attempt.beats.details = task.heartbeat_details
        self._attempts[attempt.key] = attempt
        attempt.tickets.append(ticket)
        if not fresh or task.attempt > 1 or task.delivery == "at_most_once" or task.claim:
            self._claim(attempt)
        else:
            if not self._start_after:
                self._start(attempt, claim=False)
            self._launch(attempt)
            if self._start_after:
                self._start_soon(attempt)

    def _claim(self, attempt: Attempt) -> None:
        attempt.state = "claiming"
        self._start(attempt, claim=True)
        self._later(CLAIM_AGAIN_SECONDS, partial(self._claim_again, attempt))

    def _start_soon(self, attempt: Attempt) -> None:
        """Append the start a little later, if the attempt still runs then: a short one needs none."""
        if not self._unstarted:
            self._later(self._start_after, self._start_late)
        self._unstarted.append((self._clock() + self._start_after, attempt))

    def _start_late(self) -> None:
        now = self._clock()
        while self._unstarted and self._unstarted[0][0] <= now:
            _, attempt = self._unstarted.popleft()
            if attempt.state == "running" and not attempt.session:
                self._start(attempt, claim=False)
        if self._unstarted:
            self._later(self._unstarted[0][0] - now, self._start_late)

    def _start(self, attempt: Attempt, *, claim: bool, deferred: bool = False) -> None:
        """Append that the current session takes the attempt; or that it waits for its task token from now on."""
        task = attempt.task
        attempt.session = self._reports.announce(task.workflow_id)
        started = ActivityStarted(**self._identity(attempt), claim=claim, deferred=deferred)
        attempt.appending += claim
        made_at = self._clock() if claim else None
        self._reports.append(task.workflow_id, encode(started), partial(self._started, attempt, made_at))

    def _started(self, attempt: Attempt, made_at: float | None, offset: int, error: LogError | None) -> None:
        """The start, which is a claim if it has a time, is durable, or given up."""
        if error is not None:
            logger.error("start of activity %s was not appended: %s", attempt.task.activity_type, error)
        else:
            self._finish_tickets(attempt)
        if made_at is None:
            return
        attempt.appending -= 1
        if error is None:
            attempt.claimed[offset] = made_at
        early, attempt.early = attempt.early, []
        self._early.discard(attempt)
        for reply in early:
            self.on_claimed(reply)

    def _finish_tickets(self, attempt: Attempt) -> None:
        for ticket in attempt.tickets:
            ticket.finish()
        attempt.tickets.clear()

    def on_claimed(self, reply: ActivityClaimed) -> None:
        """The engine has folded a claim: the attempt may run, or somebody else has it."""
        attempt = self._attempts.get(Key(reply.run_id, reply.scheduled_by, reply.seq, reply.attempt))
        if attempt is None or attempt.state != "claiming" or attempt.session != reply.session:
            return
        made_at = attempt.claimed.pop(reply.position.offset, None)
        if made_at is None:
            if attempt.appending:  # else a copy, or an answer to a claim of an attempt that has ended since
                self._early.add(attempt)
                attempt.early.append(reply)
            return
        if not reply.accepted:
            self._forget(attempt)
            return
        if self._clock() - made_at > attempt.claim_valid:
            attempt.claim_valid *= 2
            self._start(attempt, claim=True)
            return
        if attempt.cancel_reason:  # granted, but meanwhile it has a result, or is wanted no more
            self.on_ended(attempt, Stopped())
        else:
            self._launch(attempt)

    def on_session_ended(self, session: str) -> None:
        """Claims under a session that has ended are void: the engine delivers those activities again."""
        for attempt in self.running:
            if attempt.state == "claiming" and attempt.session == session:
                self._forget(attempt)

    def _claim_again(self, attempt: Attempt) -> None:
        """No answer to a claim: ask once more, which changes nothing but the chance of an answer. There is none while
        the partition does not know our session."""
        if attempt.state == "claiming" and self._attempts.get(attempt.key) is attempt:
            self._reports.announce(attempt.task.workflow_id, again=True)
            self._start(attempt, claim=True)
            self._later(CLAIM_AGAIN_SECONDS, partial(self._claim_again, attempt))

    def _delivered_again(self, attempt: Attempt, ticket: Ticket) -> None:
        """The same attempt was delivered again. It is not run twice; but if its session has ended since, the engine
        has to hear of the new one."""
        if attempt.tickets:
            attempt.tickets.append(ticket)
        elif attempt.state == "running" and attempt.session != self._reports.announce(attempt.task.workflow_id):
            attempt.tickets.append(ticket)
            self._start(attempt, claim=False)
        else:
            ticket.finish()

    def _launch(self, attempt: Attempt) -> None:
        attempt.state = "running"
        attempt.begin_before = self._clock() + self._stale_after
        self._launcher.launch(attempt)

    def _forget(self, attempt: Attempt) -> None:
        self._early.discard(attempt)
        if self._attempts.pop(attempt.key, None) is attempt and attempt.state != "reporting":
            self._busy -= 1

    # ------------------------------------------------------------ results

    def on_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """The code of an attempt has come to its end."""
        if self._attempts.get(attempt.key) is not attempt or attempt.state in ("reporting", "local"):
            return  # handed back meanwhile
        if isinstance(outcome, Late) and not attempt.cancel_reason:
            self._claim(attempt)
            return
        if attempt.eager and isinstance(outcome, Completed) and not attempt.cancel_reason:
            attempt.state = "local"
            self._busy -= 1
            if not self._local(attempt, outcome.result):
                self.report(attempt, outcome.result)
            return
        unstarted = not attempt.session
        if unstarted:
            attempt.session = self._reports.announce(attempt.task.workflow_id)
        record = self._record(attempt, outcome)
        if record is None:
            if isinstance(outcome, Deferred):
                self._start(attempt, claim=False, deferred=True)
            elif unstarted:
                self._finish_tickets(attempt)
            self._forget(attempt)
        else:
            self._report(attempt, record)

    def _record(self, attempt: Attempt, outcome: Outcome) -> _Result | None:
        """What to append about it, if anything."""
        if isinstance(outcome, Completed):  # taken whatever was decided meanwhile (rule T7)
            return ActivityCompleted(**self._identity(attempt), result=outcome.result)
        if isinstance(outcome, Late):
            outcome = Stopped()
        if isinstance(outcome, Deferred):
            return None
        if attempt.cancel_reason == "shutdown":
            return ActivityHandedBack(**self._identity(attempt), heartbeat_details=attempt.beats.details)
        if attempt.cancel_reason not in ("", "cancelled"):
            return None  # closed, timed out, completed elsewhere: the engine has gone on without it
        if isinstance(outcome, Stopped):
            return ActivityCancelled(**self._identity(attempt), details=attempt.beats.details)
        return ActivityFailed(
            **self._identity(attempt), failure=outcome.failure, next_retry_delay_ms=outcome.next_retry_delay_ms,
            heartbeat_details=attempt.beats.details,
        )

    def _identity(self, attempt: Attempt) -> dict[str, Any]:
        task = attempt.task
        return {
            "workflow_id": task.workflow_id, "run_id": task.run_id, "seq": task.seq, "scheduled_by": task.scheduled_by,
            "attempt": task.attempt, "session": attempt.session,
        }

    def _report(self, attempt: Attempt, record: _Result) -> None:
        self._busy -= 1
        attempt.state = "reporting"
        workflow_id = attempt.task.workflow_id
        value = encode(record)
        if not self._reports.fits(workflow_id, value):
            value = self._fitting(attempt, record, len(value))
        self._append_result(attempt, value)

    def _append_result(self, attempt: Attempt, value: bytes) -> None:
        self._reports.append(attempt.task.workflow_id, value, partial(self._reported, attempt, value))

    def _fitting(self, attempt: Attempt, record: _Result, size: int) -> bytes:
        """The record in a form that the log takes."""
        if isinstance(record, ActivityCompleted):
            return encode(self._too_large(attempt, size))
        if isinstance(record, ActivityFailed):
            small = msgspec.structs.replace(record, failure=compact(record.failure))
            if self._reports.fits(attempt.task.workflow_id, value := encode(small)):
                return value
            return encode(msgspec.structs.replace(small, heartbeat_details=[]))
        if isinstance(record, ActivityCancelled):
            return encode(msgspec.structs.replace(record, details=[]))
        return encode(msgspec.structs.replace(record, heartbeat_details=[]))

    def _too_large(self, attempt: Attempt, size: int) -> ActivityFailed:
        return ActivityFailed(**self._identity(attempt), failure=Failure(
            message=f"the result of activity {attempt.task.activity_type} makes a record of {size:,} bytes, more than "
            "the log takes: give client and workers DataConverter(store=...), or return a reference to it",
            type="ResultTooLarge", non_retryable=True,
        ))

    def _reported(self, attempt: Attempt, value: bytes, offset: int, error: LogError | None) -> None:
        if isinstance(error, RecordTooLargeError) and attempt.state == "reporting":
            attempt.state = "reported"
            self._append_result(attempt, encode(self._too_large(attempt, len(value))))
            return
        if isinstance(error, LogUnavailableError):  # nobody else has the result, and it may have no timeout
            logger.error("result of activity %s (workflow %s) was not appended: %s; trying again in %g s",
                         attempt.task.activity_type, attempt.task.workflow_id, error, REPORT_AGAIN_SECONDS)
            self._later(REPORT_AGAIN_SECONDS, partial(self._append_result, attempt, value))
            return
        if error is not None:
            logger.error(
                "result of activity %s (workflow %s) was not appended: %s; its timeout will have it run again",
                attempt.task.activity_type, attempt.task.workflow_id, error,
            )
        else:
            self._finish_tickets(attempt)
        if self._attempts.get(attempt.key) is attempt:
            del self._attempts[attempt.key]

    # ------------------------------------------------------------ heartbeats

    def on_heartbeat(self, attempt: Attempt, details: list[Payload]) -> None:
        """The code of an attempt says that it is alive, and how far it is."""
        wait = attempt.beats.beat(details, self._clock())
        if wait == 0:
            self._send_heartbeat(attempt)
        elif wait is not None:
            self._later(wait, partial(self._heartbeat_due, attempt))

    def _heartbeat_due(self, attempt: Attempt) -> None:
        if attempt.beats.due(self._clock()) and attempt.state == "running":
            self._send_heartbeat(attempt)

    def _send_heartbeat(self, attempt: Attempt) -> None:
        task = attempt.task
        value = encode(ActivityHeartbeat(
            workflow_id=task.workflow_id, run_id=task.run_id, scheduled_by=task.scheduled_by, seq=task.seq,
            attempt=task.attempt, session=attempt.session, details=attempt.beats.details,
        ))
        if self._reports.fits(task.workflow_id, value):
            self._reports.heartbeat(task.workflow_id, value)
        else:
            logger.error("heartbeat of activity %s is too large for the log: %d bytes", task.activity_type, len(value))

    # ------------------------------------------------------------ ending early

    def on_cancel(self, request: ActivityCancelRequest) -> None:
        """The engine asks attempts of an activity to stop: not those that it has emitted since."""
        asked = request.position.offset, request.position.index
        for attempt in self.running:
            task = attempt.task
            same = (task.run_id, task.scheduled_by, task.seq) == (request.run_id, request.scheduled_by, request.seq)
            if same and (task.position.offset, task.position.index) < asked:
                self._stop(attempt, request.reason)

    def stop_all(self) -> None:
        """The worker shuts down: ask everything to stop that still runs."""
        for attempt in self.running:
            self._stop(attempt, "shutdown")

    def hand_back(self) -> None:
        """Give back what has not stopped. It may go on in its thread; nobody waits for it any more."""
        for attempt in self.running:
            if attempt.state == "running":
                self.on_ended(attempt, Stopped())
            else:
                self._forget(attempt)  # if the claim is taken after all, the end of the session gives it back

    def _stop(self, attempt: Attempt, reason: str) -> None:
        if attempt.cancel_reason:
            return
        attempt.cancel_reason = reason
        if attempt.state == "running":
            self._launcher.cancel(attempt)
