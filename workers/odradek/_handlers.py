"""Messages of a workflow class: what `workflow.signal`, `workflow.query` and `workflow.update` make of its methods.

Taken from the class (`Order.picked_up`) a message is a typed object for handles; on an instance it is the plain method.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, Protocol, Self, overload

from ._signature import Signature, captured_names, signature_of
from ._types import P, R, R_co, V_contra, W, W_contra
from .errors import DefinitionError


class Handler:
    """A method that handles messages of one name."""

    kind: ClassVar[str] = "message"

    def __init__(self, fn: Any, *, name: str | None = None, dynamic: bool = False) -> None:
        if not inspect.isfunction(fn):
            raise DefinitionError(f"@workflow.{self.kind} is for a method (`def` or `async def`), not {fn!r}")
        if name == "":
            raise DefinitionError(f"@workflow.{self.kind}: a name has at least one character")
        if dynamic and (name is not None or len(inspect.signature(fn).parameters) < 2):
            raise DefinitionError(
                f"@workflow.{self.kind}(dynamic=True) is for messages without a handler of their own: it has no name, "
                "and takes the message's first: `def other(self, name: str, *args)`"
            )
        self.fn: Any = fn
        self.dynamic = dynamic
        self.name = name or fn.__name__
        self.__doc__ = fn.__doc__
        self._names: Mapping[str, Any] = captured_names(fn)
        self._signature: Signature | None = None

    @property
    def signature(self) -> Signature:
        """Parameters (without `self`) and result, resolved at first use."""
        if self._signature is None:
            self._signature = signature_of(self.fn, f"{self.kind} {self.name}", method=True, names=self._names)
        return self._signature

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else self.fn.__get__(instance, owner)

    def __repr__(self) -> str:
        return f"<workflow {self.kind} {self.name}>"


class Signal(Handler, Generic[W_contra, P]):
    """A message without an answer, for instance `Order.picked_up`."""

    kind = "signal"

    if TYPE_CHECKING:

        def _signal_of(self, one: W_contra, other: W_contra, /) -> None: ...


class SignalOf(Protocol[W_contra, V_contra]):
    """A signal of a workflow class that is both: see `_types.MakesZero`."""

    def _signal_of(self, one: W_contra, other: V_contra, /) -> None: ...


class SyncSignal(Signal[W_contra, P]):
    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: Any, owner: Any = None) -> Callable[P, None]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return super().__get__(instance, owner)


class AsyncSignal(Signal[W_contra, P]):
    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: Any, owner: Any = None) -> Callable[P, Coroutine[Any, Any, None]]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return super().__get__(instance, owner)


class _SignalDecorator(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[W, P], Coroutine[Any, Any, None]], /) -> AsyncSignal[W, P]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[W, P], None], /) -> SyncSignal[W, P]: ...


@overload
def signal(fn: Callable[Concatenate[W, P], Coroutine[Any, Any, None]], /) -> AsyncSignal[W, P]: ...
@overload
def signal(fn: Callable[Concatenate[W, P], None], /) -> SyncSignal[W, P]: ...
@overload
def signal(*, name: str) -> _SignalDecorator: ...
@overload
def signal(*, dynamic: bool) -> _SignalDecorator: ...
def signal(fn: Any = None, /, **options: Any) -> Any:
    """Make a method the handler of a signal. `name`: what senders call it (default: the method's name).

    `dynamic`: of all signals without a handler of their own; it takes the signal's name, then the arguments. Without
    such a handler they are kept until `workflow.set_signal_handler` gives one.
    """

    def decorate(fn: Any) -> Any:
        cls: Any = AsyncSignal if inspect.iscoroutinefunction(fn) else SyncSignal
        return cls(fn, **options)

    return decorate if fn is None else decorate(fn)


class Query(Handler, Generic[W_contra, P, R_co]):
    """A question that changes nothing, for instance `Order.status`."""

    kind = "query"

    def __init__(self, fn: Any, *, name: str | None = None, dynamic: bool = False) -> None:
        super().__init__(fn, name=name, dynamic=dynamic)
        if inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
            raise DefinitionError(
                f"query {self.name}: a query is a plain `def` that returns at once, because it may not wait or "
                "change the workflow. Use @workflow.update for a handler that awaits"
            )

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: Any, owner: Any = None) -> Callable[P, R_co]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return super().__get__(instance, owner)


class _QueryDecorator(Protocol):
    def __call__(self, fn: Callable[Concatenate[W, P], R], /) -> Query[W, P, R]: ...


@overload
def query(fn: Callable[Concatenate[W, P], R], /) -> Query[W, P, R]: ...
@overload
def query(*, name: str) -> _QueryDecorator: ...
@overload
def query(*, dynamic: bool) -> _QueryDecorator: ...
def query(fn: Any = None, /, **options: Any) -> Any:
    """Make a method (a plain `def`) the handler of a query. `name`: default is the method's name. `dynamic`: of all
    queries without a handler of their own; it takes the query's name first."""

    def decorate(fn: Any) -> Any:
        return Query[Any, Any, Any](fn, **options)

    return decorate if fn is None else decorate(fn)


class Update(Handler, Generic[W_contra, P, R_co]):
    """A message with an answer, for instance `Order.rename`."""

    kind = "update"

    if TYPE_CHECKING:

        def _update_of(self, one: W_contra, other: W_contra, /) -> R_co: ...

    def __init__(self, fn: Any, *, name: str | None = None, dynamic: bool = False) -> None:
        super().__init__(fn, name=name, dynamic=dynamic)
        self.validator_fn: Callable[..., None] | None = None

    def validator(self, fn: Callable[Concatenate[W_contra, P], None], /) -> Callable[Concatenate[W_contra, P], None]:
        """Make a method check the arguments first: what it raises rejects the update, and nothing is recorded."""
        if not inspect.isfunction(fn) or inspect.iscoroutinefunction(fn):
            raise DefinitionError(f"update {self.name}: a validator is a plain `def` that raises to reject")
        if len(inspect.signature(fn).parameters) != len(inspect.signature(self.fn).parameters):
            raise DefinitionError(f"update {self.name}: a validator takes the same parameters as the update")
        self.validator_fn = fn
        return fn


class UpdateOf(Protocol[W_contra, V_contra, R_co]):
    """An update of a workflow class that is both: see `_types.MakesZero`."""

    def _update_of(self, one: W_contra, other: V_contra, /) -> R_co: ...


class SyncUpdate(Update[W_contra, P, R_co]):
    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: Any, owner: Any = None) -> Callable[P, R_co]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return super().__get__(instance, owner)


