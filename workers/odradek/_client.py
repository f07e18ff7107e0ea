"""The public Client: where it connects to, and how workflows are started."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Literal, Self, overload

from odradek_log import Log, LogError, open_log
from odradek_schemas import check_name, parse_task_token

from . import _deployments as deployments
from . import _listing as listing
from ._batch import BatchOptions, ChosenRun, ResetPoint, ResetResult, in_parallel, reset_one
from ._connection import DEADLINE_SLACK_SECONDS, Connection, unavailable
from ._converter import DataConverter
from ._definitions import definition_of
from ._description import TaskQueueBuilds, WorkflowStatus
from ._embedded import engine_in_this_process
from ._handle import Target, WorkflowHandle, bind_message
from ._interceptors import (
    CompleteActivityInput,
    FailActivityInput,
    HeartbeatActivityInput,
    Interceptor,
    StartWorkflowInput,
    checked,
)
from ._listing import ListedWorkflow
from ._options import seconds
from ._requests import WorkflowRequests
from ._room import MAX_IN_FLIGHT_BYTES
from ._schedules.handle import ScheduleHandle
from ._schedules.handle import create as create_schedule
from ._schedules.handle import listed as list_schedules
from ._schedules.schedule import Schedule, ScheduleBackfill, ScheduleDescription
from ._starting import Starting
from ._types import Duration, R, TakesMany, W
from .errors import (
    ClientClosedError,
    DefinitionError,
    InvalidRequestError,
    not_available,
)

_LISTED = "Client.list_workflows selects by type and status"


class Execution:
    """One workflow in a listing."""

    id: str
    status: str


class Client(Starting):
    """Starts workflows and talks to them.

        async with Client("kafka://localhost:9092", namespace="default") as client: ...
        async with Client("file:./odradek-data") as client: ...      # starts the engine too, in this process

    target: `kafka://host:port[,host:port]`, `file:./folder`, or an open log (default: ODRADEK_ADDRESS).
    namespace: default ODRADEK_NAMESPACE, else "default". data_converter: the same as the workers' (default: JSON
    without a codec). identity: who asks, for people (default: process ID and host). request_timeout: seconds to
    wait for an answer, and for an engine to appear when the client is opened (default 30). log_settings: passed to the
    log, for instance the security settings of Kafka. interceptors: called around starts, messages and queries, the
    first one outermost; workers of the client use them too. max_in_flight_bytes: of requests that are out without an
    answer, and as much of calls that wait for the end of something (default 32 MiB; a small one counts as about 1 KB).
    Further calls wait for room, up to their timeout, and then raise OverloadedError.

    `async with` raises UnavailableError if the log cannot be reached, is open in another process or has no engine.
    """

    def __init__(
        self,
        target: str | Log | None = None,
        /,
        *,
        namespace: str | None = None,
        data_converter: DataConverter | None = None,
        identity: str | None = None,
        request_timeout: Duration = 30,
        log_settings: Mapping[str, Any] | None = None,
        interceptors: Sequence[Interceptor] = (),
        max_in_flight_bytes: int = MAX_IN_FLIGHT_BYTES,
    ) -> None:
        target = target or os.environ.get("ODRADEK_ADDRESS")
        if not target:
            raise ValueError("where to? Give Client an address, 'kafka://host:port' or 'file:./folder'")
        if isinstance(target, str):
            _check_address(target)
        self.namespace = check_name("namespace", namespace or os.environ.get("ODRADEK_NAMESPACE") or "default")
        self.data_converter = data_converter or DataConverter()
        self.identity = identity or f"{os.getpid()}@{socket.gethostname()}"
        self.interceptors = checked(interceptors)
        self._target = target
        self._timeout = seconds(request_timeout)
        self._log_settings = dict(log_settings or {})
        self._max_in_flight_bytes = max_in_flight_bytes
        self._now_ms: Callable[[], int] | None = None  # tests have a clock of their own, which skips
        self._deadline_slack = DEADLINE_SLACK_SECONDS
        self._exit: AsyncExitStack | None = None
        self._open: WorkflowRequests | None = None

    async def __aenter__(self) -> Self:
        if self._exit is not None:
            raise RuntimeError("this client is open already; make another one")
        async with AsyncExitStack() as stack:
            log = self._target if not isinstance(self._target, str) else await self._open_log(self._target, stack)
            connection = await asyncio.to_thread(
                Connection, log, self.namespace, self.data_converter, timeout=self._timeout,
                now_ms=self._now_ms, deadline_slack=self._deadline_slack,
            )
            stack.push_async_callback(asyncio.to_thread, connection.close)
            self._open = WorkflowRequests(
                connection, self._timeout, self.identity, self.interceptors,
                max_in_flight_bytes=self._max_in_flight_bytes,
            )
            self._exit = stack.pop_all()
        return self

    async def _open_log(self, target: str, stack: AsyncExitStack) -> Log:
        """The log at an address; with an engine, if it is a folder."""
        try:
            log = await asyncio.to_thread(open_log, target, **self._log_settings)
        except LogError as error:
            raise unavailable(error) from error
        stack.push_async_callback(asyncio.to_thread, log.close)
        if target.startswith("file:"):
            await stack.enter_async_context(engine_in_this_process(log, self.namespace))
        return log

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        stack, self._exit, self._open = self._exit, None, None
        if stack is not None:
            await stack.aclose()

    def _requests(self) -> WorkflowRequests:
        if self._open is None:
            raise ClientClosedError("the client is not open: use it inside `async with Client(...) as client:`")
        return self._open

    def _worker_connection(self) -> Connection:
        """What a worker of this client reads and writes through. Raises ClientClosedError if it is not open."""
        return self._requests().connection

    # ------------------------------------------------------------ workflows

    @overload
    def get(self, id: str, /, *, run_id: str | None = None) -> WorkflowHandle[Any, Any]: ...
    @overload
    def get(self, id: str, workflow: TakesMany[W, R], /, *, run_id: str | None = None) -> WorkflowHandle[W, R]: ...
    def get(self, id: str, workflow: Any = None, /, *, run_id: str | None = None) -> Any:
        """A handle on a workflow by its ID; `workflow` gives the types. Asks nothing: the workflow may not be there."""
        result_type = Any if workflow is None else definition_of(workflow).signature.result_type
        return WorkflowHandle[Any, Any](self._requests(), Target(_checked_id(id), run_id), result_type)

    async def _start(self, workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
        return await self._requests().calls.start_workflow(self._start_input(workflow, args, options))

    async def _execute(self, workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
        requests = self._requests()
        call = self._start_input(workflow, args, options)
        with requests.connection.expecting() as call.result_request:
            handle = await requests.calls.start_workflow(call)
            return await handle.result()

    async def _signal_with_start(self, workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
        if "signal" not in options:
            raise DefinitionError("signal_with_start needs signal=Class.method, or its name")
        if options.setdefault("id_conflict_policy", "use_existing") == "fail":
            raise DefinitionError("signal_with_start signals the open run: id_conflict_policy='fail' contradicts that")
        name, values, _ = bind_message("signal", options.pop("signal"), options.pop("signal_args", ()), {})
        call = self._start_input(workflow, args, options)
        call.signal, call.signal_args = name, values
        return await self._requests().calls.start_workflow(call)

    async def _update_with_start(self, workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
        if "update" not in options:
            raise DefinitionError("update_with_start needs update=Class.method, or its name")
        if options.setdefault("id_conflict_policy", "use_existing") == "fail":
            raise DefinitionError("update_with_start updates the open run: id_conflict_policy='fail' contradicts that")
        name, values, result_type = bind_message("update", options.pop("update"), options.pop("update_args", ()), {})
        options.setdefault("request_id", secrets.token_hex(12))
        call = self._start_input(workflow, args, options)
        call.update, call.update_args, call.update_result_type = name, values, result_type
        return await self._requests().calls.update_with_start(call)

    def _start_input(self, workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> StartWorkflowInput:
        """A start as interceptors see it. Raises DefinitionError for what does not fit."""
        name, values, result_type = _bind_workflow(workflow, args, options)
        workflow_id = _checked_id(options.pop("id", None))
        return StartWorkflowInput(
            workflow_type=name, id=workflow_id, args=values, options=options, result_type=result_type
        )

    # ------------------------------------------------------------ builds of workers

    async def builds(self, task_queue: str, /) -> TaskQueueBuilds:
        """The builds of a task queue: which is current, live workers, and how many open workflows need each.

        Raises InvalidNameError for what names no queue, and RequestTimeoutError if an engine does not answer.
        """
        return await deployments.builds(self._requests(), task_queue)

    async def set_current_build(self, task_queue: str, build_id: str | None, /) -> None:
        """From now on new workflows of a queue go to workers of this build, and so do others that are not pinned, with
        their next task. None: to workers without a build.

        Raises as `builds` does; then some partitions may have changed and others not: repeat it.
        """
        await deployments.set_current(self._requests(), task_queue, build_id or "")

    # ------------------------------------------------------------ many workflows

    def list_workflows(
        self, *, workflow_type: str = "", status: WorkflowStatus | Literal[""] = "", stuck: bool = False
    ) -> AsyncIterator[ListedWorkflow]:
        """The newest run of each workflow that is kept, by type and status ("" for any), in no useful order.

        stuck: only open ones whose code cannot advance, or that are paused. All partitions are asked, page by page, and
        every workflow is looked at: this is for people and batches. Raises RequestTimeoutError if an engine does not
        answer.
        """
        selection = listing.Selection(workflow_type=workflow_type, status=status, stuck=stuck)
        return listing.listed(self._requests(), selection)

    async def reset_batch(
        self,
        workflows: Iterable[str | tuple[str, str]] | None = None,
        /,
        *,
        request_id: str,
        workflow_type: str = "",
        status: WorkflowStatus | Literal[""] = "running",
        event_id: int | None = None,
        last_task: bool = False,
        activity: str | None = None,
        build_id: str | None = None,
        patch: str | None = None,
        reason: str = "",
        reapply: Literal["signals", "none"] = "signals",
        dry_run: bool = False,
        concurrency: int = 10,
    ) -> AsyncIterator[ResetResult]:
        """Reset many workflows to before a bad step, and give what came of each as it comes.

            async for done in client.reset_batch(workflow_type="Order", activity="charge", request_id="ticket-7"):
                print(done.workflow_id, done.status, done.error)

        workflows: which; an ID stands for its newest run, (ID, run ID) for that run. Else those of `workflow_type` and
        `status` ("" for any). The step is one of `event_id`; `last_task`; `activity`, the first decision that schedules
        one of this type (or starts such a child); `build_id`, the first by this build; `patch`, the first
        with this patch. request_id: a name of yours for the batch; repeated under the same one, perhaps as it was cut
        off, it resets no workflow twice. dry_run: only look. concurrency: workflows at once. Raises
        InvalidRequestError if not exactly one step is given, UnavailableError.
        """
        requests = self._requests()
        point = ResetPoint(event_id=event_id, last_task=last_task, activity=activity, build_id=build_id, patch=patch)
        options = BatchOptions(request_id=request_id, reason=reason, reapply=reapply, dry_run=dry_run)

        async def chosen() -> AsyncIterator[ChosenRun]:
            if workflows is not None:
                for which in workflows:
                    yield (which, "") if isinstance(which, str) else which
            else:
                async for found in self.list_workflows(workflow_type=workflow_type, status=status):
                    yield found.id, ""

        def one(run: ChosenRun) -> Awaitable[ResetResult]:
            return reset_one(requests, run, point, options)

        async for result in in_parallel(chosen(), one, max(1, concurrency)):
            yield result

    # ------------------------------------------------------------ looking

    def list(self, query: str = "", /) -> AsyncIterator[Execution]:
        """The workflows that match a query. Not there yet: raises NotAvailableError; see `list_workflows`."""
        raise not_available("Client.list", _LISTED)

    async def count(self, query: str = "", /) -> int:
        """How many workflows match a query. Not there yet: raises NotAvailableError; see `list_workflows`."""
        raise not_available("Client.count", _LISTED)

    # ------------------------------------------------------------ schedules

    async def create_schedule(
        self,
        id: str,
        schedule: Schedule,
        /,
        *,
        trigger_immediately: bool = False,
        backfill: Sequence[ScheduleBackfill] = (),
        memo: Mapping[str, Any] | None = None,
        search_attributes: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> ScheduleHandle:
        """Start workflows at the times of a schedule, beginning now, until it is deleted.

        trigger_immediately: also act at once. backfill: also at these times gone by. memo, search_attributes: of the
        schedule itself. Raises ScheduleAlreadyRunningError if there is one of this ID.
        """
        return await create_schedule(
            self._requests(), id, schedule, trigger_immediately=trigger_immediately, backfill=backfill,
            memo=memo or {}, search_attributes=search_attributes or {}, request_id=request_id,
        )  # fmt: skip

    def get_schedule(self, id: str, /) -> ScheduleHandle:
        """A handle on a schedule by its ID. Asks nothing: it may not be there."""
        return ScheduleHandle(self._requests(), id)

    def list_schedules(self) -> AsyncIterator[ScheduleDescription]:
        """All schedules of the namespace, in no order: each is asked how it stands."""
        return list_schedules(self._requests())

    # ------------------------------------------------------------ activities, by task token

    async def complete_activity(self, token: bytes | str, result: Any = None, /) -> None:
        """Complete an activity from anywhere, by its task token.

        token: `activity.info().task_token`, as it is or as text (`task_token.decode()`, safe in a URL). Raises
        InvalidRequestError for what is no token, ActivityNotFoundError if its activity is not open any more.
        """
        call = CompleteActivityInput(task_token=_parsed(token), result=result)
        await self._requests().calls.complete_activity(call)

    async def fail_activity(self, token: bytes | str, error: BaseException, /) -> None:
        """Fail the current attempt of an activity from anywhere, by its task token; its retry policy decides what
        follows. `asyncio.CancelledError()` ends an activity as cancelled that the workflow has cancelled. Raises as
        `complete_activity` does."""
        await self._requests().calls.fail_activity(FailActivityInput(task_token=_parsed(token), error=error))

    async def heartbeat_activity(self, token: bytes | str, /, *details: Any) -> None:
        """Say that an activity that is completed from elsewhere is alive, and how far it is; `heartbeat_timeout` counts
        from here.

        Raises ActivityNotFoundError if it is not open any more: stop, nobody waits for it. ActivityCancelRequestedError
        if the workflow has cancelled it and waits for its end. InvalidRequestError for what is no token.
        """
        call = HeartbeatActivityInput(task_token=_parsed(token), details=list(details))
        await self._requests().calls.heartbeat_activity(call)


def _check_address(target: str) -> None:
    if target.startswith(("http://", "https://")):
        raise not_available(f"Client({target!r})", "connect to the log: kafka://host:port or file:./folder")
    if not target.startswith(("kafka://", "file:")):
        raise ValueError(f"no log has the address {target!r}: write kafka://host:port or file:./folder")


def _checked_id(workflow_id: Any) -> str:
    if not isinstance(workflow_id, str) or not workflow_id:
        raise DefinitionError(
            f"a workflow needs an ID, such as id='order-42', not {workflow_id!r}: it makes starting twice harmless"
        )
    return workflow_id


def _bind_workflow(workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> tuple[str, list[Any], Any]:
    """Type name, arguments and result type; raises DefinitionError for what does not fit."""
    if isinstance(workflow, str):
        result_type = options.pop("result_type", Any)
        return workflow, list(args), result_type
    definition = definition_of(workflow)
    return definition.name, definition.signature.bind(args, {}), definition.signature.result_type


def _parsed(token: bytes | str) -> bytes:
    """A task token as bytes, checked."""
    data = token.encode() if isinstance(token, str) else token
    try:
        parse_task_token(data)
    except ValueError as error:
        raise InvalidRequestError(f"{error}: pass activity.info().task_token as it is") from None
    return data
