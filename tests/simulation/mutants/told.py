"""Planted bugs in what is told: to clients, between workflows, to people and to the public stream."""

from __future__ import annotations

from typing import Any

from odradek._instance_locals import InstanceLocals
from odradek_engine.fold import activities, callers, closing, core, requests, tasks, updates
from odradek_engine.fold.outcomes import Outcome
from odradek_engine.fold.step import Step
from odradek_schemas import Payload, records

from . import worlds
from .planting import Patch, mutant, replaced


@mutant("promises", seed=1, scenario=worlds.ORDERLY)
def updates_are_answered_with_nothing(patch: Patch) -> None:
    """An update is done, and the answer to it is lost."""
    answer = updates.answer_update

    def forget(step: Any, row: Any, outcome: str, **more: Any) -> None:
        answer(step, row, outcome, **{**more, "result": Payload(metadata={"encoding": b"json/plain"}, data=b"0")})

    patch(updates, "answer_update", forget)


@mutant("promises", seed=1, scenario=worlds.MEDDLED)
def terminating_is_agreed_to_and_not_done(patch: Patch) -> None:
    """A client was told that a workflow was terminated, and it goes on."""
    patch(requests, "_terminate", lambda step, record: Outcome("ok"))


@mutant("promises", seed=1, scenario=worlds.MEDDLED)
def pausing_is_agreed_to_and_not_done(patch: Patch) -> None:
    """A client was told that a workflow stands still, and it does not."""
    patch(requests, "pause", lambda step, record: Outcome("ok"))


@mutant("promises", seed=1, scenario=worlds.ORDERLY)
def the_public_stream_leaves_out_single_events(patch: Patch) -> None:
    """Whoever reads the stream of history misses some of it."""
    publish = Step.publish_history

    def forget(self: Any) -> None:
        self._batches = {key: events for key, events in self._batches.items() if len(events) > 1}
        publish(self)

    patch(Step, "publish_history", forget)


@mutant("W3", seed=2, scenario=worlds.MEDDLED)
def what_nobody_read_is_not_said(patch: Patch) -> None:
    """An acknowledged signal was never read, and nobody hears of it."""
    patch(closing, "unread_inputs", lambda step, run: [])


@mutant("promises", seed=1, scenario=worlds.FAMILIES)
def parents_hear_of_another_result(patch: Patch) -> None:
    """A child has a result, and its parent gets none."""
    decide = core._DECIDE[records.ChildClosed]

    def forget(step: Any, record: Any) -> None:
        decide(step, replaced(record, result=None))

    patch(core._DECIDE, records.ChildClosed, forget)  # type: ignore[arg-type]


@mutant("promises", seed=1, scenario=worlds.FAMILIES)
def signals_of_workflows_are_taken_twice(patch: Patch) -> None:
    """What a workflow says to another one is heard twice."""
    signal = requests._signal

    def twice(step: Any, record: Any) -> Any:
        done = signal(step, record)
        return signal(step, record) if record.caller is not None else done

    patch(requests, "_signal", twice)


@mutant("promises", seed=1, scenario=worlds.FAMILIES)
def children_are_begun_and_not_known(patch: Patch) -> None:
    """A workflow hears that its child has begun, in a run that there is not."""
    send = callers._send_answer

    def lie(step: Any, record: Any) -> None:
        send(step, replaced(record, child_run_id="nowhere") if isinstance(record, records.ChildStarted) else record)

    patch(callers, "_send_answer", lie)


@mutant("promises", seed=1, scenario=worlds.ALONE)
def side_effects_run_again_on_replay(patch: Patch) -> None:
    """What a workflow did once, and has recorded, is done whenever it is replayed."""
    completed = InstanceLocals.on_completed

    def again(self: InstanceLocals, event: Any) -> None:
        call = self.open.get(event.seq)
        if call is not None and call.fn is not None:
            call.fn()
        completed(self, event)

    patch(InstanceLocals, "on_completed", again)


@mutant("C1", seed=1, scenario=worlds.TIMEOUTS)
def timeouts_and_retries_come_early(patch: Patch) -> None:
    """A leader whose clock is ahead gives attempts up, and begins others, before their time."""
    patch(activities, "EARLY_MS", 10**9)
    patch(tasks, "EARLY_MS", 10**9)

