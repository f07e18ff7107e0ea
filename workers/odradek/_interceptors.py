"""Interceptors: code around the calls of clients, workflows and activities, and the headers that travel with them.

A call passes the interceptors in the order of the list, first one first, and its result comes back in reverse. What
each does by default is to call `next`; behind the last one is the call itself.

Headers are values by name, written with the data converter and its codec. They travel in the records of the calls, so
they come back on retries, under a cron schedule, after a reset and on replay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeVar

from odradek_schemas.common import Payload

from ._converter import DataConverter
from ._description import HistoryEvent, WorkflowDescription
from ._handle import ChildWorkflowHandle, UpdateHandle, WorkflowHandle
from .errors import DefinitionError, PayloadError

# ---------------------------------------------------------------- what calls are made of


@dataclass(slots=True, kw_only=True)
class _Call:
    """`headers`: what goes with the call, or came with it. Change any field before you call `next`."""

    headers: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class StartWorkflowInput(_Call):
    """`options`: those of `Client.start` but the ID. `signal`: of `signal_with_start`, `update`: of
    `update_with_start`; they get the headers too. `result_request`: under this ID its result is asked for with it."""

    workflow_type: str
    id: str
    args: list[Any]
    options: dict[str, Any]
    result_type: Any = Any
    signal: str | None = None
    signal_args: list[Any] = field(default_factory=list)
    update: str | None = None
    update_args: list[Any] = field(default_factory=list)
    update_result_type: Any = Any
    result_request: str = ""


@dataclass(slots=True, kw_only=True)
class MessageInput(_Call):
    """`run_id` None: the latest run. `request_id` and `timeout` as of `WorkflowHandle.with_options`.

    `identity`: who asks; empty: the client.
    """

    id: str
    run_id: str | None = None
    request_id: str | None = None
    timeout: float | None = None
    identity: str = ""


@dataclass(slots=True, kw_only=True)
class SignalWorkflowInput(MessageInput):
    signal: str
    args: list[Any]


@dataclass(slots=True, kw_only=True)
class UpdateWorkflowInput(MessageInput):
    """`wait_for`: completed (of `update`, which gives the result), accepted (of `start_update`, an UpdateHandle)."""

    update: str
    args: list[Any]
    wait_for: Literal["accepted", "completed"]
    result_type: Any = Any


@dataclass(slots=True, kw_only=True)
class QueryWorkflowInput(MessageInput):
    query: str
    args: list[Any]
    result_type: Any = Any


@dataclass(slots=True, kw_only=True)
class CancelWorkflowInput(MessageInput):
    """Its headers go nowhere."""

    reason: str = ""


@dataclass(slots=True, kw_only=True)
class TerminateWorkflowInput(MessageInput):
    """Its headers go nowhere."""

    reason: str = ""


@dataclass(slots=True, kw_only=True)
class ResetWorkflowInput(MessageInput):
    """As `WorkflowHandle.reset`. Its headers go nowhere; so do those of all below, to `HeartbeatActivityInput`."""

    event_id: int
    reason: str = ""
    reapply: str = "signals"
    build_id: str = ""


@dataclass(slots=True, kw_only=True)
class PauseWorkflowInput(MessageInput):
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class UnpauseWorkflowInput(MessageInput):
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class ChangeActivityInput(MessageInput):
    """`action`: pause, unpause, retry, update (to `options`). `activity`: its number, or the type of all that are
    meant."""

    action: str
    activity: int | str
    reason: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class DescribeWorkflowInput(MessageInput):
    pass


@dataclass(slots=True, kw_only=True)
class FetchHistoryInput(MessageInput):
    pass


@dataclass(slots=True, kw_only=True)
class CompleteActivityInput(_Call):
    task_token: bytes
    result: Any = None


@dataclass(slots=True, kw_only=True)
class FailActivityInput(_Call):
    task_token: bytes
    error: BaseException


@dataclass(slots=True, kw_only=True)
class HeartbeatActivityInput(_Call):
    task_token: bytes
    details: list[Any]


@dataclass(slots=True, kw_only=True)
class ExecuteWorkflowInput(_Call):
    args: list[Any]


@dataclass(slots=True, kw_only=True)
class HandleSignalInput(_Call):
    signal: str
    args: list[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    _handler: Any = None


@dataclass(slots=True, kw_only=True)
class HandleQueryInput(_Call):
    query: str
    args: list[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    _handler: Any = None


@dataclass(slots=True, kw_only=True)
class HandleUpdateInput(_Call):
    id: str
    update: str
    args: list[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    _handler: Any = None


@dataclass(slots=True, kw_only=True)
class ScheduleActivityInput(_Call):
    """`options` as of `activity.define`."""

    activity_type: str
    args: list[Any]
    options: dict[str, Any]
    result_type: Any = Any


@dataclass(slots=True, kw_only=True)
class StartChildWorkflowInput(_Call):
    """`options` as of `workflow.start_child`."""

    workflow_type: str
    args: list[Any]
    options: dict[str, Any]
    result_type: Any = Any


@dataclass(slots=True, kw_only=True)
class SignalExternalWorkflowInput(_Call):
    """`run_id` empty: the open run. `child_seq`: the number of the child of this run that is meant; 0: it is none."""

    id: str
    signal: str
    args: list[Any]
    run_id: str = ""
    child_seq: int = 0


@dataclass(slots=True, kw_only=True)
class ContinueAsNewInput(_Call):
    """`options` as of `workflow.continue_as_new`. `headers` are at first those that this run has been started with."""

    workflow_type: str
    args: list[Any]
    options: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class ExecuteActivityInput(_Call):
    args: list[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)


# ---------------------------------------------------------------- what is subclassed


class ClientInterceptor:
    """Calls of a client on their way out. Override what you need; call `super()` or `self.next` to go on."""

    def __init__(self, next: ClientInterceptor) -> None:
        self.next = next

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        """`start`, `execute` and `signal_with_start`."""
        return await self.next.start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        await self.next.signal_workflow(input)

    async def update_with_start(self, input: StartWorkflowInput) -> UpdateHandle[Any]:
        return await self.next.update_with_start(input)

    async def update_workflow(self, input: UpdateWorkflowInput) -> Any:
        """`update` and `start_update`; returns what they return."""
        return await self.next.update_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        return await self.next.query_workflow(input)

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        await self.next.cancel_workflow(input)

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        await self.next.terminate_workflow(input)

    async def reset_workflow(self, input: ResetWorkflowInput) -> str:
        """`reset`, and each of `reset_batch`; returns the ID of the new run."""
        return await self.next.reset_workflow(input)

    async def pause_workflow(self, input: PauseWorkflowInput) -> None:
        await self.next.pause_workflow(input)

    async def unpause_workflow(self, input: UnpauseWorkflowInput) -> None:
        await self.next.unpause_workflow(input)

    async def change_activity(self, input: ChangeActivityInput) -> None:
        """`pause_activity`, `unpause_activity`, `retry_activity` and `update_activity_options`."""
        await self.next.change_activity(input)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowDescription:
        return await self.next.describe_workflow(input)

    async def fetch_history(self, input: FetchHistoryInput) -> list[HistoryEvent]:
        """`history`."""
        return await self.next.fetch_history(input)

    async def complete_activity(self, input: CompleteActivityInput) -> None:
        """Of the client, by task token; so are the next two."""
        await self.next.complete_activity(input)

    async def fail_activity(self, input: FailActivityInput) -> None:
        await self.next.fail_activity(input)

    async def heartbeat_activity(self, input: HeartbeatActivityInput) -> None:
        await self.next.heartbeat_activity(input)


class WorkflowInterceptor:
    """What comes to one run of a workflow, and what it calls. There is one object a run, so `self` may keep what came
    in for what goes out. All of this is workflow code: it runs again on replay, and must be deterministic.
    """

    def __init__(self, next: WorkflowInterceptor) -> None:
        self.next = next

    # in

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        """The workflow's `run`."""
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        """A signal handler, plain or async."""
        await self.next.handle_signal(input)

    def handle_query(self, input: HandleQueryInput) -> Any:
        """A query handler: it may change nothing, nor may this."""
        return self.next.handle_query(input)

    def validate_update(self, input: HandleUpdateInput) -> None:
        """Raise to reject the update: then nothing is recorded. Not called on replay; it may change nothing."""
        self.next.validate_update(input)

    async def handle_update(self, input: HandleUpdateInput) -> Any:
        """An update handler, plain or async; returns the update's result."""
        return await self.next.handle_update(input)

    # out

    async def execute_activity(self, input: ScheduleActivityInput) -> Any:
        """The call of an activity; returns its result."""
        return await self.next.execute_activity(input)

    async def execute_local_activity(self, input: ScheduleActivityInput) -> Any:
        """The call of a local activity; returns its result."""
        return await self.next.execute_local_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:
        """`start_child` and `execute_child`; returns when the child runs."""
        return await self.next.start_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        """A signal to a child or to another workflow."""
        await self.next.signal_external_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        self.next.continue_as_new(input)


