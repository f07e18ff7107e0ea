"""A running workflow: the code of one run, fed with history events one by one, giving commands."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from random import Random
from types import MappingProxyType
from typing import Any, NoReturn

from odradek_schemas import commands, history
from odradek_schemas.commands import Command
from odradek_schemas.common import Failure, Payload
from odradek_schemas.history import HistoryEvent
from odradek_schemas.records import AcceptedUpdate, RejectedUpdate
from odradek_schemas.tasks import PendingUpdate

from . import _context
from ._conditions import Conditions
from ._context import ParentInfo, WorkflowInfo
from ._converter import DataConverter
from ._definitions import WorkflowDefinition
from ._handle import ChildWorkflowHandle, WorkflowMessages
from ._instance_activities import InstanceActivities
from ._instance_calls import InstanceCalls
from ._instance_children import InstanceChildren
from ._instance_continuing import InstanceContinuing
from ._instance_core import InstanceCore
from ._instance_locals import InstanceLocals, LocalCall
from ._instance_messages import InstanceMessages
from ._instance_patches import InstancePatches
from ._instance_updates import InstanceUpdates
from ._interceptors import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    Interceptor,
    ScheduleActivityInput,
    StartChildWorkflowInput,
    WorkflowInterceptor,
)
from ._loop import DEFAULT_MAX_ITERATIONS, Discarded, WorkflowLoop
from ._reading import reading
from ._types import ActivityOptions
from ._workflow import logger
from .errors import DefinitionError, QueryRejectedError, ReadOnlyError, WorkflowTaskError

_PAYLOAD_GROWTH = 3  # bytes in memory for one of a payload, about; as all of these by tracemalloc, with some room
_BASE_SIZE = 10_000
_NO_HEADERS: Mapping[str, Payload] = MappingProxyType({})
_TASK_SIZE = 3_000
_EVENTS_PER_LOCAL_RESULT = 3  # itself, the completion that brings it, what that schedules: their IDs come later


class WorkflowInstance:
    """One run of a workflow, from its first event. It is the WorkflowContext of the code that it runs.

    All of it belongs to one thread at a time. `default_activity_queue`: the task queue of activities that name none
    (default: the workflow's). `max_iterations` bounds what one event may set off (see WorkflowLoop).
    """

    def __init__(
        self,
        definition: WorkflowDefinition,
        *,
        workflow_id: str,
        run_id: str,
        task_queue: str,
        converter: DataConverter,
        default_activity_queue: str | None = None,
        namespace: str = "default",
        max_iterations: int = DEFAULT_MAX_ITERATIONS,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self.fed_through = 0
        self.history_size = 0  # as of the task that is fed: set by whoever feeds, and recorded with its completion
        self._history_length = 0
        info = WorkflowInfo(
            workflow_id=workflow_id,
            run_id=run_id,
            workflow_type=definition.name,
            task_queue=task_queue,
            namespace=namespace,
        )
        self._seed = run_id
        self._loop = WorkflowLoop(self, seed=run_id, max_iterations=max_iterations)
        self._core = InstanceCore(definition, info, converter, self._loop)
        self._activities = InstanceActivities(self._core, default_activity_queue or task_queue)
        self._locals = InstanceLocals(self._core)
        self._children = InstanceChildren(self._core)
        self._messages = InstanceMessages(self._core)
        self.patches = InstancePatches(self._core)
        self._continuing = InstanceContinuing(self._core)
        self._core.kept_signals = self._messages.kept
        self._updates = InstanceUpdates(self._core, self._messages)
        self._calls = InstanceCalls(
            self._core, self._activities, self._locals, self._children, self._continuing
        )
        self._outermost: WorkflowInterceptor = self._calls
        self._interceptors = interceptors
        self._conditions = Conditions(self._loop, max_iterations)
        self._variables = contextvars.Context()  # those of the worker are not the workflow's
        self._random: Random | None = None
        self._main: asyncio.Task[Any] | None = None
        self._memo: dict[str, Payload] = {}
        self._usable = True
        self.time_ms = 0

    # ------------------------------------------------------------ what the worker does with it

    @property
    def ended(self) -> bool:
        """Whether the code has come to its end: nothing more may be fed."""
        return self._core.ended

    @property
    def size(self) -> int:
        """About how many bytes of memory this takes, for the bound of a cache."""
        return _BASE_SIZE + _PAYLOAD_GROWTH * self._core.fed_bytes + _TASK_SIZE * self._loop.open_tasks

    @property
    def replaying(self) -> bool:
        """Whether what is fed has been seen before: the logger is silent then."""
        return self._loop.quiet

    @replaying.setter
    def replaying(self, value: bool) -> None:
        self._loop.quiet = value

    def feed(self, event: HistoryEvent) -> None:
        """Feed one input event, and run the code until nothing is ready and no condition is true.

        Raises WorkflowTaskError, with what the code raised as `__cause__`, for a bug in it and for code that does not
        come to an end; the instance is unusable then. ValueError for an event that is not the next input.
        """
        handler = _EVENTS.get(type(event.attributes))
        if handler is None:
            raise ValueError(f"event {event.event_id}, {type(event.attributes).__name__}, is not an input")
        if self.ended or not self._usable:
            raise ValueError(f"event {event.event_id} was fed to a workflow that has ended or failed")
        if (self._main is None) != (type(event.attributes) is history.WorkflowStarted):
            raise ValueError(f"event {event.event_id}: WorkflowStarted is the first event, and only that")
        if not isinstance(event.attributes, history.UpdateAccepted):
            self.fed_through = event.event_id
            self._history_length = max(self._history_length, event.event_id)
        self._guarded(self._feed, handler, event.attributes, event.time_ms)

    def offer(self, update: PendingUpdate) -> None:
        """Let the code decide on an update; feed it if it is accepted. Raises as `feed` does."""
        if self.ended or not self._usable or self._main is None:
            raise ValueError(f"update {update.update!r} was offered to a workflow that has ended, failed or not begun")
        self.time_ms = max(self.time_ms, update.time_ms)
        self._guarded(self._offer, update)

    def take_updates(self) -> tuple[list[AcceptedUpdate], list[RejectedUpdate]]:
        """What was decided on updates since the last call."""
        taken = self._updates.accepted, self._updates.rejected
        self._updates.accepted, self._updates.rejected = [], []
        return taken

    def awaits(self, seq: int) -> bool:
        """Whether the code waits for this activity."""
        return self._activities.awaits(seq)

    @property
    def locals(self) -> Mapping[int, LocalCall]:
        """Local activities and side effects that wait for their result, in the order of the code."""
        return self._locals.open

    @property
    def task_timeout(self) -> float | None:
        """Of the workflow, in seconds."""
        return self._core.info.task_timeout

    def to_payload(self, value: Any) -> Payload:
        return self._core.converter.to_payload(value)

    def feed_local(self, attributes: history.Attributes, time_ms: int) -> None:
        """Feed the result of what ran on this worker: it is seen before it has an event ID.

        Raises as `feed` does.
        """
        if self.ended or not self._usable or self._main is None:
            raise ValueError("a local result was fed to a workflow that has not begun, has ended or failed")
        self._history_length += _EVENTS_PER_LOCAL_RESULT
        self._guarded(self._feed, _EVENTS[type(attributes)], attributes, time_ms)

    def _guarded(self, code: Callable[..., object], *args: Any) -> None:
        """Run code of the workflow; whatever it raises is one kind of error."""
        core = self._core
        try:
            self._variables.run(code, *args)
        except KeyboardInterrupt:
            raise
        except WorkflowTaskError:
            self._usable = False
            raise
        except BaseException as error:
            core.bug = error
        if core.bug is not None:
            self._usable = False
            what = f"{type(core.bug).__name__}: {core.bug}"
            raise WorkflowTaskError(
                f"workflow {core.info.workflow_type} ({core.info.workflow_id}) raised {what}. This is taken for a "
                "bug: the workflow stays open and is tried again; deploy a fix, or raise an ApplicationError to fail it"
            ) from core.bug

    def take_commands(self) -> list[Command]:
        """The commands since the last call, in the order of the code."""
        taken = self._core.commands
        self._core.commands = []
        return taken

    def query(self, name: str, input: Sequence[Payload], headers: Mapping[str, Payload] = _NO_HEADERS) -> Payload:
        """The answer of a query handler.

        Raises QueryRejectedError if there is none of this name or it does not take the arguments, and whatever the
        handler raises. WorkflowTaskError if it tried to change the workflow: the instance is unusable then.
        """
        return self._variables.copy().run(self._query, name, input, headers)

    def close(self) -> None:
        """Throw the workflow away, quietly; no command comes of it. Nothing but `query` works afterwards."""
        self._usable = False
        self._loop.quiet = True
        with _context.activate(self):
            self._variables.run(self._loop.close)
        self._core.let_go()

    # ------------------------------------------------------------ what the code asks for (WorkflowContext)

    def info(self) -> WorkflowInfo:
        core = self._core
        if (core.info.history_length, core.info.history_size) != (self._history_length, self.history_size):
            core.info = replace(core.info, history_length=self._history_length, history_size=self.history_size)
        return core.info

    def time(self) -> float:
        return self._loop.time()

    def random(self) -> Random:
        if self._random is None:
            self._random = Random(self._seed)
        if not self._loop.read_only:
            return self._random
        copy = Random()  # a query must not move on the workflow's own
        copy.setstate(self._random.getstate())
        return copy

    async def execute_activity(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, result_type: Any, options: ActivityOptions
    ) -> Any:
        if kwargs:
            raise DefinitionError(f"activity {name}: arguments travel by position; bind keyword arguments first")
        return await self._core.calls.execute_activity(
            ScheduleActivityInput(activity_type=name, args=list(args), options={**options}, result_type=result_type)
        )

    async def execute_local_activity(
        self, name: str, args: Sequence[Any], *, result_type: Any, options: ActivityOptions
    ) -> Any:
        return await self._core.calls.execute_local_activity(
            ScheduleActivityInput(activity_type=name, args=list(args), options={**options}, result_type=result_type)
        )

    async def side_effect(self, fn: Callable[[], Any]) -> Any:
        return await self._locals.side_effect(fn)

    async def start_child(
        self, name: str, args: Sequence[Any], *, result_type: Any, options: Mapping[str, Any]
    ) -> ChildWorkflowHandle[Any, Any]:
        return await self._core.calls.start_child_workflow(
            StartChildWorkflowInput(workflow_type=name, args=list(args), options={**options}, result_type=result_type)
        )

    def messages(self) -> WorkflowMessages:
        return self._children

    async def wait_condition(self, fn: Callable[[], Any], timeout: float | None) -> Any:
        if timeout is None:
            return await self._conditions.wait(fn)
        async with asyncio.timeout(timeout):
            return await self._conditions.wait(fn)

    def all_handlers_finished(self) -> bool:
        return self._messages.all_finished()

    def set_handler(self, kind: str, name: str | None, fn: Callable[..., Any] | None, validator: Any = None) -> None:
        if self._loop.read_only:
            raise ReadOnlyError(f"a query or validator cannot set a {kind} handler")
        self._messages.set_handler(kind, name, fn, validator)

    def is_replaying(self) -> bool:
        return self._loop.quiet

    def patched(self, change_id: str) -> bool:
        return self.patches.patched(change_id)

    def deprecate_patch(self, change_id: str) -> None:
        self.patches.deprecate(change_id)

    def memo(self) -> Mapping[str, Any]:
        return {name: self._core.converter.from_payload(payload) for name, payload in self._memo.items()}

    def continue_as_new(self, workflow_type: str, args: Sequence[Any], options: Mapping[str, Any]) -> NoReturn:
        headers = self._core.headers(self._core.started_headers)
        call = ContinueAsNewInput(workflow_type=workflow_type, args=list(args), options={**options}, headers=headers)
        self._core.calls.continue_as_new(call)

    def upsert_search_attributes(self, attributes: Mapping[str, Any]) -> None:
        self._continuing.upsert_search_attributes(attributes)

    def last_started(self) -> tuple[Payload | None, Failure | None]:
        return self._continuing.last_result, self._continuing.last_failure

    @property
    def converter(self) -> DataConverter:
        return self._core.converter

    # ------------------------------------------------------------ what the loop asks for (LoopHooks)

    def start_timer(self, delay: float) -> int:
        seq = self._core.next_seq()
        self._core.emit(commands.StartTimer(seq=seq, duration_ms=max(1, round(delay * 1000))))
        return seq

    def cancel_timer(self, seq: int) -> None:
        self._core.emit(commands.CancelTimer(seq=seq))

    def unhandled(self, context: dict[str, Any]) -> None:
        with _context.activate(self):  # the garbage collector may be what found it
            logger.error("%s", context["message"], exc_info=context.get("exception"))

    # ------------------------------------------------------------ events

    def _feed(
        self, handler: Callable[[WorkflowInstance, Any], object], attributes: history.Attributes, time_ms: int
    ) -> None:
        delay_ms = attributes.start_delay_ms if isinstance(attributes, history.WorkflowStarted) else 0
        fed_at = attributes.fed_ms if isinstance(attributes, history.UpdateAccepted) else time_ms
        self.time_ms = max(self.time_ms, fed_at + delay_ms)
        self._loop.set_time(self.time_ms / 1000)
        with _context.activate(self), self._loop:
            self._handle(partial(handler, self, attributes))
            while (deliver := self._messages.next_kept()) is not None and not self._core.halted():
                self._handle(deliver)  # as if each had come on its own
            if self.ended:
                self._messages.warn_of_unfinished()

    def _handle(self, deliver: Callable[[], object]) -> None:
        """Give the code one message, and let it run until it waits: no state is passed over."""
        deliver()
        if not self._core.halted():
            self._conditions.run(self._core.halted)

    def _offer(self, update: PendingUpdate) -> None:
        self._loop.set_time(self.time_ms / 1000)
        with _context.activate(self), self._loop, reading(self._core):
            refusal = self._updates.refusal(update)
        if refusal is not None:
            self._updates.reject(update, refusal)
            return
        accepted = self._updates.accept(update, self.fed_through, self.time_ms)
        self._feed(_EVENTS[history.UpdateAccepted], accepted, self.time_ms)

    def _on_started(self, started: history.WorkflowStarted) -> None:
        core = self._core
        core.count(started.input)
        self._seed = started.seed or self._seed
        self._memo = started.memo
        core.info = replace(
            core.info,
            attempt=started.attempt,
            first_run_id=started.first_run_id or core.info.run_id,
            continued_from_run_id=started.continued_from_run_id,
            start_time=datetime.fromtimestamp(self._loop.time(), UTC),
            execution_timeout=_seconds(started.execution_timeout_ms),
            run_timeout=_seconds(started.run_timeout_ms),
            task_timeout=_seconds(started.task_timeout_ms),
            cron_schedule=started.cron_schedule or None,
            initiator=started.initiator,
            parent=_parent(started),
            search_attributes={
                name: core.converter.plain.from_payload(value) for name, value in started.search_attributes.items()
            },
        )
        if self._continuing.on_started(started):
            self._calls.begin(self._interceptors, started.headers)
            self._outermost = core.calls
            self._main = self._loop.create_task(self._run(started), name=core.info.workflow_type)

    async def _run(self, started: history.WorkflowStarted) -> None:
        """The workflow's main task: whatever way `run` is left, a command or a bug comes of it."""
        core = self._core
        try:
            args, _ = core.arguments(core.definition.signature, started.input)
            core.object = core.definition.instantiate()
            call = ExecuteWorkflowInput(args=list(args), headers=core.headers(started.headers))
            result = await core.calls.execute_workflow(call)
            command = commands.CompleteWorkflow(result=core.converter.to_payload(result))
        except Discarded:
            raise
        except BaseException as error:
            core.leave(error, main=True)
        else:
            core.end(command)

    def _on_cancel_requested(self, request: history.WorkflowCancelRequested) -> None:
        assert self._main is not None
        self._core.cancel_requested = True
        self._main.cancel(request.reason or None)

    # ------------------------------------------------------------ inside

    def _query(self, name: str, input: Sequence[Payload], headers: Mapping[str, Payload]) -> Payload:
        if self._main is None:
            raise QueryRejectedError(f"workflow {self._core.info.workflow_id} has not begun to run; ask again")
        try:
            with _context.activate(self), self._loop, reading(self._core):
                return self._messages.query(name, input, headers, self._outermost)
        finally:
            self._check_written(name)

    def _check_written(self, query: str) -> None:
        if self._loop.refused_writes:
            self._usable = False
            message = f"query {query!r} tried to change the workflow: a query only reads; use a signal or an update"
            raise WorkflowTaskError(message) from ReadOnlyError(message)


def _parent(started: history.WorkflowStarted) -> ParentInfo | None:
    link = started.parent
    return ParentInfo(workflow_id=link.workflow_id, run_id=link.run_id) if link is not None else None


def _seconds(milliseconds: int) -> float | None:
    return milliseconds / 1000 if milliseconds else None


_EVENTS: dict[type, Callable[[WorkflowInstance, Any], object]] = {
    history.WorkflowStarted: WorkflowInstance._on_started,
    history.WorkflowCancelRequested: WorkflowInstance._on_cancel_requested,
    history.SignalReceived: lambda run, event: run._messages.on_signal(event),
    history.UpdateAccepted: lambda run, event: run._updates.on_accepted(event),
    history.ActivityCompleted: lambda run, event: run._activities.on_completed(event),
    history.ActivityFailed: lambda run, event: run._activities.on_failed(event),
    history.ActivityTimedOut: lambda run, event: run._activities.on_timed_out(event),
    history.ActivityCancelled: lambda run, event: run._activities.on_cancelled(event),
    history.LocalActivityCompleted: lambda run, event: run._locals.on_completed(event),
    history.LocalActivityFailed: lambda run, event: run._locals.on_failed(event),
    history.SideEffectRecorded: lambda run, event: run._locals.on_completed(event),
    history.TimerFired: lambda run, event: run._loop.fire_timer(event.seq),
    history.ChildWorkflowStarted: lambda run, event: run._children.on_started(event),
    history.ChildWorkflowStartFailed: lambda run, event: run._children.on_start_failed(event),
    history.ChildWorkflowCompleted: lambda run, event: run._children.on_completed(event),
    history.ChildWorkflowFailed: lambda run, event: run._children.on_failed(event),
    history.ChildWorkflowCancelled: lambda run, event: run._children.on_cancelled(event),
    history.ChildWorkflowTerminated: lambda run, event: run._children.on_terminated(event),
    history.ChildWorkflowTimedOut: lambda run, event: run._children.on_timed_out(event),
    history.ExternalSignalDelivered: lambda run, event: run._children.on_delivered(event),
    history.ExternalCancelDelivered: lambda run, event: run._children.on_delivered(event),
    history.ExternalSignalFailed: lambda run, event: run._children.on_not_delivered(event),
    history.ExternalCancelFailed: lambda run, event: run._children.on_not_delivered(event),
}
"""What each input does to the running workflow."""
