"""Planted bugs in advancing workflows (rules W)."""

from __future__ import annotations

from typing import Any

from odradek import _replay
from odradek._worker import history, queries, workflow_tasks
from odradek._worker.acceptance import Acceptance
from odradek._worker.offsets import Ticket
from odradek._worker.workflow_tasks import WorkflowTasks
from odradek_engine.fold import completions, continuing, core, step, tasks
from odradek_schemas import records

from .. import races
from . import worlds
from .planting import Patch, mutant, replaced


@mutant("W1", seed=1, scenario=races.CONTESTED)
def any_base_will_do(patch: Patch) -> None:
    """Two workers advance one workflow."""
    decide = completions.decide_task_completed

    def careless(step: Any, record: Any) -> None:
        run = step.open_run(record.workflow_id, record.run_id)
        decide(step, record if run is None else replaced(record, base=run.base))

    patch(core._DECIDE, records.WorkflowTaskCompleted, careless)  # type: ignore[arg-type]


@mutant("W2", seed=1, scenario=races.CONTINUING)
def what_came_after_the_end_counts_as_read(patch: Patch) -> None:
    """A message that arrives with the last event of a run is lost."""

    def feed_all(running: Any, events: Any, updates: Any = ()) -> None:
        for update in updates:
            if not running.ended:
                running.offer(update)
        for event in events:
            if not running.ended:
                running.feed(event)
            else:
                running.fed_through = event.event_id

    patch(workflow_tasks, "feed_until_end", feed_all)


@mutant("W3", seed=2, scenario=races.CONTINUING)
def continue_as_new_carries_nothing(patch: Patch) -> None:
    """Messages that the run did not read are gone."""
    end = continuing.end

    def forget(step: Any, run: Any, closing: Any) -> Any:
        end(step, run, closing)
        return []

    patch(continuing, "end", forget)


@mutant("W10", seed=2, scenario=races.REPLAYS)
def replay_feeds_the_last_input_first(patch: Patch) -> None:
    """The code asks for other things than it did."""
    merged = _replay._merged
    patch(_replay, "_merged", lambda inputs, updates: list(reversed(merged(inputs, updates))))


@mutant("W7", seed=2, scenario=races.CUT_OFF)
def a_failed_task_is_not_emitted_again(patch: Patch) -> None:
    """The workflow stands still."""
    patch(core._DECIDE, records.WorkflowTaskDue, lambda step, record: None)  # type: ignore[arg-type]


@mutant("W9", seed=1, scenario=races.CANCELS)
def cancelling_what_has_ended_is_an_error(patch: Patch) -> None:
    """The code gives the same commands for ever, and they are refused for ever."""
    problem = completions._problem

    def strict(step: Any, run: Any, record: Any) -> str:
        for command in record.commands:
            name = type(command).__name__
            if name == "CancelTimer" and step.timer(run, command.seq) is None:
                return "there is no such timer"
            if name == "CancelActivity" and step.open_activity(run, command.seq) is None:
                return "there is no such activity"
        return problem(step, run, record)

    patch(completions, "_problem", strict)


@mutant("W4", seed=2, scenario=races.EAGER)
def eager_activities_do_not_wait(patch: Patch) -> None:
    """They run when their completion is appended, although it may be refused."""
    patch(Acceptance, "_accepted", lambda self, read, fate: True)


@mutant("W4", seed=4, scenario=races.CONTESTED)
def what_is_acknowledged_counts_as_read(patch: Patch) -> None:
    """They run when their completion is acknowledged, although another one lies before it that was not read."""

    def careless(self: Acceptance, fate: Any, offset: int) -> list[Any]:
        settled: list[Any] = []
        with self._lock:
            read = self._partitions.get(fate.partition)
            if read is not None and offset >= read.next:
                self._take_completion(read, offset, fate.workflow_id.encode(), fate.id.encode(), settled)
        return settled

    patch(Acceptance, "acknowledged", careless)


@mutant("W5", seed=13, scenario=worlds.CONTESTED_ACTIVITIES)
def a_number_is_all_of_an_activity(patch: Patch) -> None:
    """What is said about an activity that was never scheduled counts for another one."""
    patch(step.Step, "activity", lambda self, run, seq, scheduled_by: self.open_activity(run, seq))


@mutant("W6", seed=1, scenario=races.CUT_OFF)
def results_of_closed_activities_are_no_matter(patch: Patch) -> None:
    """Commands are taken that the code gave for a result which history does not have."""
    decide = completions.decide_task_completed

    def careless(step: Any, record: Any) -> None:
        run = step.open_run(record.workflow_id, record.run_id)
        if run is not None and record.base == run.base and not completions._problem(step, run, record):
            completions._accept(step, run, record)
        else:
            decide(step, record)

    patch(core._DECIDE, records.WorkflowTaskCompleted, careless)  # type: ignore[arg-type]


@mutant("W6", seed=3, scenario=races.CONTESTED)
def refused_completions_take_their_results_along(patch: Patch) -> None:
    """Activities that have ended count as running, until they run again."""
    patch(completions, "_salvage", lambda step, run, record: tasks.wake(step, run.workflow_id))


@mutant("W8", seed=1, scenario=races.CUT_OFF)
def every_answered_task_is_superseded(patch: Patch) -> None:
    """A completion was refused, its worker waits for another task than the one that it gets."""
    advance = WorkflowTasks._advance

    def sure(self: WorkflowTasks, task: Any, ticket: Ticket) -> None:
        run = self.cache.get(task.workflow_id)
        if run is not None and run.run_id == task.run_id and run.tip != task.base and task.base in run.answers:
            self._superseded(run, task, ticket)
        else:
            advance(self, task, ticket)

    patch(WorkflowTasks, "_advance", sure)


@mutant("W11", seed=2, scenario=races.TAKEOVERS)
def any_history_will_do(patch: Patch) -> None:
    """An engine that does not know of its successor serves one from before the task."""
    init = history.HistoryFetch.__init__

    def anything(self: Any, source: Any, workflow_id: str, run_id: str, barrier: int, on_history: Any) -> None:
        init(self, source, workflow_id, run_id, 0, on_history)

    patch(history.HistoryFetch, "__init__", anything)


@mutant("W12", seed=2, scenario=races.MOVES)
def any_cache_answers(patch: Patch) -> None:
    """A worker that had a workflow once answers queries by what it was then."""
    on_query = queries.Queries.on_query

    def careless(self: queries.Queries, task: Any) -> None:
        run = self._cache.get(task.workflow_id)
        on_query(self, task if run is None else replaced(task, base=run.tip, run_id=run.run_id))

    patch(queries.Queries, "on_query", careless)
