"""Running the code of activity attempts: async functions on the worker's event loop, plain ones in threads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn

from odradek_schemas import Failure, Payload, idempotency_key, task_token
from odradek_schemas.tasks import ActivityTask

from .._activity import CompleteAsync, Info, activate
from .._claims import Claims, has_references
from .._converter import DataConverter
from .._definitions import ActivityDefinition
from .._interceptors import ActivityInterceptor, ExecuteActivityInput, Interceptor, around, read_headers
from .._options import milliseconds
from ..errors import ApplicationError, CodecError
from .attempts import Attempt, Completed, Deferred, Failed, Late, Outcome, Stopped
from .threads import DaemonThreads

OnEnded = Callable[[Attempt, Outcome], None]
OnHeartbeat = Callable[[Attempt, list[Payload]], None]


class _Unbegun(Exception):
    """The code of an attempt must not begin any more; `outcome` comes of that."""

    def __init__(self, outcome: Stopped | Late) -> None:
        self.outcome = outcome


class _Running:
    """What the code of one attempt can ask: the context behind `activity.info()` and the like."""

    def __init__(self, runner: ActivityRunner, attempt: Attempt, definition: ActivityDefinition) -> None:
        self._runner = runner
        self._attempt = attempt
        self._raise_when_cancelled = not definition.is_async
        self._info: Info | None = None

    @property
    def info(self) -> Info:
        if self._info is None:
            self._info = self._runner.info_of(self._attempt.task)
        return self._info

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        """A plain function learns here that it is to stop; an async one is cancelled by its event loop."""
        self._runner.on_heartbeat(self._attempt, self._runner.converter.to_payloads(details))
        if self._raise_when_cancelled and self._attempt.cancel_reason:
            raise asyncio.CancelledError(f"the activity is to stop: {self._attempt.cancel_reason}")

    def is_cancelled(self) -> bool:
        return bool(self._attempt.cancel_reason)


class ActivityRunner:
    """Launches attempts and reports how they end, with `on_ended`, from whichever thread they ran in."""

    def __init__(
        self,
        definitions: Mapping[str, ActivityDefinition],
        *,
        converter: DataConverter,
        namespace: str,
        loop: asyncio.AbstractEventLoop,
        on_ended: OnEnded,
        on_heartbeat: OnHeartbeat,
        clock: Callable[[], float] = time.monotonic,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self.converter = converter
        self.on_heartbeat = on_heartbeat
        self._definitions = definitions
        self._namespace = namespace
        self._loop = loop
        self._on_ended = on_ended
        self._clock = clock
        self._interceptors = interceptors
        self._context = contextvars.copy_context()
        self._threads = DaemonThreads("odradek-activity")
        self._tasks: dict[Attempt, asyncio.Task[None]] = {}
        self._in_threads: set[asyncio.Task[None]] = set()
        self._to_start: deque[tuple[Attempt, ActivityDefinition]] = deque()

    def launch(self, attempt: Attempt) -> None:
        """Begin the attempt; returns at once."""
        definition = self._definitions.get(attempt.task.activity_type)
        if definition is None:
            self._threads.submit(partial(self._on_ended, attempt, self._unknown(attempt.task.activity_type)))
        elif definition.is_async or self._interceptors:
            self._to_start.append((attempt, definition))
            if len(self._to_start) == 1:  # else the event loop is woken already
                self._loop.call_soon_threadsafe(self._start_all)
        else:
            self._threads.submit(partial(self._context.copy().run, self._run_plain, attempt, definition))

    def cancel(self, attempt: Attempt) -> None:
        """Ask the attempt to stop: an async one gets CancelledError, a plain one at its next heartbeat."""
        self._loop.call_soon_threadsafe(self._cancel, attempt)

    def close(self) -> None:
        """Begin nothing more; does not wait."""
        self._threads.close()

    def info_of(self, task: ActivityTask) -> Info:
        details = task.heartbeat_details
        return Info(
            task_token=task_token(task.workflow_id, task.run_id, task.scheduled_by, task.seq),
            attempt=task.attempt,
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            workflow_type=task.workflow_type,
            activity_type=task.activity_type,
            task_queue=task.task_queue,
            scheduled_time=datetime.fromtimestamp(task.scheduled_ms / 1000, UTC),
            idempotency_key=idempotency_key(task.first_identity_run_id or task.run_id, task.scheduled_by, task.seq),
            namespace=self._namespace,
            heartbeat_details=tuple(self.converter.from_payloads(details, [Any] * len(details))),
            heartbeat_timeout=task.heartbeat_timeout_ms / 1000 or None,
            start_to_close_timeout=task.start_to_close_timeout_ms / 1000 or None,
        )

    # ------------------------------------------------------------ async functions, on the event loop

    def _start_all(self) -> None:
        """Start what was launched since the event loop was woken. `launch` is called under one lock."""
        while self._to_start:
            attempt, definition = self._to_start[0]
            self._start(attempt, definition, self._context.copy())
            self._to_start.popleft()

    def _start(self, attempt: Attempt, definition: ActivityDefinition, context: contextvars.Context) -> None:
        if not definition.is_async:  # in a thread, behind interceptors: it ends when its thread does
            self._in_threads.add(task := self._loop.create_task(self._run_async(attempt, definition), context=context))
            task.add_done_callback(self._in_threads.discard)
            return
        task = self._loop.create_task(self._run_async(attempt, definition), context=context)
        self._tasks[attempt] = task
        task.add_done_callback(partial(self._done, attempt))
        if attempt.cancel_reason:
            task.cancel()

    def _done(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        if self._tasks.get(attempt) is task:  # else it was late, and has begun again meanwhile
            del self._tasks[attempt]
        if task.cancelled():  # before its first step
            self._on_ended(attempt, Stopped())

    def _cancel(self, attempt: Attempt) -> None:
        task = self._tasks.get(attempt)
        if task is not None:
            task.cancel()

    async def _run_async(self, attempt: Attempt, definition: ActivityDefinition) -> None:
        with activate(_Running(self, attempt, definition)):
            outcome: Outcome
            try:
                if self.converter.claims is not None:
                    await self._fetch_payloads(attempt, self.converter.claims)
                args, kwargs = self._arguments(attempt, definition)
                if self._interceptors:
                    result = await self._intercepted(attempt, definition, args, kwargs)
                else:
                    result = await definition.fn(*args, **kwargs)
                outcome = self._completed(definition, result)
            except (Exception, asyncio.CancelledError, CompleteAsync, SystemExit) as error:
                outcome = self._ended_by(attempt, error)
        self._on_ended(attempt, outcome)

    async def _fetch_payloads(self, attempt: Attempt, claims: Claims) -> None:
        """What the input refers to; in a thread, so that the event loop does not wait for a store."""
        if has_references(attempt.task):
            attempt.task = await self.in_thread(partial(claims.fetch, attempt.task))

    async def _intercepted(
        self, attempt: Attempt, definition: ActivityDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The call of the function, through the interceptors."""
        headers = read_headers(attempt.task.headers, self.converter)
        wraps = [one.intercept_activity for one in self._interceptors]
        call = around(_Function(self, definition), ActivityInterceptor, wraps)
        return await call.execute_activity(ExecuteActivityInput(args=list(args), kwargs=kwargs, headers=headers))

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        """What a plain function returns, or raises, in a thread with the context variables of the caller."""
        ended: asyncio.Future[Callable[[], Any]] = self._loop.create_future()

        def run() -> None:
            try:
                value = call()
                outcome = lambda: value  # noqa: E731
            except BaseException as error:
                raised = error
                outcome = partial(_raise, raised)
            with contextlib.suppress(RuntimeError):  # the event loop has ended: nobody waits any more
                self._loop.call_soon_threadsafe(_set_result, ended, outcome)

        self._threads.submit(partial(contextvars.copy_context().run, run))
        return (await ended)()

    # ------------------------------------------------------------ plain functions, in threads

    def _run_plain(self, attempt: Attempt, definition: ActivityDefinition) -> None:
        with activate(_Running(self, attempt, definition)):
            outcome: Outcome
            try:
                args, kwargs = self._arguments(attempt, definition)
                outcome = self._completed(definition, self._called(definition.fn(*args, **kwargs)))
            except BaseException as error:
                outcome = self._ended_by(attempt, error)
        self._on_ended(attempt, outcome)

    def _called(self, result: Any) -> Any:
        """What a plain function returned; what it returned to be awaited, is awaited on the event loop."""
        if inspect.isawaitable(result):
            return asyncio.run_coroutine_threadsafe(_wait_for(result), self._loop).result()
        return result

    # ------------------------------------------------------------ values and errors

    def _arguments(
        self, attempt: Attempt, definition: ActivityDefinition
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The last thing before the code begins. Raises _Unbegun if it must not, and ApplicationError, not to be
        retried, if the input cannot be read: no other attempt could."""
        values = attempt.task.input
        try:
            types = definition.signature.types_for(len(values))
            names = definition.signature.names
            arguments = definition.signature.arguments(self.converter.from_payloads(values, types, names))
        except CodecError:
            raise  # another worker, or this one with the right key, can
        except Exception as error:
            raise ApplicationError(
                f"the input of activity {definition.name} does not fit {definition.signature}: {error}",
                type=type(error).__name__, non_retryable=True,
            ) from error
        if attempt.cancel_reason:  # it may have waited for a thread, while an earlier attempt brought the result (T7)
            raise _Unbegun(Stopped())
        if self._clock() > attempt.begin_before:
            raise _Unbegun(Late())
        return arguments

    def _completed(self, definition: ActivityDefinition, result: Any) -> Completed:
        """Raises ApplicationError, not to be retried, if the result cannot be written."""
        try:
            return Completed(self.converter.to_payload(result))
        except CodecError:
            raise
        except Exception as error:
            raise ApplicationError(
                f"the result of activity {definition.name} cannot be written: {error}",
                type=type(error).__name__, non_retryable=True,
            ) from error

    def _ended_by(self, attempt: Attempt, error: BaseException) -> Outcome:
        if isinstance(error, _Unbegun):
            return error.outcome
        if isinstance(error, CompleteAsync):
            return Deferred()
        if isinstance(error, asyncio.CancelledError) and attempt.cancel_reason:
            return Stopped()
        delay = -1
        if isinstance(error, ApplicationError) and error.next_retry_delay is not None:
            delay = milliseconds(error.next_retry_delay)
        return Failed(self._failure(error), delay)

    def _failure(self, error: BaseException) -> Failure:
        try:
            return self.converter.to_failure(error)
        except Exception as problem:  # its details cannot be written: the error itself matters more
            text = "a failure" if self.converter.has_codec else error  # what the codec should hide stays here
            return Failure(message=f"{text} [details left out: {problem}]", type=type(error).__name__)

    def _unknown(self, name: str) -> Failed:
        known = ", ".join(sorted(self._definitions)) or "none"
        return Failed(Failure(
            message=f"no activity {name!r} on this worker (it has: {known}); add it to Worker(activities=[...]), or "
            "give its calls the task_queue of a worker that has it",
            type="UnknownActivityType",
        ))


class _Function(ActivityInterceptor):
    """What the last interceptor calls: the function of the activity."""

    def __init__(self, runner: ActivityRunner, definition: ActivityDefinition) -> None:
        self._runner = runner
        self._definition = definition

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        fn = self._definition.fn
        if self._definition.is_async:
            return await fn(*input.args, **input.kwargs)
        result = await self._runner.in_thread(partial(fn, *input.args, **input.kwargs))
        return await result if inspect.isawaitable(result) else result


def _set_result(future: asyncio.Future[Callable[[], Any]], outcome: Callable[[], Any]) -> None:
    if not future.done():
        future.set_result(outcome)


def _raise(error: BaseException) -> NoReturn:
    raise error


async def _wait_for(awaitable: Awaitable[Any]) -> Any:
    return await awaitable

