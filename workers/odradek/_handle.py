"""Handles: one workflow, to send it messages, wait for it and look at it."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, overload

from typing_extensions import TypeForm, Unpack

from ._description import HistoryEvent, WorkflowDescription
from ._options import seconds
from ._types import Duration, P, PendingActivityOptions, R, R_co, T, W, W_co
from .errors import DefinitionError

if TYPE_CHECKING:
    from ._handlers import Query, Signal, Update
    from ._instance_children import Child


@dataclass(frozen=True, slots=True)
class Target:
    """Which workflow a call is about, and how it is made.

    `run_id` None: the latest run. `result_run_id`: the run that was started, whose result is asked for.
    `barrier`: the end of `events` that a result must not be older than; -1: as of now. `timeout` in seconds, None:
    the client's default, and for results without end. `identity`: who asks, empty: the client. `result_request`: its
    result has been asked for under this ID.
    """

    workflow_id: str
    run_id: str | None = None
    result_run_id: str | None = None
    barrier: int = -1
    request_id: str | None = None
    timeout: float | None = None
    identity: str = ""
    result_request: str | None = None


class Requests(Protocol):
    """What a handle needs of its client."""

    async def signal(self, target: Target, name: str, args: Sequence[Any]) -> None: ...

    async def update(
        self, target: Target, name: str, args: Sequence[Any], *, wait_for: Literal["accepted", "completed"],
        result_type: Any,
    ) -> Any: ...

    async def await_update(self, target: Target, name: str, result_type: Any) -> Any: ...

    async def query(self, target: Target, name: str, args: Sequence[Any], result_type: Any) -> Any: ...

    async def result(self, target: Target, result_type: Any) -> Any: ...

    async def describe(self, target: Target) -> WorkflowDescription: ...

    async def history(self, target: Target) -> list[HistoryEvent]: ...

    async def export(self, target: Target) -> str: ...

    async def cancel(self, target: Target, reason: str) -> None: ...

    async def terminate(self, target: Target, reason: str) -> None: ...

    async def reset(
        self, target: Target, event_id: int, reason: str, reapply: str, build_id: str
    ) -> str: ...

    async def pause(self, target: Target, reason: str) -> None: ...

    async def unpause(self, target: Target, reason: str) -> None: ...

    async def change_activity(
        self, target: Target, action: str, which: str | int, reason: str, options: Mapping[str, Any]
    ) -> None: ...


class _CanSignal(Generic[W_co]):
    """The workflow type is bound in `self`, so that a message of another workflow is an error."""

    @overload
    async def signal(self: _CanSignal[W], signal: Signal[W, P], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    @overload
    async def signal(self, signal: str, /, *args: Any) -> None: ...
    async def signal(self, signal: Any, /, *args: Any, **kwargs: Any) -> None:
        """Send a signal. Returns when it is durable and the engine has taken it."""
        raise NotImplementedError

    async def cancel(self) -> None:
        """Ask the workflow to cancel: its code gets `asyncio.CancelledError`."""
        raise NotImplementedError


class WorkflowMessages(Protocol):
    """What handles inside a workflow need of the workflow that runs."""

    async def result(self, child: Child) -> Any: ...

    def cancel(self, child: Child) -> None: ...

    async def signal_child(self, child: Child, signal: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None: ...

    async def signal_external(
        self, workflow_id: str, run_id: str, signal: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None: ...

    async def cancel_external(
        self, workflow_id: str, run_id: str, reason: str, *, terminate: bool = False
    ) -> None: ...


class ExternalWorkflowHandle(_CanSignal[W_co]):
    """Another workflow, from inside one: `workflow.external(id)`. `run_id` empty: whichever run is open.

    Calls return when the other workflow has the message, and raise WorkflowNotFoundError, or WorkflowClosedError if it
    has ended; left uncaught they fail the workflow. A call that is cancelled meanwhile may have taken effect.
    """

    def __init__(self, messages: WorkflowMessages, workflow_id: str, run_id: str = "") -> None:
        self._messages = messages
        self.id = workflow_id
        self.run_id = run_id

    @overload
    async def signal(self: _CanSignal[W], signal: Signal[W, P], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    @overload
    async def signal(self, signal: str, /, *args: Any) -> None: ...
    async def signal(self, signal: Any, /, *args: Any, **kwargs: Any) -> None:
        """Send a signal."""
        await self._messages.signal_external(self.id, self.run_id, signal, args, kwargs)

    async def cancel(self, reason: str = "") -> None:
        """Ask the workflow to cancel: its code gets `asyncio.CancelledError`."""
        await self._messages.cancel_external(self.id, self.run_id, reason)

    def __repr__(self) -> str:
        return f"<external workflow {self.id!r}>"


class ChildWorkflowHandle(_CanSignal[W_co], Generic[W_co, R_co]):
    """A child workflow, from inside its parent: `workflow.start_child(...)`. Awaiting it gives its result."""

    def __init__(self, messages: WorkflowMessages, child: Child) -> None:
        self._messages = messages
        self._child = child

    @property
    def id(self) -> str:
        """The child's workflow ID."""
        return self._child.id

    @property
    def run_id(self) -> str:
        """The child's first run."""
        return self._child.run_id

    @overload
    async def signal(self: _CanSignal[W], signal: Signal[W, P], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    @overload
    async def signal(self, signal: str, /, *args: Any) -> None: ...
    async def signal(self, signal: Any, /, *args: Any, **kwargs: Any) -> None:
        """Send a signal to this child; returns when it has it. Raises WorkflowClosedError if it has ended."""
        await self._messages.signal_child(self._child, signal, args, kwargs)

    async def cancel(self) -> None:
        """Ask the child to cancel; does not wait for its end. Nothing happens if it has ended."""
        self._messages.cancel(self._child)

    async def result(self) -> R_co:
        """Wait for the child's result. Cancelling this wait cancels the child, as its `cancellation_type` says.

        Raises ChildWorkflowError, with the reason as its cause.
        """
        result: R_co = await self._messages.result(self._child)
        return result

    def __repr__(self) -> str:
        return f"<child workflow {self.id!r} run {self.run_id}>"

    def __await__(self) -> Generator[Any, Any, R_co]:
        return self.result().__await__()


class WorkflowHandle(_CanSignal[W_co], Generic[W_co, R_co]):
    """One workflow, seen by a client. Made by `Client.start` and `Client.get`.

    Messages go to the latest run of the ID, unless `Client.get` was given a run ID; `result` of a handle from
    `Client.start` is that of the run started, or of those that continue it.

    All calls raise RequestTimeoutError if no engine answers, UnavailableError if the log cannot be reached,
    ClientClosedError, and WorkflowNotFoundError.
    """

    def __init__(self, requests: Requests, target: Target, result_type: Any = Any) -> None:
        self._requests = requests
        self._target = target
        self._result_type = result_type

    @property
    def id(self) -> str:
        """The workflow ID."""
        return self._target.workflow_id

    @property
    def run_id(self) -> str | None:
        """The run that the handle was made for: the one started, or asked for; None: whichever is the latest."""
        return self._target.run_id or self._target.result_run_id

    def _asked_by(self, identity: str) -> Self:
        """The same handle on behalf of somebody else than the client."""
        return type(self)(self._requests, replace(self._target, identity=identity), self._result_type)

    def with_options(self, *, request_id: str | None = None, timeout: Duration | None = None) -> Self:
        """The same handle with a request ID of yours, or another time to wait for an answer.

        A request with an ID that was used before changes nothing and gets the first one's answer, for 24 hours: make
        such a handle for each request. IDs are for `signal`, `cancel` and `terminate`; reads need none.
        """
        target = replace(
            self._target,
            request_id=request_id if request_id is not None else self._target.request_id,
            timeout=seconds(timeout) if timeout is not None else self._target.timeout,
        )
        return type(self)(self._requests, target, self._result_type)

    @overload
    async def signal(self: _CanSignal[W], signal: Signal[W, P], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    @overload
    async def signal(self, signal: str, /, *args: Any) -> None: ...
    async def signal(self, signal: Any, /, *args: Any, **kwargs: Any) -> None:
        """Send a signal. Returns when it is durable and the engine has taken it.

        Raises WorkflowClosedError if the workflow has ended.
        """
        name, values, _ = bind_message("signal", signal, args, kwargs)
        await self._requests.signal(self._target, name, values)

    @overload
    async def query(self: WorkflowHandle[W, Any], query: Query[W, P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def query(self, query: str, /, *args: Any, result_type: TypeForm[T]) -> T: ...
    @overload
    async def query(self, query: str, /, *args: Any) -> Any: ...
    async def query(self, query: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Ask the workflow something; it also answers after its end. Sees every message acknowledged before.

        Raises QueryFailedError if the handler raises, QueryRejectedError if there is no such handler.
        """
        result_type = kwargs.pop("result_type", Any) if isinstance(query, str) else None
        name, values, declared = bind_message("query", query, args, kwargs)
        return await self._requests.query(self._target, name, values, declared if result_type is None else result_type)

    @overload
    async def update(
        self: WorkflowHandle[W, Any], update: Update[W, P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def update(self, update: str, /, *args: Any, result_type: TypeForm[T]) -> T: ...
    @overload
    async def update(self, update: str, /, *args: Any) -> Any: ...
    async def update(self, update: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Send an update, wait until its handler is done, and return its result.

        Raises UpdateRejectedError if the workflow does not take it, UpdateFailedError if its handler fails,
        WorkflowClosedError if the workflow ends first, RequestTimeoutError if there is no answer in time: with
        `with_options(request_id=...)` the same call goes on waiting for the same update.
        """
        result_type = kwargs.pop("result_type", Any) if isinstance(update, str) else None
        name, values, declared = bind_message("update", update, args, kwargs)
        result_type = declared if result_type is None else result_type
        return await self._requests.update(
            self._target, name, values, wait_for="completed", result_type=result_type
        )

    @overload
    async def start_update(
        self: WorkflowHandle[W, Any], update: Update[W, P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> UpdateHandle[R]: ...
    @overload
    async def start_update(self, update: str, /, *args: Any, result_type: TypeForm[T]) -> UpdateHandle[T]: ...
    @overload
    async def start_update(self, update: str, /, *args: Any) -> UpdateHandle[Any]: ...
    async def start_update(self, update: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Send an update, wait until the workflow has accepted it, and return a handle to wait for its result.

        Raises as `update` does, but for the failure of the handler.
        """
        result_type = kwargs.pop("result_type", Any) if isinstance(update, str) else None
        name, values, declared = bind_message("update", update, args, kwargs)
        target = replace(self._target, request_id=self._target.request_id or secrets.token_hex(12))
        result_type = declared if result_type is None else result_type
        return await self._requests.update(target, name, values, wait_for="accepted", result_type=result_type)

    @overload
    def get_update(self: WorkflowHandle[W, Any], update_id: str, update: Update[W, ..., R], /) -> UpdateHandle[R]: ...
    @overload
    def get_update(self, update_id: str, update: str, /) -> UpdateHandle[Any]: ...
    def get_update(self, update_id: str, update: Any, /) -> UpdateHandle[Any]:
        """A handle of an update that was sent before, by its ID: the request ID that it was sent with.

        Nothing is asked yet: for one that was never sent, `result` raises WorkflowNotFoundError.
        """
        name, result_type = (update, Any) if isinstance(update, str) else (update.name, update.signature.result_type)
        return UpdateHandle[Any](self._requests, replace(self._target, request_id=update_id), name, result_type)

    async def result(self) -> R_co:
        """Wait for the workflow's end, however long it takes, and return its result.

        With `with_options(timeout=...)` waits no longer than that (RequestTimeoutError). Follows continue-as-new.
        Raises WorkflowFailedError if it failed, was cancelled or terminated, or timed out.
        """
        result: R_co = await self._requests.result(self._target, self._result_type)
        return result

    async def describe(self) -> WorkflowDescription:
        """Status, pending activities and timers, and what keeps the workflow from going on."""
        return await self._requests.describe(self._target)

    async def history(self) -> list[HistoryEvent]:
        """All events of the run so far."""
        return await self._requests.history(self._target)

    async def export(self) -> str:
        """The run so far as a JSON document, which `odradek.testing.replay` and `odradek workflow replay` read."""
        return await self._requests.export(self._target)

    async def cancel(self, reason: str = "") -> None:
        """Ask the workflow to cancel: its code gets `asyncio.CancelledError`, and may clean up."""
        await self._requests.cancel(self._target, reason)

    async def terminate(self, reason: str = "") -> None:
        """End the workflow at once; its code is not asked."""
        await self._requests.terminate(self._target, reason)

    async def reset(
        self,
        event_id: int,
        *,
        reason: str = "",
        reapply: Literal["signals", "none"] = "signals",
        build_id: str | None = None,
    ) -> WorkflowHandle[W_co, R_co]:
        """Begin a new run from this one's history, open or closed, and return a handle of it.

        Undone is the last decision of the code at or before event `event_id` (its WorkflowTaskCompleted) and all that
        followed; the code decides anew from there. With 1 it begins from its input. The open run is terminated.
        reapply: whether signals that came later are given to the new run too. build_id: pin the new run to this build
        of the workers; by default it goes to the current one, also if the old run was pinned to another. Raises
        InvalidRequestError if there is no such event.
        """
        run_id = await self._requests.reset(self._about_a_run(), event_id, reason, reapply, build_id or "")
        target = replace(self._target, run_id=None, result_run_id=run_id, barrier=-1, request_id=None)
        return type(self)(self._requests, target, self._result_type)

    def _about_a_run(self) -> Target:
        """History and event IDs are a run's: the one that the handle was made for."""
        return replace(self._target, run_id=self.run_id)

    async def pause(self, reason: str = "") -> None:
        """Let the code stand still: what comes for it is taken, and kept until `unpause`."""
        await self._requests.pause(self._target, reason)

    async def unpause(self, reason: str = "") -> None:
        """Let the code go on, with all that came meanwhile."""
        await self._requests.unpause(self._target, reason)

    async def pause_activity(self, activity: str | int, *, reason: str = "") -> None:
        """No further attempt of a pending activity until `unpause_activity`; one under way may end.

        activity: its type (then all that are pending of it), or its number (`seq` in `describe`). This and its
        likes raise WorkflowNotFoundError if no such activity is pending, WorkflowClosedError if the run has ended.
        """
        await self._requests.change_activity(self._target, "pause", activity, reason, {})

    async def unpause_activity(self, activity: str | int, *, reason: str = "") -> None:
        """Its next attempt begins at once; its `schedule_to_close_timeout` counts from now on."""
        await self._requests.change_activity(self._target, "unpause", activity, reason, {})

    async def retry_activity(self, activity: str | int, *, reason: str = "") -> None:
        """The next attempt begins now: without waiting for its backoff, or for the end of its pause."""
        await self._requests.change_activity(self._target, "retry", activity, reason, {})

    async def update_activity_options(
        self, activity: str | int, *, reason: str = "", **options: Unpack[PendingActivityOptions]
    ) -> None:
        """Change the task queue, timeouts or retry policy of a pending activity; a timeout of None takes it away.

        They hold for what no worker has begun yet. Raises DefinitionError for options that make no sense.
        """
        await self._requests.change_activity(self._target, "update", activity, reason, options)

    def __repr__(self) -> str:
        return f"<workflow handle {self.id!r} run {self.run_id or 'latest'}>"


class UpdateHandle(Generic[R_co]):
    """An update that a workflow has accepted. Its outcome is kept for 24 hours."""

    def __init__(self, requests: Requests, target: Target, name: str, result_type: Any) -> None:
        self._requests = requests
        self._target = target
        self._name = name
        self._result_type = result_type

    @property
    def id(self) -> str:
        """The update's ID: the request ID that it was sent with."""
        return self._target.request_id or ""

    @property
    def workflow(self) -> WorkflowHandle[Any, Any]:
        """The workflow that it was sent to."""
        return WorkflowHandle[Any, Any](self._requests, replace(self._target, request_id=None))

    async def result(self, timeout: Duration | None = None) -> R_co:
        """Wait for the handler's result. `timeout` in seconds, default: the client's; it can be called again.

        Raises UpdateFailedError if the handler failed, WorkflowClosedError if the workflow ended first.
        """
        target = self._target if timeout is None else replace(self._target, timeout=seconds(timeout))
        result: R_co = await self._requests.await_update(target, self._name, self._result_type)
        return result

    def __repr__(self) -> str:
        return f"<update {self._name!r} {self.id} of workflow {self._target.workflow_id!r}>"


def bind_message(kind: str, message: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, list[Any], Any]:
    """Name, arguments in the order of the parameters, and result type of a message given by its object or its name.

    Raises DefinitionError if it is no message of this kind, or if the arguments do not fit.
    """
    if isinstance(message, str):
        if kwargs:
            raise DefinitionError(f"{kind} {message!r}: arguments of a message given by name are positional")
        return message, list(args), Any
    if getattr(message, "kind", None) != kind:
        shown = getattr(message, "__qualname__", repr(message))
        raise DefinitionError(f"{shown} is not a {kind}: pass `Class.method` of one, or its name as a string")
    if message.dynamic:
        raise DefinitionError(f"{kind} {message.name!r} is dynamic: pass the name of the {kind} that it is to get")
    return message.name, message.signature.bind(args, kwargs), message.signature.result_type