class ActivityInterceptor:
    """One attempt of an activity. This runs on the worker's event loop, also for an activity that is a plain `def`;
    `activity.info()` works."""

    def __init__(self, next: ActivityInterceptor) -> None:
        self.next = next

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return await self.next.execute_activity(input)


class Interceptor:
    """Give objects of a subclass to `Client(interceptors=[...])`; the client's workers use them too, before their own,
    `Worker(interceptors=[...])`. Override what you need, and return your interceptor around `next`.

        class Tracing(Interceptor):
            def intercept_activity(self, next: ActivityInterceptor) -> ActivityInterceptor:
                return TracedActivity(next)
    """

    def intercept_client(self, next: ClientInterceptor) -> ClientInterceptor:
        """Called once, when the client is opened."""
        return next

    def intercept_workflow(self, next: WorkflowInterceptor) -> WorkflowInterceptor:
        """Called once a run, and again when it is replayed. Inside the workflow: `workflow.info()` works."""
        return next

    def intercept_activity(self, next: ActivityInterceptor) -> ActivityInterceptor:
        """Called once an attempt, on the worker's event loop. `activity.info()` works."""
        return next


# ---------------------------------------------------------------- what the calls behind are reached by

C = TypeVar("C", ClientInterceptor, WorkflowInterceptor, ActivityInterceptor)


