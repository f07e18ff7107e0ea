"""What a schedule starts: a workflow with its arguments, as its author writes it and as it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

from odradek_schemas.common import RetryPolicy as PolicyRecord
from typing_extensions import Unpack

from .._converter import DataConverter
from .._definitions import definition_of
from .._options import check_names, check_start_options, milliseconds, retry_policy_record
from .._types import (
    Arg1,
    Arg2,
    Arg3,
    Arg4,
    Arg5,
    CommonOptions,
    RetryPolicy,
    TakesFive,
    TakesFour,
    TakesMany,
    TakesOne,
    TakesThree,
    TakesTwo,
    TakesZero,
)
from .state import Action

_OPTIONS = frozenset(
    {"id", "task_queue", "execution_timeout", "run_timeout", "task_timeout", "retry_policy", "memo",
     "search_attributes"}
)  # fmt: skip


class ScheduleActionOptions(CommonOptions, total=False):
    """Options of what a schedule starts. `id`: what the workflow IDs begin with, before the time (default: the
    schedule's ID)."""

    id: str


class ScheduleActionStartWorkflow:
    """Start a workflow: `ScheduleActionStartWorkflow(Report, "eu", id="report", task_queue="reports")`.

    workflow: a workflow, or its type's name. The options are those of `Client.start` that make sense for many runs; the
    workflow ID is `id`, a dash and the nominal time, such as report-2026-03-29T01:00:00Z. Raises DefinitionError for
    arguments and options that do not fit.
    """

    @overload
    def __init__(self, workflow: str, /, *args: Any, **options: Unpack[ScheduleActionOptions]) -> None: ...
    @overload
    def __init__(self, workflow: TakesZero[Any, Any], /, **options: Unpack[ScheduleActionOptions]) -> None: ...
    @overload
    def __init__(
        self,
        workflow: TakesOne[Any, Arg1, Any],
        arg1: Arg1,
        /,
        **options: Unpack[ScheduleActionOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        workflow: TakesTwo[Any, Arg1, Arg2, Any],
        arg1: Arg1,
        arg2: Arg2,
        /,
        **options: Unpack[ScheduleActionOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        workflow: TakesThree[Any, Arg1, Arg2, Arg3, Any],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        /,
        **options: Unpack[ScheduleActionOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        workflow: TakesFour[Any, Arg1, Arg2, Arg3, Arg4, Any],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        /,
        **options: Unpack[ScheduleActionOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        workflow: TakesFive[Any, Arg1, Arg2, Arg3, Arg4, Arg5, Any],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        arg5: Arg5,
        /,
        **options: Unpack[ScheduleActionOptions],
    ) -> None: ...
    @overload  # from six arguments on: not checked, pass a dataclass
    def __init__(
        self,
        workflow: TakesMany[Any, Any],
        arg1: Any,
        arg2: Any,
        arg3: Any,
        arg4: Any,
        arg5: Any,
        arg6: Any,
        /,
        *args: Any,
        **options: Unpack[ScheduleActionOptions],
    ) -> None: ...
    def __init__(self, workflow: Any, /, *args: Any, **options: Any) -> None:
        given: dict[str, Any] = dict(options)
        if isinstance(workflow, str):
            self.workflow, values = workflow, list(args)
        else:
            definition = definition_of(workflow)
            self.workflow, values = definition.name, definition.signature.bind(args, {})
        what = f"schedule of workflow {self.workflow}"
        check_names(given, _OPTIONS, what)
        check_start_options(given, what)
        self.options: Mapping[str, Any] = given
        self._args: Sequence[Any] | None = values
        self._record: Action | None = None
        self._converter: DataConverter | None = None

    @property
    def args(self) -> Sequence[Any]:
        """The arguments; of a schedule that was read, as plain JSON values. Raises PayloadError if it cannot be."""
        if self._args is None:
            assert self._record is not None
            assert self._converter is not None
            self._args = self._converter.from_payloads(self._record.input, [])
        return self._args

    @property
    def id(self) -> str:
        """What the workflow IDs begin with; empty: the schedule's ID."""
        return str(self.options.get("id") or "")

    def __repr__(self) -> str:
        return f"<start workflow {self.workflow} as {self.id or 'the schedule'}-...>"


def to_record(action: ScheduleActionStartWorkflow, schedule_id: str, converter: DataConverter) -> Action:
    """As it is kept. One that was read is kept as it was."""
    if action._record is not None:
        return action._record
    options = action.options
    plain = converter.plain
    return Action(
        workflow_type=action.workflow,
        workflow_id=action.id or schedule_id,
        task_queue=options.get("task_queue") or "default",
        input=converter.to_payloads(action.args),
        execution_timeout_ms=milliseconds(options.get("execution_timeout")),
        run_timeout_ms=milliseconds(options.get("run_timeout")),
        task_timeout_ms=milliseconds(options.get("task_timeout")),
        retry_policy=retry_policy_record(options.get("retry_policy")),
        memo={name: converter.to_payload(value) for name, value in options.get("memo", {}).items()},
        search_attributes={name: plain.to_payload(v) for name, v in options.get("search_attributes", {}).items()},
    )


def from_record(record: Action, converter: DataConverter) -> ScheduleActionStartWorkflow:
    """As its author wrote it, but for the memo, which is kept unread."""
    options: dict[str, Any] = {
        "execution_timeout": record.execution_timeout_ms / 1000 or None,
        "run_timeout": record.run_timeout_ms / 1000 or None,
        "task_timeout": record.task_timeout_ms / 1000 or None,
        "retry_policy": retry_policy(record.retry_policy),
    }
    attributes = {name: converter.plain.from_payload(value) for name, value in record.search_attributes.items()}
    set_options = {name: value for name, value in options.items() if value is not None}
    if attributes:
        set_options["search_attributes"] = attributes
    action = ScheduleActionStartWorkflow(
        record.workflow_type, id=record.workflow_id, task_queue=record.task_queue, **set_options
    )
    action._args, action._record, action._converter = None, record, converter
    return action


def retry_policy(policy: PolicyRecord | None) -> RetryPolicy | None:
    """A policy as its author writes it."""
    if policy is None:
        return None
    return RetryPolicy(
        initial_interval=policy.initial_interval_ms / 1000,
        backoff_coefficient=policy.backoff_coefficient,
        maximum_interval=policy.maximum_interval_ms / 1000 or None,
        maximum_attempts=policy.maximum_attempts or None,
        non_retryable_error_types=tuple(policy.non_retryable_error_types),
    )
