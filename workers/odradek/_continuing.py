"""Continue-as-new, and what a run knows of those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, overload

from odradek_schemas.commands import ContinueAsNewWorkflow
from typing_extensions import TypeForm

from . import _context
from ._options import check_continue_options
from ._types import T


class ContinueAsNew(BaseException):
    """Leaves the code that has called `continue_as_new`. Not an Exception, so that `except Exception` lets it pass."""

    def __init__(self, command: ContinueAsNewWorkflow) -> None:
        super().__init__("the workflow continues as new")
        self.command = command


def continuation_in(error: BaseException) -> ContinueAsNew | None:
    """The ContinueAsNew that an error is, or that came out of a TaskGroup with nothing but such."""
    if isinstance(error, ContinueAsNew):
        return error
    if isinstance(error, BaseExceptionGroup):
        group: BaseExceptionGroup[BaseException] = error
        found = [continuation_in(one) for one in group.exceptions]
        return found[0] if all(found) else None
    return None


def begin_next(workflow: Any, args: Sequence[Any], options: Mapping[str, Any]) -> NoReturn:
    """What `continue_as_new` does, behind its types."""
    from ._definitions import definition_of

    what = workflow if isinstance(workflow, str) else getattr(workflow, "__name__", repr(workflow))
    check_continue_options(options, f"continue_as_new of {what}")
    if isinstance(workflow, str):
        name, values = workflow, list(args)
    else:
        definition = definition_of(workflow)
        name, values = definition.name, definition.signature.bind(args, {})
    _context.current().continue_as_new(name, values, options)


def has_last_completion_result() -> bool:
    """Whether a run before this one has left a result: of a cron workflow, whatever run it was."""
    return _context.current().last_started()[0] is not None


@overload
def get_last_completion_result(result_type: TypeForm[T], /) -> T | None: ...
@overload
def get_last_completion_result() -> Any: ...
def get_last_completion_result(result_type: Any = Any, /) -> Any:
    """The result of the last run of a cron workflow that had one, read as `result_type`; None without one."""
    context = _context.current()
    payload, _ = context.last_started()
    return None if payload is None else context.converter.from_payload(payload, result_type)


def get_last_failure() -> BaseException | None:
    """What the run before failed with, on a retry of the workflow or under a cron schedule; None if it did not."""
    context = _context.current()
    _, failure = context.last_started()
    return None if failure is None else context.converter.from_failure(failure)
