"""The HTTP server: JSON in, JSON out, for this machine only.

    POST /api/v1/namespaces/{namespace}/workflows                            start
    GET  /api/v1/namespaces/{namespace}/workflows/{id}                       describe
    GET  .../workflows/{id}/history      GET  .../workflows/{id}/result?wait=20
    POST .../workflows/{id}/signals/{name}    POST .../workflows/{id}/queries/{name}
    POST .../workflows/{id}/updates/{name}
    GET  /api/v1/namespaces/{namespace}/task-queues/{queue}/builds           POST .../builds/current
    POST .../workflows/{id}/cancel            POST .../workflows/{id}/terminate
    GET  /api/v1/namespaces/{namespace}/workflows?workflow_type=&status=&stuck=&cursor=    a page of a list
    POST .../workflows/{id}/reset-before      a part of a batch of resets
    POST .../workflows/{id}/pause             POST .../workflows/{id}/unpause
    POST .../workflows/{id}/reset             POST .../workflows/{id}/activities    pause, unpause, retry, update
    POST /api/v1/namespaces/{namespace}/activities/complete                  by task token
    POST /api/v1/namespaces/{namespace}/activities/fail
    GET, POST .../namespaces/{namespace}/schedules      GET, DELETE .../schedules/{id}
    POST .../schedules/{id}/{update|pause|unpause|trigger|backfill}

Whatever is about one workflow takes `?run_id=`, and the header `Odradek-Identity`: who asks, for people. It listens on
loopback, and web pages are kept out: a browser that was led here by another page, or by a name that points here, is
refused.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from odradek_schemas import InvalidNameError, check_name

from .. import errors
from .._converter import DataConverter
from .._listing import Selection
from .errors import details_of
from .messages import (
    IDENTITY_HEADER,
    ActivityChange,
    ActivityCompletion,
    ActivityFailure,
    Answer,
    EndRequest,
    ErrorDetails,
    ErrorReply,
    History,
    MessageRequest,
    ResetBeforeRequest,
    ResetRequest,
    SetCurrentRequest,
    StartRequest,
    UpdateRequest,
    WorkflowKey,
)
from .schedules import NewSchedule, Schedules, do_operation
from .service import ClientService

logger = logging.getLogger("odradek.gateway")

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MAX_BODY_BYTES = 4 * 1024 * 1024
_MAX_WAIT_SECONDS = 60.0
_MAX_LISTED = 10_000
_SHUTDOWN_SECONDS = 0.5

_CONVERTER = web.AppKey("converter", DataConverter)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
M = TypeVar("M")


@asynccontextmanager
async def serve(service: ClientService, listener: socket.socket) -> AsyncIterator[None]:
    """Serve on a socket that is bound to a loopback address, until the block is left."""
    app = web.Application(middlewares=[_answer_errors, _keep_pages_out], client_max_size=_MAX_BODY_BYTES)
    app[_CONVERTER] = service.client.data_converter
    _Routes(service).add_to(app.router)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


class _Routes:
    """One method for each thing that can be asked."""

    def __init__(self, service: ClientService) -> None:
        self._service = service

    def add_to(self, router: web.UrlDispatcher) -> None:
        namespace = "/api/v1/namespaces/{namespace}"
        base = namespace + "/workflows"
        one = base + "/{workflow_id}"
        router.add_post(base, self.start)
        router.add_get(base, self.list)
        router.add_get(one, self.describe)
        router.add_get(one + "/history", self.history)
        router.add_get(one + "/export", self.export)
        router.add_get(one + "/result", self.result)
        router.add_post(one + "/signals/{name}", self.signal)
        router.add_post(one + "/queries/{name}", self.query)
        router.add_post(one + "/updates/{name}", self.update)
        router.add_post(one + "/cancel", self.cancel)
        router.add_post(one + "/terminate", self.terminate)
        builds = namespace + "/task-queues/{task_queue}/builds"
        router.add_get(builds, self.builds)
        router.add_post(builds + "/current", self.set_current_build)
        router.add_post(one + "/reset", self.reset)
        router.add_post(one + "/reset-before", self.reset_before)
        router.add_post(one + "/pause", self.pause)
        router.add_post(one + "/unpause", self.unpause)
        router.add_post(one + "/activities", self.change_activity)
        router.add_post(namespace + "/activities/complete", self.complete_activity)
        router.add_post(namespace + "/activities/fail", self.fail_activity)
        schedules = namespace + "/schedules"
        router.add_post(schedules, self.create_schedule)
        router.add_get(schedules, self.list_schedules)
        router.add_get(schedules + "/{schedule_id}", self.describe_schedule)
        router.add_post(schedules + "/{schedule_id}/{operation}", self.change_schedule)
        router.add_delete(schedules + "/{schedule_id}", self.delete_schedule)

    async def start(self, request: web.Request) -> web.Response:
        self._check_namespace(request)
        return _json(await self._service.start(await _body(request, StartRequest)))

    async def signal(self, request: web.Request) -> web.Response:
        key, message = self._key(request), await _body(request, MessageRequest)
        await self._service.signal(key, request.match_info["name"], message.input, message.request_id)
        return _json({})

    async def query(self, request: web.Request) -> web.Response:
        key, message = self._key(request), await _body(request, MessageRequest)
        result = await self._service.query(key, request.match_info["name"], message.input, message.timeout)
        return _json(Answer(result=result))

    async def update(self, request: web.Request) -> web.Response:
        key, update = self._key(request), await _body(request, UpdateRequest)
        return _json(await self._service.update(key, request.match_info["name"], update))

    async def result(self, request: web.Request) -> web.Response:
        return _json(await self._service.result(self._key(request), _wait(request)))

    async def describe(self, request: web.Request) -> web.Response:
        return _json(await self._service.describe(self._key(request)))

    async def history(self, request: web.Request) -> web.Response:
        return _json(History(events=await self._service.history(self._key(request))))

    async def export(self, request: web.Request) -> web.Response:
        return _json(await self._service.export(self._key(request)))

    async def cancel(self, request: web.Request) -> web.Response:
        key, body = self._key(request), await _body(request, EndRequest)
        await self._service.cancel(key, body.reason)
        return _json({})

    async def terminate(self, request: web.Request) -> web.Response:
        key, body = self._key(request), await _body(request, EndRequest)
        await self._service.terminate(key, body.reason)
        return _json({})

    async def builds(self, request: web.Request) -> web.Response:
        self._check_namespace(request)
        return _json(await self._service.builds(_queue(request)))

    async def set_current_build(self, request: web.Request) -> web.Response:
        self._check_namespace(request)
        build_id = (await _body(request, SetCurrentRequest)).build_id
        if build_id is not None:
            _checked("build ID", build_id)
        await self._service.set_current_build(_queue(request), build_id)
        return _json({})

    async def reset(self, request: web.Request) -> web.Response:
        key, body = self._key(request), await _body(request, ResetRequest)
        return _json(await self._service.reset(key, body))

    async def reset_before(self, request: web.Request) -> web.Response:
        key, body = self._key(request), await _body(request, ResetBeforeRequest)
        return _json(await self._service.reset_before(key, body))

    async def list(self, request: web.Request) -> web.Response:
        self._check_namespace(request)
        asked = request.query
        selection = Selection(
            workflow_type=asked.get("workflow_type", ""),
            status=asked.get("status", ""),
            stuck=asked.get("stuck", "") == "true",
        )
        return _json(await self._service.list(selection, asked.get("cursor", "")))

    async def pause(self, request: web.Request) -> web.Response:
        key, body = self._key(request), await _body(request, EndRequest)
        await self._service.pause(key, body.reason)
        return _json({})

    async def unpause(self, request: web.Request) -> web.Response:
        key, body = self._key(request), await _body(request, EndRequest)
        await self._service.unpause(key, body.reason)
        return _json({})

    async def change_activity(self, request: web.Request) -> web.Response:
        key, body = self._key(request), await _body(request, ActivityChange)
        await self._service.change_activity(key, body)
        return _json({})

    async def complete_activity(self, request: web.Request) -> web.Response:
        self._check_namespace(request)
        await self._service.complete_activity(await _body(request, ActivityCompletion))
        return _json({})

    async def fail_activity(self, request: web.Request) -> web.Response:
        self._check_namespace(request)
        await self._service.fail_activity(await _body(request, ActivityFailure))
        return _json({})

    async def create_schedule(self, request: web.Request) -> web.Response:
        self._check_namespace(request)
        await self._service.schedules.create(await _body(request, NewSchedule))
        return _json({})

    async def list_schedules(self, request: web.Request) -> web.Response:
        self._check_namespace(request)
        given = request.query.get("limit", "100")
        if not given.isdecimal() or not 0 < int(given) <= _MAX_LISTED:
            raise errors.InvalidRequestError(f"limit is a number from 1 to {_MAX_LISTED}, not {given!r}")
        return _json(Schedules(schedules=await self._service.schedules.list(int(given))))

    async def describe_schedule(self, request: web.Request) -> web.Response:
        self._check_namespace(request)
        return _json(await self._service.schedules.describe(request.match_info["schedule_id"]))

    async def change_schedule(self, request: web.Request) -> web.Response:
        self._check_namespace(request)
        asked = request.match_info
        body = partial(_body, request)
        await do_operation(self._service.schedules, asked["schedule_id"], asked["operation"], body)
        return _json({})

    async def delete_schedule(self, request: web.Request) -> web.Response:
        self._check_namespace(request)
        await self._service.schedules.delete(request.match_info["schedule_id"])
        return _json({})

    def _key(self, request: web.Request) -> WorkflowKey:
        self._check_namespace(request)
        identity = request.headers.get(IDENTITY_HEADER, "")
        return WorkflowKey(request.match_info["workflow_id"], request.query.get("run_id"), identity)

    def _check_namespace(self, request: web.Request) -> None:
        asked, served = request.match_info["namespace"], self._service.client.namespace
        if asked != served:
            raise errors.WorkflowNotFoundError(
                f"this server has no namespace {asked!r}, only {served!r}: use that one, or another server"
            )


def _queue(request: web.Request) -> str:
    return _checked("task queue", request.match_info["task_queue"])


def _checked(kind: str, name: str) -> str:
    try:
        return check_name(kind, name)
    except InvalidNameError as error:
        raise errors.InvalidRequestError(str(error)) from None


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _refusal(code: str, message: str, status: int) -> web.Response:
    return _json(ErrorReply(error=ErrorDetails(code=code, message=message)), status)


async def _body(request: web.Request, kind: type[M]) -> M:
    """The JSON body. Raises InvalidRequestError that names what does not fit."""
    if request.content_type != "application/json":
        raise errors.InvalidRequestError("send JSON, with the header Content-Type: application/json")
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=kind)
    except (msgspec.DecodeError, RecursionError) as error:  # RecursionError: lists in lists in lists
        raise errors.InvalidRequestError(f"the body is not what is expected here: {error}") from error


def _wait(request: web.Request) -> float:
    given = request.query.get("wait", "20")
    try:
        wait = float(given)
    except ValueError:
        wait = -1
    if not 0 <= wait <= _MAX_WAIT_SECONDS:
        raise errors.InvalidRequestError(f"wait is a number of seconds from 0 to {_MAX_WAIT_SECONDS:g}, not {given!r}")
    return max(wait, 0.001)


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer is JSON, also for what goes wrong."""
    try:
        response = await handler(request)
    except errors.OdradekError as error:
        details, status = details_of(error, request.app[_CONVERTER])
        response = _json(ErrorReply(error=details), status)
    except web.HTTPException as error:
        response = _refusal("http", f"{request.method} {request.path}: {error.reason}", error.status)
    except Exception as error:
        logger.exception("%s %s failed", request.method, request.path)
        response = _refusal("defect", f"defect of the server, please report it: {error!r}", 500)
    response.headers["Server"] = "odradek"
    return response


@web.middleware
async def _keep_pages_out(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a web page of another origin can make a browser send (CSRF, DNS rebinding)."""
    host = _hostname(request.host)
    if host not in _LOOPBACK:
        return _refusal("forbidden", f"this server answers to {', '.join(_LOOPBACK)}, not to {request.host!r}", 403)
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if (origin is not None and origin != f"{request.scheme}://{request.host}") or site not in ("same-origin", "none"):
        return _refusal("forbidden", "requests from pages of other origins are refused", 403)
    return await handler(request)


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
