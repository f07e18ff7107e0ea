"""The seam between the functions of `workflow` and whatever runs the workflow's code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from odradek_schemas.common import Failure, Payload

from ._handle import ChildWorkflowHandle, WorkflowMessages
from ._types import ActivityOptions
from .errors import NotInWorkflowError

if TYPE_CHECKING:
    from ._converter import DataConverter


SUGGESTED_HISTORY_LENGTH, SUGGESTED_HISTORY_SIZE = 10_000, 8_000_000
"""Events and bytes of history from which on a run should continue as new. Nothing happens to one that does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentInfo:
    """The run whose child a workflow is: `workflow.info().parent`."""

    workflow_id: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowInfo:
    """What a workflow knows about itself: `workflow.info()`. Timeouts are seconds; None: there is none.

    `history_length` is the ID of the last event that the workflow has seen, `history_size` the bytes of its history
    when the present task was made. `attempt` counts from 1 under a retry policy. `initiator` says why the run follows
    another: workflow, retry or cron; empty for the first one. `start_time`: when it began, after its start delay.
    """

    workflow_id: str
    run_id: str
    workflow_type: str = ""
    task_queue: str = ""
    namespace: str = "default"
    attempt: int = 1
    history_length: int = 0
    first_run_id: str = ""
    continued_from_run_id: str = ""
    start_time: datetime | None = None
    execution_timeout: float | None = None
    run_timeout: float | None = None
    task_timeout: float | None = None
    search_attributes: Mapping[str, Any] = field(default_factory=dict)
    history_size: int = 0
    cron_schedule: str | None = None
    initiator: str = ""

    @property
    def continue_as_new_suggested(self) -> bool:
        """Whether the history is so long (10,000 events or 8 MB) that the run should continue as new when it can."""
        return self.history_length >= SUGGESTED_HISTORY_LENGTH or self.history_size >= SUGGESTED_HISTORY_SIZE
    parent: ParentInfo | None = None


class WorkflowContext(Protocol):
    """One running workflow, as its own code sees it."""

    def info(self) -> WorkflowInfo: ...

    def time(self) -> float:
        """Seconds since the epoch: the time of the last fed event, the same on every replay."""
        ...

    def random(self) -> Random:
        """A generator seeded from the run ID; after a reset, from that of the run before it."""
        ...

    async def execute_activity(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, result_type: Any, options: ActivityOptions
    ) -> Any:
        """The durable step. `args` are bound and in the order of the payloads; `kwargs` is empty."""
        ...

    async def execute_local_activity(
        self, name: str, args: Sequence[Any], *, result_type: Any, options: ActivityOptions
    ) -> Any:
        """Run an activity on this worker, now. `args` are bound and in the order of the payloads."""
        ...

    async def side_effect(self, fn: Callable[[], Any]) -> Any:
        """Call `fn` once, outside of the workflow, and record what it returns."""
        ...

    async def start_child(
        self, name: str, args: Sequence[Any], *, result_type: Any, options: Mapping[str, Any]
    ) -> ChildWorkflowHandle[Any, Any]:
        """Start a child; returns when it runs."""
        ...

    def messages(self) -> WorkflowMessages:
        """What handles on other workflows send with."""
        ...

    async def wait_condition(self, fn: Callable[[], Any], timeout: float | None) -> Any:
        """Wait until `fn()` is truthy and return that value; TimeoutError after `timeout` seconds."""
        ...

    def all_handlers_finished(self) -> bool: ...

    def set_handler(self, kind: str, name: str | None, fn: Callable[..., Any] | None, validator: Any = None) -> None:
        """Handle messages of `kind` (signal, query, update) by `fn` from now on; None as `name`: those without one."""
        ...

    def is_replaying(self) -> bool: ...

    def patched(self, change_id: str) -> bool: ...

    def deprecate_patch(self, change_id: str) -> None: ...

    def memo(self) -> Mapping[str, Any]: ...

    def continue_as_new(self, workflow_type: str, args: Sequence[Any], options: Mapping[str, Any]) -> NoReturn:
        """End the run and begin the next one: raises what leaves `run`. `args` are bound."""
        ...

    def upsert_search_attributes(self, attributes: Mapping[str, Any]) -> None: ...

    def last_started(self) -> tuple[Payload | None, Failure | None]:
        """The result and the failure of the runs before."""
        ...

    @property
    def converter(self) -> DataConverter: ...


class _Active(threading.local):
    context: WorkflowContext | None = None


_active = _Active()


def current() -> WorkflowContext:
    """The workflow whose code runs in this thread. Raises NotInWorkflowError outside of one."""
    context = _active.context
    if context is None:
        raise NotInWorkflowError("this works only inside a workflow: in `run`, a message handler, or a task of theirs")
    return context


def in_workflow() -> bool:
    """Whether this thread is running workflow code."""
    return _active.context is not None


class activate:
    """Make `context` the current one of this thread, while the code of that workflow runs: a context manager."""

    __slots__ = ("_context", "_previous")

    def __init__(self, context: WorkflowContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._previous = _active.context
        _active.context = self._context

    def __exit__(self, *raised: object) -> None:
        _active.context = self._previous
