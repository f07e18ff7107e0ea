"""Which workflows there are: asked of the leaders of all partitions, page by page.

This looks at every workflow that is kept, so it is for operations on many of them; search is another thing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from odradek_schemas.common import Record, Request
from odradek_schemas.ephemeral import ListRuns
from odradek_schemas.replies import RunsPage, RunSummary

from ._description import WorkflowStatus
from ._read import moment
from ._requests import WorkflowRequests
from .errors import InvalidRequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedWorkflow:
    """The newest run of a workflow, in a list. `task_failure`: why its code cannot advance, in a line."""

    id: str
    run_id: str
    workflow_type: str
    task_queue: str
    status: WorkflowStatus
    start_time: datetime | None = None
    close_time: datetime | None = None
    history_length: int = 0
    paused: bool = False
    task_failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which workflows are meant: by type and status, "" for any; `stuck`: open ones whose code cannot advance, or that
    are paused."""

    workflow_type: str = ""
    status: str = ""
    stuck: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """Some workflows. `cursor`: where to go on; empty: these were the last."""

    workflows: tuple[ListedWorkflow, ...]
    cursor: str = ""


async def page(requests: WorkflowRequests, selection: Selection, cursor: str = "") -> ListedPage:
    """The next workflows, of one partition; there may be none on a page although others follow."""
    first, _, after = cursor.partition(":")
    partition = int(first) if first.isdecimal() else 0
    if (cursor and not first.isdecimal()) or partition >= requests.connection.partitions:
        raise InvalidRequestError(f"{cursor[:40]!r} is no cursor: give the one that the page before ended with")

    def make(request: Request) -> Record:
        return ListRuns(
            request=request,
            workflow_type=selection.workflow_type,
            status=selection.status,
            stuck=selection.stuck,
            after=after,
        )

    answer = await requests.ask_partition(partition, "(a list of workflows)", make, RunsPage)
    following = f"{partition}:{answer.next_after}" if answer.next_after else f"{partition + 1}:"
    last = not answer.next_after and partition + 1 >= requests.connection.partitions
    return ListedPage(workflows=tuple(map(_listed, answer.runs)), cursor="" if last else following)


async def listed(requests: WorkflowRequests, selection: Selection) -> AsyncIterator[ListedWorkflow]:
    """All workflows of a selection, partition by partition; one page is in memory at a time."""
    cursor = ""
    while True:
        found = await page(requests, selection, cursor)
        for workflow in found.workflows:
            yield workflow
        cursor = found.cursor
        if not cursor:
            return


def _listed(run: RunSummary) -> ListedWorkflow:
    return ListedWorkflow(
        id=run.workflow_id,
        run_id=run.run_id,
        workflow_type=run.workflow_type,
        task_queue=run.task_queue,
        status=cast(WorkflowStatus, run.status),
        start_time=moment(run.start_ms),
        close_time=moment(run.close_ms),
        history_length=run.history_length,
        paused=run.paused,
        task_failure=run.task_failure,
    )
