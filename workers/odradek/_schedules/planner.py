"""What a schedule does, decided without a clock and without a workflow: which times count, and what overlap means.

Nominal times are taken in order, each once (`handled_ms`). What is to begin passes the buffer, where the overlap policy
decides; an action counts as running from there until its end is told.

Which times there are depends on the rules of time zones, which change: so what was found once is recorded, and found
again on replay (`record`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import Any, TypeAlias

from .state import (
    AddBackfills,
    Backfill,
    Change,
    Ended,
    OverlapPolicy,
    SetPaused,
    SetPlan,
    Standing,
    Start,
    Taken,
    Trigger,
)
from .times import Times

MAX_BUFFER = 1_000
"""Actions that wait for their turn; what comes when it is full is dropped, and counted."""
MAX_RECENT = 10
MAX_BACKFILLS = 100
MAX_AT_ONCE = 100
"""Actions that are begun in one go."""
_TIMES_AT_ONCE = 1_000
_FAILURES = ("failed", "timed_out")
_ENDINGS = {"cancel_other": "cancel", "terminate_other": "terminate"}


Record: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Calls a plain function, and returns what it returned, as JSON; on replay, what it returned then."""


class ChangeRefusedError(Exception):
    """A change that cannot be made; the message says why."""


@dataclass
class Decisions:
    """What is to be done now: workflows to start, and others to end. `more`: ask again when that is done."""

    begin: list[Taken] = field(default_factory=list)
    cancel: list[str] = field(default_factory=list)
    terminate: list[str] = field(default_factory=list)
    more: bool = False


