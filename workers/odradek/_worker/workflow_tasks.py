"""Workflow tasks: which cached run they advance, what is replayed, and what is answered (rules W1, W2, W8, W11).

A single-threaded core. Everything that takes time comes back as a call: `on_delivery` of an append, a page
of history, a step that was given up.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec
from odradek_log.protocol import LogError, RecordTooLargeError
from odradek_schemas import DecodeError, Failure, encode
from odradek_schemas.history import HistoryEvent
from odradek_schemas.records import RejectedUpdate, UpdatesRejected, WorkflowTaskCompleted, WorkflowTaskFailed
from odradek_schemas.tasks import PendingUpdate, WorkflowTask

from ..errors import WorkflowTaskError
from .cache import BoundedCache
from .history import History, HistoryFetch, decode_events, unread_inputs
from .limits import compact
from .offsets import Ticket
from .ports import Appender, HistorySource, Later, RunningWorkflow, Workflows
from .session import WorkerSession
from .steps import Step, Steps, stack_of

logger = logging.getLogger("odradek.worker")

RETRY_SECONDS = 1.0
"""Before something that failed for the log's reasons is tried again."""


@dataclass(slots=True)
class Answer:
    """A completion of ours on some base; its offset is known once it is durable."""

    offset: int | None = None


@dataclass(slots=True)
class CachedRun:
    """A run in memory. `tip`: the ID of its last completion (at first the run ID). `answers`: our completions by
    their base, since the last one that we know was accepted."""

    run_id: str
    tip: str
    running: RunningWorkflow
    consumed_through: int
    answers: dict[str, Answer] = field(default_factory=dict[str, Answer])

    @property
    def size(self) -> int:
        return self.running.size

    def close(self) -> None:
        self.running.close()


