"""What workflow code may ask and do while it runs. Everything here is deterministic: the same on every replay."""

from __future__ import annotations

import datetime as _dt
import inspect
import logging
import random as _random
import uuid as _uuid
from collections.abc import Callable, Mapping
from typing import Any, Unpack, cast, overload

from typing_extensions import TypeForm

from . import _child_calls, _context
from ._activity import Activity
from ._context import WorkflowInfo
from ._handle import ExternalWorkflowHandle
from ._options import check_activity_options, seconds
from ._types import ActivityOptions, Duration, Q, R, T, TakesMany, W
from .errors import DefinitionError


@overload
async def execute_activity(
    activity: str, /, *args: Any, result_type: TypeForm[T], **options: Unpack[ActivityOptions]
) -> T: ...
@overload
async def execute_activity(activity: str, /, *args: Any, **options: Unpack[ActivityOptions]) -> Any: ...
@overload
async def execute_activity(activity: Activity[Q, R], /, *args: Q.args, **kwargs: Q.kwargs) -> R: ...
async def execute_activity(activity: Any, /, *args: Any, **options: Any) -> Any:
    """Run an activity as a durable step and return its result.

    By name: `options` are those of the activity, `result_type` is what the result is read as (default: plain JSON
    values). With an activity object, the same as calling it; use `with_options` on it for options. Raises what the
    activity raises, with ActivityError in the cause chain, and ActivityTimeoutError.
    """
    if isinstance(activity, Activity):
        declared = cast("Activity[..., Any]", activity)
        return await declared(*args, **options)
    if not isinstance(activity, str):
        raise DefinitionError(f"execute_activity takes an activity or its name, not {activity!r}")
    result_type = options.pop("result_type", Any)
    check_activity_options(options, f"activity {activity}")
    return await _context.current().execute_activity(
        activity, args, {}, result_type=result_type, options=cast(ActivityOptions, options)
    )


@overload
async def wait_condition(fn: Callable[[], bool], /, timeout: Duration | None = None) -> bool: ...
@overload  # the first value that is not None or falsy, so that the caller need not narrow an attribute
async def wait_condition(fn: Callable[[], T | None], /, timeout: Duration | None = None) -> T: ...
async def wait_condition(fn: Any, /, timeout: Duration | None = None) -> Any:
    """Wait until `fn()` is truthy, and return what it returned. `fn` is called after every event, must be quick
    and must change nothing.

    `timeout` None: none. Raises TimeoutError when it is over.
    """
    if not callable(fn):
        raise DefinitionError(
            f"wait_condition takes a function, `lambda: ...`, that it calls again and again, not {fn!r}"
        )
    if inspect.iscoroutinefunction(fn) or isinstance(fn, Activity):
        raise DefinitionError("wait_condition takes a plain function that returns at once, not one that is awaited")
    context = _context.current()
    return await context.wait_condition(_checked(fn), None if timeout is None else seconds(timeout))


def _checked(fn: Callable[[], Any]) -> Callable[[], Any]:
    """`fn`, refusing results that are always truthy by mistake: an uncalled function, a coroutine."""

    def condition() -> Any:
        value = fn()
        if inspect.iscoroutine(value):
            value.close()
            raise DefinitionError("the condition of wait_condition returned a coroutine, which is always true")
        if inspect.isfunction(value) or inspect.ismethod(value):
            raise DefinitionError(
                f"the condition of wait_condition returned {value.__name__!r} uncalled, which is always true; call it"
            )
        return value

    return condition


def info() -> WorkflowInfo:
    """About the running workflow. Raises NotInWorkflowError outside of one, as do the functions below."""
    return _context.current().info()


def time() -> float:
    """Seconds since the Unix epoch, the same on every replay: the time of the last event that the workflow saw."""
    return _context.current().time()


def now() -> _dt.datetime:
    """`time()` as an aware datetime in UTC."""
    return _dt.datetime.fromtimestamp(_context.current().time(), _dt.UTC)


def random() -> _random.Random:
    """The run's own random generator, the same on every replay."""
    return _context.current().random()


def uuid4() -> _uuid.UUID:
    """A random UUID, the same on every replay."""
    return _uuid.UUID(int=_context.current().random().getrandbits(128), version=4)


def memo() -> Mapping[str, Any]:
    """The memo that the workflow was started with, as plain JSON values."""
    return _context.current().memo()


def all_handlers_finished() -> bool:
    """Whether no `async` message handler is still running."""
    return _context.current().all_handlers_finished()


def set_signal_handler(name: str | None, fn: Callable[..., Any] | None, /) -> None:
    """Handle the signal `name` by `fn` from now on, in place of what the class says; `fn` None: no longer.

    `name` None: signals that have no handler of their own, by `fn(name, *args)`. Signals that came before and were
    kept are delivered now, one after the other in the order in which they came.
    """
    _context.current().set_handler("signal", name, fn)


def set_query_handler(name: str | None, fn: Callable[..., Any] | None, /) -> None:
    """Answer the query `name` by `fn`, a plain function; otherwise as `set_signal_handler`."""
    _context.current().set_handler("query", name, fn)


