"""Activities: what `activity.define` makes of a function, and what its body may ask while it runs."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Protocol, Self, Unpack, cast, overload

from . import _context
from ._options import check_activity_options
from ._signature import Signature, captured_names, signature_of
from ._types import ActivityOptions, P, Q, R, R_co, S
from .errors import DefinitionError, NotInActivityError


class Activity(Generic[P, R_co]):
    """A durable function. Calling it gives a coroutine: in a workflow that is the durable step,
    anywhere else it runs the function (a plain `def` in a thread). `fn` is the function itself.

    Wrong arguments raise DefinitionError (a TypeError) at the call.
    """

    name: str
    options: ActivityOptions
    __name__: str
    __qualname__: str

    def __init__(self, fn: Callable[..., Any], options: ActivityOptions, name: str | None = None) -> None:
        _check_function(fn)
        update_wrapper(self, fn)
        self.fn: Any = fn
        self.name = name or _default_name(fn)
        self.options = options
        self._declared: Callable[..., Any] = fn  # what the signature is taken from; `with_fn` keeps it
        self._names: Mapping[str, Any] = captured_names(fn)
        self._method = False  # `_declared` has a `self` that callers do not give
        self._unbound = False  # `fn` is a method that lacks its instance
        self._signature: Signature | None = None

    @property
    def signature(self) -> Signature:
        """Parameters and result, resolved at first use: annotations may name what is defined later."""
        if self._signature is None:
            self._signature = signature_of(
                self._declared, f"activity {self.name}", method=self._method, names=self._names
            )
        return self._signature

    @property
    def unbound(self) -> bool:
        """Whether this is a method without its instance: workflows may call it, nobody can run it."""
        return self._unbound

    if TYPE_CHECKING:
        # `async def`, not `def ... -> Coroutine[Any, Any, R_co]`: mypy gives up on
        # `gather(a(), b())` for the latter (Any in the arguments), not for the former.
        async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
            signature = self.signature
            values = signature.bind(args, kwargs)
            if _context.in_workflow():
                return _context.current().execute_activity(
                    self.name, values, {}, result_type=signature.result_type, options=self.options
                )
            return self._run(args, kwargs)

    async def _run(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run the function here and now, as a test or a script does."""
        if self.unbound:
            raise DefinitionError(
                f"activity {self.name} is a method: outside a workflow call it on an instance, "
                f"`{self.__qualname__.rpartition('.')[0]}(...).{self.__name__}(...)`"
            )
        if inspect.iscoroutinefunction(self.fn):
            return await self.fn(*args, **kwargs)
        result = await asyncio.to_thread(self.fn, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    def with_options(self, **options: Unpack[ActivityOptions]) -> Self:
        """The same activity with some options replaced."""
        check_activity_options(options, f"activity {self.name}")
        return self._copy(options=cast(ActivityOptions, {**self.options, **options}))

    def with_fn(self: Activity[Q, R], fn: Callable[Q, R | Awaitable[R]], /) -> Activity[Q, R]:
        """The same activity (name, types, options) with another body: a fake for a test. It takes no `self`."""
        if not callable(fn):
            raise DefinitionError(f"activity {self.name}: with_fn takes a function, not {fn!r}")
        return self._copy(fn=fn, unbound=False)

    def _copy(
        self,
        *,
        fn: Callable[..., Any] | None = None,
        options: ActivityOptions | None = None,
        method: bool | None = None,
        unbound: bool | None = None,
    ) -> Self:
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        if fn is not None:
            copy.fn = fn
        if options is not None:
            copy.options = options
        if unbound is not None:
            copy._unbound = unbound
        if method is not None and method != self._method:
            copy._method = method
            copy._signature = None
        return copy

    def _bind(self, instance: Any) -> Self:
        """This activity as an attribute of a class (`instance` None) or of an object: without `self`."""
        if instance is None:
            return self._copy(method=True, unbound=True)
        return self._copy(fn=self.fn.__get__(instance), method=True, unbound=False)

    def __repr__(self) -> str:
        return f"<activity {self.name}>"


class AsyncActivity(Activity[P, R_co]):
    """An activity that is an `async def`: it runs on the worker's event loop."""

    fn: Callable[P, Coroutine[Any, Any, R_co]]

    # An activity that is a method: `Payments.charge` and `Payments(pool).charge` both lose `self`.
    @overload
    def __get__(self: AsyncActivity[Concatenate[S, Q], R], instance: None, owner: type[S]) -> AsyncActivity[Q, R]: ...
    @overload
    def __get__(
        self: AsyncActivity[Concatenate[S, Q], R], instance: S, owner: type[S] | None = None
    ) -> AsyncActivity[Q, R]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self._bind(instance)


class SyncActivity(Activity[P, R_co]):
    """An activity that is a plain `def`: it runs in a thread."""

    fn: Callable[P, R_co]

    @overload
    def __get__(self: SyncActivity[Concatenate[S, Q], R], instance: None, owner: type[S]) -> SyncActivity[Q, R]: ...
    @overload
    def __get__(
        self: SyncActivity[Concatenate[S, Q], R], instance: S, owner: type[S] | None = None
    ) -> SyncActivity[Q, R]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self._bind(instance)


def _check_function(fn: Any) -> None:
    for wrapper in (staticmethod, classmethod):
        if isinstance(fn, wrapper):
            raise DefinitionError(f"put @{wrapper.__name__} above @activity.define, not below it")
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise DefinitionError(f"activity {fn.__name__}: a generator cannot be an activity; return a list")
    if isinstance(fn, type) or not callable(fn) or not hasattr(fn, "__name__"):
        raise DefinitionError(f"an activity is a function or a method, not {fn!r}")


def _default_name(fn: Callable[..., Any]) -> str:
    """`charge`; `Payments.charge` for a method, so that methods of two classes can be told apart."""
    *_, owner, name = ["", *fn.__qualname__.split(".")]
    return f"{owner}.{name}" if owner not in ("", "<locals>") else fn.__name__


class _Define(Protocol):
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncActivity[P, R]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncActivity[P, R]: ...


@overload
def define(fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncActivity[P, R]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
@overload
def define(fn: Callable[P, R], /) -> SyncActivity[P, R]: ...
@overload
def define(*, name: str | None = None, **options: Unpack[ActivityOptions]) -> _Define: ...
def define(fn: Any = None, /, *, name: str | None = None, **options: Unpack[ActivityOptions]) -> Any:
    """Make an activity of a function or a method. `name` is how workflows call it (default: the function's name;
    of a method, `Class.method`); the options hold for every call, `with_options` replaces them for one.

    Raises DefinitionError for unknown options and for what cannot be an activity.
    """
    check_activity_options(options, "activity.define")

    def decorate(fn: Callable[..., Any]) -> Any:
        cls: Any = AsyncActivity if inspect.iscoroutinefunction(fn) else SyncActivity
        return cls(fn, options, name)

    return decorate if fn is None else decorate(fn)


class CompleteAsync(BaseException):
    """Raise it to have the activity completed later by its task token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What an attempt of an activity knows about itself. Timeouts are seconds; None: there is none.

    `idempotency_key` is the same for all attempts: hand it to the services that the activity calls.
    `heartbeat_details`: what the last attempt said in its last heartbeat.
    """

    task_token: bytes
    attempt: int
    workflow_id: str
    run_id: str
    workflow_type: str
    activity_type: str
    task_queue: str
    scheduled_time: datetime
    idempotency_key: str
    namespace: str = "default"
    heartbeat_details: tuple[Any, ...] = ()
    heartbeat_timeout: float | None = None
    start_to_close_timeout: float | None = None


class ActivityContext(Protocol):
    """One running attempt. The worker makes it the current one with `activate`."""

    @property
    def info(self) -> Info: ...

    def heartbeat(self, details: tuple[Any, ...]) -> None: ...

    def is_cancelled(self) -> bool: ...


_current: ContextVar[ActivityContext] = ContextVar("odradek_activity")


class activate:
    """Make `context` the running activity of the current contextvars context (copy that into threads): a context
    manager."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: ActivityContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = _current.set(self._context)

    def __exit__(self, *raised: object) -> None:
        _current.reset(self._token)


def _running() -> ActivityContext:
    context = _current.get(None)
    if context is None:
        raise NotInActivityError(
            "this works only inside a running activity (and in threads only with contextvars.copy_context())"
        )
    return context


def info() -> Info:
    """About the running attempt. Raises NotInActivityError outside of an activity."""
    return _running().info


def heartbeat(*details: Any) -> None:
    """Say that the activity is alive, and how far it is: the next attempt finds `details` in its `info()`.

    Returns at once and may be called as often as you like. Raises NotInActivityError outside of an activity.
    """
    _running().heartbeat(details)


def is_cancelled() -> bool:
    """Whether this attempt has been asked to stop. Raises NotInActivityError outside of an activity."""
    return _running().is_cancelled()


def _add_info(record: logging.LogRecord) -> bool:
    context = _current.get(None)
    if context is not None:
        record.workflow_id = context.info.workflow_id
        record.run_id = context.info.run_id
        record.activity_type = context.info.activity_type
        record.attempt = context.info.attempt
    return True


logger: logging.Logger = logging.getLogger("odradek.activity")
"""For activities: its records carry workflow_id, run_id, activity_type and attempt."""
logger.addFilter(_add_info)