class WorkflowTasks:
    """Answers workflow tasks. Tasks of one workflow are handled in order; others do not wait for them."""

    def __init__(
        self,
        *,
        workflows: Workflows,
        session: WorkerSession,
        appender: Appender,
        history: HistorySource,
        cache: BoundedCache[CachedRun],
        steps: Steps,
        later: Later,
        failure_of: Callable[[BaseException], Failure],
    ) -> None:
        self._workflows = workflows
        self._session = session
        self._appender = appender
        self._history = history
        self.cache = cache
        self._steps = steps
        self._later = later
        self._failure_of = failure_of
        self._waiting: dict[str, deque[tuple[WorkflowTask, Ticket]]] = {}
        self._stuck: dict[str, Step] = {}
        self.closing = False

    @property
    def waiting(self) -> int:
        """How many workflows wait for their history, or for the offset of a completion."""
        return len(self._waiting)

    # ------------------------------------------------------------ tasks

    def on_task(self, task: WorkflowTask, ticket: Ticket) -> None:
        """A task came. `ticket` is finished once nothing of it can be lost (rule T1)."""
        if self.closing:
            return
        queue = self._waiting.get(task.workflow_id)
        if queue is not None:
            queue.append((task, ticket))
        elif task.workflow_type not in self._workflows.names:
            self._fail(task, ticket, self._unknown_type(task), "unknown_type")
        elif task.run_id in self._stuck:
            self._fail(task, ticket, blocked_failure(task.workflow_id, stack_of(self._stuck[task.run_id])), "blocked")
        else:
            self._advance(task, ticket)

    def _advance(self, task: WorkflowTask, ticket: Ticket) -> None:
        run = self.cache.get(task.workflow_id)
        if run is not None and run.run_id == task.run_id:
            if run.tip == task.base:  # rule W1: what is cached is exactly what the task builds on
                run.answers.clear()
                if task.complete:
                    self._feed_task(run, task, ticket)
                    return
            elif (answer := run.answers.get(task.base)) is not None:  # rule W8
                if answer.offset is None:
                    self._waiting[task.workflow_id] = deque([(task, ticket)])
                    return
                if task.position.offset < answer.offset:
                    ticket.finish()
                    return
        self.cache.evict(task.workflow_id)
        if task.consumed_through == 0 and task.complete:
            running = self._workflows.create(task.workflow_type, task.workflow_id, task.run_id)
            self._feed_task(CachedRun(task.run_id, task.base, running, 0), task, ticket)
        else:
            self._fetch(task, ticket)

    def _feed_task(self, run: CachedRun, task: WorkflowTask, ticket: Ticket) -> None:
        try:
            events = unread_inputs(decode_events(task.events), run.consumed_through)
        except (DecodeError, TypeError) as error:
            self._fail(task, ticket, self._failure_of(error), "bug")
            return
        self._feed(run, events, task, ticket)

    def _feed(self, run: CachedRun, events: Sequence[HistoryEvent], task: WorkflowTask, ticket: Ticket) -> None:
        """Feed unread inputs and updates, and append what the code made of them."""
        updates = task.updates if run.tip == task.base else []  # others were decided since
        if not events and not updates:
            self.cache.put(task.workflow_id, run)
            ticket.finish()
            return
        run.running.history_size = task.history_size
        if self._step(run.running, task, ticket, run.tip, partial(feed_until_end, run.running, events, updates)):
            self._complete(run, task, ticket)

    def _step(
        self, running: RunningWorkflow, task: WorkflowTask, ticket: Ticket, base: str, code: Callable[[], None]
    ) -> bool:
        """Run user code; on an error, answer the task with it and drop the instance."""
        self.cache.take(task.workflow_id)
        step = Step(task.workflow_id, task.run_id, running, partial(self._blocked, task, ticket, base))
        failure, cause = None, ""
        self._steps.begin(step)
        try:
            code()
        except WorkflowTaskError as error:
            failure, cause = self._failure_of(error.__cause__ or error), error.cause
        except BaseException as error:  # SystemExit too: a workflow must not end the worker
            failure, cause = self._failure_of(error), "bug"
        self._steps.end(step)
        if failure is None:
            return True
        running.close()
        self._fail(task, ticket, failure, cause, base)
        return False

    # ------------------------------------------------------------ answers

    def _complete(self, run: CachedRun, task: WorkflowTask, ticket: Ticket) -> None:
        accepted, rejected = run.running.take_updates()
        if rejected and not accepted and run.running.fed_through == run.consumed_through:
            self._reject(run, task, ticket, rejected)
            return
        completed = WorkflowTaskCompleted(
            workflow_id=task.workflow_id, run_id=run.run_id, id=self._session.completion_id(), base=run.tip,
            consumed_through=run.running.fed_through, commands=run.running.take_commands(), session=self._session.id,
            history_size=run.running.history_size,
            build_id=self._session.build_id, versioning=self._session.versioning,
            accepted_updates=accepted, rejected_updates=[_compact(update) for update in rejected],
        )
        value = encode(completed)
        if not self._appender.fits(task.workflow_id, value):
            run.close()
            self._fail(task, ticket, too_large_failure(len(value)), "bug", run.tip)
            return
        answer = run.answers[run.tip] = Answer()
        run.tip = completed.id
        run.consumed_through = completed.consumed_through
        if run.running.ended:
            run.close()
        else:
            self.cache.put(task.workflow_id, run)
        self._appender.append(
            task.workflow_id, value, partial(self._completed, answer, completed.base, task, ticket, len(value))
        )

    def _reject(
        self, run: CachedRun, task: WorkflowTask, ticket: Ticket, rejected: Sequence[RejectedUpdate]
    ) -> None:
        """Nothing but rejected updates: the run stands where it was, and history is not told."""
        self.cache.put(task.workflow_id, run)
        record = UpdatesRejected(
            workflow_id=task.workflow_id, run_id=run.run_id, base=run.tip, session=self._session.id,
            rejected_updates=[_compact(update) for update in rejected],
        )
        self._appender.append(task.workflow_id, encode(record), partial(self._failed, task, ticket))

    def _completed(
        self, answer: Answer, base: str, task: WorkflowTask, ticket: Ticket, size: int, offset: int,
        error: LogError | None,
    ) -> None:
        """The completion is durable, or given up."""
        if error is None:
            answer.offset = offset
            ticket.finish()
        else:
            self.cache.evict(task.workflow_id)
            if isinstance(error, RecordTooLargeError):
                self._fail(task, ticket, too_large_failure(size), "bug", base)
            else:
                logger.error("completion of workflow %s was not appended: %s", task.workflow_id, error)
                self._later(RETRY_SECONDS, partial(self.on_task, task, ticket))
        self._resume(task.workflow_id)

    def _resume(self, workflow_id: str) -> None:
        """Go on with the tasks that waited for something of this workflow."""
        for task, ticket in self._waiting.pop(workflow_id, ()):
            self.on_task(task, ticket)

    def _fail(self, task: WorkflowTask, ticket: Ticket, failure: Failure, cause: str, base: str = "") -> None:
        logger.error(
            "workflow %s (%s, run %s) cannot go on: %s: %s", task.workflow_id, task.workflow_type, task.run_id, cause,
            failure.stack_trace or failure.message,
        )
        record = WorkflowTaskFailed(
            workflow_id=task.workflow_id, run_id=task.run_id, base=base or task.base, failure=failure, cause=cause,
            session=self._session.id,
        )
        value = encode(record)
        if not self._appender.fits(task.workflow_id, value):
            value = encode(msgspec.structs.replace(record, failure=compact(failure)))
        self._appender.append(task.workflow_id, value, partial(self._failed, task, ticket))

    def _failed(self, task: WorkflowTask, ticket: Ticket, offset: int, error: LogError | None) -> None:
        if error is None:
            ticket.finish()
            return
        logger.error("failure of workflow task of %s was not appended: %s", task.workflow_id, error)
        self._later(RETRY_SECONDS, partial(self.on_task, task, ticket))

    # ------------------------------------------------------------ steps that were given up

    def _blocked(self, task: WorkflowTask, ticket: Ticket, base: str, stack: str) -> None:
        self._fail(task, ticket, blocked_failure(task.workflow_id, stack), "blocked", base)

    def on_blocked(self, step: Step, stack: str) -> None:
        """A step was given up by the watchdog; its thread is still in the workflow's code."""
        self._stuck[step.run_id] = step
        self.cache.take(step.workflow_id)
        step.give_up(stack)
        self._resume(step.workflow_id)

    def on_unblocked(self, step: Step) -> None:
        """The thread of a step that was given up has come back."""
        if self._stuck.get(step.run_id) is step:
            del self._stuck[step.run_id]

    # ------------------------------------------------------------ history

    def _fetch(self, task: WorkflowTask, ticket: Ticket) -> None:
        self._waiting[task.workflow_id] = deque()
        barrier = task.position.offset + 1  # rule W11: not below the task's own position
        HistoryFetch(
            self._history, task.workflow_id, task.run_id, barrier, partial(self._fetched, task, ticket)
        ).start()

    def _fetched(self, task: WorkflowTask, ticket: Ticket, history: History | Exception | None) -> None:
        if isinstance(history, Exception):
            logger.warning("history of workflow %s could not be fetched, trying again: %s", task.workflow_id, history)
            self._later(RETRY_SECONDS, partial(self._fetch_again, task, ticket))
            return
        if history is None or not history.open:
            ticket.finish()
        elif not self.closing:
            self._replay(history, task, ticket)
        self._resume(task.workflow_id)

    def _fetch_again(self, task: WorkflowTask, ticket: Ticket) -> None:
        waiting = self._waiting.pop(task.workflow_id, ())
        self.on_task(task, ticket)
        for other, its_ticket in waiting:
            self.on_task(other, its_ticket)

    def _replay(self, history: History, task: WorkflowTask, ticket: Ticket) -> None:
        """Bring the run back to life from its history: base and position of reading are those of what is replayed."""
        running = self._workflows.create(task.workflow_type, task.workflow_id, task.run_id)
        replay = partial(self._workflows.replay, running, history.events)
        if self._step(running, task, ticket, history.base, replay):
            run = CachedRun(task.run_id, history.base, running, history.consumed_through)
            unread = history.unread()
            if history.base == task.base:  # what came later is for the next task, behind updates that came before it
                unread = [event for event in unread if event.event_id <= task.last_event_id]
            self._feed(run, unread, task, ticket)

    def _unknown_type(self, task: WorkflowTask) -> Failure:
        known = ", ".join(sorted(self._workflows.names)) or "none"
        return Failure(
            message=f"no workflow type {task.workflow_type!r} on this worker (it has: {known}); add it to "
            "Worker(workflows=[...]), or start it on the task queue of a worker that has it",
            type="UnknownWorkflowType", kind="bug",
        )


