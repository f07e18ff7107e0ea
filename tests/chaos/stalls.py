"""What a partition waited for that did not go on: where its workflows stood, what befell whom, who led it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from odradek_schemas import history
from odradek_schemas.history import HistoryEvent

LONG_S = 10.0
"""What takes less is not shown."""
SHORTEST_S = 1.0
"""What takes less is no stall."""
SHOWN = 6
EARLIER_S = 5.0
"""A fault that ended so shortly before a stall belongs to it, too."""
WAITS_SHOWN = 4
ENDS_OF_ACTIVITIES = (
    history.ActivityCompleted, history.ActivityFailed, history.ActivityTimedOut, history.ActivityCancelled,
)  # fmt: skip


class Happened(NamedTuple):
    """An event of a workflow. `at`: when the log took it into the public history (Unix time, s), after an engine had
    folded what it comes from."""

    at: float
    workflow_id: str
    run_id: str
    event: HistoryEvent

    @property
    def advances(self) -> bool:
        """Whether that took a broker, an engine and a worker."""
        return isinstance(self.event.attributes, history.WorkflowTaskCompleted)


class Span(NamedTuple):
    """Something that lasted, from and to a Unix time."""

    what: str
    begun: float
    ended: float


class Wait(NamedTuple):
    """Something that brokers, engines or workers had to do for a workflow, from `since` (Unix time) until it was done.
    `last`: the workflow's last event before the end of the stall."""

    since: float
    until: float
    what: str
    workflow_id: str
    last: HistoryEvent


class Stall(NamedTuple):
    """A partition in which no workflow has advanced from `begun` to `ended`, though there was something to do for
    `waited` of these seconds. `waits`: what that was, the longest first. `went_on`: the event that ended it, if it has
    ended."""

    partition: int
    begun: float
    ended: float
    waited: float
    waits: list[Wait]
    went_on: list[Happened]


class _Run:
    """What is open in a run, by its events so far: inputs that no worker has looked at, activities, timers; each with
    what it is, and since when it can be done."""

    def __init__(self, workflow_id: str) -> None:
        self.workflow_id = workflow_id
        self.last: HistoryEvent | None = None
        self._open: dict[tuple[str, int], tuple[str, float]] = {}
        self._done: list[tuple[str, float, float]] = []

    def take(self, event: HistoryEvent) -> None:
        """The next event of the run."""
        self.last = event
        what, at = event.attributes, event.time_ms / 1000
        if isinstance(what, history.INPUTS):
            self._open["input", event.event_id] = f"no worker has taken {type(what).__name__} in", at
        if isinstance(what, history.WorkflowTaskCompleted):
            for kind, number in list(self._open):
                if kind == "input" and (number <= what.consumed_through or number in what.local_events):
                    self._end(kind, number, at)
        elif isinstance(what, history.ActivityScheduled):
            self._open["activity", what.seq] = f"activity {what.activity_type} has no result", at
        elif isinstance(what, history.TimerStarted):
            self._open["timer", what.seq] = "a timer that is due has not fired", what.due_ms / 1000
        elif isinstance(what, history.TimerFired | history.TimerCancelled):
            self._end("timer", what.seq, at)
        elif isinstance(what, ENDS_OF_ACTIVITIES):
            self._end("activity", what.seq, at)
        elif isinstance(what, history.CLOSES):
            for kind, number in list(self._open):
                self._end(kind, number, at)

    def _end(self, kind: str, number: int, at: float) -> None:
        if found := self._open.pop((kind, number), None):
            self._done.append((*found, at))

    def waits(self, begun: float, ended: float) -> list[Wait]:
        """What there was to do at some time of a stall."""
        spans = [*self._done, *((what, since, ended) for what, since in self._open.values())]
        self._done.clear()
        cut = ((max(since, begun), min(until, ended), since, what) for what, since, until in spans)
        return [
            Wait(since, until, what, self.workflow_id, self.last)
            for first, until, since, what in cut
            if first < until and self.last is not None
        ]


