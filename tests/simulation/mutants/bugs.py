"""The planted bugs."""

from __future__ import annotations

from typing import Any

import msgspec
from odradek import _replay
from odradek._worker import workflow_tasks
from odradek._worker.activities import Activities
from odradek._worker.activity_worker import ActivityWorker
from odradek._worker.offsets import LowWaterMark, Ticket
from odradek._worker.session import WorkerSession
from odradek_engine import sessions
from odradek_engine.emission import Emitter
from odradek_engine.fold import completions, continuing, core, engine_records, events, keys, step
from odradek_engine.leadership import Leadership
from odradek_engine.processor import Processor
from odradek_log import Committed, ProducerFailedError
from odradek_schemas import records
from odradek_schemas.common import Position

from ..world import World
from .planting import Patch, mutant

# ---------------------------------------------------------------- what worlds they need


def faults(world: World, kind: str, target: str = "", size: float = 0.0) -> int:
    """How many faults of a kind a world has in its plan, of at least a size."""
    return sum(f.kind == kind and f.target.startswith(target) and f.size >= size for f in world.plan)


def _ends_with_an_election(world: World) -> bool:
    """The last thing that befalls its engines: later ones would begin new elections."""
    engines = [f for f in world.plan if f.kind == "rebalance" or f.target.startswith("engine")]
    moves = ("late election", "rebalance", "crash", "stop", "expel", "zombie", "pause")
    return [f for f in engines if f.kind in moves][-1].kind == "late election"


def _runs(world: World, kind: str) -> bool:
    return any(kind in str(task.script) for task in world.tasks)


def _continue(world: World) -> bool:
    return sum(any(step[0] == "again" for step in task.script) for task in world.tasks) >= 4


# ---------------------------------------------------------------- emitting and receiving effects


@mutant("E1", seed=1002)
def links_that_name_no_predecessor(patch: Patch) -> None:
    """Receivers take what leaves a gap."""

    def position(**fields: Any) -> Position:
        return Position(**{**fields, "previous_offset": -1, "previous_index": 0})

    patch(step, "Position", position)


@mutant("E2", seed=1002)
def an_error_counts_as_delivered(patch: Patch) -> None:
    """An effect that failed is not sent again."""

    def fail(self: Emitter, output: Any, session: Any, place: Any, error: Any) -> None:
        session.acknowledged = place
        self.producer_failed = isinstance(error, ProducerFailedError)

    patch(Emitter, "_fail", fail)


@mutant("E3", seed=1000, slow=True)
def a_new_leader_skips_the_outbox(patch: Patch) -> None:
    """It takes what is there for delivered."""
    observe = Leadership.observe

    def skipping(self: Leadership, *args: Any) -> bool:
        observe(self, *args)
        return False

    patch(Leadership, "observe", skipping)


@mutant("E4", seed=1000, slow=True)
def one_chain_for_all_partitions(patch: Patch) -> None:
    """The predecessor is that of another output partition, so that receivers wait for what never comes."""
    tail = keys.tail
    patch(keys, "tail", lambda topic, partition: tail(topic, 0))


# ---------------------------------------------------------------- leading


@mutant(
    "L1",
    seed=5097,
    slow=True,
    needs=lambda w: faults(w, "late election") > 0 and len(w.plan) <= 20 and _ends_with_an_election(w),
)
def a_deposed_holder_never_stands_again(patch: Patch) -> None:
    """A partition that it holds has no leader."""
    observe = Leadership.observe

    def once(self: Leadership, *args: Any) -> bool:
        leading = self.leading
        led = observe(self, *args)
        if leading and not self.leading:
            self.resign()
        return led

    patch(Leadership, "observe", once)


@mutant("L2", seed=5058, slow=True, needs=lambda w: faults(w, "zombie", "engine") >= 6)
def records_of_former_leaders_are_taken(patch: Patch) -> None:
    """A zombie says that workers are lost."""
    dispatch = core._dispatch

    def unfenced(step: Any, record: Any) -> None:
        if getattr(record, "epoch", None) is not None:
            core._DECIDE[type(record)](step, record)
        else:
            dispatch(step, record)

    patch(core, "_dispatch", unfenced)


@mutant("L3", seed=5000, needs=lambda w: faults(w, "other disk") >= 2)
def any_state_is_trusted(patch: Patch) -> None:
    """A state that is not of this log is gone on with."""
    patch(Processor, "_check", lambda self, record: None)


@mutant("N1", seed=5013, needs=lambda w: faults(w, "stranger") >= 2 and len(w.plan) <= 20)
def records_in_the_wrong_partition_stay_there(patch: Patch) -> None:
    """A workflow runs where nobody looks for it."""
    patch(core, "_forward", lambda step, home: None)


