"""Planted bugs in tasks, workers and attempts (rules T)."""

from __future__ import annotations

from collections import deque
from typing import Any

from odradek._worker.activities import Activities
from odradek._worker.activity_worker import ActivityWorker
from odradek._worker.chain import Chain
from odradek._worker.offsets import LowWaterMark, Ticket
from odradek._worker.session import WorkerSession
from odradek_engine import sessions
from odradek_engine.due import DueRecords
from odradek_engine.fold import activities, core, keys, step
from odradek_engine.fold.rows import SessionRow
from odradek_log import Committed
from odradek_schemas import records

from .. import races
from .planting import Patch, mutant, replaced


@mutant("T1", seed=5, scenario=races.CRASHES)
def tasks_count_as_done_when_read(patch: Patch) -> None:
    """A worker that dies takes them with it."""
    commit = LowWaterMark.commit

    def early(self: LowWaterMark) -> Committed | None:
        for ticket in self._open:
            ticket.finished = True
        return commit(self)

    patch(LowWaterMark, "commit", early)


@mutant("T4", seed=1, scenario=races.REREAD)
def old_tasks_run_at_once(patch: Patch) -> None:
    """Activities begin that have ended elsewhere."""
    on_task = Activities.on_task

    def bold(self: Activities, task: Any, ticket: Ticket, fresh: bool = True) -> None:
        on_task(self, replaced(task, attempt=task.attempt), ticket, True)

    patch(Activities, "on_task", bold)
    patch(ActivityWorker, "_held_back", lambda self, taken: False)


@mutant("T6", seed=1, scenario=races.CRASHES)
def silent_workers_are_not_lost(patch: Patch) -> None:
    """Their activities are never run by others."""
    patch(sessions.Sessions, "lost", lambda self: iter(()))


@mutant("T6", seed=1, scenario=races.CUT_OFF)
def a_worker_stays_with_its_dead_session(patch: Patch) -> None:
    """It was paused, taken for dead, and goes on under the session that has ended."""
    patch(WorkerSession, "ended", lambda self, session: False)


@mutant("T2", seed=1, scenario=races.CRASHES)
def offsets_go_with_the_chain_of_now(patch: Patch) -> None:
    """A task that is read again after a crash counts as taken, and nobody does it."""

    def init(self: LowWaterMark, chain: Chain) -> None:
        self._settled = chain
        self._open = deque()

    patch(LowWaterMark, "__init__", init)


@mutant("T3", seed=1, scenario=races.SKIPS)
def skipped_tasks_are_not_emitted_again(patch: Patch) -> None:
    """Nobody does them."""
    patch(DueRecords, "reissues", lambda self, now_ms: iter(()))


@mutant("T5", seed=2, scenario=races.CUT_OFF)
def the_dead_may_start(patch: Patch) -> None:
    """A session that has ended takes an activity, and nobody ever takes it from it."""
    patch(step.Step, "session", lambda self, session: self.state.row(keys.session(session), SessionRow))


@mutant("T7", seed=6, scenario=races.CUT_OFF)
def only_the_current_attempt_may_succeed(patch: Patch) -> None:
    """What was done is done again, as often as its worker is slow."""

    def strict(step: Any, record: Any) -> None:
        row = activities._find(step, record)
        if row is not None and row.attempt == record.attempt:
            activities.decide_completed(step, record)

    patch(core._DECIDE, records.ActivityCompleted, strict)  # type: ignore[arg-type]


@mutant("T7", seed=1, scenario=races.LATE_FAILURES)
def any_attempt_may_fail(patch: Patch) -> None:
    """The failure of an attempt that was given up ends the one that runs."""

    def lax(step: Any, record: Any) -> None:
        row = activities._find(step, record)
        activities.decide_failed(step, record if row is None else replaced(record, attempt=row.attempt))

    patch(core._DECIDE, records.ActivityFailed, lax)  # type: ignore[arg-type]


@mutant("T8", seed=1, scenario=races.ONCE)
def at_most_once_is_delivered_again(patch: Patch) -> None:
    """Such an activity runs again after its worker is gone."""
    lose = activities.lose

    def again(step: Any, row: Any, heartbeat_details: Any) -> None:
        lose(step, replaced(row, delivery="at_least_once"), heartbeat_details)

    patch(activities, "lose", again)