class AsyncUpdate(Update[W_contra, P, R_co]):
    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: Any, owner: Any = None) -> Callable[P, Coroutine[Any, Any, R_co]]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return super().__get__(instance, owner)


class _UpdateDecorator(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[W, P], Coroutine[Any, Any, R]], /) -> AsyncUpdate[W, P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Callable[Concatenate[W, P], R], /) -> SyncUpdate[W, P, R]: ...


@overload
def update(fn: Callable[Concatenate[W, P], Coroutine[Any, Any, R]], /) -> AsyncUpdate[W, P, R]: ...  # type: ignore[overload-overlap]
@overload
def update(fn: Callable[Concatenate[W, P], R], /) -> SyncUpdate[W, P, R]: ...
@overload
def update(*, name: str) -> _UpdateDecorator: ...
@overload
def update(*, dynamic: bool) -> _UpdateDecorator: ...
def update(fn: Any = None, /, **options: Any) -> Any:
    """Make a method the handler of an update. `name`: what callers call it (default: the method's name). `dynamic`:
    of all updates without a handler of their own; it takes the update's name first.

    An ApplicationError, or what an activity failed with, fails the update; any other error is a bug in the workflow.
    """

    def decorate(fn: Any) -> Any:
        cls: Any = AsyncUpdate if inspect.iscoroutinefunction(fn) else SyncUpdate
        return cls(fn, **options)

    return decorate if fn is None else decorate(fn)