def checked(interceptors: Sequence[Interceptor]) -> tuple[Interceptor, ...]:
    """The interceptors as they were given. Raises DefinitionError for what is none."""
    for given in interceptors:
        if not isinstance(given, Interceptor):
            hint = "an instance, not the class" if isinstance(given, type) else "an object of a subclass of Interceptor"
            raise DefinitionError(f"interceptors: {given!r} is none; give {hint}")
    return tuple(interceptors)


def around(call: C, kind: type[C], wraps: Sequence[Callable[[C], C]]) -> C:
    """`call` with interceptors around it; the first of `wraps` makes the outermost. Raises DefinitionError if one
    gives nothing of `kind`."""
    for wrap in reversed(wraps):
        outer = wrap(call)
        if not isinstance(outer, kind):
            raise DefinitionError(
                f"{getattr(wrap, '__qualname__', wrap)} gave {outer!r}: return `next`, or your interceptor around it"
            )
        call = outer
    return call


def write_headers(headers: Mapping[str, Any], converter: DataConverter) -> dict[str, Payload]:
    """Headers as records hold them. Raises PayloadError that names what cannot be written."""
    written: dict[str, Payload] = {}
    for name, value in headers.items():
        try:
            written[name] = converter.to_payload(value)
        except PayloadError as error:
            raise type(error)(f"header {name!r}: {error}") from error.__cause__
    return written


def read_headers(headers: Mapping[str, Payload], converter: DataConverter) -> dict[str, Any]:
    """Headers as plain values. Raises PayloadError that names what cannot be read."""
    return dict(zip(headers, converter.from_payloads(list(headers.values()), [], list(headers)), strict=True))
