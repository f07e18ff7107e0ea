"""A client's way to schedules: each is a workflow, asked by updates and queries, in plain JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from inspect import isawaitable
from typing import Any

from odradek_schemas.common import Record, Request
from odradek_schemas.ephemeral import ListRuns
from odradek_schemas.records import StartWorkflow
from odradek_schemas.replies import RunsPage

from .._handle import Target
from .._options import seconds
from .._refusals import refused
from .._requests import WorkflowRequests
from .._types import Duration
from ..errors import (
    ApplicationError,
    DefinitionError,
    InvalidRequestError,
    ScheduleAlreadyRunningError,
    ScheduleNotFoundError,
    UpdateFailedError,
    WorkflowAlreadyStartedError,
    WorkflowNotFoundError,
)
from .opaque import OpaqueConverter
from .schedule import (
    Schedule,
    ScheduleBackfill,
    ScheduleDescription,
    backfill_of,
    check_overlap,
    description_of,
    plan_of,
)
from .state import (
    ID_PREFIX,
    TASK_QUEUE,
    TYPE,
    AddBackfills,
    Change,
    Found,
    OverlapPolicy,
    Plan,
    SetPaused,
    SetPlan,
    Standing,
    Trigger,
)

_AT_ONCE = 20
_ATTEMPTS = 10
"""How often a change is tried again when others change the schedule at the same time."""

Updater = Callable[[ScheduleDescription], "Schedule | Awaitable[Schedule | None] | None"]


class ScheduleHandle:
    """One schedule. Made by `Client.create_schedule` and `Client.get_schedule`.

    All calls raise ScheduleNotFoundError, RequestTimeoutError if no engine answers, and ClientClosedError.
    """

    def __init__(self, requests: WorkflowRequests, id: str, target: Target | None = None) -> None:
        self._requests = requests
        self._plain = WorkflowRequests(requests.connection, requests.timeout, converter=OpaqueConverter())
        self._target = target or Target(f"{ID_PREFIX}{checked_id(id)}")
        self._id = id

    @property
    def id(self) -> str:
        """The schedule's ID."""
        return self._id

    @property
    def workflow_id(self) -> str:
        """The ID of the workflow that is this schedule."""
        return self._target.workflow_id

    def with_options(self, *, timeout: Duration) -> ScheduleHandle:
        """The same handle, with another time to wait for an answer."""
        return ScheduleHandle(self._requests, self._id, replace(self._target, timeout=seconds(timeout)))

    async def describe(self) -> ScheduleDescription:
        """How it stands: its next times, what runs, what was done lately, and what was left out."""
        return description_of(await self._find(), self._requests.converter)

    async def update(self, updater: Schedule | Updater, /) -> None:
        """Replace the schedule by another one; or by what `updater`, a function, makes of its description (None: leave
        it). Such a function is called again if somebody else changes the schedule meanwhile.

        When the spec changes, its times count from now on. Raises InvalidRequestError if it goes on changing.
        """
        if isinstance(updater, Schedule):
            await self._change(SetPlan(plan=plan_of(updater, self._id, self._requests.converter)))
            return
        for attempt in range(1, _ATTEMPTS + 1):
            description = await self.describe()
            made = updater(description)
            schedule = await made if isawaitable(made) else made
            if schedule is None:
                return
            plan = plan_of(schedule, self._id, self._requests.converter)
            try:
                await self._change(SetPlan(plan=plan, version=description.version))
                return
            except InvalidRequestError:
                if attempt == _ATTEMPTS:
                    raise

    async def pause(self, *, note: str = "paused") -> None:
        """Take no action until `unpause`, but those of triggers and backfills. What runs goes on. note: for people."""
        await self._change(SetPaused(paused=True, note=note))

    async def unpause(self, *, note: str = "") -> None:
        """Go on, with the times that come. Those that passed meanwhile are left out; `backfill` makes up for them."""
        await self._change(SetPaused(paused=False, note=note))

    async def trigger(self, *, overlap: OverlapPolicy | None = None) -> None:
        """Act now, also while it is paused. overlap: default is that of the schedule."""
        check_overlap(overlap)
        await self._change(Trigger(overlap=overlap))

    async def backfill(self, *backfills: ScheduleBackfill) -> None:
        """Act at times gone by. Returns when that has begun. Raises InvalidRequestError if 100 are under way."""
        if not backfills:
            raise DefinitionError("backfill takes at least one ScheduleBackfill(start_at=..., end_at=...)")
        default = (await self._find()).standing.plan.overlap
        await self._change(AddBackfills(backfills=[backfill_of(one, default) for one in backfills]))

    async def delete(self) -> None:
        """End the schedule. The workflows that it has started go on."""
        with self._as_schedule():
            await self._requests.terminate(self._target, "the schedule was deleted")

    async def _find(self) -> Found:
        with self._as_schedule():
            now = self._requests.connection.now_ms()
            query = self._plain.query(self._target, "describe", [now], Found)
            described = self._requests.describe(self._target)
            about, found = await asyncio.gather(described, query)
        if about.status != "running":  # a deleted one still answers queries
            raise self._not_found()
        result: Found = found
        return result

    async def _change(self, change: Change) -> None:
        with self._as_schedule():
            try:
                await self._plain.update(self._target, "change", [change], wait_for="completed", result_type=int)
            except UpdateFailedError as error:
                said = error.cause
                if isinstance(said, ApplicationError):
                    raise InvalidRequestError(f"schedule {self._id!r}: {said.message}") from None
                raise

    @contextmanager
    def _as_schedule(self) -> Generator[None]:
        try:
            yield
        except WorkflowNotFoundError:
            raise self._not_found() from None

    def _not_found(self) -> ScheduleNotFoundError:
        return ScheduleNotFoundError(
            f"there is no schedule {self._id!r} in namespace {self._requests.connection.namespace!r}"
        )

    def __repr__(self) -> str:
        return f"<schedule handle {self._id!r}>"


