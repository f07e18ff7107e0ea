"""Resetting many workflows to before a bad step, one by one: tried first, told as it goes, safe to repeat."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from odradek_schemas import history

from ._handle import Target
from ._requests import WorkflowRequests
from .errors import ClientClosedError, InvalidRequestError, OdradekError, UnavailableError

ChosenRun: TypeAlias = tuple[str, str]
"""A workflow ID and a run ID; this is empty for the newest run."""

ResetStatus: TypeAlias = Literal["reset", "would_reset", "already_reset", "nothing_to_undo", "failed"]

_BY_NAME = ("ScheduleActivity", "StartLocalActivity", "StartChildWorkflow")
_PATCHES = ("MarkPatch", "DeprecatePatch")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetPoint:
    """The step before which a workflow goes on again; exactly one is given.

    event_id: this event's decision. last_task: the last decision. activity: the first that schedules an activity (or
    starts a child) of this type. build_id: the first by this build of the workers. patch: the first with this patch.
    """

    event_id: int | None = None
    last_task: bool = False
    activity: str | None = None
    build_id: str | None = None
    patch: str | None = None

    def __post_init__(self) -> None:
        given = [self.event_id, self.last_task or None, self.activity, self.build_id, self.patch]
        if sum(value is not None for value in given) != 1:
            raise InvalidRequestError("say before which step: one of event_id, last_task, activity, build_id, patch")

    def is_bad(self, event: history.HistoryEvent) -> bool:
        """Whether this event is a step that is meant."""
        task = event.attributes
        if self.event_id is not None:
            return event.event_id == self.event_id
        if not isinstance(task, history.WorkflowTaskCompleted):
            return False
        if self.build_id is not None:
            return task.build_id == self.build_id
        kinds, name = (_BY_NAME, self.activity) if self.activity is not None else (_PATCHES, self.patch)
        return self.last_task or any(c.kind in kinds and c.name == name for c in task.commands)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetResult:
    """What a batch did with one workflow.

    status: reset (`run_id` is the new run), would_reset (a dry run; `run_id` has the step), already_reset (by this
    batch, earlier; `run_id` is the newest), nothing_to_undo (the run has no such step), failed (see `error`; the
    others are done all the same). `event_id`: the step that is undone.
    """

    workflow_id: str
    status: ResetStatus
    event_id: int = 0
    run_id: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """`request_id` names the batch: repeated under the same one it resets no workflow twice. `identity`: who asks;
    empty: the client."""

    request_id: str
    reason: str = ""
    reapply: str = "signals"
    dry_run: bool = False
    identity: str = ""


async def reset_one(
    requests: WorkflowRequests, chosen: ChosenRun, point: ResetPoint, options: BatchOptions
) -> ResetResult:
    """Reset a run of a workflow to before the step. What is wrong with one workflow is its result.

    Raises UnavailableError and ClientClosedError: then the others cannot be done either.
    """
    workflow_id, run_id = chosen
    try:
        request_id = _request_id(options.request_id, workflow_id)
        found, run_id, again = await _find(requests, Target(workflow_id, run_id or None), point, request_id)
        if again:
            return ResetResult(workflow_id=workflow_id, status="already_reset", event_id=found, run_id=run_id)
        if not found:
            return ResetResult(workflow_id=workflow_id, status="nothing_to_undo")
        if options.dry_run:
            return ResetResult(workflow_id=workflow_id, status="would_reset", event_id=found, run_id=run_id)
        asked = Target(workflow_id, run_id, request_id=request_id, identity=options.identity)
        new_run_id = await requests.reset(asked, found, options.reason, options.reapply, "")
        return ResetResult(workflow_id=workflow_id, status="reset", event_id=found, run_id=new_run_id)
    except (UnavailableError, ClientClosedError):
        raise
    except OdradekError as error:
        return ResetResult(workflow_id=workflow_id, status="failed", error=str(error))


def _request_id(batch: str, workflow_id: str) -> str:
    """That of one workflow's reset: each request has its own."""
    return f"{batch}:{hashlib.blake2b(workflow_id.encode(), digest_size=8).hexdigest()}"


async def _find(
    requests: WorkflowRequests, target: Target, point: ResetPoint, request_id: str
) -> tuple[int, str, bool]:
    """The event of the bad step (0: none), the run that has it, and whether this batch was here already.

    Then it is the newest run, and the event that was undone; 0 where an earlier run has it.
    """
    newest = await requests.description(Target(target.workflow_id))
    again = newest.reset_request_id == request_id
    run_id = newest.run_id if again else target.run_id or newest.run_id
    found = 0
    async for event in requests.events_of(Target(target.workflow_id, run_id)):
        reset = event.attributes
        if again and isinstance(reset, history.WorkflowReset) and reset.request_id == request_id:
            return reset.event_id, run_id, True
        if not again and point.is_bad(event) and (point.last_task or not found):
            found = event.event_id
    return found, run_id, again


async def in_parallel(
    chosen: AsyncIterator[ChosenRun], do: Callable[[ChosenRun], Awaitable[ResetResult]], concurrency: int
) -> AsyncIterator[ResetResult]:
    """Do something with each of the runs, so many at a time; give the results as they come."""
    running: set[asyncio.Future[ResetResult]] = set()
    try:
        async for run in chosen:
            if len(running) >= concurrency:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
            running.add(asyncio.ensure_future(do(run)))
        for task in asyncio.as_completed(running):
            yield await task
    finally:
        for task in running:
            task.cancel()
