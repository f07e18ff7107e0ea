"""Which errors end a workflow as failed, and which are bugs in its code that a new deployment can mend."""

from __future__ import annotations

from ._options import milliseconds
from .errors import ActivityError, ApplicationError, ChildWorkflowError, WorkflowNotFoundError


def failing_error(error: BaseException) -> BaseException | None:
    """`error` if it fails the workflow that it leaves, None if it is a bug.

    An ApplicationError fails it, and whatever is or has in its cause chain an ActivityError, a ChildWorkflowError, or
    the WorkflowNotFoundError of a message to another workflow.
    An exception group does if all in it do.
    """
    if isinstance(error, ApplicationError) or _is_from_outside(error):
        return error
    if isinstance(error, BaseExceptionGroup):
        group: BaseExceptionGroup[BaseException] = error
        if all(failing_error(one) is not None for one in group.exceptions):
            return error
    return None


def _is_from_outside(error: BaseException) -> bool:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if isinstance(link, ActivityError | ChildWorkflowError | WorkflowNotFoundError):
            return True
        seen.add(id(link))
        link = link.__cause__
    return False


def retry_delay_ms(error: BaseException) -> int:
    """How long an error asks to wait before the next attempt; -1: as the retry policy says."""
    if isinstance(error, ApplicationError) and error.next_retry_delay is not None:
        return milliseconds(error.next_retry_delay)
    return -1