class Planner:
    """Keeps `standing` up to date. Moments are ms, and never go back from call to call."""

    def __init__(self, standing: Standing, record: Record) -> None:
        self.standing = standing
        self._record = record
        self._times = Times(standing.plan.spec, standing.schedule_id)
        self._next: tuple[int, int | None] | None = None  # after that nominal time, the next one is due then

    # ------------------------------------------------------------ time

    async def advance(self, until_ms: int, now_ms: int) -> bool:
        """Take in the times due up to `until_ms`, as seen at `now_ms`; whether there are more than one go takes."""
        standing = self.standing
        due = await self.next_due()
        if due is None or due > until_ms:
            return False
        found = await self._look(until_ms)
        for nominal, due in found:
            if due > until_ms:
                break
            standing.handled_ms = nominal
            if now_ms - due > standing.plan.catchup_window_ms:
                standing.counts.missed += 1
            else:
                self._buffer(Start(nominal_ms=nominal, overlap=standing.plan.overlap))
        else:
            if len(found) == _TIMES_AT_ONCE:
                return True
            due = None
        self._next = standing.handled_ms, due
        return False

    async def next_due(self) -> int | None:
        """When the next time is due; None: there is none, or none that counts."""
        if not self._acts:
            return None
        handled = self.standing.handled_ms
        if self._next is None or self._next[0] != handled:
            found = await self._look(handled)
            self._next = handled, found[0][1] if found else None
        return self._next[1]

    async def _look(self, until_ms: int) -> list[tuple[int, int]]:
        """The next nominal times, and when they are due: all that are up to `until_ms`, and the one after them."""
        handled = self.standing.handled_ms

        def look() -> list[tuple[int, int]]:
            found: list[tuple[int, int]] = []
            for nominal in self._times.after(handled):
                due = self._times.due(nominal)
                found.append((nominal, due))
                if due > until_ms or len(found) == _TIMES_AT_ONCE:
                    break
            return found

        return [(nominal, due) for nominal, due in await self._record(look)]

    async def _pass_by(self, now_ms: int) -> None:
        """Nothing that was due by now is acted on any more; what is, with its jitter, due later, still is."""
        passed: int = await self._record(lambda: self._times.passed(now_ms))
        self.standing.handled_ms = max(self.standing.handled_ms, passed)

    def upcoming(self, now_ms: int, count: int) -> list[int]:
        """When the next times are due, whether paused or not."""
        handled = self.standing.handled_ms
        after = handled if self._acts else max(handled, self._times.passed(now_ms))
        remaining = self.standing.plan.remaining_actions
        count = count if remaining is None else min(count, remaining)
        return [self._times.due(nominal) for nominal in self._times.upcoming(after, count)]

    @property
    def _acts(self) -> bool:
        plan = self.standing.plan
        return not plan.paused and plan.remaining_actions != 0

    def _buffer(self, start: Start) -> None:
        if len(self.standing.buffer) < MAX_BUFFER:
            self.standing.buffer.append(start)
        else:
            self.standing.counts.dropped += 1

    # ------------------------------------------------------------ what to do

    async def decide(self, now_ms: int) -> Decisions:
        """What is to be begun and ended now. What is begun counts as running from here on."""
        standing, decisions = self.standing, Decisions()
        await self._fill_from_backfills()
        waiting, standing.buffer = standing.buffer, []
        last_ending = max((n for n, start in enumerate(waiting) if start.overlap in _ENDINGS), default=-1)
        for number, start in enumerate(waiting):
            if not start.manual and not self._acts:
                continue  # paused, or no action left: what waited is not done any more
            if start.overlap in _ENDINGS and number < last_ending:
                standing.counts.skipped += 1  # the last one would end it at once
            elif len(decisions.begin) == MAX_AT_ONCE:
                standing.buffer.append(start)
                decisions.more = True
            elif start.overlap == "allow_all" or not standing.running:
                self._begin(start, now_ms, decisions)
            else:
                self._overlaps(start, decisions)
        decisions.more = decisions.more or (bool(standing.backfills) and len(standing.buffer) < MAX_BUFFER)
        return decisions

    def _begin(self, start: Start, now_ms: int, decisions: Decisions) -> None:
        standing = self.standing
        if not start.manual and standing.plan.remaining_actions is not None:
            standing.plan.remaining_actions -= 1
        standing.counts.actions += 1
        name = f"{standing.plan.action.workflow_id}-{iso(start.nominal_ms)}"
        taken = Taken(workflow_id=name, nominal_ms=start.nominal_ms, started_ms=now_ms, manual=start.manual)
        standing.running.append(taken)
        standing.recent = [*standing.recent, taken][-MAX_RECENT:]
        decisions.begin.append(taken)

    def _overlaps(self, start: Start, decisions: Decisions) -> None:
        """A time while another action runs."""
        standing = self.standing
        if start.overlap == "buffer_all":
            standing.buffer.append(start)
            return
        if start.overlap == "skip":
            standing.counts.skipped += 1
            return
        if start.overlap == "buffer_one":
            if any(other.overlap == "buffer_one" for other in standing.buffer):
                standing.counts.skipped += 1
            else:
                standing.buffer.append(start)
            return
        standing.buffer.append(start)
        self._end_running(_ENDINGS[start.overlap], decisions)

    def _end_running(self, how: str, decisions: Decisions) -> None:
        asked = decisions.cancel if how == "cancel" else decisions.terminate
        for taken in self.standing.running:
            if taken.asked not in (how, "terminate"):
                taken.asked = how
                asked.append(taken.workflow_id)

    async def _fill_from_backfills(self) -> None:
        standing = self.standing
        left = _TIMES_AT_ONCE
        while standing.backfills and (room := min(left, MAX_BUFFER - len(standing.buffer))) > 0:
            backfill = standing.backfills[0]
            found = await self._times_of(backfill, room)
            for nominal in found:
                standing.buffer.append(Start(nominal_ms=nominal, overlap=backfill.overlap, manual=True))
            left -= len(found)
            if len(found) < room:
                standing.backfills.pop(0)
            else:
                backfill.after_ms = found[-1]

    async def _times_of(self, backfill: Backfill, count: int) -> list[int]:
        after, end = backfill.after_ms, backfill.end_ms
        times: list[int] = await self._record(
            lambda: list(takewhile(lambda nominal: nominal <= end, islice(self._times.after(after), count)))
        )
        return times

    # ------------------------------------------------------------ what came of it

    def started(self, taken: Taken, workflow_id: str, run_id: str) -> None:
        """Its workflow runs."""
        taken.workflow_id, taken.run_id = workflow_id, run_id

    def not_started(self, taken: Taken, status: str, message: str) -> None:
        """There is no workflow of it: its ID was used before (`exists`), or it cannot be started."""
        taken.status, taken.message = status, message[:1_000]
        plan = self.standing.plan
        self.standing.running.remove(taken)
        self.standing.counts.actions -= 1
        if not taken.manual and plan.remaining_actions is not None:
            plan.remaining_actions += 1
        if status != "exists":
            self._failed(f"{taken.workflow_id} could not be started")

    def ended(self, ended: Ended) -> None:
        """A workflow has ended; others than those that run are of no interest."""
        standing = self.standing
        for taken in [one for one in standing.running if one.workflow_id == ended.workflow_id]:
            standing.running.remove(taken)
            for shown in [one for one in standing.recent if one.workflow_id == taken.workflow_id]:
                shown.status = ended.status
            if ended.status in _FAILURES:
                self._failed(f"{taken.workflow_id} has {ended.status.replace('_', ' ')}")

    def _failed(self, what: str) -> None:
        plan = self.standing.plan
        if plan.pause_on_failure and not plan.paused:
            self.standing.version += 1
            plan.paused, plan.note = True, f"paused by pause_on_failure: {what}"[:1_000]

    # ------------------------------------------------------------ changes

    async def change(self, change: Change, now_ms: int) -> None:
        """Make a change, when the times before it are taken in. Raises ChangeRefusedError."""
        standing = self.standing
        if isinstance(change, SetPlan):
            await self._set_plan(change, now_ms)
        elif isinstance(change, SetPaused):
            if standing.plan.paused and not change.paused:
                await self._pass_by(now_ms)  # what came meanwhile is not made up for
            standing.plan.paused, standing.plan.note = change.paused, change.note
            standing.version += 1
        elif isinstance(change, Trigger):
            self.trigger(change.overlap, now_ms)
        else:
            self.add_backfills(change)

    async def _set_plan(self, change: SetPlan, now_ms: int) -> None:
        standing = self.standing
        if change.version not in (0, standing.version):
            raise ChangeRefusedError("the schedule was changed by somebody else meanwhile: look at it, and try again")
        new = change.plan.spec != standing.plan.spec or not self._acts
        standing.plan = change.plan
        standing.version += 1
        standing.updated_ms = now_ms
        self._times = Times(change.plan.spec, standing.schedule_id)
        self._next = None
        if new:
            await self._pass_by(now_ms)  # its times are those from now on

    def trigger(self, overlap: OverlapPolicy | None, now_ms: int) -> None:
        """Act now, also while paused; under a time of its own, so that no two are of one."""
        standing = self.standing
        at = max(now_ms, standing.last_manual_ms + 1)
        standing.last_manual_ms = at
        self._buffer(Start(nominal_ms=at, overlap=overlap or standing.plan.overlap, manual=True))

    def add_backfills(self, change: AddBackfills) -> None:
        """Make up for times gone by."""
        if len(self.standing.backfills) + len(change.backfills) > MAX_BACKFILLS:
            raise ChangeRefusedError(f"{MAX_BACKFILLS} backfills are under way: wait until some are done")
        self.standing.backfills += [
            Backfill(after_ms=one.after_ms, end_ms=one.end_ms, overlap=one.overlap) for one in change.backfills
        ]


def iso(at_ms: int) -> str:
    """A moment as text: to the second, unless it is not a whole one."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds").replace("+00:00", "Z")