async def create(
    requests: WorkflowRequests,
    id: str,
    schedule: Schedule,
    *,
    trigger_immediately: bool,
    backfill: Sequence[ScheduleBackfill],
    memo: Mapping[str, Any],
    search_attributes: Mapping[str, Any],
    request_id: str | None,
) -> ScheduleHandle:
    """Begin a schedule: its workflow."""
    handle = ScheduleHandle(requests, id)
    converter = requests.converter
    plan: Plan = plan_of(schedule, id, converter)
    standing = Standing(
        schedule_id=id,
        plan=plan,
        trigger=trigger_immediately,
        backfills=[backfill_of(one, plan.overlap) for one in backfill],
    )
    input = handle._plain.converter.to_payloads([standing])
    notes = {name: converter.to_payload(value) for name, value in memo.items()}
    attributes = {name: converter.plain.to_payload(value) for name, value in search_attributes.items()}

    def make(request: Request) -> Record:
        return StartWorkflow(
            workflow_id=handle.workflow_id,
            workflow_type=TYPE,
            task_queue=TASK_QUEUE,
            input=input,
            request=request,
            memo=notes,
            search_attributes=attributes,
        )

    reply = await requests.append(Target(handle.workflow_id, request_id=request_id), make)
    if reply.outcome != "started":
        try:
            refused(handle.workflow_id, reply)
        except WorkflowAlreadyStartedError:
            raise ScheduleAlreadyRunningError(
                f"there is a schedule {id!r} already: change it with update(), or delete it first"
            ) from None
    return handle


async def listed(requests: WorkflowRequests) -> AsyncIterator[ScheduleDescription]:
    """All schedules, each as it is described, partition by partition: their workflow IDs are side by side."""
    for partition in range(requests.connection.partitions):
        after = ID_PREFIX
        while after.startswith(ID_PREFIX):
            make = partial(_list_runs, after)
            page = await requests.ask_partition(partition, "(a list of schedules)", make, RunsPage)
            ids = [run.workflow_id.removeprefix(ID_PREFIX) for run in page.runs]
            for start in range(0, len(ids), _AT_ONCE):
                described = (_describe_one(requests, id) for id in ids[start : start + _AT_ONCE])
                for found in await asyncio.gather(*described):
                    if found is not None:
                        yield found
            after = page.next_after


def _list_runs(after: str, request: Request) -> Record:
    return ListRuns(request=request, workflow_type=TYPE, status="running", after=after)


async def _describe_one(requests: WorkflowRequests, schedule_id: str) -> ScheduleDescription | None:
    try:
        return await ScheduleHandle(requests, schedule_id).describe()
    except ScheduleNotFoundError:
        return None  # deleted meanwhile


def checked_id(schedule_id: Any) -> str:
    if not isinstance(schedule_id, str) or not schedule_id:
        raise DefinitionError(f"a schedule needs an ID, such as 'nightly-report', not {schedule_id!r}")
    return schedule_id
