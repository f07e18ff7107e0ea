"""A running workflow: the code of one run, fed with history events one by one, giving commands."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

from odradek_schemas import commands, history
from odradek_schemas.commands import Command
from odradek_schemas.common import Payload
from odradek_schemas.history import HistoryEvent

from . import _context, _failures
from ._conditions import Conditions
from ._context import WorkflowInfo
from ._converter import DataConverter
from ._definitions import HandlerDefinition, WorkflowDefinition
from ._loop import DEFAULT_MAX_ITERATIONS, Discarded, WorkflowLoop
from ._options import activity_timeouts_ms, retry_policy_record
from ._outcome import failing_error
from ._types import ActivityOptions
from ._workflow import logger
from .errors import DefinitionError, PayloadError, QueryRejectedError, ReadOnlyError, WorkflowTaskError

_PAYLOAD_GROWTH = 3  # bytes in memory for one of a payload, about; as all of these by tracemalloc, with some room
_BASE_SIZE = 10_000
_TASK_SIZE = 3_000


class _OpenActivity(NamedTuple):
    future: asyncio.Future[Any]
    activity_type: str
    result_type: Any


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
    ) -> None:
        self.ended = False
        self.fed_through = 0
        self._definition = definition
        self._converter = converter
        self._activity_queue = default_activity_queue or task_queue
        self._info = WorkflowInfo(
            workflow_id=workflow_id,
            run_id=run_id,
            workflow_type=definition.name,
            task_queue=task_queue,
            namespace=namespace,
        )
        self._loop = WorkflowLoop(self, seed=run_id, max_iterations=max_iterations)
        self._conditions = Conditions(self._loop, max_iterations)
        self._variables = contextvars.Context()  # those of the worker are not the workflow's
        self._random: Random | None = None
        self._object: Any = None
        self._main: asyncio.Task[Any] | None = None
        self._cancel_requested = False
        self._commands: list[Command] = []
        self._seq = 0
        self._activities: dict[int, _OpenActivity] = {}
        self._open_handlers = 0
        self._unhandled_signals: list[history.SignalReceived] = []
        self._memo: dict[str, Payload] = {}
        self._fed_bytes = 0
        self._bug: BaseException | None = None
        self._usable = True

    # ------------------------------------------------------------ what the worker does with it

    @property
    def size(self) -> int:
        """About how many bytes of memory this takes, for the bound of a cache."""
        return _BASE_SIZE + _PAYLOAD_GROWTH * self._fed_bytes + _TASK_SIZE * self._loop.open_tasks

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
        if (self._main is None) != (handler is WorkflowInstance._on_started):
            raise ValueError(f"event {event.event_id}: WorkflowStarted is the first event, and only that")
        self.fed_through = event.event_id
        try:
            self._variables.run(self._feed, handler, event)
        except KeyboardInterrupt:
            raise
        except WorkflowTaskError:
            self._usable = False
            raise
        except BaseException as error:
            self._bug = error
        if self._bug is not None:
            self._usable = False
            what = f"{type(self._bug).__name__}: {self._bug}"
            raise WorkflowTaskError(
                f"workflow {self._info.workflow_type} ({self._info.workflow_id}) raised {what}. This is taken for a "
                "bug: the workflow stays open and is tried again; deploy a fix, or raise an ApplicationError to fail it"
            ) from self._bug

    def take_commands(self) -> list[Command]:
        """The commands since the last call, in the order of the code."""
        taken = self._commands
        self._commands = []
        return taken

    def query(self, name: str, input: Sequence[Payload]) -> Payload:
        """The answer of a query handler.

        Raises QueryRejectedError if there is none of this name or it does not take the arguments, and whatever the
        handler raises. WorkflowTaskError if it tried to change the workflow: the instance is unusable then.
        """
        return self._variables.copy().run(self._query, name, input)

    def close(self) -> None:
        """Throw the workflow away, quietly; no command comes of it. Nothing but `query` works afterwards."""
        self._usable = False
        self._loop.quiet = True
        with _context.activate(self):
            self._variables.run(self._loop.close)
        self._commands.clear()

    # ------------------------------------------------------------ what the code asks for (WorkflowContext)

    def info(self) -> WorkflowInfo:
        if self._info.history_length != self.fed_through:
            self._info = replace(self._info, history_length=self.fed_through)
        return self._info

    def time(self) -> float:
        return self._loop.time()

    def random(self) -> Random:
        if self._random is None:
            self._random = Random(self._info.run_id)
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
        seq = self._schedule(name, args, options)
        future = self._loop.create_future()
        self._activities[seq] = _OpenActivity(future, name, result_type)
        try:
            return await future
        except asyncio.CancelledError:
            if self._activities.pop(seq, None) is not None:
                self._emit(commands.CancelActivity(seq=seq))
            raise

    async def wait_condition(self, fn: Callable[[], Any], timeout: float | None) -> Any:
        if timeout is None:
            return await self._conditions.wait(fn)
        async with asyncio.timeout(timeout):
            return await self._conditions.wait(fn)

    def all_handlers_finished(self) -> bool:
        return self._open_handlers == 0

    def is_replaying(self) -> bool:
        return self._loop.quiet

    def memo(self) -> Mapping[str, Any]:
        return {name: self._converter.from_payload(payload) for name, payload in self._memo.items()}

    # ------------------------------------------------------------ what the loop asks for (LoopHooks)

    def start_timer(self, delay: float) -> int:
        seq = self._next_seq()
        self._emit(commands.StartTimer(seq=seq, duration_ms=max(1, round(delay * 1000))))
        return seq

    def cancel_timer(self, seq: int) -> None:
        self._emit(commands.CancelTimer(seq=seq))

    def unhandled(self, context: dict[str, Any]) -> None:
        with _context.activate(self):  # the garbage collector may be what found it
            logger.error("%s", context["message"], exc_info=context.get("exception"))

    # ------------------------------------------------------------ events

    def _feed(self, handler: Callable[[WorkflowInstance, Any], None], event: HistoryEvent) -> None:
        self._loop.set_time(event.time_ms / 1000)
        with _context.activate(self), self._loop:
            handler(self, event.attributes)
            if not self._halted():
                self._conditions.run(self._halted)

    def _halted(self) -> bool:
        return self.ended or self._bug is not None

    def _on_started(self, started: history.WorkflowStarted) -> None:
        self._count(started.input)
        self._memo = started.memo
        self._info = replace(
            self._info,
            attempt=started.attempt,
            first_run_id=started.first_run_id or self._info.run_id,
            continued_from_run_id=started.continued_from_run_id,
            start_time=datetime.fromtimestamp(self._loop.time(), UTC),
            execution_timeout=_seconds(started.execution_timeout_ms),
            run_timeout=_seconds(started.run_timeout_ms),
            task_timeout=_seconds(started.task_timeout_ms),
            search_attributes={
                name: self._converter.from_payload(value) for name, value in started.search_attributes.items()
            },
        )
        self._main = self._loop.create_task(self._run(started.input), name=self._info.workflow_type)

    async def _run(self, input: Sequence[Payload]) -> None:
        """The workflow's main task: whatever way `run` is left, a command or a bug comes of it."""
        try:
            args = self._arguments(self._definition.signature, input)
            self._object = self._definition.instantiate()
            result = await self._definition.run(self._object, *args[0], **args[1])
            command = commands.CompleteWorkflow(result=self._converter.to_payload(result))
        except Discarded:
            raise
        except BaseException as error:
            self._leave(error, main=True)
        else:
            self._end(command)

    def _on_signal(self, signal: history.SignalReceived) -> None:
        self._count(signal.input)
        handler = self._definition.signals.get(signal.signal)
        if handler is None:
            self._unhandled_signals.append(signal)
            logger.warning(
                "workflow %s has no handler for the signal %r; it is kept", self._info.workflow_type, signal.signal
            )
            return
        try:
            args, kwargs = self._arguments(handler.signature, signal.input)
        except (PayloadError, DefinitionError) as error:
            # Not the workflow's fault, and nothing that a new deployment would mend.
            logger.error("signal %r was dropped: its arguments do not fit: %s", signal.signal, error)
            return
        if handler.is_async:
            self._open_handlers += 1
            self._loop.create_task(self._handle(handler, args, kwargs), name=f"signal {handler.name}")
            return
        try:
            handler.fn(self._object, *args, **kwargs)
        except BaseException as error:
            self._leave(error)

    async def _handle(self, handler: HandlerDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            await handler.fn(self._object, *args, **kwargs)
        except (Discarded, asyncio.CancelledError):
            raise
        except BaseException as error:
            self._leave(error)
        finally:
            self._open_handlers -= 1

    def _on_cancel_requested(self, request: history.WorkflowCancelRequested) -> None:
        assert self._main is not None
        self._cancel_requested = True
        self._main.cancel(request.reason or None)

    def _on_activity_completed(self, event: history.ActivityCompleted) -> None:
        activity = self._activities.pop(event.seq, None)
        if activity is None:  # cancelled by the code (rule W9)
            return
        result = None
        try:
            if event.result is not None:
                self._count((event.result,))
                result = self._converter.from_payload(event.result, activity.result_type)
        except Exception as error:
            activity.future.set_exception(error)
        else:
            activity.future.set_result(result)

    def _on_activity_failed(self, event: history.ActivityFailed) -> None:
        activity = self._activities.pop(event.seq, None)
        if activity is None:
            return
        activity.future.set_exception(
            _failures.activity_error(
                event.failure, self._converter, activity_type=activity.activity_type, attempt=event.attempt
            )
        )

    def _on_activity_timed_out(self, event: history.ActivityTimedOut) -> None:
        activity = self._activities.pop(event.seq, None)
        if activity is None:
            return
        activity.future.set_exception(
            _failures.activity_timeout_error(
                self._converter,
                activity_type=activity.activity_type,
                timeout_type=event.timeout_type,
                timeout_ms=event.timeout_ms,
                attempt=event.attempt,
                last_failure=event.last_failure,
                heartbeat_details=event.heartbeat_details,
            )
        )

    def _on_activity_cancelled(self, event: history.ActivityCancelled) -> None:
        activity = self._activities.pop(event.seq, None)
        if activity is not None:
            activity.future.cancel(f"activity {activity.activity_type} was cancelled")

    def _on_timer_fired(self, event: history.TimerFired) -> None:
        self._loop.fire_timer(event.seq)

    # ------------------------------------------------------------ inside

    def _leave(self, error: BaseException, *, main: bool = False) -> None:
        """An error has left `run` or a message handler: it ends the workflow, or is a bug."""
        if isinstance(error, KeyboardInterrupt):
            raise error
        if main and self._cancel_requested and isinstance(error, asyncio.CancelledError):
            self._end(commands.CancelledWorkflow())
            return
        failing = failing_error(error)
        if failing is not None:
            self._end(commands.FailWorkflow(failure=self._converter.to_failure(failing)))
            return
        self._bug = error
        self._loop.halt()

    def _end(self, command: Command) -> None:
        self._emit(command)
        self.ended = True
        self._loop.halt()

    def _emit(self, command: Command) -> None:
        if self._loop.is_closed():  # code that goes on while it is thrown away
            return
        if self._loop.read_only:
            raise self._loop.refuse_write()
        self._commands.append(command)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _schedule(self, name: str, args: Sequence[Any], options: ActivityOptions) -> int:
        timeouts = activity_timeouts_ms(options)
        command = commands.ScheduleActivity(
            seq=self._seq + 1,
            activity_type=name,
            task_queue=options.get("task_queue") or self._activity_queue,
            input=self._converter.to_payloads(args),
            retry_policy=retry_policy_record(options.get("retry_policy")),
            delivery=options.get("delivery", "at_least_once"),
            summary=options.get("summary", ""),
            start_to_close_timeout_ms=timeouts["start_to_close_timeout_ms"],
            schedule_to_start_timeout_ms=timeouts["schedule_to_start_timeout_ms"],
            schedule_to_close_timeout_ms=timeouts["schedule_to_close_timeout_ms"],
            heartbeat_timeout_ms=timeouts["heartbeat_timeout_ms"],
        )
        self._emit(command)
        return self._next_seq()

    def _arguments(self, signature: Any, input: Sequence[Payload]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        values = self._converter.from_payloads(input, signature.types_for(len(input)))
        arguments: tuple[tuple[Any, ...], dict[str, Any]] = signature.arguments(values)
        return arguments

    def _count(self, payloads: Sequence[Payload]) -> None:
        for payload in payloads:
            self._fed_bytes += len(payload.data)

    def _query(self, name: str, input: Sequence[Payload]) -> Payload:
        handler = self._definition.queries.get(name)
        if handler is None:
            known = ", ".join(sorted(self._definition.queries)) or "none"
            raise QueryRejectedError(f"workflow {self._info.workflow_type} has no query {name!r}; there are: {known}")
        if self._main is None:
            raise QueryRejectedError(f"workflow {self._info.workflow_id} has not begun to run; ask again")
        try:
            args, kwargs = self._arguments(handler.signature, input)
        except (PayloadError, DefinitionError) as error:
            raise QueryRejectedError(f"query {name!r}: its arguments do not fit: {error}") from error
        loop = self._loop
        loop.read_only = True
        try:
            with _context.activate(self), loop:
                result = handler.fn(self._object, *args, **kwargs)
                if inspect.iscoroutine(result):
                    result.close()
                    raise DefinitionError(
                        f"query {name!r} returned a coroutine: a query returns at once, and only reads"
                    )
                payload = self._converter.to_payload(result)
        finally:
            loop.read_only = False
            self._check_written(name)
        return payload

    def _check_written(self, query: str) -> None:
        if self._loop.refused_writes:
            self._usable = False
            message = f"query {query!r} tried to change the workflow: a query only reads; use a signal or an update"
            raise WorkflowTaskError(message) from ReadOnlyError(message)


def _seconds(milliseconds: int) -> float | None:
    return milliseconds / 1000 if milliseconds else None


_EVENTS: dict[type, Callable[[WorkflowInstance, Any], None]] = {
    history.WorkflowStarted: WorkflowInstance._on_started,
    history.SignalReceived: WorkflowInstance._on_signal,
    history.WorkflowCancelRequested: WorkflowInstance._on_cancel_requested,
    history.ActivityCompleted: WorkflowInstance._on_activity_completed,
    history.ActivityFailed: WorkflowInstance._on_activity_failed,
    history.ActivityTimedOut: WorkflowInstance._on_activity_timed_out,
    history.ActivityCancelled: WorkflowInstance._on_activity_cancelled,
    history.TimerFired: WorkflowInstance._on_timer_fired,
}
