"""Workflow tasks that wait for local activities: results are fed as they come, and go into one completion.

A task that waits for long is answered now and then with what there is, and asks for another one (`new_task`): so
signals get in, and a worker that takes over knows what has been done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from odradek_schemas import DecodeError, Failure, history
from odradek_schemas.records import LocalResult
from odradek_schemas.tasks import ActivityTask, WorkflowTask

from .cached_run import CachedRun
from .feeding import feed_until_end, is_at_work, run_side_effects
from .history import decode_events, unread_inputs
from .local_activities import LocalActivities, LocalEnd, LocalRun
from .offsets import Ticket
from .steps import blocked_failure

if TYPE_CHECKING:
    from .workflow_tasks import WorkflowTasks

HEARTBEAT_SECONDS = 5.0
"""After which a task that waits for local activities is answered with what there is; at most half its timeout."""


@dataclass(slots=True, eq=False)
class Work:
    """A run that waits for local activities. `tickets`: tasks without an answer; `results`: not recorded yet."""

    run: CachedRun
    task: WorkflowTask | ActivityTask
    tickets: list[tuple[WorkflowTask, Ticket]]
    results: list[LocalResult]
    runs: dict[int, LocalRun] = field(default_factory=dict)


class LocalSteps:
    """Used by the workflow thread, as `WorkflowTasks` is, whose other half this is."""

    def __init__(self, tasks: WorkflowTasks, activities: LocalActivities) -> None:
        self._tasks = tasks
        self._activities = activities
        self._works: dict[str, Work] = {}

    def __len__(self) -> int:
        return len(self._works)

    def __contains__(self, workflow_id: str) -> bool:
        return workflow_id in self._works

    def begin(
        self, run: CachedRun, task: WorkflowTask | ActivityTask, tickets: Sequence[tuple[WorkflowTask, Ticket]],
        results: Sequence[LocalResult],
    ) -> None:
        """Run the local activities that the code asks for; its other tasks wait meanwhile."""
        work = self._works[task.workflow_id] = Work(run, task, list(tickets), list(results))
        self._tasks.cache.take(task.workflow_id)
        self._heartbeat_later(work)
        self._go_on(work)

    def on_task(self, task: WorkflowTask, ticket: Ticket) -> bool:
        """Whether the task is that which a run that is at work here has asked for."""
        work = self._works.get(task.workflow_id)
        if work is None or (task.run_id, task.base) != (work.run.run_id, work.run.tip):
            return False
        work.task = task
        work.tickets.append((task, ticket))
        work.run.answers.clear()
        self._tasks.shown(work.run, task)
        if work.results or not task.complete:
            return True  # its inputs come again, for the task after this
        try:
            events = unread_inputs(decode_events(task.events), work.run.running.fed_through)
        except (DecodeError, TypeError) as error:
            self._give_up(work, self._tasks.failure_of(error), "bug")
            return True
        self._step(work, partial(feed_until_end, work.run.running, events, task.updates))
        return True

    def drop(self, workflow_id: str) -> None:
        """Forget what a run waits for; whoever answers its next task begins it again."""
        work = self._works.pop(workflow_id, None)
        if work is not None:
            self._cancel(work, work.runs)
            work.run.close()

    # ------------------------------------------------------------ results

    def _on_end(self, work: Work, seq: int, end: LocalEnd) -> None:
        """A local activity has ended."""
        if self._tasks.closing or self._works.get(work.task.workflow_id) is not work:
            return
        work.runs.pop(seq, None)
        if seq in work.run.running.locals:
            self._step(work, partial(self._feed_end, work, seq, end))

    def _feed_end(self, work: Work, seq: int, end: LocalEnd) -> None:
        running, name = work.run.running, work.run.running.locals[seq].activity_type
        if end.failure is not None:
            ended: history.Attributes = history.LocalActivityFailed(
                seq=seq, activity_type=name, failure=end.failure, attempt=end.attempt
            )
        else:
            ended = history.LocalActivityCompleted(
                seq=seq, activity_type=name, result=end.result, attempt=end.attempt
            )
        time_ms = max(running.time_ms, self._tasks.now_ms())
        work.results.append(LocalResult(
            seq=seq, scheduled_by="", time_ms=time_ms, attempt=end.attempt, result=end.result, failure=end.failure,
            kind="local_activity", name=name,
        ))
        running.feed_local(ended, time_ms)

    def _step(self, work: Work, code: Callable[[], None]) -> None:
        """Run code of the workflow, and go on with what it asks for."""

        def whole() -> None:
            code()
            run_side_effects(work.run.running, work.results, self._tasks.now_ms)

        failed = self._tasks.try_step(work.run.running, work.task, whole, partial(self._blocked, work))
        if failed is not None:
            self._give_up(work, *failed)
        else:
            self._go_on(work)

    def _go_on(self, work: Work) -> None:
        """Begin what is new, stop what is wanted no more; answer the task if nothing is left to wait for."""
        running = work.run.running
        self._cancel(work, [seq for seq in work.runs if running.ended or seq not in running.locals])
        if is_at_work(running):
            for seq, call in list(running.locals.items()):
                if call.activity_type not in self._activities.names:
                    self._give_up(work, _unknown(call.activity_type, self._activities.names), "bug")
                    return
                if seq not in work.runs:
                    on_end = partial(self._ended, work, seq)
                    work.runs[seq] = self._activities.start(work.task, call, on_end)
            return
        del self._works[work.task.workflow_id]
        self._tasks.complete(work.run, work.task, work.tickets, work.results)

    def _ended(self, work: Work, seq: int, end: LocalEnd) -> None:
        self._tasks.later(0, partial(self._on_end, work, seq, end))

    def _cancel(self, work: Work, seqs: Sequence[int] | dict[int, LocalRun]) -> None:
        for seq in list(seqs):
            self._activities.cancel(work.runs.pop(seq))

    # ------------------------------------------------------------ long ones

    def _heartbeat_later(self, work: Work) -> None:
        timeout = work.run.running.task_timeout
        seconds = min(HEARTBEAT_SECONDS, timeout / 2) if timeout else HEARTBEAT_SECONDS
        self._tasks.later(seconds, partial(self._heartbeat, work))

    def _heartbeat(self, work: Work) -> None:
        """Answer the task with what there is, and ask for another."""
        if self._tasks.closing or self._works.get(work.task.workflow_id) is not work:
            return
        if work.tickets or work.results:
            tickets, work.tickets = work.tickets, []
            results, work.results = work.results, []
            if not self._tasks.complete(work.run, work.task, tickets, results, new_task=True):
                self._works.pop(work.task.workflow_id, None)
                self._cancel(work, work.runs)
                return
            self._tasks.cache.take(work.task.workflow_id)
        self._heartbeat_later(work)

    # ------------------------------------------------------------ what goes wrong

    def _blocked(self, work: Work, stack: str) -> None:
        self._give_up(work, blocked_failure(self._tasks.failure_of, work.task.workflow_id, stack), "blocked")

    def _give_up(self, work: Work, failure: Failure, cause: str, raised: BaseException | None = None) -> None:
        """Answer the tasks with a failure. Where none is open, one is on its way; whoever gets it finds the same."""
        self._works.pop(work.task.workflow_id, None)
        self._cancel(work, work.runs)
        for task, ticket in work.tickets:
            self._tasks.fail(task, ticket, failure, cause, work.run.tip, raised)
        self._tasks.resume(work.task.workflow_id)


def _unknown(name: str, names: Sequence[str]) -> Failure:
    known = ", ".join(sorted(names)) or "none"
    return Failure(
        message=f"no activity {name!r} on this worker (it has: {known}): a local activity runs in the workflow's own "
        "worker; add it to Worker(activities=[...])", type="UnknownActivityType", kind="bug",
    )
