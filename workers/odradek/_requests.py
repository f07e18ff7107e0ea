"""What a client asks of workflows: records out, replies in, each outcome a value or a typed error."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import msgspec
from odradek_schemas import decode
from odradek_schemas.common import Failure, Record, Request
from odradek_schemas.ephemeral import AwaitResult, DescribeWorkflow, FetchHistory
from odradek_schemas.history import HistoryEvent as EventRecord
from odradek_schemas.history import WorkflowStarted
from odradek_schemas.replies import (
    HistoryPage,
    RequestReply,
    WorkflowResult,
)
from odradek_schemas.replies import (
    WorkflowDescription as DescriptionRecord,
)

from ._calls import MakeRecord, OnDone
from ._claims import has_references
from ._client_calls import ClientCalls
from ._connection import Connection, unexpected
from ._converter import DataConverter
from ._description import HistoryEvent, WorkflowDescription
from ._export import ExportedHistory, history_to_json
from ._handle import Target
from ._interceptors import (
    CancelWorkflowInput,
    ChangeActivityInput,
    ClientInterceptor,
    DescribeWorkflowInput,
    FetchHistoryInput,
    Interceptor,
    PauseWorkflowInput,
    QueryWorkflowInput,
    ResetWorkflowInput,
    SignalWorkflowInput,
    TerminateWorkflowInput,
    UnpauseWorkflowInput,
    UpdateWorkflowInput,
    around,
)
from ._refusals import not_found, refused, summary
from ._room import MAX_IN_FLIGHT_BYTES, Room
from .errors import (
    InvalidRequestError,
    OdradekError,
    OutcomeUnknownError,
    RequestTimeoutError,
    WorkflowCancelledError,
    WorkflowFailedError,
    WorkflowTerminatedError,
    WorkflowTimeoutError,
)

R = TypeVar("R", bound=Record)

_NOBODY = Request(request_id="")
_KEY_BYTES = 4_000
"""For a workflow ID and a request, beside what a caller gives."""


class _Inbox:
    """Answers from the connection's thread to an event loop: one wake-up for all that came meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop, then: Callable[[], None]) -> None:
        self._loop = loop
        self._then = then
        self._lock = threading.Lock()
        self._answers: deque[tuple[asyncio.Future[Any], Any]] = deque()

    def put(self, future: asyncio.Future[Any], answer: Any) -> None:
        """From any thread."""
        with self._lock:
            first = not self._answers
            self._answers.append((future, answer))
        if first:
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

    def _deliver(self) -> None:
        with self._lock:
            answers, self._answers = self._answers, deque()
        for future, answer in answers:
            if not future.done():
                future.set_result(answer)
        self._then()


