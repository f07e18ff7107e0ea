"""Results of activities that ran eagerly: fed at once, and recorded with what the code makes of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from odradek_log.protocol import LogError
from odradek_schemas.history import ActivityCompleted, HistoryEvent
from odradek_schemas.records import LocalResult
from odradek_schemas.tasks import ActivityTask

from .cached_run import Answer, CachedRun
from .eager import Eager, LocalReady
from .feeding import feed_until_end, is_at_work, run_side_effects
from .ports import RunningWorkflow

if TYPE_CHECKING:
    from .workflow_tasks import WorkflowTasks

logger = logging.getLogger("odradek.worker")


class EagerResults:
    """Used by the workflow thread, as `WorkflowTasks` is."""

    def __init__(self, tasks: WorkflowTasks, eager: Eager) -> None:
        self._tasks = tasks
        self._eager = eager

    def on_result(self, ready: LocalReady) -> None:
        """An activity that ran eagerly has its result: feed it, with others that are in by then."""
        task = ready.attempt.task
        run = self._tasks.cache.get(task.workflow_id)
        if self._tasks.closing or run is None or run.run_id != task.run_id:
            self._report([ready])
            return
        run.ready.append(ready)
        if len(run.ready) == 1:
            self._tasks.later(0, partial(self._feed, run, task))

    def _feed(self, run: CachedRun, task: ActivityTask) -> None:
        ready, run.ready = run.ready, []
        if self._tasks.closing or self._tasks.cache.get(task.workflow_id) is not run:
            self._report(ready)
            return
        unread, run.unread = run.unread, []
        fed: list[LocalResult] = []
        failed = self._tasks.try_step(
            run.running, task, partial(self._feed_ready, run.running, unread, ready, fed),
            partial(self._blocked, ready),
        )
        if failed is not None:  # the results come again as inputs of a task, which is answered with the failure
            self._report(ready)
            return
        taken = {result.seq for result in fed}
        unwanted = [r for r in ready if r.attempt.task.seq not in taken]
        if unwanted:
            (self._settle if run.running.ended else self._report)(unwanted)
        ready = [r for r in ready if r.attempt.task.seq in taken]
        if fed or unread:
            self._append(run, task, ready, fed)
        else:
            self._tasks.cache.put(task.workflow_id, run)

    def _append(self, run: CachedRun, task: ActivityTask, ready: Sequence[LocalReady], fed: list[LocalResult]) -> None:
        """Append the next completion. If local activities are to run, a task is asked for: they belong to one."""
        at_work = is_at_work(run.running)
        on_delivery = partial(self._completed, task, ready)
        if self._tasks.append_completion(run, task, fed, on_delivery, new_task=at_work) is not None:
            self._report(ready)
        elif at_work and self._tasks.local_steps is not None:
            self._tasks.local_steps.begin(run, task, (), ())

    def _feed_ready(
        self, running: RunningWorkflow, unread: Sequence[HistoryEvent], ready: Sequence[LocalReady],
        fed: list[LocalResult],
    ) -> None:
        """Feed inputs, then those results that the code still waits for (rules W2, W9, W10)."""
        feed_until_end(running, unread)
        for attempt, result in ready:
            seq = attempt.task.seq
            if running.ended or not running.awaits(seq):
                continue
            time_ms = max(running.time_ms, self._eager.now_ms())
            running.feed_local(ActivityCompleted(seq=seq, scheduled_event_id=0, result=result), time_ms)
            fed.append(LocalResult(seq=seq, scheduled_by=attempt.task.scheduled_by, time_ms=time_ms, result=result))
        run_side_effects(running, fed, self._eager.now_ms)

    def _completed(
        self, task: ActivityTask, ready: Sequence[LocalReady], answer: Answer, size: int, offset: int,
        error: LogError | None,
    ) -> None:
        """A completion with local results is durable, or given up."""
        if error is None:
            self._settle(ready)
        else:
            logger.error("completion of workflow %s was not appended: %s", task.workflow_id, error)
            self._tasks.drop(task.workflow_id)
            self._report(ready)
        self._tasks.resume(task.workflow_id)

    def _blocked(self, ready: Sequence[LocalReady], stack: str) -> None:
        self._report(ready)

    def _report(self, ready: Sequence[LocalReady]) -> None:
        """Append results on their own: the engine takes those of activities that are open."""
        for attempt, result in ready:
            self._eager.runner.report(attempt, result)

    def _settle(self, ready: Sequence[LocalReady]) -> None:
        self._eager.runner.settle([r.attempt for r in ready])
