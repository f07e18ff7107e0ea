"""Planted bugs in runs, requests and time (rules R, Q, C)."""

from __future__ import annotations

from typing import Any

from odradek_engine import due
from odradek_engine.fold import completions, core, engine_records, events, step
from odradek_schemas import commands, history

from .. import races
from .planting import Patch, mutant


@mutant("R1", seed=4, scenario=races.RESET_TIMERS)
def records_of_any_run_are_taken(patch: Patch) -> None:
    """A timer of the run that was reset fires in the one that follows it."""

    def newest(self: step.Step, workflow_id: str, run_id: str) -> Any:
        run = self.run(workflow_id)
        return run if run is not None and run.is_open else None

    patch(step.Step, "open_run", newest)


@mutant("R2", seed=2, scenario=races.REFUSALS)
def due_records_are_appended_once(patch: Patch) -> None:
    """A timer whose record is lost on its way never fires."""
    patch(due, "REPEAT_MS", 10**12)


@mutant("Q1", seed=2, scenario=races.REQUESTS)
def repeated_requests_are_done_again(patch: Patch) -> None:
    """A client that asked twice gets it twice."""
    patch(events, "RequestAnswered", _forgetful(events.RequestAnswered))


@mutant("C1", seed=1, scenario=races.CLOCKS)
def timers_that_fire_early_are_taken(patch: Patch) -> None:
    """A leader whose clock is ahead ends waits before their time."""
    patch(engine_records, "EARLY_MS", 10**9)


@mutant("C1", seed=1, scenario=races.CLOCKS)
def sleeps_count_from_the_time_of_the_log(patch: Patch) -> None:
    """A workflow that was woken a little early sees itself sleep for too short."""

    def start(step: Any, run: Any, command: Any, _: Any) -> None:
        started = history.TimerStarted(seq=command.seq, due_ms=step.now + command.duration_ms, summary=command.summary)
        step.append(run.workflow_id, run.run_id, started)

    patch(completions._COMMANDS, commands.StartTimer, start)  # type: ignore[arg-type]


@mutant("C1", seed=1, scenario=races.CLOCKS)
def any_stamp_is_believed(patch: Patch) -> None:
    """One record stamped a year ahead poisons its partition."""
    patch(core, "TRUST_MS", 10**13)


def _forgetful(answered: Any) -> Any:
    def forget(workflow_id: str, request_id: str, *rest: Any) -> Any:
        return answered(workflow_id, f"{request_id} is forgotten", *rest)

    return forget
