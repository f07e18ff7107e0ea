"""Definitions: what `workflow.define` and `activity.define` know about a workflow or an activity, checked once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from inspect import Parameter
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from ._activity import Activity
from ._handlers import Handler, Query, Signal, Update
from ._signature import Signature, captured_names, signature_of
from ._types import ActivityOptions, P, R, R_co
from .errors import DefinitionError

__all__ = [
    "ActivityDefinition",
    "HandlerDefinition",
    "Signature",
    "UpdateDefinition",
    "WorkflowDefinition",
    "WorkflowFunction",
    "activity_definition",
    "define",
    "definition_of",
]

C = TypeVar("C", bound=type[Any])
DYNAMIC = ""
"""In place of a name: the handler of messages that have none of their own."""
_DECLARATION = "__odradek_workflow__"


@dataclass(frozen=True, slots=True)
class HandlerDefinition:
    """How a message is handled: `fn(instance, *args)`; if it is `dynamic`, `fn(instance, message, *args)`."""

    name: str
    fn: Callable[..., Any]
    signature: Signature
    is_async: bool
    dynamic: bool = False


@dataclass(frozen=True, slots=True)
class UpdateDefinition(HandlerDefinition):
    """`validator(instance, *args)` raises to reject."""

    validator: Callable[..., None] | None = None


@dataclass(frozen=True, slots=True)
class WorkflowDefinition:
    """A workflow type. `run(instance, *args)` gives its coroutine; `instance` is None for a function workflow."""

    name: str
    cls: type[Any] | None
    run: Callable[..., Any]
    signature: Signature
    signals: Mapping[str, HandlerDefinition]
    queries: Mapping[str, HandlerDefinition]
    updates: Mapping[str, UpdateDefinition]

    def instantiate(self) -> Any:
        """A new instance of the class; None for a function workflow."""
        return None if self.cls is None else self.cls()


@dataclass(frozen=True, slots=True)
class ActivityDefinition:
    """An activity as a worker runs it. `fn(*args, **kwargs)`, with `signature.arguments(values)`."""

    name: str
    fn: Callable[..., Any]
    signature: Signature
    is_async: bool
    options: ActivityOptions


class WorkflowFunction(Generic[P, R_co]):
    """A workflow that is a function. Has a `run` of the same shape as a workflow class has."""

    def __init__(self, fn: Callable[P, Coroutine[Any, Any, R_co]], name: str | None = None) -> None:
        if not inspect.iscoroutinefunction(fn):
            shown = getattr(fn, "__name__", repr(fn))
            raise DefinitionError(f"workflow {shown}: a workflow is an `async def`, or a class with `async def run`")
        self.fn = fn
        self.name = name or fn.__name__
        self.__doc__ = fn.__doc__
        self.__name__ = fn.__name__
        self.__module__ = fn.__module__
        self.declaration = _Declaration(self.name, captured_names(fn))

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return await self.fn(*args, **kwargs)

    async def run(self, instance: None, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return await self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<workflow {self.name}>"


class _Declaration:
    """What is known when a workflow is decorated; `definition` once its annotations are needed and resolved."""

    def __init__(self, name: str, names: Mapping[str, Any]) -> None:
        self.name = name
        self.names = names
        self.definition: WorkflowDefinition | None = None


class _Define(Protocol):
    @overload
    def __call__(self, target: C, /) -> C: ...
    @overload
    def __call__(self, target: Callable[P, Coroutine[Any, Any, R]], /) -> WorkflowFunction[P, R]: ...


@overload
def define(target: C, /) -> C: ...
@overload
def define(target: Callable[P, Coroutine[Any, Any, R]], /) -> WorkflowFunction[P, R]: ...
@overload
def define(*, name: str | None = None) -> _Define: ...
def define(target: Any = None, /, *, name: str | None = None) -> Any:
    """Make a workflow of a class with an `async def run`, or of an `async def` function without messages.

    `name` is its type in the log and for other languages (default: the name of the class or function). Raises
    DefinitionError if `run` or a message handler cannot work.
    """

    def decorate(target: Any) -> Any:
        if not inspect.isclass(target):
            return WorkflowFunction(target, name)
        run = _checked_run(target)
        _handlers(target)
        _check_constructor(target)
        setattr(target, _DECLARATION, _Declaration(name or target.__name__, captured_names(run)))
        return target

    return decorate if target is None else decorate(target)


def definition_of(workflow: Any) -> WorkflowDefinition:
    """The definition of a workflow class or function. Raises DefinitionError if it is none, or if an annotation
    cannot be resolved."""
    if isinstance(workflow, WorkflowFunction):
        function = cast("WorkflowFunction[..., Any]", workflow)
        declaration = function.declaration
        if declaration.definition is None:
            signature = _run_signature(function.fn, declaration, method=False)
            nothing: Mapping[str, Any] = MappingProxyType({})
            declaration.definition = WorkflowDefinition(
                declaration.name, None, function.run, signature, nothing, nothing, nothing
            )
        return declaration.definition
    found = vars(workflow).get(_DECLARATION) if inspect.isclass(workflow) else None
    if not isinstance(found, _Declaration):
        shown = getattr(workflow, "__name__", repr(workflow))
        raise DefinitionError(f"{shown} is not a workflow: put @workflow.define on it (on each subclass too)")
    if found.definition is None:
        found.definition = _class_definition(workflow, found)
    return found.definition


def _class_definition(cls: type[Any], declaration: _Declaration) -> WorkflowDefinition:
    handlers = _handlers(cls).values()
    run = vars(cls)["run"]
    for handler in handlers:
        if isinstance(handler, Signal) and handler.signature.result_type not in (None, type(None), Any):
            raise DefinitionError(f"{handler.signature.what}: nobody gets its result; use @workflow.update")
    return WorkflowDefinition(
        name=declaration.name,
        cls=cls,
        run=run,
        signature=_run_signature(run, declaration, method=True),
        signals={_key(h): _handler_definition(h) for h in handlers if h.kind == Signal.kind},
        queries={_key(h): _handler_definition(h) for h in handlers if h.kind == Query.kind},
        updates={_key(h): _update_definition(h) for h in handlers if h.kind == Update.kind},
    )


def _key(handler: Handler) -> str:
    return DYNAMIC if handler.dynamic else handler.name


def _handler_definition(handler: Handler) -> HandlerDefinition:
    is_async = inspect.iscoroutinefunction(handler.fn)
    return HandlerDefinition(handler.name, handler.fn, handler.signature, is_async, handler.dynamic)


def runtime_handler(
    kind: str, name: str | None, fn: Callable[..., Any], validator: Callable[..., None] | None
) -> UpdateDefinition:
    """The definition of a handler that is set while the workflow runs: a function without `self`, or a bound method.

    Raises DefinitionError if it cannot work.
    """
    if not callable(fn) or name == DYNAMIC:
        raise DefinitionError(f"{kind} handler {name!r}: give a name (or None: for all others) and a function")
    is_async = inspect.iscoroutinefunction(fn)
    if (kind == "query" and is_async) or inspect.iscoroutinefunction(validator):
        raise DefinitionError(f"{kind} handler {name!r}: queries and validators are plain functions")
    signature = signature_of(fn, f"{kind} {name or 'handler'}")
    if name is None and not signature.parameters:
        raise DefinitionError(f"a dynamic {kind} handler takes the message's name first: `def handler(name, *args)`")
    checked = None if validator is None else _without_instance(validator)
    return UpdateDefinition(name or kind, _without_instance(fn), signature, is_async, name is None, checked)


def _without_instance(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _, *args, **kwargs: fn(*args, **kwargs)


def _update_definition(handler: Handler) -> UpdateDefinition:
    validator = cast("Update[Any, Any, Any]", handler).validator_fn
    return UpdateDefinition(
        handler.name,
        handler.fn,
        handler.signature,
        inspect.iscoroutinefunction(handler.fn),
        handler.dynamic,
        validator,
    )


def _run_signature(run: Callable[..., Any], declaration: _Declaration, *, method: bool) -> Signature:
    signature = signature_of(run, f"workflow {declaration.name}", method=method, names=declaration.names)
    for parameter in signature.parameters:
        if parameter.kind is Parameter.KEYWORD_ONLY:
            raise DefinitionError(
                f"workflow {declaration.name}: arguments of workflows are positional; take away the `*` "
                f"before {parameter.name!r}, or pass one dataclass"
            )
    return signature


def _checked_run(cls: type[Any]) -> Callable[..., Any]:
    name = cls.__name__
    run = vars(cls).get("run")
    if run is None:
        where = "inherits `run`: define it on the class itself" if hasattr(cls, "run") else "has no `run` method"
        raise DefinitionError(f"workflow {name} {where}, `async def run(self, ...)`")
    if not inspect.isfunction(run):
        raise DefinitionError(f"workflow {name}: `run` is a plain method `async def run(self, ...)`, not {run!r}")
    if not inspect.iscoroutinefunction(run):
        raise DefinitionError(f"workflow {name}: write `async def run`, not `def run`")
    if not inspect.signature(run).parameters:
        raise DefinitionError(f"workflow {name}: `run` has no `self`")
    return run


def _check_constructor(cls: type[Any]) -> None:
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise DefinitionError(
            f"workflow {cls.__name__}: `__init__` takes no arguments ({error}); the workflow's come to `run`"
        ) from None
    except ValueError:
        return  # no signature to be found: the worker will see


def _handlers(cls: type[Any]) -> dict[str, Handler]:
    """The message handlers of the class and its bases, by attribute. Raises DefinitionError for two of one name."""
    found: dict[str, Handler] = {}
    for base in reversed(cls.__mro__):
        for attribute, value in vars(base).items():
            if isinstance(value, Handler):
                found[attribute] = value
            elif attribute in found:
                raise DefinitionError(
                    f"workflow {cls.__name__}: {attribute!r} replaces a {found[attribute].kind} of a base class; "
                    f"put @workflow.{found[attribute].kind} on it too"
                )
    taken: dict[tuple[str, str], str] = {}
    for attribute, handler in found.items():
        other = taken.setdefault((handler.kind, _key(handler)), attribute)
        if other != attribute:
            raise DefinitionError(
                f"workflow {cls.__name__}: two handlers of {handler.kind} {_key(handler)!r}: {other} and {attribute}; "
                f"give one another name, @workflow.{handler.kind}(name=...)"
            )
    return found


def activity_definition(given: Activity[..., Any]) -> ActivityDefinition:
    """The definition of an activity. Raises DefinitionError if it is none, or a method without its instance."""
    activity: Any = given  # callers without a type checker pass anything
    if not isinstance(activity, Activity):
        shown = getattr(activity, "__name__", repr(activity))
        raise DefinitionError(f"{shown} is not an activity: put @activity.define on it")
    if activity.unbound:
        raise DefinitionError(
            f"activity {activity.name} is a method: register that of an instance, "
            f"`{activity.__qualname__.rpartition('.')[0]}(...).{activity.__name__}`"
        )
    return ActivityDefinition(
        activity.name, activity.fn, activity.signature, inspect.iscoroutinefunction(activity.fn), activity.options
    )
