"""The operations on workflows, asked of a server over HTTP."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from .. import errors
from .._batch import ResetResult
from .._export import ExportedHistory
from .._listing import ListedPage, Selection
from .errors import error_of
from .messages import (
    IDENTITY_HEADER,
    ActivityChange,
    ActivityCompletion,
    ActivityFailure,
    Answer,
    EndRequest,
    ErrorReply,
    History,
    MessageRequest,
    Outcome,
    ResetBeforeRequest,
    ResetRequest,
    SetCurrentRequest,
    Started,
    StartRequest,
    UpdateAnswer,
    UpdateRequest,
    WorkflowKey,
)
from .schedules import HttpSchedules, ScheduleService

_LONG_POLL_SECONDS = 20.0
_GRACE_SECONDS = 5.0

M = TypeVar("M")


class HttpService:
    """A server of Odradek at `address` (`http://host:port`), for one namespace. `timeout`: seconds for an answer.
    `identity`: who asks, for people.

    Use it with `async with`. Raises UnavailableError if nothing answers there, or something else does, and the errors
    that the server reports as their own classes.
    """

    def __init__(self, address: str, namespace: str, timeout: float = 30, identity: str = "") -> None:
        self.address = address.rstrip("/")
        self._namespace = f"{self.address}/api/v1/namespaces/{_quoted(namespace)}"
        self._base = f"{self._namespace}/workflows"
        self._identity = identity
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers={IDENTITY_HEADER: self._identity} if self._identity else None)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._session.close()

    @property
    def schedules(self) -> ScheduleService:
        async def call(method: str, path: str, kind: Any, body: msgspec.Struct | None) -> Any:
            return await self._call(method, f"{self._namespace}{path}", kind, body)

        return HttpSchedules(call, _quoted)

    async def start(self, request: StartRequest) -> Started:
        return await self._call("POST", self._base, Started, request)

    async def signal(self, key: WorkflowKey, name: str, args: Sequence[Any], request_id: str | None = None) -> None:
        body = MessageRequest(input=list(args), request_id=request_id)
        await self._call("POST", self._url(key, f"/signals/{_quoted(name)}"), dict[str, Any], body)

    async def query(self, key: WorkflowKey, name: str, args: Sequence[Any], timeout: float) -> Any:
        body = MessageRequest(input=list(args), timeout=timeout)
        url = self._url(key, f"/queries/{_quoted(name)}")
        return (await self._call("POST", url, Answer, body, timeout=timeout)).result

    async def update(self, key: WorkflowKey, name: str, request: UpdateRequest) -> UpdateAnswer:
        url = self._url(key, f"/updates/{_quoted(name)}")
        return await self._call("POST", url, UpdateAnswer, request, timeout=request.timeout)

    async def result(self, key: WorkflowKey, timeout: float | None) -> Outcome:
        """As the server waits for a limited time, it is asked again until the workflow has ended."""
        loop = asyncio.get_running_loop()
        give_up = None if timeout is None else loop.time() + timeout
        while True:
            wait = _LONG_POLL_SECONDS if give_up is None else min(_LONG_POLL_SECONDS, max(0.0, give_up - loop.time()))
            outcome = await self._call("GET", self._url(key, "/result", wait=f"{wait:.3f}"), Outcome, timeout=wait)
            if outcome.status != "running" or (give_up is not None and loop.time() >= give_up):
                return outcome

    async def describe(self, key: WorkflowKey) -> dict[str, Any]:
        return await self._call("GET", self._url(key), dict[str, Any])

    async def history(self, key: WorkflowKey) -> list[dict[str, Any]]:
        return (await self._call("GET", self._url(key, "/history"), History)).events

    async def export(self, key: WorkflowKey) -> ExportedHistory:
        return await self._call("GET", self._url(key, "/export"), ExportedHistory)

    async def cancel(self, key: WorkflowKey, reason: str) -> None:
        await self._call("POST", self._url(key, "/cancel"), dict[str, Any], EndRequest(reason=reason))

    async def terminate(self, key: WorkflowKey, reason: str) -> None:
        await self._call("POST", self._url(key, "/terminate"), dict[str, Any], EndRequest(reason=reason))

    async def builds(self, task_queue: str) -> dict[str, Any]:
        return await self._call("GET", self._builds(task_queue), dict[str, Any])

    async def set_current_build(self, task_queue: str, build_id: str | None) -> None:
        url = f"{self._builds(task_queue)}/current"
        await self._call("POST", url, dict[str, Any], SetCurrentRequest(build_id=build_id))

    def _builds(self, task_queue: str) -> str:
        return f"{self._namespace}/task-queues/{_quoted(task_queue)}/builds"

    async def reset(self, key: WorkflowKey, request: ResetRequest) -> Started:
        return await self._call("POST", self._url(key, "/reset"), Started, request)

    async def reset_before(self, key: WorkflowKey, request: ResetBeforeRequest) -> ResetResult:
        return await self._call("POST", self._url(key, "/reset-before"), ResetResult, request)

    async def list(self, selection: Selection, cursor: str) -> ListedPage:
        asked = {
            "workflow_type": selection.workflow_type,
            "status": selection.status,
            "stuck": "true" if selection.stuck else "",
            "cursor": cursor,
        }
        query = "&".join(f"{name}={_quoted(value)}" for name, value in asked.items())
        return await self._call("GET", f"{self._base}?{query}", ListedPage)

    async def pause(self, key: WorkflowKey, reason: str) -> None:
        await self._call("POST", self._url(key, "/pause"), dict[str, Any], EndRequest(reason=reason))

    async def unpause(self, key: WorkflowKey, reason: str) -> None:
        await self._call("POST", self._url(key, "/unpause"), dict[str, Any], EndRequest(reason=reason))

    async def change_activity(self, key: WorkflowKey, change: ActivityChange) -> None:
        await self._call("POST", self._url(key, "/activities"), dict[str, Any], change)

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self._call("POST", f"{self._namespace}/activities/complete", dict[str, Any], completion)

    async def fail_activity(self, failure: ActivityFailure) -> None:
        await self._call("POST", f"{self._namespace}/activities/fail", dict[str, Any], failure)

    def _url(self, key: WorkflowKey, rest: str = "", **query: str) -> str:
        if key.run_id is not None:
            query["run_id"] = key.run_id
        parameters = "&".join(f"{name}={_quoted(value)}" for name, value in query.items())
        return f"{self._base}/{_quoted(key.workflow_id)}{rest}{'?' * bool(parameters)}{parameters}"

    async def _call(
        self, method: str, url: str, kind: type[M], body: msgspec.Struct | None = None, timeout: float | None = None
    ) -> M:
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._session.request(
                method,
                URL(url, encoded=True),
                data=data,
                headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=(timeout or self._timeout) + _GRACE_SECONDS),
            ) as response:
                return _read(response.status, await response.read(), kind)
        except msgspec.DecodeError as error:
            raise errors.UnavailableError(
                f"what answers at {self.address} is not Odradek, or another version of it: {error}"
            ) from error
        except TimeoutError as error:
            raise errors.RequestTimeoutError(f"the server at {self.address} did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            reason = _reason(error)
            raise errors.UnavailableError(f"no server of Odradek answers at {self.address} ({reason})") from error


def _reason(error: Exception) -> str:
    """The system's word for what is wrong, without the library's details around it."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number is not None and number > 0 else str(error)


def _read(status: int, data: bytes, kind: type[M]) -> M:
    if status == 200:
        return msgspec.json.decode(data, type=kind)
    raise error_of(msgspec.json.decode(data, type=ErrorReply).error)


def _quoted(text: str) -> str:
    """As one part of a path: nothing in it is read as a separator, or as a step up."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")
