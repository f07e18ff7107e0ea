"""What can be asked of workflows, with JSON values in and out; and how a `Client` does it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from .. import errors
from .._batch import BatchOptions, ResetPoint, ResetResult, reset_one
from .._client import Client
from .._description import PendingActivity, PendingChild, WorkflowDescription
from .._export import ExportedHistory
from .._handle import Target, WorkflowHandle
from .._listing import ListedPage, Selection, page
from .._types import RetryPolicy
from .errors import failure_of
from .messages import (
    ActivityChange,
    ActivityCompletion,
    ActivityFailure,
    Outcome,
    ResetBeforeRequest,
    ResetRequest,
    Started,
    StartRequest,
    UpdateAnswer,
    UpdateRequest,
    WorkflowKey,
)
from .schedules import ClientSchedules, ScheduleService


class WorkflowService(Protocol):
    """Operations on workflows. `timeout` in seconds. All raise the errors of `Client` and its handles."""

    @property
    def schedules(self) -> ScheduleService: ...

    async def start(self, request: StartRequest) -> Started: ...

    async def signal(self, key: WorkflowKey, name: str, args: Sequence[Any], request_id: str | None = None) -> None: ...

    async def query(self, key: WorkflowKey, name: str, args: Sequence[Any], timeout: float) -> Any: ...

    async def update(self, key: WorkflowKey, name: str, request: UpdateRequest) -> UpdateAnswer: ...

    async def result(self, key: WorkflowKey, timeout: float | None) -> Outcome:
        """Wait for the end. A failed workflow is an outcome too; one that has not ended in time has `running`."""
        ...

    async def describe(self, key: WorkflowKey) -> dict[str, Any]: ...

    async def history(self, key: WorkflowKey) -> list[dict[str, Any]]: ...

    async def export(self, key: WorkflowKey) -> ExportedHistory: ...

    async def cancel(self, key: WorkflowKey, reason: str) -> None: ...

    async def terminate(self, key: WorkflowKey, reason: str) -> None: ...

    async def builds(self, task_queue: str) -> dict[str, Any]: ...

    async def set_current_build(self, task_queue: str, build_id: str | None) -> None: ...

    async def reset(self, key: WorkflowKey, request: ResetRequest) -> Started: ...

    async def reset_before(self, key: WorkflowKey, request: ResetBeforeRequest) -> ResetResult: ...

    async def list(self, selection: Selection, cursor: str) -> ListedPage: ...

    async def pause(self, key: WorkflowKey, reason: str) -> None: ...

    async def unpause(self, key: WorkflowKey, reason: str) -> None: ...

    async def change_activity(self, key: WorkflowKey, change: ActivityChange) -> None: ...

    async def complete_activity(self, completion: ActivityCompletion) -> None: ...

    async def fail_activity(self, failure: ActivityFailure) -> None: ...


_ENDS: list[tuple[type[BaseException], str]] = [
    (errors.WorkflowCancelledError, "cancelled"),
    (errors.WorkflowTerminatedError, "terminated"),
    (errors.WorkflowTimeoutError, "timed_out"),
]


class ClientService:
    """The operations, done by an open client. `timeout`: seconds to wait for an engine's answer."""

    def __init__(self, client: Client, timeout: float = 30) -> None:
        self._client = client
        self._timeout = timeout

    @property
    def client(self) -> Client:
        return self._client

    @property
    def schedules(self) -> ScheduleService:
        return ClientSchedules(self._client, self._timeout)

    def _handle(
        self, key: WorkflowKey, timeout: float | None = None, request_id: str | None = None
    ) -> WorkflowHandle[Any, Any]:
        handle = self._client.get(key.workflow_id, run_id=key.run_id)
        return handle.with_options(timeout=timeout or self._timeout, request_id=request_id)._asked_by(key.identity)

    async def start(self, request: StartRequest) -> Started:
        given = {"request_id": request.request_id, "build_id": request.build_id}
        options: dict[str, Any] = {name: value for name, value in given.items() if value}
        handle = await self._client.start(
            request.workflow_type,
            *request.input,
            id=request.workflow_id,
            task_queue=request.task_queue,
            id_conflict_policy=request.id_conflict_policy,
            id_reuse_policy=request.id_reuse_policy,
            execution_timeout=request.execution_timeout,
            run_timeout=request.run_timeout,
            start_delay=request.start_delay,
            memo=request.memo,
            **options,
        )
        return Started(workflow_id=request.workflow_id, run_id=handle.run_id or "")

    async def signal(self, key: WorkflowKey, name: str, args: Sequence[Any], request_id: str | None = None) -> None:
        await self._handle(key, request_id=request_id).signal(name, *args)

    async def query(self, key: WorkflowKey, name: str, args: Sequence[Any], timeout: float) -> Any:
        return msgspec.to_builtins(await self._handle(key, timeout).query(name, *args))

    async def update(self, key: WorkflowKey, name: str, request: UpdateRequest) -> UpdateAnswer:
        update_id = request.request_id or secrets.token_hex(12)
        handle = self._handle(key, request.timeout, update_id)
        if request.wait_for == "accepted":
            await handle.start_update(name, *request.input)
            return UpdateAnswer(update_id=update_id, status="accepted")
        result = msgspec.to_builtins(await handle.update(name, *request.input))
        return UpdateAnswer(update_id=update_id, status="completed", result=result)

    async def result(self, key: WorkflowKey, timeout: float | None) -> Outcome:
        handle = self._client.get(key.workflow_id, run_id=key.run_id)
        if timeout is not None:
            handle = handle.with_options(timeout=timeout)
        try:
            value = await handle.result()
        except errors.RequestTimeoutError:
            return Outcome(workflow_id=key.workflow_id, run_id=key.run_id, status="running")
        except errors.WorkflowFailedError as error:
            return self._failed(key, error)
        return Outcome(
            workflow_id=key.workflow_id, run_id=key.run_id, status="completed", result=msgspec.to_builtins(value)
        )

    def _failed(self, key: WorkflowKey, error: errors.WorkflowFailedError) -> Outcome:
        cause = error.__cause__
        status = next((status for kind, status in _ENDS if isinstance(cause, kind)), "failed")
        return Outcome(
            workflow_id=key.workflow_id,
            run_id=error.run_id or key.run_id,
            status=status,
            message=str(error),
            failure=self._failure(cause),
        )

    async def describe(self, key: WorkflowKey) -> dict[str, Any]:
        return self._description(await self._handle(key).describe())

    async def history(self, key: WorkflowKey) -> list[dict[str, Any]]:
        events = await self._handle(key).history()
        plain: list[dict[str, Any]] = msgspec.to_builtins(events)
        return plain

    async def export(self, key: WorkflowKey) -> ExportedHistory:
        target = Target(key.workflow_id, key.run_id, timeout=self._timeout)
        return await self._client._requests().exported(target)

    async def cancel(self, key: WorkflowKey, reason: str) -> None:
        await self._handle(key).cancel(reason)

    async def terminate(self, key: WorkflowKey, reason: str) -> None:
        await self._handle(key).terminate(reason)

    async def builds(self, task_queue: str) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(await self._client.builds(task_queue))
        return plain

    async def set_current_build(self, task_queue: str, build_id: str | None) -> None:
        await self._client.set_current_build(task_queue, build_id)

    async def reset(self, key: WorkflowKey, request: ResetRequest) -> Started:
        handle = self._handle(key, request_id=request.request_id)
        again = await handle.reset(
            request.event_id, reason=request.reason, reapply=request.reapply, build_id=request.build_id
        )
        return Started(workflow_id=key.workflow_id, run_id=again.run_id or "")

    async def reset_before(self, key: WorkflowKey, request: ResetBeforeRequest) -> ResetResult:
        step = {name: getattr(request, name) for name in ResetPoint.__dataclass_fields__}
        options = BatchOptions(
            request_id=request.request_id,
            reason=request.reason,
            reapply=request.reapply,
            dry_run=request.dry_run,
            identity=key.identity,
        )
        run = key.workflow_id, key.run_id or ""
        return await reset_one(self._client._requests(), run, ResetPoint(**step), options)

    async def list(self, selection: Selection, cursor: str) -> ListedPage:
        return await page(self._client._requests(), selection, cursor)

    async def pause(self, key: WorkflowKey, reason: str) -> None:
        await self._handle(key).pause(reason)

    async def unpause(self, key: WorkflowKey, reason: str) -> None:
        await self._handle(key).unpause(reason)

    # ------------------------------------------------------------ activities

    async def change_activity(self, key: WorkflowKey, change: ActivityChange) -> None:
        handle, activity, reason = self._handle(key), change.activity, change.reason
        if change.options and change.action != "update":
            raise errors.InvalidRequestError(f"options are for update, not for {change.action}")
        if change.action == "pause":
            await handle.pause_activity(activity, reason=reason)
        elif change.action == "unpause":
            await handle.unpause_activity(activity, reason=reason)
        elif change.action == "retry":
            await handle.retry_activity(activity, reason=reason)
        else:
            options: Any = _pending_options(change.options)
            await handle.update_activity_options(activity, reason=reason, **options)

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self._client.complete_activity(completion.task_token, completion.result)

    async def fail_activity(self, failure: ActivityFailure) -> None:
        error = errors.ApplicationError(
            failure.message, *failure.details, type=failure.type or None, non_retryable=failure.non_retryable
        )
        await self._client.fail_activity(failure.task_token, error)

    # ------------------------------------------------------------ as JSON values

    def _failure(self, error: BaseException | None) -> dict[str, Any] | None:
        """An error with its causes; of notes, the worker's stack trace is in the failure itself."""
        return None if error is None else msgspec.to_builtins(failure_of(error, self._client.data_converter))

    def _description(self, found: WorkflowDescription) -> dict[str, Any]:
        now = found.time

        def left(moment: Any) -> float | None:
            """Seconds from now, by the engine's clock; not below 0."""
            return None if moment is None or now is None else max(0.0, round((moment - now).total_seconds(), 3))

        def activity(pending: PendingActivity) -> dict[str, Any]:
            shown = {name: getattr(pending, name) for name in PendingActivity.__dataclass_fields__}
            shown["last_failure"] = self._failure(pending.last_failure)
            shown["next_retry_in"] = left(pending.next_retry_time)
            shown["task_token"] = pending.task_token.decode()
            return shown

        failure = self._failure(found.task_failure)
        hidden = ("id", "task_failure", "task_failure_cause", "task_failure_traceback", "task_retry_time")
        shown = {n: getattr(found, n) for n in WorkflowDescription.__dataclass_fields__ if n not in hidden}
        shown["pending_activities"] = [activity(pending) for pending in found.pending_activities]
        shown["pending_timers"] = [
            {"seq": t.seq, "due_time": t.due_time, "due_in": left(t.due_time), "summary": t.summary}
            for t in found.pending_timers
        ]
        shown["pending_children"] = [
            {"workflow_id": child.id, **{n: getattr(child, n) for n in PendingChild.__dataclass_fields__ if n != "id"}}
            for child in found.pending_children
        ]
        shown["task_failure"] = failure and {
            "cause": found.task_failure_cause,
            "failure": failure,
            "retry_time": found.task_retry_time,
            "retry_in": left(found.task_retry_time),
        }
        plain: dict[str, Any] = msgspec.to_builtins({"workflow_id": found.id, **shown})
        return plain


def _pending_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a pending activity, with the retry policy as one. Raises InvalidRequestError."""
    given = options.get("retry_policy")
    if given is None:
        return dict(options)
    try:
        return {**options, "retry_policy": RetryPolicy(**given)}
    except (TypeError, ValueError) as error:
        raise errors.InvalidRequestError(f"retry_policy {given!r}: {error}") from error