def set_update_handler(
    name: str | None, fn: Callable[..., Any] | None, /, *, validator: Callable[..., None] | None = None
) -> None:
    """Handle the update `name` by `fn`; `validator` raises to reject. Otherwise as `set_signal_handler`."""
    _context.current().set_handler("update", name, fn, validator)


async def side_effect(fn: Callable[[], T], /) -> T:
    """Call `fn` once and return what it returned, as the data converter writes and reads it; replay gives the recorded
    value. It is called again only if the worker dies before that is recorded.

    `fn` is quick and plain, and sees nothing of the workflow; an error of it is a bug of the workflow. For more than
    that use `execute_local_activity`. Raises DefinitionError for what is no plain function.
    """
    if not callable(fn) or inspect.iscoroutinefunction(fn) or isinstance(fn, Activity):
        raise DefinitionError(
            f"side_effect takes a plain function, `lambda: ...`, that returns at once, not {fn!r}; "
            "for an activity use workflow.execute_local_activity"
        )
    return cast(T, await _context.current().side_effect(fn))


@overload
async def execute_local_activity(
    activity: str, /, *args: Any, result_type: TypeForm[T], **options: Unpack[ActivityOptions]
) -> T: ...
@overload
async def execute_local_activity(activity: str, /, *args: Any, **options: Unpack[ActivityOptions]) -> Any: ...
@overload
async def execute_local_activity(activity: Activity[Q, R], /, *args: Q.args, **kwargs: Q.kwargs) -> R: ...
async def execute_local_activity(activity: Any, /, *args: Any, **options: Any) -> Any:
    """Run an activity in the workflow's own worker, without a task, and return its result: for short ones.

    The worker must have it (`Worker(activities=[...])`). It is recorded with the workflow's next step, and runs again
    if the worker dies before that. Of its options `retry_policy`, `start_to_close_timeout` and
    `schedule_to_close_timeout` count; `delivery="at_most_once"` and `cancellation_type="wait"` are refused. Signals,
    timers and cancellations reach the workflow every few seconds while it waits. Raises as `execute_activity` does.
    """
    if isinstance(activity, Activity):
        declared = cast("Activity[..., Any]", activity)
        return await _context.current().execute_local_activity(
            declared.name,
            declared.signature.bind(args, options),
            result_type=declared.signature.result_type,
            options=declared.options,
        )
    if not isinstance(activity, str):
        raise DefinitionError(f"execute_local_activity takes an activity or its name, not {activity!r}")
    result_type = options.pop("result_type", Any)
    check_activity_options(options, f"activity {activity}")
    return await _context.current().execute_local_activity(
        activity, args, result_type=result_type, options=cast(ActivityOptions, options)
    )


@overload
def external(workflow_id: str, /, *, run_id: str | None = None) -> ExternalWorkflowHandle[Any]: ...
@overload
def external(
    workflow_id: str, workflow: TakesMany[W, Any], /, *, run_id: str | None = None
) -> ExternalWorkflowHandle[W]: ...
def external(workflow_id: str, workflow: Any = None, /, *, run_id: str | None = None) -> Any:
    """A handle on another workflow, to signal or cancel it. `workflow` gives the types; `run_id` None: its open run."""
    return _child_calls.external(workflow_id, workflow, run_id)


def patched(change_id: str, /) -> bool:
    """Whether this run has the change: True for new runs, False for those that passed here before it.

    Decided at a run's first call with this ID, and the same for the rest of the run and on every replay. The ID is 1
    to 1,000 bytes of text. Raises DefinitionError for another, ReadOnlyError in a query.
    """
    return _context.current().patched(_checked_change(change_id))


def deprecate_patch(change_id: str, /) -> None:
    """Say that no open run without the change is left: what `patched` with this ID becomes once its old branch is gone.

    Runs that hold the mark of the change go on, as do those without. When all of them have ended, the call can be taken
    out. Raises as `patched` does.
    """
    _context.current().deprecate_patch(_checked_change(change_id))


def _checked_change(change_id: str) -> str:
    if not isinstance(change_id, str) or not change_id or "\0" in change_id or len(change_id.encode()) > 1000:
        raise DefinitionError(f"a change is named by 1 to 1,000 bytes of text, such as 'new-price', not {change_id!r}")
    return change_id


def upsert_search_attributes(attributes: Mapping[str, Any], /) -> None:
    """Set search attributes of the running workflow; None as a value removes one. `info()` shows them at once.

    Values are what the data converter can write. Raises PayloadError for others.
    """
    _context.current().upsert_search_attributes(attributes)


def _outside_replay(record: logging.LogRecord) -> bool:
    if not _context.in_workflow():
        return True
    context = _context.current()
    if context.is_replaying():
        return False
    about = context.info()
    record.workflow_id = about.workflow_id
    record.run_id = about.run_id
    record.workflow_type = about.workflow_type
    return True


logger: logging.Logger = logging.getLogger("odradek.workflow")
"""For workflows: silent on replay; its records carry workflow_id, run_id and workflow_type."""
logger.addFilter(_outside_replay)
