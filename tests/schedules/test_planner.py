"""What a schedule decides, against a simple model: any lengths of actions, any times at which nobody was there."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from odradek._schedules.planner import MAX_BUFFER, Planner
from odradek._schedules.spec import ScheduleCalendarSpec, ScheduleIntervalSpec, ScheduleSpec
from odradek._schedules.state import Action, Change, Ended, Plan, SetPaused, SetPlan, Standing
from odradek._schedules.times import Times

T = TypeVar("T")
MINUTE = 60_000
POLICIES = ["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]


async def at_once(look: Callable[[], Any]) -> Any:
    """In place of what the workflow records."""
    return look()


def done(asked: Coroutine[Any, Any, T]) -> T:
    """The result of what never waits."""
    try:
        asked.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waits for something")


class World:
    """Runs a planner's decisions: actions end after their lengths, those asked to end do at once."""

    def __init__(self, overlap: Any, lengths: list[int], jitter: float = 0, **plan: Any) -> None:
        spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=60)], jitter=jitter)
        action = Action(workflow_type="W", workflow_id="w")
        standing = Standing(schedule_id="s", plan=Plan(action=action, spec=spec, overlap=overlap, **plan))
        self.planner = Planner(standing, at_once)
        self.lengths = lengths
        self.now = 0
        self.begun: list[tuple[int, int]] = []  # nominal time and when
        self.ends: dict[str, int] = {}
        self.most = 0

    def look(self, now: int) -> None:
        """Somebody is there at `now`, and does all that there is to do."""
        self.now = now
        while True:
            more = done(self.planner.advance(now, now))
            decisions = done(self.planner.decide(now))
            for taken in decisions.begin:
                self.ends[taken.workflow_id] = now + self.lengths[len(self.begun) % len(self.lengths)]
                self.begun.append((taken.nominal_ms, now))
                self.planner.started(taken, taken.workflow_id, "r")
            self.most = max(self.most, len(self.ends))
            for workflow_id in decisions.cancel + decisions.terminate:
                self.end(workflow_id)
            if not (more or decisions.more or decisions.cancel or decisions.terminate):
                return

    def end(self, workflow_id: str) -> None:
        if self.ends.pop(workflow_id, None) is not None:
            self.planner.ended(Ended(workflow_id=workflow_id, run_id="r", status="completed"))

    def pass_time(self, until: int) -> None:
        """Somebody is there all the time: each time and each end is seen at its moment."""
        while True:
            due = done(self.planner.next_due())
            moments = [*self.ends.values(), *([] if due is None else [due])]
            if min(moments, default=until + 1) > until:
                self.now = until
                return
            at = min(moments)
            self.look(at)
            for workflow_id in [one for one, end in self.ends.items() if end <= at]:
                self.end(workflow_id)
            self.look(at)


def model(overlap: str, lengths: list[int], minutes: int) -> list[tuple[int, int]]:
    """What is begun, and when, by looking at the minutes one after the other."""
    begun: list[tuple[int, int]] = []
    free, waiting = 0, []
    for nominal in range(MINUTE, minutes * MINUTE + 1, MINUTE):
        while waiting and free < nominal:
            begun.append((waiting.pop(0), free))
            free += lengths[(len(begun) - 1) % len(lengths)]
        if free < nominal or overlap in ("allow_all", "cancel_other", "terminate_other"):
            begun.append((nominal, nominal))
            free = nominal + lengths[(len(begun) - 1) % len(lengths)]
        elif overlap == "buffer_all" or (overlap == "buffer_one" and not waiting):
            waiting.append(nominal)
    while waiting and free <= minutes * MINUTE:
        begun.append((waiting.pop(0), free))
        free += lengths[(len(begun) - 1) % len(lengths)]
    return begun


