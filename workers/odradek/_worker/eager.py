"""The eager path: activities that run on the worker that scheduled them, without a task (rule W4).

A completion says which of its activities its own worker holds. They begin once it is known to be accepted, and
are handed back where that is in doubt. What they give goes into the next completion, as local results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import msgspec
from odradek_schemas import InvalidNameError, Payload, Position, check_name
from odradek_schemas.commands import (
    CancelActivity,
    CancelTimer,
    Command,
    RecordSideEffect,
    ScheduleActivity,
    StartLocalActivity,
    StartTimer,
)
from odradek_schemas.tasks import ActivityTask

from .acceptance import Acceptance, Fate
from .attempts import Attempt
from .session import WorkerSession

NowMs: TypeAlias = Callable[[], int]
_MAX_NAME_BYTES = 1000
MAX_EAGER = 3
"""So many activities of one completion run eagerly; of a larger fan-out the rest are tasks, which all workers share."""
_NOWHERE = Position(partition=-1, offset=-1, index=-1)


class LocalReady(NamedTuple):
    """The result of an activity that ran eagerly."""

    attempt: Attempt
    result: Payload | None


class EagerRunner(Protocol):
    """The activities of this worker. From any thread."""

    def hold(self, task: ActivityTask, session: str) -> Attempt | None:
        """A slot for an attempt that may begin later; None: it cannot be run here now."""
        ...

    def begin(self, attempts: Sequence[Attempt]) -> None: ...

    def give_back(self, attempts: Sequence[Attempt]) -> None:
        """They will not begin here: the engine is told, and delivers them."""
        ...

    def withdraw(self, attempts: Sequence[Attempt]) -> None:
        """Forget them: what would have scheduled them was never sent."""
        ...

    def settle(self, attempts: Sequence[Attempt]) -> None:
        """Their results are recorded, or wanted no more."""
        ...

    def report(self, attempt: Attempt, result: Payload | None) -> None:
        """Append the result on its own."""
        ...


class Eager:
    """Chooses what runs eagerly, and acts on what became of completions."""

    def __init__(
        self, acceptance: Acceptance, runner: EagerRunner, session: WorkerSession, task_queue: str, now_ms: NowMs
    ) -> None:
        self.acceptance = acceptance
        self.runner = runner
        self.now_ms = now_ms
        self._session = session
        self._task_queue = task_queue

    def choose(
        self, fate: Fate, run_id: str, workflow_type: str, commands: Sequence[Command]
    ) -> tuple[list[Command], str]:
        """The commands, with those marked that are held here from now on, and the session that holds them.

        The attempts are kept with `fate`.
        """
        chosen = list(commands)
        kinds = set(map(type, chosen))
        if ScheduleActivity not in kinds or not kinds <= _CERTAIN or not self.acceptance.hopeful(fate):
            return chosen, self._session.id
        if not all(_takes(command, self._task_queue) for command in chosen if isinstance(command, ScheduleActivity)):
            return chosen, self._session.id
        session = self._session.announce(fate.partition)
        for index, command in enumerate(chosen):
            if len(fate.attempts) == MAX_EAGER:
                break
            if not isinstance(command, ScheduleActivity) or not self._possible(command):
                continue
            attempt = self.runner.hold(self._task(fate, run_id, workflow_type, command), session)
            if attempt is not None:
                fate.attempts.append(attempt)
                chosen[index] = msgspec.structs.replace(command, eager=True)
        return chosen, session

    def acknowledged(self, fate: Fate, offset: int) -> None:
        """The completion is durable, at `offset`. From any thread."""
        self.on_settled(self.acceptance.acknowledged(fate, offset))

    def on_settled(self, fates: Sequence[Fate]) -> None:
        """Begin what is accepted, give back what is doubtful."""
        for fate in fates:
            if fate.attempts:
                act = self.runner.begin if fate.state == "accepted" else self.runner.give_back
                act(fate.attempts)
                fate.attempts = []

    def _possible(self, command: ScheduleActivity) -> bool:
        return command.task_queue in ("", self._task_queue) and command.delivery == "at_least_once"

    def _task(self, fate: Fate, run_id: str, workflow_type: str, command: ScheduleActivity) -> ActivityTask:
        return ActivityTask(
            position=_NOWHERE, workflow_id=fate.workflow_id, run_id=run_id, workflow_type=workflow_type,
            scheduled_by=fate.id, seq=command.seq, attempt=1, activity_type=command.activity_type,
            task_queue=self._task_queue, scheduled_ms=self.now_ms(), input=command.input, headers=command.headers,
            start_to_close_timeout_ms=command.start_to_close_timeout_ms,
            schedule_to_close_timeout_ms=command.schedule_to_close_timeout_ms,
            heartbeat_timeout_ms=command.heartbeat_timeout_ms, delivery=command.delivery,
        )


_CERTAIN = {
    ScheduleActivity, StartTimer, CancelTimer, CancelActivity, StartLocalActivity, RecordSideEffect,
}
"""Commands that the engine is sure to take, if `_takes` says so: one that it refuses makes the completion void (W7)."""


def _takes(command: ScheduleActivity, own_queue: str) -> bool:
    """Whether the engine is sure to take this command."""
    if command.task_queue not in ("", own_queue):
        try:
            check_name("task queue", command.task_queue)
        except InvalidNameError:
            return False
    return 0 < len(command.activity_type.encode()) <= _MAX_NAME_BYTES and "\0" not in command.activity_type
