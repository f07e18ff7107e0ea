"""The workflow of a schedule.

An action is a child that is left alone; its end comes as a signal, which also finds the runs that continue this one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from .. import _context, workflow
from ..errors import ApplicationError, WorkflowAlreadyStartedError, WorkflowNotFoundError
from .action import retry_policy
from .planner import ChangeRefusedError, Planner, iso
from .state import TYPE, Action, Change, Ended, Found, Standing, Taken

SCHEDULED_BY, SCHEDULED_AT = "OdradekScheduledById", "OdradekScheduledStartTime"
"""Search attributes of the workflows that a schedule starts: its ID, and the nominal time (ISO 8601, UTC)."""

_LONG_HISTORY = 1_000
_UPCOMING = 10
_SOON_SECONDS = 0.001


@dataclass
class _Item:
    """Something that was told at a moment (ms). `refusal`: why it was not done."""

    at: int
    what: Change | Ended
    done: bool = False
    refusal: str = ""


@workflow.define(name=TYPE)
class ScheduleWorkflow:
    """One schedule, for as long as it exists. What it is told waits its turn among the times that come."""

    def __init__(self) -> None:
        self._planner: Planner | None = None
        self._inbox: deque[_Item] = deque()

    async def run(self, standing: Standing) -> None:
        planner = self._planner = Planner(standing, workflow.side_effect)
        if not standing.created_ms:
            standing.created_ms = standing.handled_ms = _now()
            if standing.trigger:
                planner.trigger(None, _now())
        while True:
            item = self._inbox[0] if self._inbox else None
            more = await planner.advance(item.at if item else _now(), _now())
            more = await self._act(planner) or more
            if item is not None and not more:
                await self._take(planner, item)
            elif more:
                await asyncio.sleep(_SOON_SECONDS)  # another task: one is not to take too long
            elif not self._inbox:
                await self._wait(planner)

    async def _wait(self, planner: Planner) -> None:
        """Until there is something to do; or begin anew, when history has grown."""
        if workflow.info().history_length >= _LONG_HISTORY:
            await workflow.wait_condition(workflow.all_handlers_finished)
            if not self._inbox:
                workflow.continue_as_new(ScheduleWorkflow, planner.standing)
            return
        due = await planner.next_due()
        try:
            left = None if due is None else max(0, due - _now()) / 1000
            await workflow.wait_condition(lambda: bool(self._inbox), timeout=left)
        except TimeoutError:
            return

    async def _take(self, planner: Planner, item: _Item) -> None:
        self._inbox.popleft()
        try:
            if isinstance(item.what, Ended):
                planner.ended(item.what)
            else:
                await planner.change(item.what, item.at)
        except ChangeRefusedError as error:
            item.refusal = str(error)
        item.done = True

    async def _act(self, planner: Planner) -> bool:
        """Do what is decided; whether there is more."""
        decisions = await planner.decide(_now())
        action = planner.standing.plan.action
        await asyncio.gather(*(_begin(planner, action, taken) for taken in decisions.begin))
        for workflow_id in decisions.cancel:
            await _end(workflow_id, terminate=False)
        for workflow_id in decisions.terminate:
            await _end(workflow_id, terminate=True)
        waiting = planner.standing.buffer and not planner.standing.running  # nothing came of what was begun
        return decisions.more or bool(waiting)

    @workflow.update
    async def change(self, change: Change) -> int:
        """Make a change; returns the version of the plan."""
        item = _Item(_now(), change)
        self._inbox.append(item)
        await workflow.wait_condition(lambda: item.done)
        if item.refusal:
            raise ApplicationError(item.refusal, type="ChangeRefused")
        assert self._planner is not None
        return self._planner.standing.version

    @workflow.signal
    def action_ended(self, ended: Ended) -> None:
        """A workflow of an action has ended."""
        self._inbox.append(_Item(_now(), ended))

    @workflow.query
    def describe(self, now_ms: int) -> Found:
        """How it stands; times ahead of `now_ms` if it is paused."""
        assert self._planner is not None
        return Found(standing=self._planner.standing, upcoming_ms=self._planner.upcoming(now_ms, _UPCOMING))


def _now() -> int:
    return round(workflow.time() * 1000)


async def _begin(planner: Planner, action: Action, taken: Taken) -> None:
    """Start the workflow of an action, once for its time: an ID that was used before is not used again."""
    options: dict[str, Any] = {
        "id": taken.workflow_id,
        "task_queue": action.task_queue,
        "id_reuse_policy": "reject",
        "parent_close_policy": "abandon",
        "cancellation_type": "abandon",
        "close_signal": "action_ended",
        "memo": action.memo,
        "search_attributes": {
            **action.search_attributes,
            SCHEDULED_BY: planner.standing.schedule_id,
            SCHEDULED_AT: iso(taken.nominal_ms),
        },
        "execution_timeout": action.execution_timeout_ms / 1000 or None,
        "run_timeout": action.run_timeout_ms / 1000 or None,
        "task_timeout": action.task_timeout_ms / 1000 or None,
        "retry_policy": retry_policy(action.retry_policy),
    }
    try:
        child = await _context.current().start_child(
            action.workflow_type, action.input, result_type=Any, options=options
        )
    except WorkflowAlreadyStartedError as error:
        planner.not_started(taken, "exists", str(error))
    except Exception as error:
        planner.not_started(taken, "failed_to_start", str(error))
    else:
        planner.started(taken, child.id, child.run_id)


async def _end(workflow_id: str, *, terminate: bool) -> None:
    try:
        reason = "the schedule's next action takes its place"
        await _context.current().messages().cancel_external(workflow_id, "", reason, terminate=terminate)
    except WorkflowNotFoundError:
        return  # it has ended by itself