class WorkflowRequests:
    """The calls of handles. `timeout`: seconds to wait for an answer, unless a call says otherwise. `identity`: who
    asks, for people. `converter`: default is the connection's. `max_in_flight_bytes`: of calls that are out."""

    def __init__(
        self, connection: Connection, timeout: float, identity: str = "", interceptors: Sequence[Interceptor] = (),
        converter: DataConverter | None = None, max_in_flight_bytes: int = MAX_IN_FLIGHT_BYTES,
    ) -> None:
        self.connection = connection
        self.converter = converter or connection.converter
        self.timeout = timeout
        self.identity = identity
        self._room = Room(max_in_flight_bytes, connection.in_flight)
        self._inbox = _Inbox(asyncio.get_running_loop(), self._room.left)
        self._behind = ClientCalls(self)
        self.calls = around(self._behind, ClientInterceptor, [one.intercept_client for one in interceptors])

    # ------------------------------------------------------------ asking

    async def append(self, target: Target, make: MakeRecord, *, waits: bool = False) -> RequestReply:
        """A request through `events`; its outcome (never `expired` or `invalid`). `waits`: the answer may come much
        later."""
        timeout = self.timeout if target.timeout is None else target.timeout
        make = await self._stored(make)
        reply = await self._answer(
            lambda on_done: self.connection.append(
                target.workflow_id, make, on_done, timeout=timeout, request_id=target.request_id, waits=waits
            ),
            timeout,
            waits=waits,
        )
        if not isinstance(reply, RequestReply):
            raise unexpected(reply)
        if reply.outcome == "expired":
            raise OutcomeUnknownError(
                f"workflow {target.workflow_id!r}: the request reached an engine after its deadline, so whether an "
                "earlier copy of it took effect is not known: look with describe(). If this happens often, compare "
                "this machine's clock with the log's"
            )
        if reply.outcome == "invalid":
            raise InvalidRequestError(reply.message)
        return reply

    async def append_everywhere(self, about: str, make: MakeRecord) -> list[RequestReply]:
        """A request to every partition; their outcomes, in the order of the partitions."""

        async def append(partition: int) -> RequestReply:
            reply = await self._answer(
                lambda on_done: self.connection.append(
                    about, make, on_done, timeout=self.timeout, partition=partition
                ),
                self.timeout,
            )
            if not isinstance(reply, RequestReply):
                raise unexpected(reply)
            return reply

        return await asyncio.gather(*map(append, range(self.connection.partitions)))

    async def ask_everywhere(self, about: str, make: MakeRecord, kind: type[R]) -> list[R]:
        """A read of every partition; the answers in the order of the partitions."""

        partitions = range(self.connection.partitions)
        return await asyncio.gather(*(self.ask_partition(one, about, make, kind) for one in partitions))

    async def ask_partition(self, partition: int, about: str, make: MakeRecord, kind: type[R]) -> R:
        """A read of one partition."""
        return await self._ask(about, make, kind, self.timeout, partition)

    async def ask(self, target: Target, make: MakeRecord, kind: type[R]) -> R:
        """A read through `ephemeral`."""
        timeout = self.timeout if target.timeout is None else target.timeout
        make = await self._stored(make)
        return await self._ask(target.workflow_id, make, kind, timeout)

    async def _ask(
        self, about: str, make: MakeRecord, kind: type[R], timeout: float, partition: int | None = None
    ) -> R:
        reply = await self._answer(
            lambda on_done: self.connection.ask(about, make, on_done, timeout=timeout, partition=partition), timeout
        )
        if not isinstance(reply, kind):
            raise unexpected(reply)
        return reply

    async def _answer(self, send: Callable[[OnDone], str], patience: float, *, waits: bool = False) -> Record:
        """Send, when there is room within `patience` seconds, and wait for the answer. If the caller is cancelled, the
        answer is not waited for any more."""
        await self._room.enter(waits, patience)
        future: asyncio.Future[Record | OdradekError] = asyncio.get_running_loop().create_future()

        def done(outcome: Record | OdradekError) -> None:
            self._inbox.put(future, outcome)

        try:
            request_id = send(done)
        finally:
            self._room.left()
        try:
            answer = await future
        except asyncio.CancelledError:
            self.connection.forget(request_id, done)
            self._room.left()
            raise
        if isinstance(answer, OdradekError):
            raise answer
        claims = self.converter.claims
        if claims is not None and has_references(answer):
            return await asyncio.to_thread(claims.fetch, answer)
        return answer

    async def _stored(self, make: MakeRecord) -> MakeRecord:
        """`make` for a record whose large payloads are in the payload store by now."""
        claims = self.converter.claims
        if claims is None:
            return make
        try:
            packed = claims.pack(make(_NOBODY), self.connection.log.max_record_bytes - _KEY_BYTES)
        except (OverflowError, ValueError):
            return make  # it cannot be written, which is said where it is
        if not packed.blobs:
            return make
        await asyncio.to_thread(claims.put, packed.blobs)
        return lambda request: msgspec.structs.replace(packed.record, request=request)

    # ------------------------------------------------------------ messages

    async def signal(self, target: Target, name: str, args: Sequence[Any]) -> None:
        """Send a signal."""
        await self.calls.signal_workflow(SignalWorkflowInput(**_about(target), signal=name, args=list(args)))

    async def update(
        self, target: Target, name: str, args: Sequence[Any], *, wait_for: Literal["accepted", "completed"],
        result_type: Any,
    ) -> Any:
        """Send an update; its result, or an UpdateHandle once it is accepted."""
        call = UpdateWorkflowInput(
            **_about(target), update=name, args=list(args), wait_for=wait_for, result_type=result_type
        )
        return await self.calls.update_workflow(call)

    async def await_update(self, target: Target, name: str, result_type: Any) -> Any:
        """The result of an update that was sent before."""
        return await self._behind.await_update(target, name, result_type)

    async def query(self, target: Target, name: str, args: Sequence[Any], result_type: Any) -> Any:
        """Ask the workflow's code."""
        call = QueryWorkflowInput(**_about(target), query=name, args=list(args), result_type=result_type)
        return await self.calls.query_workflow(call)

    async def cancel(self, target: Target, reason: str) -> None:
        """Ask for cancellation."""
        await self.calls.cancel_workflow(CancelWorkflowInput(**_about(target), reason=reason))

    async def terminate(self, target: Target, reason: str) -> None:
        """End the run."""
        await self.calls.terminate_workflow(TerminateWorkflowInput(**_about(target), reason=reason))

    async def reset(
        self, target: Target, event_id: int, reason: str, reapply: str, build_id: str
    ) -> str:
        """Begin a new run from the history; its run ID."""
        call = ResetWorkflowInput(
            **_about(target), event_id=event_id, reason=reason, reapply=reapply, build_id=build_id
        )
        return await self.calls.reset_workflow(call)

    async def pause(self, target: Target, reason: str) -> None:
        """Give the run no workflow tasks."""
        await self.calls.pause_workflow(PauseWorkflowInput(**_about(target), reason=reason))

    async def unpause(self, target: Target, reason: str) -> None:
        """Give it tasks again."""
        await self.calls.unpause_workflow(UnpauseWorkflowInput(**_about(target), reason=reason))

    async def change_activity(
        self, target: Target, action: str, which: str | int, reason: str, options: Mapping[str, Any]
    ) -> None:
        """Pause, unpause, retry or update pending activities."""
        call = ChangeActivityInput(
            **_about(target), action=action, activity=which, reason=reason, options=dict(options)
        )
        await self.calls.change_activity(call)

    async def change(self, target: Target, make: MakeRecord) -> str:
        """A request that is done, or raises; the run that it was about."""
        reply = await self.append(target, make)
        if reply.outcome != "ok":
            refused(target.workflow_id, reply)
        return reply.run_id

    # ------------------------------------------------------------ the end of a workflow

    async def result(self, target: Target, result_type: Any) -> Any:
        """Wait for the end of the run and of those that continue it."""
        loop = asyncio.get_running_loop()
        give_up = None if target.timeout is None else loop.time() + target.timeout
        run_id, barrier = target.result_run_id or target.run_id or "", target.barrier
        while True:
            left = None if give_up is None else max(0.001, give_up - loop.time())
            reply = await self._await_result(target, run_id, barrier, left)
            if not reply.next_run_id:
                break
            target = replace(target, result_request=None)
            run_id, barrier = reply.next_run_id, -1
        if reply.status == "not_found":
            raise not_found(target.workflow_id, target.run_id)
        if reply.status == "completed":
            return None if reply.result is None else self.converter.from_payload(reply.result, result_type)
        cause = self._why_it_ended(reply)
        shown = reply.status.replace("_", " ")
        said = f": {self._summary(reply.failure)}" if reply.failure is not None else ""
        text = f"workflow {target.workflow_id!r} {'was ' * (reply.status in _PASSIVE)}{shown}{said}"
        raise WorkflowFailedError(text, workflow_id=target.workflow_id, run_id=reply.run_id) from cause

    async def _await_result(self, target: Target, run_id: str, barrier: int, timeout: float | None) -> WorkflowResult:
        def make(request: Request) -> Record:
            return AwaitResult(workflow_id=target.workflow_id, run_id=run_id, barrier=barrier, request=request)

        try:
            reply = await self._answer(
                lambda on_done: self.connection.wait_for(
                    target.workflow_id, make, on_done, timeout=timeout, expected=target.result_request
                ),
                self.timeout if timeout is None else timeout,
                waits=True,
            )
        except RequestTimeoutError as error:
            raise RequestTimeoutError(
                f"workflow {target.workflow_id!r} has not ended within {target.timeout:g} s, or no engine answered: "
                "describe() tells which",
                durable=error.durable,
            ) from None
        if not isinstance(reply, WorkflowResult):
            raise unexpected(reply)
        return reply

    def _summary(self, failure: Failure) -> str:
        return summary(self.converter.open_failure(failure))

    def _why_it_ended(self, reply: WorkflowResult) -> BaseException | None:
        failure = reply.failure or Failure(message="")
        if reply.status == "terminated":
            return WorkflowTerminatedError(failure.message or "terminated", reason=failure.message)
        if reply.status == "timed_out":
            return WorkflowTimeoutError(failure.message or "timed out", timeout_type=failure.timeout_type)
        if reply.status == "cancelled":
            cancelled = WorkflowCancelledError(failure.message or "cancelled")
            if failure.cause is not None:
                cancelled.__cause__ = self.converter.from_failure(failure.cause)
            return cancelled
        return None if reply.failure is None else self.converter.from_failure(reply.failure)

    # ------------------------------------------------------------ looking

    async def describe(self, target: Target) -> WorkflowDescription:
        """Describe the run."""
        return await self.calls.describe_workflow(DescribeWorkflowInput(**_about(target)))

    async def description(self, target: Target) -> DescriptionRecord:
        """The run as the engine describes it; no interceptor sees that."""

        def make(request: Request) -> Record:
            return DescribeWorkflow(workflow_id=target.workflow_id, run_id=target.run_id or "", request=request)

        reply = await self.ask(target, make, DescriptionRecord)
        if not reply.found:
            raise not_found(target.workflow_id, target.run_id)
        return reply

    async def history(self, target: Target) -> list[HistoryEvent]:
        """The events of the run, readable."""
        return await self.calls.fetch_history(FetchHistoryInput(**_about(target)))

    async def export(self, target: Target) -> str:
        """The run as a JSON document (see `_export`)."""
        return history_to_json(await self.exported(target))

    async def exported(self, target: Target) -> ExportedHistory:
        """What that document says."""
        run_id = target.run_id or (await self.description(target)).run_id
        events = await self.history_records(replace(target, run_id=run_id))
        started = events[0].attributes
        assert isinstance(started, WorkflowStarted)
        return ExportedHistory(
            namespace=self.connection.namespace,
            workflow_id=target.workflow_id,
            run_id=run_id,
            workflow_type=started.workflow_type,
            task_queue=started.task_queue,
            events=events,
        )

    async def history_records(self, target: Target) -> list[EventRecord]:
        """The events of the run as records."""
        return [event async for event in self.events_of(target)]

    async def events_of(self, target: Target) -> AsyncIterator[EventRecord]:
        """The same one by one, with a page in memory. Events never change, so pages of different moments fit."""
        run_id, following = target.run_id or "", 1
        while following:
            page = await self._history_page(target, run_id, following)
            if not page.found:
                raise not_found(target.workflow_id, target.run_id)
            for data in page.events:
                event = decode(data)
                if not isinstance(event, EventRecord):
                    raise unexpected(event)
                yield event
            run_id, following = page.run_id, page.next_event_id

    async def _history_page(self, target: Target, run_id: str, from_event_id: int) -> HistoryPage:
        def make(request: Request) -> Record:
            return FetchHistory(
                workflow_id=target.workflow_id, run_id=run_id, from_event_id=from_event_id, request=request
            )

        return await self.ask(target, make, HistoryPage)


_PASSIVE = ("cancelled", "terminated")


def _about(target: Target) -> dict[str, Any]:
    """What the inputs of interceptors say of a target."""
    return {
        "id": target.workflow_id,
        "run_id": target.run_id,
        "request_id": target.request_id,
        "timeout": target.timeout,
        "identity": target.identity,
    }
