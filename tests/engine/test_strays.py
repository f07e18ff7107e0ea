"""Tasks that wait at a build of workers that is gone go to the current one, if their runs may (rule T3)."""

from __future__ import annotations

import pytest
from odradek_engine import strays
from odradek_engine.sessions import Sessions
from odradek_engine.strays import AFTER_MS, Strays
from odradek_schemas import records, tasks
from odradek_schemas.ephemeral import WorkerHeartbeat

from .harness import TOPICS, Partition, act
from .solo import ManualClock

LATER = AFTER_MS + 1


class World:
    """A partition, what its leader has heard for so long that silence says something, and its look at stray tasks."""

    def __init__(self, p: Partition) -> None:
        self.p = p
        self.clock = ManualClock()
        self.sessions = Sessions(p.state, self.clock, 10.0)
        self.clock.seconds = 11.0
        self.strays = Strays(p.state, self.sessions)

    def make_current(self, build: str) -> None:
        self.p.append(records.SetCurrentBuild(task_queue="orders", build_id=build))

    def heard(self, build: str) -> None:
        beat = WorkerHeartbeat(session=build, workflow_queues=["orders"], activity_queues=["orders"], build_id=build)
        self.sessions.heard(beat)

    def left(self, build: str) -> None:
        self.sessions.heard(WorkerHeartbeat(session=build, build_id=build, leaving=True))

    def move(self) -> list[str]:
        """Look, and fold what follows; the topics that tasks go to."""
        before = len(self.p.effects)
        for record in list(self.strays.take(self.p.now + LATER)):
            self.p.append(record)
        made = (tasks.WorkflowTask, tasks.ActivityTask)
        new = self.p.effects[before:]
        return [topic.removeprefix(TOPICS.prefix) for topic, _, body in new if isinstance(body, made)]


def test_t3_a_workflow_task_goes_on_to_the_current_build_once_its_own_is_gone(p: Partition) -> None:
    """Breaks when it waits minutes for workers that were stopped, or is taken from workers that live."""
    world = World(p)
    world.make_current("v1")
    p.start()
    world.heard("v1")
    world.make_current("v2")
    assert world.move() == [], "its workers live: they take it"
    world.clock.seconds += 11
    assert world.move() == ["workflow-builds.6.orders.v2"]
    assert world.move() == [], "once is enough"
    p.finish()


def test_t3_a_worker_that_is_restarted_keeps_its_tasks(p: Partition) -> None:
    """Breaks when a build counts as gone as soon as its worker has ended: one that is restarted is back in a moment.
    Nobody is told that it is there meanwhile."""
    world = World(p)
    world.make_current("v1")
    p.start()
    world.heard("v1")
    world.make_current("v2")
    assert world.sessions.pollers("orders", "v1") == 1
    world.left("v1")
    world.left("v3")
    assert world.sessions.pollers("orders", "v1") == world.sessions.activity_pollers("orders", "v1") == 0
    assert not world.sessions.builds("orders")
    assert world.move() == []
    world.clock.seconds += 11
    assert world.move() == ["workflow-builds.6.orders.v2"]
    p.finish()


def test_t3_an_activity_goes_too_and_is_claimed(p: Partition) -> None:
    """Breaks when a task may run twice that was out at both builds."""
    world = World(p)
    world.make_current("v1")
    p.start()
    p.advance(act(1), act(2, task_queue="push"), build_id="v1", versioning="auto_upgrade")
    world.make_current("v2")
    assert world.move() == ["activity-builds.6.orders.v2"]
    assert p.made(tasks.ActivityTask)[-1].claim
    p.finish()


def test_pinned_runs_wait_for_their_build_with_their_activities(p: Partition) -> None:
    """Breaks when a drain that was cut short moves a run to code that it does not fit."""
    world = World(p)
    world.make_current("v1")
    p.start()
    p.advance(act(1), build_id="v1", versioning="pinned")
    p.signal()
    world.make_current("v2")
    assert world.move() == []


def test_a_new_leader_waits_until_it_would_have_heard(p: Partition) -> None:
    """Breaks when a takeover takes every task away from workers that have not had the time to speak."""
    world = World(p)
    world.sessions = Sessions(p.state, world.clock, 10.0)
    world.strays = Strays(p.state, world.sessions)
    world.make_current("v1")
    p.start()
    world.make_current("v2")
    assert world.move() == []
    world.clock.seconds += 11
    assert world.move() == ["workflow-builds.6.orders.v2"]


def test_many_that_must_wait_do_not_hide_one_that_need_not(p: Partition, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when each look begins at the oldest task."""
    monkeypatch.setattr(strays, "LOOKED_AT", 3)
    world = World(p)
    for number in range(7):
        p.start(f"pinned-{number}", build_id="v0")
    world.make_current("v1")
    p.wait(1)
    p.start("free")
    world.make_current("v2")
    assert [world.move() for _ in range(3)] == [[], [], ["workflow-builds.6.orders.v2"]]
