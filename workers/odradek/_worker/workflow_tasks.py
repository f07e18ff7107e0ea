"""Workflow tasks: which cached run they advance, what is replayed, and what is answered (rules W1, W2, W8, W11).

A single-threaded core. Everything that takes time comes back as a call: `on_delivery` of an append, a page
of history, a step that was given up.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import msgspec
from odradek_log.protocol import LogError, RecordTooLargeError
from odradek_schemas import DecodeError, Failure, encode
from odradek_schemas.history import HistoryEvent
from odradek_schemas.records import (
    AcceptedUpdate,
    LocalResult,
    RejectedUpdate,
    UpdatesRejected,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
)
from odradek_schemas.tasks import ActivityTask, PendingUpdate, WorkflowTask

from ..errors import WorkflowTaskError
from .acceptance import Fate
from .bounded_history import DEFAULT_MAX_HISTORY_BYTES, HistoryTooLargeError, in_memory
from .cache import BoundedCache
from .cached_run import Answer, CachedRun
from .eager import Eager
from .failure_log import FailureLog
from .feeding import feed_until_end, is_at_work, run_side_effects
from .history import History, HistoryFetch, decode_events, unread_inputs
from .limits import compact, compact_if_large, history_too_large_failure, too_large_failure
from .local_activities import LocalActivities
from .local_steps import LocalSteps
from .offsets import Ticket
from .ports import Appender, HistorySource, Later, RunningWorkflow, Workflows
from .session import WorkerSession
from .steps import Step, Steps, blocked_failure, stack_of

logger = logging.getLogger("odradek.worker")

Tickets: TypeAlias = Sequence[tuple[WorkflowTask, Ticket]]
"""Tasks that one completion answers."""

RETRY_SECONDS = 1.0
"""Before something that failed for the log's reasons is tried again."""


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
        eager: Eager | None = None,
        local_activities: LocalActivities | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        max_history_bytes: int = DEFAULT_MAX_HISTORY_BYTES,
    ) -> None:
        """`max_history_bytes`: of what `history` gives; beginning with half of it, the log warns."""
        self._max_history_bytes = max_history_bytes
        self.now_ms = now_ms
        self.local_steps = LocalSteps(self, local_activities) if local_activities is not None else None
        self._eager = eager
        self._workflows = workflows
        self._session = session
        self._appender = appender
        self._history = history
        self.cache = cache
        self._steps = steps
        self.later = later
        self.failure_of = failure_of
        self._waiting: dict[str, deque[tuple[WorkflowTask, Ticket]]] = {}
        self._stuck: dict[str, Step] = {}
        self._log = FailureLog()
        self.closing = False

    @property
    def waiting(self) -> int:
        """How many workflows wait: for their history, the offset of a completion, or local activities."""
        return len(self._waiting) + (len(self.local_steps) if self.local_steps is not None else 0)

    # ------------------------------------------------------------ tasks

    def on_task(self, task: WorkflowTask, ticket: Ticket) -> None:
        """A task came. `ticket` is finished once nothing of it can be lost (rule T1)."""
        if self.closing:
            return
        queue = self._waiting.get(task.workflow_id)
        if self.local_steps is not None and task.workflow_id in self.local_steps:
            if not self.local_steps.on_task(task, ticket):
                self._waiting.setdefault(task.workflow_id, deque()).append((task, ticket))
        elif queue is not None:
            queue.append((task, ticket))
        elif task.workflow_type not in self._workflows.names:
            self.fail(task, ticket, self._unknown_type(task), "unknown_type")
        elif task.run_id in self._stuck:
            self._blocked(task, ticket, task.base, stack_of(self._stuck[task.run_id]))
        else:
            self._advance(task, ticket)

    def _advance(self, task: WorkflowTask, ticket: Ticket) -> None:
        run = self.cache.get(task.workflow_id)
        if run is not None and run.run_id == task.run_id:
            if task.position.offset < run.accepted:
                self._superseded(run, task, ticket)
                return
            if run.tip == task.base:  # rule W1: what is cached is exactly what the task builds on
                run.answers.clear()
                run.unread.clear()
                self.shown(run, task)
                if task.complete:
                    self._feed_task(run, task, ticket)
                    return
            elif (answer := run.answers.get(task.base)) is not None:  # rule W8
                if answer.offset is None:
                    self._waiting[task.workflow_id] = deque([(task, ticket)])
                    return
                if task.position.offset < answer.offset:
                    self._superseded(run, task, ticket)
                    return
        self.cache.evict(task.workflow_id)
        if task.consumed_through == 0 and task.complete:
            running = self._workflows.create(task.workflow_type, task.workflow_id, task.run_id)
            run = CachedRun(task.run_id, task.base, running, 0)
            self.shown(run, task)
            self._feed_task(run, task, ticket)
        else:
            self._fetch(task, ticket)

    def shown(self, run: CachedRun, task: WorkflowTask) -> None:
        """The task shows that the run was open, on its base, at the task's position."""
        if self._eager is not None:
            run.fate = self._eager.acceptance.shown(task.workflow_id, task.position.partition, task.position.offset)

    def _superseded(self, run: CachedRun, task: WorkflowTask, ticket: Ticket) -> None:
        """A completion of ours came after the task (rule W8). What the task brought is fed with the next one."""
        ticket.finish()
        try:
            last = run.unread[-1].event_id if run.unread else run.consumed_through
            events = unread_inputs(decode_events(task.events), last) if task.complete else []
            through = task.updates[0].after_event_id if task.updates else task.last_event_id
            run.unread += [event for event in events if event.event_id <= through]  # updates come again, in their place
        except (DecodeError, TypeError) as error:
            logger.error("events of a task of workflow %s cannot be read: %s", task.workflow_id, error)

    def _feed_task(self, run: CachedRun, task: WorkflowTask, ticket: Ticket) -> None:
        try:
            events = unread_inputs(decode_events(task.events), run.consumed_through)
        except (DecodeError, TypeError) as error:
            self.fail(task, ticket, self.failure_of(error), "bug")
            return
        self._feed(run, events, task, ticket)

    def _feed(
        self, run: CachedRun, events: Sequence[HistoryEvent], task: WorkflowTask, ticket: Ticket, *, sure: bool = False
    ) -> None:
        """Feed unread inputs and updates, and append what the code made of them. `sure`: from the history itself.

        A task that is not fresh (rule T4), or the first one of a run, may have been answered before, by another worker
        or in another life: what the code has run on the spot waits for what history says.
        """
        sure = sure or (ticket.fresh and run.tip != run.run_id)
        updates = task.updates if run.tip == task.base else []  # others were decided since
        if not events and not updates and not run.running.locals and (task.events or run.tip != task.base):
            self.cache.put(task.workflow_id, run)
            ticket.finish()
            return
        self._warn_of_size(run.running, task)
        run.running.history_size = task.history_size
        results: list[LocalResult] = []
        code = partial(self._feed_all, run.running, events, updates, results if sure else None)
        if not self._step(run.running, task, ticket, run.tip, code):
            return
        if not sure and is_at_work(run.running):
            run.close()
            self._fetch(task, ticket)
            return
        if self.local_steps is not None and is_at_work(run.running):
            self.local_steps.begin(run, task, [(task, ticket)], results)
        else:
            self.complete(run, task, [(task, ticket)], results)

    def _feed_all(
        self, running: RunningWorkflow, events: Sequence[HistoryEvent], updates: Sequence[PendingUpdate],
        results: list[LocalResult] | None,
    ) -> None:
        """Feed inputs and updates, then what comes of side effects (rule W10); None: not these."""
        feed_until_end(running, events, updates)
        if results is not None:
            run_side_effects(running, results, self.now_ms)

    def _step(
        self, running: RunningWorkflow, task: WorkflowTask, ticket: Ticket, base: str, code: Callable[[], None]
    ) -> bool:
        """Run user code; on an error, answer the task with it and drop the instance."""
        failed = self.try_step(running, task, code, partial(self._blocked, task, ticket, base))
        if failed is not None:
            failure, cause, raised = failed
            self.fail(task, ticket, failure, cause, base, raised)
        return failed is None

    def try_step(
        self,
        running: RunningWorkflow,
        task: WorkflowTask | ActivityTask,
        code: Callable[[], None],
        give_up: Callable[[str], None],
    ) -> tuple[Failure, str, BaseException] | None:
        """Run user code, with the run taken out of the cache; on an error drop the instance, and return it as data,
        its cause, and itself."""
        self.cache.take(task.workflow_id)
        step = Step(task.workflow_id, task.run_id, running, give_up)
        raised: BaseException | None = None
        cause = "bug"
        self._steps.begin(step)
        try:
            code()
        except WorkflowTaskError as error:
            raised, cause = error.__cause__ or error, error.cause
        except BaseException as error:  # SystemExit too: a workflow must not end the worker
            raised = error
        self._steps.end(step)
        if raised is None:
            return None
        failure = self.failure_of(raised)
        running.close()
        return failure, cause, raised

    # ------------------------------------------------------------ answers

    def complete(
        self, run: CachedRun, task: WorkflowTask | ActivityTask, tickets: Tickets,
        results: Sequence[LocalResult] = (), *, new_task: bool = False,
    ) -> bool:
        """Answer tasks with what the code made of them. False: the log does not take it, and the run is dropped."""
        accepted, rejected = run.running.take_updates()
        only_rejected = rejected and not accepted and not results and not new_task and len(tickets) == 1
        if only_rejected and run.running.fed_through == run.consumed_through:
            self._reject(run, *tickets[0], rejected)
            return True
        base = run.tip
        sent = self.append_completion(
            run, task, results, partial(self._completed, base, task.workflow_id, tickets), accepted, rejected,
            new_task=new_task,
        )
        if sent is None:
            return True
        for asked, ticket in tickets:
            self.fail(asked, ticket, too_large_failure(sent), "bug", base)
        self.resume(task.workflow_id)
        return False

    def append_completion(
        self,
        run: CachedRun,
        task: WorkflowTask | ActivityTask,
        local_results: Sequence[LocalResult],
        on_delivery: Callable[[Answer, int, int, LogError | None], None],
        accepted: Sequence[AcceptedUpdate] = (),
        rejected: Sequence[RejectedUpdate] = (),
        *,
        new_task: bool = False,
    ) -> int | None:
        """Append what the code made of what it was fed. If the log does not take it: drop the run, return its size.

        `on_delivery` gets the answer, the size, and the outcome.
        """
        commands, session = run.running.take_commands(), self._session.id
        fate = self._fate(run, task, local_results)
        if fate is not None and self._eager is not None:
            commands, session = self._eager.choose(fate, run.run_id, task.workflow_type, commands)
        completed = WorkflowTaskCompleted(
            workflow_id=task.workflow_id, run_id=run.run_id, id=fate.id if fate else self._session.completion_id(),
            base=run.tip, consumed_through=run.running.fed_through, commands=commands, session=session,
            local_results=list(local_results), history_size=run.running.history_size,
            build_id=self._session.build_id, versioning=self._session.versioning,
            accepted_updates=list(accepted), rejected_updates=[_compact(update) for update in rejected],
            new_task=new_task,
        )
        value = encode(completed)
        if not self._appender.fits(task.workflow_id, value):
            run.close()
            if fate is not None and self._eager is not None:
                self._eager.runner.withdraw(fate.attempts)
            return len(value)
        answer = run.answers[run.tip] = Answer()
        run.tip = completed.id
        run.consumed_through = completed.consumed_through
        run.fate = fate
        self._log.went_on(run.run_id)
        if run.running.ended:
            run.close()
        else:
            self.cache.put(task.workflow_id, run)
        at_once = None
        if fate is not None and self._eager is not None:
            run.scheduled.update((attempt.task.seq, fate) for attempt in fate.attempts)
            self._eager.acceptance.expect(fate)
            at_once = partial(self._eager.acknowledged, fate)
        self._appender.append(
            task.workflow_id, value, partial(self._delivered, fate, answer, len(value), on_delivery), at_once
        )
        return None

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

    def _fate(
        self, run: CachedRun, task: WorkflowTask | ActivityTask, local_results: Sequence[LocalResult]
    ) -> Fate | None:
        """What is followed of the next completion; None if nothing runs eagerly here."""
        if self._eager is None or run.fate is None:
            return None
        if run.fate.state == "accepted" and run.fate.id:
            run.accepted = run.fate.offset
            run.answers.clear()
        fate = Fate(task.workflow_id, run.fate.partition, self._session.completion_id(), run.fate)
        since = [run.scheduled.pop(result.seq).offset for result in local_results if result.seq in run.scheduled]
        fate.local_since = min(since, default=-1)
        return fate

    def _delivered(
        self, fate: Fate | None, answer: Answer, size: int,
        on_delivery: Callable[[Answer, int, int, LogError | None], None], offset: int, error: LogError | None,
    ) -> None:
        """The completion is durable, or given up."""
        if error is None:
            answer.offset = offset
        elif fate is not None and self._eager is not None:
            self._eager.on_settled(self._eager.acceptance.lost(fate))
        on_delivery(answer, size, offset, error)

    def _completed(
        self, base: str, workflow_id: str, tickets: Tickets, answer: Answer, size: int, offset: int,
        error: LogError | None,
    ) -> None:
        """The completion of tasks is durable, or given up."""
        if error is not None:
            logger.error("completion of workflow %s was not appended: %s", workflow_id, error)
            self.drop(workflow_id)
        for task, ticket in tickets:
            if error is None:
                ticket.finish()
            elif isinstance(error, RecordTooLargeError):
                self.fail(task, ticket, too_large_failure(size), "bug", base)
            else:
                self.later(RETRY_SECONDS, partial(self.on_task, task, ticket))
        self.resume(workflow_id)

    def drop(self, workflow_id: str) -> None:
        """Forget the run: what is in memory is not what the log has."""
        self.cache.evict(workflow_id)
        if self.local_steps is not None:
            self.local_steps.drop(workflow_id)

    def resume(self, workflow_id: str) -> None:
        """Go on with the tasks that waited for something of this workflow."""
        for task, ticket in self._waiting.pop(workflow_id, ()):
            self.on_task(task, ticket)

    def fail(
        self, task: WorkflowTask, ticket: Ticket, failure: Failure, cause: str, base: str = "",
        raised: BaseException | None = None,
    ) -> None:
        self._log.failed(task, failure, cause, raised)
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
        self.later(RETRY_SECONDS, partial(self.on_task, task, ticket))

    # ------------------------------------------------------------ steps that were given up

    def _blocked(self, task: WorkflowTask, ticket: Ticket, base: str, stack: str) -> None:
        self.fail(task, ticket, blocked_failure(self.failure_of, task.workflow_id, stack), "blocked", base)

    def on_blocked(self, step: Step, stack: str) -> None:
        """A step was given up by the watchdog; its thread is still in the workflow's code."""
        self._stuck[step.run_id] = step
        self.cache.take(step.workflow_id)
        step.give_up(stack)
        self.resume(step.workflow_id)

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
        if isinstance(history, HistoryTooLargeError):
            self.fail(task, ticket, history_too_large_failure(history), "bug")
            self.resume(task.workflow_id)
            return
        if isinstance(history, Exception):
            logger.warning("history of workflow %s could not be fetched, trying again: %s", task.workflow_id, history)
            self.later(RETRY_SECONDS, partial(self._fetch_again, task, ticket))
            return
        if history is None or not history.open:
            ticket.finish()
        elif not self.closing:
            self._replay(history, task, ticket)
        self.resume(task.workflow_id)

    def _warn_of_size(self, running: RunningWorkflow, task: WorkflowTask) -> None:
        """A run goes on in memory however long its history is, but one day it is to be replayed."""
        half = self._max_history_bytes // 2
        now = in_memory(task.history_size, task.last_event_id)
        if now > half >= in_memory(running.history_size, running.fed_through):
            logger.warning(
                "the history of workflow %s (%s) takes %d bytes of memory; workers here replay up to %d "
                "(Worker(max_history_bytes=...)): it should continue as new", task.workflow_id, task.workflow_type,
                now, self._max_history_bytes,
            )

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
            self.shown(run, task)
            unread = history.unread()
            if history.base == task.base:  # what came later is for the next task, behind updates that came before it
                unread = [event for event in unread if event.event_id <= task.last_event_id]
            self._feed(run, unread, task, ticket, sure=True)

    def _unknown_type(self, task: WorkflowTask) -> Failure:
        known = ", ".join(sorted(self._workflows.names)) or "none"
        return Failure(
            message=f"no workflow type {task.workflow_type!r} on this worker (it has: {known}); add it to "
            "Worker(workflows=[...]), or start it on the task queue of a worker that has it",
            type="UnknownWorkflowType", kind="bug",
        )


def _compact(update: RejectedUpdate) -> RejectedUpdate:
    return msgspec.structs.replace(update, failure=compact_if_large(update.failure))