def stalls(partition: int, happened: Sequence[Happened], until: float) -> list[Stall]:
    """All of one partition, in their order; what goes on still has lasted up to `until`."""
    runs: dict[str, _Run] = {}
    found = []
    begun, taken = None, 0
    for number in [*(n for n, one in enumerate(happened) if one.advances), len(happened)]:
        ended = happened[number].at if number < len(happened) else until
        if begun is not None and ended - begun > SHORTEST_S:
            _take(runs, happened[taken:number])
            taken = number
            waits = [wait for run in runs.values() for wait in run.waits(begun, ended)]
            waits.sort(key=lambda wait: max(wait.since, begun) - wait.until)
            if waits:
                waited = _covered((max(wait.since, begun), wait.until) for wait in waits)
                found.append(Stall(partition, begun, ended, waited, waits, list(happened[number : number + 1])))
        begun = ended
    return found


def _take(runs: dict[str, _Run], happened: Iterable[Happened]) -> None:
    for one in happened:
        run = runs.setdefault(one.run_id, _Run(one.workflow_id))
        if run.last is None or one.event.event_id > run.last.event_id:  # a new leader may publish it again
            run.take(one.event)


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """The seconds in at least one of them."""
    total, reached = 0.0, float("-inf")
    for begun, ended in sorted(spans):
        total += max(0.0, ended - max(begun, reached))
        reached = max(reached, ended)
    return total


def shown(found: Iterable[Stall], faults: Sequence[Span], leaders: Sequence[tuple[int, float, str]]) -> list[str]:
    """Lines for people about the longest stalls, one of several that go on at the same time. `leaders`: (partition,
    when, which engine led it from then on)."""
    lines: list[str] = []
    chosen: list[Stall] = []
    for stall in sorted(found, key=lambda one: -one.waited):
        like = next((one for one in chosen if one.begun < stall.ended and stall.begun < one.ended), None)
        if like is None and len(chosen) < SHOWN:
            chosen.append(stall)
    for stall in chosen:
        others = {one.partition for one in found if stall.begun < one.ended and one.begun < stall.ended}
        others.discard(stall.partition)
        lines += _of_one(stall, len(others), faults, leaders)
    return lines


def _of_one(stall: Stall, others: int, faults: Sequence[Span], leaders: Sequence[tuple[int, float, str]]) -> list[str]:
    begun = stall.begun
    clock = time.strftime("%H:%M:%S", time.localtime(begun))
    also = f", and {others} others meanwhile" if others else ""
    lines = [
        f"partition {stall.partition} stood still for {stall.waited:.1f} s of the {stall.ended - begun:.1f} s "
        f"after {clock}{also}"
    ]
    lines += [
        f"    {fault.what}: from {fault.begun - begun:+.1f} s to {fault.ended - begun:+.1f} s"
        for fault in faults
        if fault.begun < stall.ended and fault.ended > begun - EARLIER_S
    ]
    lines += [
        f"    {engine} led it from {at - begun:+.1f} s"
        for partition, at, engine in leaders
        if partition == stall.partition and begun - EARLIER_S < at <= stall.ended + 1.0
    ]
    for wait in stall.waits[:WAITS_SHOWN]:
        lines.append(
            f"    {wait.workflow_id}: {wait.what}, from {wait.since - begun:+.1f} s to {wait.until - begun:+.1f} s "
            f"(last event: {type(wait.last.attributes).__name__}, {stall.ended - wait.last.time_ms / 1000:.1f} s old)"
        )
    if len(stall.waits) > WAITS_SHOWN:
        lines.append(f"    and {len(stall.waits) - WAITS_SHOWN} more things to do")
    lines += [
        f"    went on: {one.workflow_id}, by what a worker appended at {one.event.time_ms / 1000 - begun:+.1f} s"
        for one in stall.went_on
    ]
    return lines


__all__ = ["LONG_S", "Happened", "Span", "Stall", "shown", "stalls"]