LENGTHS = st.lists(st.integers(1, 300_000) | st.just(2 * MINUTE), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(POLICIES), LENGTHS, st.integers(1, 60))
def test_what_is_begun_and_when(overlap: str, lengths: list[int], minutes: int) -> None:
    world = World(overlap, lengths)
    world.pass_time(minutes * MINUTE)
    assert world.begun == model(overlap, lengths, minutes)
    assert overlap == "allow_all" or world.most <= 1


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(POLICIES),
    LENGTHS,
    st.lists(st.tuples(st.booleans(), st.integers(1, 100 * MINUTE)), max_size=8),
    st.integers(10, 200).map(lambda minutes: minutes * MINUTE),
)
def test_every_time_is_acted_on_once_or_counted(
    overlap: str, lengths: list[int], stretches: list[tuple[bool, int]], window: int
) -> None:
    """Whenever somebody was there: no time twice, none forgotten, one at a time unless all are allowed."""
    world = World(overlap, lengths, catchup_window_ms=window)
    for somebody, length in stretches:
        until = world.now + length
        if somebody:
            world.pass_time(until)
        else:
            world.look(until)  # the first look after nobody was there
            for workflow_id in [one for one, end in world.ends.items() if end <= until]:
                world.end(workflow_id)
            world.look(until)
    standing = world.planner.standing
    nominal = [one for one, _ in world.begun]
    assert len(set(nominal)) == len(nominal)
    assert nominal == sorted(nominal)
    times = world.now // MINUTE
    counts = standing.counts
    assert counts.actions == len(nominal)
    assert len(nominal) + counts.skipped + counts.missed + counts.dropped + len(standing.buffer) == times
    assert overlap == "allow_all" or world.most <= 1
    assert all(at - nominal <= window or overlap.startswith("buffer") for nominal, at in world.begun)
    assert len(standing.buffer) <= MAX_BUFFER


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 20 * MINUTE), min_size=1, max_size=10))
def test_no_time_within_a_pause_is_acted_on(stretches: list[int]) -> None:
    world = World("allow_all", [1])
    expected: list[int] = []
    paused = False
    for length in stretches:
        begin = world.now
        world.pass_time(begin + length)
        if not paused:
            expected += range(begin // MINUTE * MINUTE + MINUTE, world.now + 1, MINUTE)
        paused = not paused
        done(world.planner.change(SetPaused(paused=paused), world.now))
    assert [nominal for nominal, _ in world.begun] == expected


CHANGES = st.tuples(st.sampled_from(["pause", "spec", "same"]), st.integers(1, 5 * MINUTE))


@settings(max_examples=150, deadline=None)
@given(st.lists(CHANGES, min_size=1, max_size=10), st.integers(0, 300))
def test_a_time_whose_jitter_ends_after_a_change_is_not_lost(stretches: list[tuple[str, int]], jitter: int) -> None:
    """What counts is when a time is due: not within a pause, and of the spec that is in force then."""
    world = World("allow_all", [1], jitter=jitter)
    standing = world.planner.standing
    acted: set[int] = set()
    for what, length in stretches:
        begin, paused, spec = world.now, standing.plan.paused, standing.plan.spec
        times = Times(spec, "s")
        world.pass_time(begin + length)
        if not paused:
            acted |= {n for n in times.upcoming(0, 60) if begin < times.due(n) <= world.now}
        if what == "pause":
            change: Change = SetPaused(paused=not paused)
        else:
            skip = spec.skip if what == "same" else [ScheduleCalendarSpec(year=[2000 + len(acted)])]
            other = ScheduleSpec(intervals=spec.intervals, jitter=spec.jitter, skip=skip)  # has the same times
            change = SetPlan(plan=msgspec.structs.replace(standing.plan, spec=other))
        done(world.planner.change(change, world.now))
    assert [nominal for nominal, _ in world.begun] == sorted(acted)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 400_000_000), st.integers(0, 3_000), st.sampled_from([1, 7, 60, 3600]))
def test_what_is_passed_is_what_was_due(now: int, jitter: int, every: int) -> None:
    times = Times(ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)], jitter=jitter), "s")
    passed = times.passed(now)
    assert times.due(times.upcoming(passed, 1)[0]) > now
    before = (passed // (every * 1000)) * every * 1000
    assert passed <= now
    assert before <= 0 or times.due(before) <= now