def feed_until_end(
    running: RunningWorkflow, events: Sequence[HistoryEvent], updates: Sequence[PendingUpdate] = ()
) -> None:
    """Feed events and updates in the order of the log, none after the one at which the coroutine ends (rule W2)."""
    waiting = deque(updates)
    for event in events:
        while waiting and waiting[0].after_event_id < event.event_id:
            running.offer(waiting.popleft())
            if running.ended:
                return
        running.feed(event)
        if running.ended:
            return
    while waiting and not running.ended:
        running.offer(waiting.popleft())


def _compact(update: RejectedUpdate) -> RejectedUpdate:
    return msgspec.structs.replace(update, failure=compact(update.failure))


def blocked_failure(workflow_id: str, stack: str) -> Failure:
    return Failure(
        message=f"workflow {workflow_id} blocks its thread: it has neither awaited nor ended for too long. Move what "
        "blocks (sleeping, network, long computations) into an activity",
        type="WorkflowBlocked", kind="bug", stack_trace=stack,
    )


def too_large_failure(size: int) -> Failure:
    return Failure(
        message=f"what the workflow asks for in one step is {size:,} bytes, more than the log takes in one record; "
        "pass references instead of large values, or schedule fewer activities at once",
        type="CompletionTooLarge", kind="bug",
    )
