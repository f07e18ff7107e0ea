"""A small model of the engine: it writes the history of one run, as the real one would, for tests of the worker."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from odradek._converter import DataConverter
from odradek._definitions import WorkflowDefinition, definition_of
from odradek._instance import WorkflowInstance
from odradek._worker.workflow_tasks import feed_until_end
from odradek_schemas import commands, history
from odradek_schemas.commands import Command
from odradek_schemas.common import Failure
from odradek_schemas.history import HistoryEvent, summarize
from odradek_schemas.records import RejectedUpdate
from odradek_schemas.tasks import PendingUpdate

START_MS = 1_700_000_000_000
converter = DataConverter()


def new_instance(workflow: Any, **settings: Any) -> WorkflowInstance:
    definition = workflow if isinstance(workflow, WorkflowDefinition) else definition_of(workflow)
    return WorkflowInstance(
        definition, workflow_id="w-1", run_id="run-1", task_queue="queue", converter=converter, **settings
    )


class EngineModel:
    """The history of one run, its open activities and timers, and a live instance that is advanced in tasks."""

    def __init__(self, workflow: Any, *args: Any, **settings: Any) -> None:
        self.workflow = workflow
        self.events: list[HistoryEvent] = []
        self.now_ms = START_MS
        self.activities: dict[int, commands.ScheduleActivity] = {}
        self.timers: dict[int, int] = {}
        self.children: dict[int, commands.StartChildWorkflow] = {}
        self.messages: dict[int, commands.SignalExternalWorkflow | commands.CancelExternalWorkflow] = {}
        self.scheduled: dict[int, int] = {}
        self.consumed_through = 0
        self.updates: list[PendingUpdate] = []
        self.rejected: list[RejectedUpdate] = []
        self._update_numbers = itertools.count(1)
        self.local: set[int] = set()
        self.closed_by: Command | None = None
        self.batches: list[list[Command]] = []
        self.instance = new_instance(workflow, **settings)
        self._tasks = itertools.count(1)
        started = history.WorkflowStarted(
            workflow_type=self.instance.info().workflow_type, task_queue="queue", input=converter.to_payloads(args)
        )
        self.append(started)

    def append(self, attributes: history.Attributes) -> HistoryEvent:
        event = HistoryEvent(event_id=len(self.events) + 1, time_ms=self.now_ms, attributes=attributes)
        self.events.append(event)
        return event

    # ------------------------------------------------------------ inputs

    def signal(self, name: str, *args: Any) -> None:
        self.append(history.SignalReceived(signal=name, input=converter.to_payloads(args)))

    def update(self, name: str, *args: Any) -> int:
        """An update that waits for the next task; its number."""
        seq = next(self._update_numbers)
        self.updates.append(
            PendingUpdate(
                seq=seq, update_id=f"u{seq}", update=name, after_event_id=len(self.events), time_ms=self.now_ms,
                input=converter.to_payloads(args),
            )
        )
        return seq

    def cancel(self) -> None:
        self.append(history.WorkflowCancelRequested(reason="asked to"))

    def complete(self, seq: int, result: Any = None) -> None:
        del self.activities[seq]
        self.append(
            history.ActivityCompleted(
                seq=seq, scheduled_event_id=self.scheduled[seq], result=converter.to_payload(result)
            )
        )

    def fail(self, seq: int, error: BaseException | Failure, attempt: int = 1) -> None:
        del self.activities[seq]
        failure = error if isinstance(error, Failure) else converter.to_failure(error)
        self.append(
            history.ActivityFailed(seq=seq, scheduled_event_id=self.scheduled[seq], failure=failure, attempt=attempt)
        )

    def fire(self, seq: int) -> None:
        self.now_ms = max(self.now_ms, self.timers.pop(seq))
        self.append(history.TimerFired(seq=seq, started_event_id=self.scheduled[seq]))

    def fire_next(self) -> None:
        self.fire(min(self.timers, key=lambda seq: (self.timers[seq], seq)))

    def child_started(self, seq: int) -> None:
        workflow_id = self.children[seq].workflow_id
        self.append(
            history.ChildWorkflowStarted(
                seq=seq, initiated_event_id=self.scheduled[seq], workflow_id=workflow_id, run_id=f"run-of-{seq}"
            )
        )

    def child_not_started(self, seq: int, cause: str) -> None:
        workflow_id = self.children.pop(seq).workflow_id
        self.append(
            history.ChildWorkflowStartFailed(
                seq=seq, initiated_event_id=self.scheduled[seq], workflow_id=workflow_id, cause=cause, run_id="other"
            )
        )

    def child_ended(self, seq: int, kind: Any = history.ChildWorkflowCompleted, **fields: Any) -> None:
        workflow_id = self.children.pop(seq).workflow_id
        common = {"initiated_event_id": self.scheduled[seq], "workflow_id": workflow_id, "run_id": f"run-of-{seq}"}
        self.append(kind(seq=seq, **common, **fields))

    def answered(self, seq: int, cause: str = "") -> None:
        """Another workflow got the message, or could not because of `cause`."""
        is_signal = isinstance(self.messages.pop(seq), commands.SignalExternalWorkflow)
        common = {"seq": seq, "requested_event_id": self.scheduled[seq]}
        if cause and is_signal:
            self.append(history.ExternalSignalFailed(**common, cause=cause))
        elif cause:
            self.append(history.ExternalCancelFailed(**common, cause=cause))
        elif is_signal:
            self.append(history.ExternalSignalDelivered(**common))
        else:
            self.append(history.ExternalCancelDelivered(**common))

    # ------------------------------------------------------------ tasks

    @property
    def unread(self) -> list[HistoryEvent]:
        return [event for event in self.events[self.consumed_through :] if isinstance(event.attributes, history.INPUTS)]

    def advance(self, count: int | None = None, local: Sequence[int] = ()) -> list[Command]:
        """A workflow task: feed `count` unread inputs (default: all), then results of the activities `local`, which
        the worker ran itself; and take the commands."""
        events = self.unread[:count]
        through = len(self.events) if count is None else events[-1].event_id if events else self.consumed_through
        updates = [update for update in self.updates if update.after_event_id <= through]
        self.updates = self.updates[len(updates) :]
        feed_until_end(self.instance, events, updates)
        self.consumed_through = self.instance.fed_through
        accepted = self._decide(updates)
        local_events = []
        for seq in local:
            if not self.instance.ended and seq in self.activities:
                self.complete(seq, "local")
                local_events.append(self.events[-1].event_id)
                self.local.add(local_events[-1])
                self.instance.feed(self.events[-1])
        return self._commit(self.instance.take_commands(), local_events, accepted)

    def _decide(self, updates: Sequence[PendingUpdate]) -> list[int]:
        """Record which updates were accepted, as the engine does; the IDs of their events."""
        accepted, rejected = self.instance.take_updates()
        self.rejected += rejected
        asked = {update.seq: update for update in updates}
        return [
            self.append(
                history.UpdateAccepted(
                    seq=one.seq, update_id=one.update_id, update=asked[one.seq].update, input=asked[one.seq].input,
                    fed_after=one.fed_after, fed_ms=one.fed_ms,
                )
            ).event_id
            for one in accepted
        ]

    def _commit(self, given: list[Command], local_events: list[int], updates: list[int]) -> list[Command]:
        number = next(self._tasks)
        self.append(
            history.WorkflowTaskCompleted(
                id=f"t{number}",
                base=f"t{number - 1}" if number > 1 else "run-1",
                consumed_through=self.consumed_through,
                local_events=local_events,
                commands=[summarize(command) for command in given],
                updates=updates,
            )
        )
        for command in given:
            self._take(command)
        self.batches.append(given)
        return given

    def _take(self, command: Command) -> None:
        match command:
            case commands.ScheduleActivity(seq=seq):
                self.activities[seq] = command
                event = history.ActivityScheduled(
                    seq=seq, scheduled_by="t", activity_type=command.activity_type, task_queue=command.task_queue
                )
                self.scheduled[seq] = self.append(event).event_id
            case commands.CancelActivity(seq=seq):
                if self.activities.pop(seq, None) is not None:
                    self.append(history.ActivityCancelRequested(seq=seq, scheduled_event_id=self.scheduled[seq]))
            case commands.StartTimer(seq=seq):
                self.timers[seq] = self.now_ms + command.duration_ms
                self.scheduled[seq] = self.append(history.TimerStarted(seq=seq, due_ms=self.timers[seq])).event_id
            case commands.CancelTimer(seq=seq):
                if self.timers.pop(seq, None) is not None:
                    self.append(history.TimerCancelled(seq=seq, started_event_id=self.scheduled[seq]))
            case commands.MarkPatch() | commands.DeprecatePatch():
                pass
            case commands.StartChildWorkflow(seq=seq):
                self.children[seq] = command
                event = history.ChildWorkflowInitiated(
                    seq=seq, workflow_id=command.workflow_id, workflow_type=command.workflow_type, task_queue="queue"
                )
                self.scheduled[seq] = self.append(event).event_id
            case commands.CancelChildWorkflow(seq=seq):
                if seq in self.children:
                    requested = history.ChildWorkflowCancelRequested(seq=seq, initiated_event_id=self.scheduled[seq])
                    self.append(requested)
            case commands.SignalExternalWorkflow(seq=seq):
                self.messages[seq] = command
                signal = history.ExternalSignalRequested(
                    seq=seq, workflow_id=command.workflow_id, signal=command.signal
                )
                self.scheduled[seq] = self.append(signal).event_id
            case commands.CancelExternalWorkflow(seq=seq):
                self.messages[seq] = command
                cancel = history.ExternalCancelRequested(seq=seq, workflow_id=command.workflow_id)
                self.scheduled[seq] = self.append(cancel).event_id
            case commands.CompleteUpdate(seq=seq):
                self.append(
                    history.UpdateCompleted(
                        seq=seq, update_id=f"u{seq}", result=command.result, failure=command.failure
                    )
                )
            case _:
                assert command is not None
                self.closed_by = command
                self._close(command)

    def _close(self, command: Command) -> None:
        match command:
            case commands.CompleteWorkflow(result=result):
                self.append(history.WorkflowCompleted(result=result))
            case commands.FailWorkflow(failure=failure):
                self.append(history.WorkflowFailed(failure=failure))
            case commands.CancelledWorkflow(failure=failure):
                self.append(history.WorkflowCancelled(failure=failure))

    def result(self) -> Any:
        assert isinstance(self.closed_by, commands.CompleteWorkflow), self.closed_by
        assert self.closed_by.result is not None
        return converter.from_payload(self.closed_by.result)

    def failure(self) -> Failure:
        assert isinstance(self.closed_by, commands.FailWorkflow), self.closed_by
        return self.closed_by.failure
