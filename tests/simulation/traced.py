"""Interceptors of simulated clients and workers: every activity must know by which workflow it was asked for, and every
workflow by whom it was started, however often they are retried, replayed, or taken from one worker to another."""

from __future__ import annotations

from typing import Any

from odradek import WorkflowHandle, activity, workflow
from odradek.interceptors import (
    ActivityInterceptor,
    ClientInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    ScheduleActivityInput,
    StartChildWorkflowInput,
    StartWorkflowInput,
    WorkflowInterceptor,
)

from . import journal

HEADER = "asked-by"


class _Client(ClientInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.headers[HEADER] = "client"
        return await self.next.start_workflow(input)


class _Workflow(WorkflowInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        parent = workflow.info().parent
        expected = parent.workflow_id if parent is not None else "client"
        if input.headers.get(HEADER, expected) != expected:
            _wrong(f"workflow {workflow.info().workflow_id}", input.headers[HEADER], expected)
        return await self.next.execute_workflow(input)

    async def execute_activity(self, input: ScheduleActivityInput) -> Any:
        input.headers[HEADER] = workflow.info().workflow_id
        return await self.next.execute_activity(input)

    async def execute_local_activity(self, input: ScheduleActivityInput) -> Any:
        input.headers[HEADER] = workflow.info().workflow_id
        return await self.next.execute_local_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> Any:
        input.headers[HEADER] = workflow.info().workflow_id
        return await self.next.start_child_workflow(input)


class _Activity(ActivityInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        if input.headers.get(HEADER) != info.workflow_id:
            _wrong(f"activity {info.activity_type}", input.headers.get(HEADER), info.workflow_id)
        return await self.next.execute_activity(input)


def _wrong(what: str, found: Any, expected: str) -> None:
    journal._Now.journal.wrong.append(f"{what} was asked for by {found!r}, not {expected}")


class Traced(Interceptor):
    def intercept_client(self, next: ClientInterceptor) -> ClientInterceptor:
        return _Client(next)

    def intercept_workflow(self, next: WorkflowInterceptor) -> WorkflowInterceptor:
        return _Workflow(next)

    def intercept_activity(self, next: ActivityInterceptor) -> ActivityInterceptor:
        return _Activity(next)