# ---------------------------------------------------------------- advancing a workflow


@mutant("W1", seed=5003, needs=lambda w: faults(w, "zombie", "worker") >= 6)
def any_base_will_do(patch: Patch) -> None:
    """Two workers advance one workflow."""
    decide = completions.decide_task_completed

    def careless(step: Any, record: Any) -> None:
        run = step.open_run(record.workflow_id, record.run_id)
        decide(step, record if run is None else _replaced(record, base=run.base))

    patch(core._DECIDE, records.WorkflowTaskCompleted, careless)  # type: ignore[arg-type]


@mutant("W2", seed=5018, slow=True, needs=_continue)
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


@mutant("W3", seed=5004, slow=True, needs=_continue)
def continue_as_new_carries_nothing(patch: Patch) -> None:
    """Messages that the run did not read are gone."""
    end = continuing.end

    def forget(step: Any, run: Any, closing: Any) -> Any:
        end(step, run, closing)
        return []

    patch(continuing, "end", forget)


@mutant("W10", seed=1000, slow=True)
def replay_feeds_the_last_input_first(patch: Patch) -> None:
    """The code asks for other things than it did."""
    merged = _replay._merged
    patch(_replay, "_merged", lambda inputs, updates: list(reversed(merged(inputs, updates))))


@mutant("W7", seed=1000, slow=True)
def a_failed_task_is_not_emitted_again(patch: Patch) -> None:
    """The workflow stands still."""
    patch(core._DECIDE, records.WorkflowTaskDue, lambda step, record: None)  # type: ignore[arg-type]


@mutant("W9", seed=1004, slow=True)
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


# ---------------------------------------------------------------- tasks, workers, attempts


@mutant("T1", seed=5152, slow=True, needs=lambda w: not w.reissues and faults(w, "crash", "worker") >= 5)
def tasks_count_as_done_when_read(patch: Patch) -> None:
    """A worker that dies takes them with it."""
    commit = LowWaterMark.commit

    def early(self: LowWaterMark) -> Committed | None:
        for ticket in self._open:
            ticket.finished = True
        return commit(self)

    patch(LowWaterMark, "commit", early)


@mutant("T4", seed=5003, needs=lambda w: faults(w, "zombie", "worker") >= 5)
def old_tasks_run_at_once(patch: Patch) -> None:
    """Activities begin that have ended elsewhere."""
    on_task = Activities.on_task

    def bold(self: Activities, task: Any, ticket: Ticket, fresh: bool = True) -> None:
        on_task(self, _replaced(task, attempt=task.attempt), ticket, True)

    patch(Activities, "on_task", bold)
    patch(ActivityWorker, "_held_back", lambda self, taken: False)


@mutant("T6", seed=5004, slow=True, needs=lambda w: faults(w, "crash", "worker") >= 4)
def silent_workers_are_not_lost(patch: Patch) -> None:
    """Their activities are never run by others."""
    patch(sessions.Sessions, "lost", lambda self: iter(()))


@mutant("T6", seed=5091, slow=True, needs=lambda w: faults(w, "pause", "worker") >= 4)
def a_worker_stays_with_its_dead_session(patch: Patch) -> None:
    """It was paused, taken for dead, and goes on under the session that has ended."""
    patch(WorkerSession, "ended", lambda self, session: False)


# ---------------------------------------------------------------- runs, requests, time


@mutant("Q1", seed=5000, needs=lambda w: faults(w, "cut off", "engine") + faults(w, "crash", "engine") >= 8)
def repeated_requests_are_done_again(patch: Patch) -> None:
    """A client that asked twice gets it twice."""
    patch(events, "RequestAnswered", _forgetful(events.RequestAnswered))


@mutant("C1", seed=5112, needs=lambda w: faults(w, "clock jump", "engine", 12.0) > 0)
def timers_that_fire_early_are_taken(patch: Patch) -> None:
    """A leader whose clock is ahead ends waits before their time."""
    patch(engine_records, "EARLY_MS", 10**9)


@mutant("C1", seed=5110, slow=True, needs=lambda w: faults(w, "stamp a year ahead") > 0 and len(w.plan) <= 20)
def any_stamp_is_believed(patch: Patch) -> None:
    """One record stamped a year ahead poisons its partition."""
    patch(core, "TRUST_MS", 10**13)


# ---------------------------------------------------------------- tools


def _replaced(struct: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(struct, **fields)


def _forgetful(answered: Any) -> Any:
    def forget(workflow_id: str, request_id: str, *rest: Any) -> Any:
        return answered(workflow_id, f"{request_id} is forgotten", *rest)

    return forget
