"""Behind the interceptors of one running workflow: its own `run`, and the commands that its calls become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from odradek_schemas.common import Payload

from ._handle import ChildWorkflowHandle
from ._instance_activities import InstanceActivities
from ._instance_children import InstanceChildren
from ._instance_continuing import InstanceContinuing
from ._instance_core import InstanceCore
from ._instance_locals import InstanceLocals
from ._interceptors import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    ScheduleActivityInput,
    SignalExternalWorkflowInput,
    StartChildWorkflowInput,
    WorkflowInterceptor,
    around,
    write_headers,
)
from ._options import check_activity_options, check_child_options, check_continue_options


class InstanceCalls(WorkflowInterceptor):
    """What the last interceptor calls."""

    def __init__(
        self,
        core: InstanceCore,
        activities: InstanceActivities,
        locals: InstanceLocals,
        children: InstanceChildren,
        continuing: InstanceContinuing,
    ) -> None:
        self._core = core
        self._activities = activities
        self._locals = locals
        self._children = children
        self._continuing = continuing

    def begin(self, interceptors: Sequence[Interceptor], started_headers: Mapping[str, Payload]) -> None:
        """The run begins: from now on, calls pass the interceptors. Raises DefinitionError if one cannot be."""
        core = self._core
        core.intercepted = bool(interceptors)
        core.started_headers = dict(started_headers)
        core.calls = around(self, WorkflowInterceptor, [one.intercept_workflow for one in interceptors])

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        core = self._core
        args, kwargs = core.definition.signature.arguments(input.args)
        return await core.definition.run(core.object, *args, **kwargs)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        await self._handled(input)

    def handle_query(self, input: HandleQueryInput) -> Any:
        return input._handler.fn(self._core.object, *input.args, **input.kwargs)

    def validate_update(self, input: HandleUpdateInput) -> None:
        if input._handler.validator is not None:
            input._handler.validator(self._core.object, *input.args, **input.kwargs)

    async def handle_update(self, input: HandleUpdateInput) -> Any:
        return await self._handled(input)

    async def _handled(self, input: HandleSignalInput | HandleUpdateInput) -> Any:
        result = input._handler.fn(self._core.object, *input.args, **input.kwargs)
        return await result if input._handler.is_async else result

    # out

    async def execute_activity(self, input: ScheduleActivityInput) -> Any:
        if self._core.intercepted:
            check_activity_options(input.options, f"activity {input.activity_type}")
        return await self._activities.execute(input, self._written(input.headers))

    async def execute_local_activity(self, input: ScheduleActivityInput) -> Any:
        if self._core.intercepted:
            check_activity_options(input.options, f"activity {input.activity_type}")
        return await self._locals.execute(input, self._written(input.headers))

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:
        if self._core.intercepted:
            check_child_options(input.options, f"child workflow {input.workflow_type}")
        return await self._children.start(input, self._written(input.headers))

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        await self._children.signal(input, self._written(input.headers))

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        headers = self._core.started_headers
        if self._core.intercepted:
            check_continue_options(input.options, f"continue_as_new of {input.workflow_type}")
            headers = self._written(input.headers)
        self._continuing.continue_as_new(input, headers)

    def _written(self, headers: Mapping[str, Any]) -> dict[str, Payload]:
        return write_headers(headers, self._core.converter) if headers else {}
