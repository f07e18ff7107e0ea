"""Builds of a task queue's workers: asked of, and set in, every partition."""

from __future__ import annotations

from odradek_schemas import check_name
from odradek_schemas.common import Record, Request
from odradek_schemas.ephemeral import DescribeBuilds
from odradek_schemas.records import SetCurrentBuild
from odradek_schemas.replies import BuildsDescription

from ._description import BuildDescription, TaskQueueBuilds
from ._read import moment
from ._requests import WorkflowRequests
from .errors import InvalidRequestError, OutcomeUnknownError


async def set_current(requests: WorkflowRequests, task_queue: str, build_id: str) -> None:
    """Make a build current in every partition; "": workers without one."""
    check_name("task queue", task_queue)
    if build_id:
        check_name("build ID", build_id)

    def make(request: Request) -> Record:
        return SetCurrentBuild(task_queue=task_queue, build_id=build_id, request=request)

    for reply in await requests.append_everywhere(f"(builds of {task_queue})", make):
        if reply.outcome == "invalid":
            raise InvalidRequestError(reply.message)
        if reply.outcome != "ok":
            raise OutcomeUnknownError(f"build {build_id!r} may not be current in every partition: set it again")


async def builds(requests: WorkflowRequests, task_queue: str) -> TaskQueueBuilds:
    """What all partitions know of a task queue's builds."""
    check_name("task queue", task_queue)

    def make(request: Request) -> Record:
        return DescribeBuilds(task_queue=task_queue, request=request)

    answers = await requests.ask_everywhere(f"(builds of {task_queue})", make, BuildsDescription)
    names = {build.build_id for answer in answers for build in answer.builds}
    return TaskQueueBuilds(
        task_queue=task_queue,
        current_since=moment(max(answer.current_since_ms for answer in answers)),
        builds=tuple(_merged(name, answers) for name in sorted(names)),
    )


def _merged(name: str, answers: list[BuildsDescription]) -> BuildDescription:
    """Every partition hears of all workers, and counts its own workflows."""
    parts = [build for answer in answers for build in answer.builds if build.build_id == name]
    return BuildDescription(
        build_id=name or None,
        current=any(answer.current == name for answer in answers),
        workers=max(part.workers for part in parts),
        open_workflows=sum(part.open for part in parts),
        workflow_ids=tuple(workflow_id for part in parts for workflow_id in part.workflow_ids),
    )
