"""Scenarios that lead to one race each.

Random worlds seldom get into the races that rules of the protocol are about. These do: they are what planted bugs are
caught in, and what ordinary seeds are now and then, so that the real code meets the same races.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

from odradek_engine.fold.step import WORK

from .customers import Habits
from .faults import Weather
from .scenarios import EVERYTHING, Scenario
from .scripts import ALL_ACTIVITIES, ALL_STEPS, Mix

SPECIAL: list[Scenario] = []


def drawn(seed: int) -> Scenario:
    """What kind of world an ordinary seed has."""
    rng = Random(f"scenario-{seed}")
    if rng.random() < 0.3:
        return rng.choice(SPECIAL)
    scenario = replace(EVERYTHING, engines=rng.choice((2, 2, 3)), standbys=rng.choice((0, 1, 1)))
    more = rng.random()
    if more < 0.2:
        return replace(scenario, upgrades="forward", announce_interval=3.0, checkpoints=rng.choice((0.0, 4.0)))
    if more < 0.4:
        weather = replace(scenario.weather, kinds={**scenario.weather.kinds, "damaged checkpoint": 3.0})
        return replace(scenario, checkpoints=4.0, weather=weather)
    return scenario


def small(**fields: Any) -> Scenario:
    """A small world, so that the race is most of what happens, and hopeless soon."""
    return Scenario(**{"orders": (0, 0), "reissues": 0.0, "quiet": 45.0, "patience": 100.0, **fields})


def special(**fields: Any) -> Scenario:
    """One that fresh seeds are, too."""
    scenario = small(**fields)
    SPECIAL.append(scenario)
    return scenario


def only(kinds: Mapping[str, float], counts: tuple[int, ...], seconds: float = 12.0, **fields: Any) -> Weather:
    """Nothing but these faults, on a log that takes everything once."""
    calm = {"kinds": kinds, "counts": counts, "seconds": seconds, "refuse": (0.0,), "repeat": (0.0,)}
    return Weather(**{**calm, **fields})


CALM = Habits(meddling={"none": 1}, messages=(0, 0), delays=(0.0,))
KEEP = {
    "cache_bytes": (10_000_000,),
    "max_concurrent_activities": (100,),
    "eager_activities": (True,),
    "lost_after": (3,),
}
TASKS = {**KEEP, "eager_activities": (False,)}

CUT_OFF = special(
    name="workers that are taken for dead, and are not: what they did arrives late",
    engines=1,
    partitions=2,
    tasks=(3, 5),
    mix=Mix(steps={"act": 6, "par": 1}, activities={"brief": 1}, length=(5, 8), again=0, wait=0),
    habits=CALM,
    weather=only({"cut off": 1}, (3, 4), roles={"cut off": "worker"}, sizes={"cut off": (4.8, 7.5)}),
    workers=KEEP,
)

LATE_FAILURES = special(
    name="attempts that are given up, and fail after all",
    engines=1,
    partitions=2,
    tasks=(3, 5),
    mix=Mix(steps={"act": 3, "par": 2}, activities={"brief": 1}, failures=(1, 2), length=(4, 6), again=0, wait=0),
    habits=CALM,
    weather=only({"cut off": 1}, (5, 7), roles={"cut off": "worker"}, sizes={"cut off": (3.1, 4.5)}),
    workers=TASKS,
)

EAGER = special(
    name="eager activities of runs that are ended from outside",
    engines=1,
    partitions=2,
    tasks=(4, 6),
    mix=Mix(steps={"act": 1}, activities={"quick": 4, "brief": 1}, length=(10, 16), again=0, wait=0),
    habits=Habits(meddling={"terminate": 1, "reset": 2}, messages=(0, 0), pauses=(0.5, 1.0, 2.0, 3.0), delays=(0.0,)),
    weather=only({"cut off": 1}, (12, 16), seconds=5, roles={"cut off": "worker"}, sizes={"cut off": (0.3, 1.5)}),
    workers=KEEP,
)

CONTESTED = special(
    name="workers that go on with what others have",
    engines=1,
    partitions=2,
    tasks=(5, 6),
    mix=Mix(steps={"act": 5, "par": 1}, activities={"quick": 1, "brief": 4}, length=(6, 8), again=0),
    habits=Habits(meddling={"none": 1}, messages=(5, 5), pauses=(0.3, 0.7, 1.2), delays=(0.0,)),
    weather=only({"zombie": 1, "numb": 4}, (20, 24), seconds=6, roles={"zombie": "worker", "numb": "worker"},
                  sizes={"zombie": (1.0, 12.0), "numb": (0.4, 1.2)}),
    workers=KEEP,
)

REPLAYS = special(
    name="workers that remember little, and read much at once",
    engines=1,
    partitions=2,
    tasks=(3, 4),
    mix=Mix(steps={"act": 1}, activities={"quick": 1, "brief": 2}, length=(5, 7), again=0),
    habits=Habits(meddling={"none": 1}, messages=(5, 5), pauses=(0.1, 0.3, 0.7), delays=(0.0,)),
    weather=only({"cut off": 1}, (8, 12), seconds=5, roles={"cut off": "worker"}, sizes={"cut off": (0.4, 1.2)}),
    workers={**TASKS, "cache_bytes": (1,)},
)

REREAD = special(
    name="tasks that are read again from the first one on",
    engines=1,
    partitions=2,
    tasks=(3, 5),
    mix=Mix(steps={"act": 1, "sleep": 1}, activities={"quick": 1}, length=(5, 8), again=0, sleeps=(2.0, 3.0)),
    habits=CALM,
    weather=only({"forget commits": 1, "expel": 1}, (10, 14), seconds=12, roles={"expel": "worker"}),
    workers=TASKS,
)

CRASHES = special(
    name="workers that die with tasks in hand",
    engines=1,
    partitions=2,
    tasks=(4, 6),
    mix=Mix(steps={"act": 2, "par": 1, "sleep": 3}, inner={"act": 1}, activities={"quick": 1}, length=(7, 10), again=0,
            sleeps=(0.5, 1.0)),
    habits=CALM,
    weather=only({"crash": 2, "cut off": 3}, (14, 18), roles={"crash": "worker", "cut off": "worker"},
                  sizes={"crash": (0, 8), "cut off": (0.5, 2.0)}),
    workers=TASKS,
)

SKIPS = special(
    name="tasks that are gone before a worker has read them",
    engines=1,
    machines=1,
    partitions=2,
    tasks=(3, 5),
    mix=Mix(steps={"act": 3, "par": 2}, activities={"quick": 1}, length=(3, 5), again=0),
    habits=CALM,
    weather=only({"expire": 5, "pause": 2}, (30, 40), seconds=8, roles={"pause": "worker"},
                  sizes={"pause": (0.3, 1.0)}),
    workers=TASKS,
    reissue_after=5.0,
    quiet=20.0,
)

ONCE = special(
    name="activities that may run once, on workers that are lost",
    engines=1,
    partitions=2,
    tasks=(3, 5),
    mix=Mix(steps={"act": 2, "par": 2}, activities={"once": 1}, length=(2, 4), again=0),
    habits=CALM,
    weather=only({"cut off": 1, "crash": 1}, (6, 9), seconds=8, roles={"cut off": "worker", "crash": "worker"},
                  sizes={"cut off": (3.2, 5.5), "crash": (0, 12)}),
    workers=TASKS,
)

RESETS = special(
    name="runs that are reset while something of them is on its way",
    engines=1,
    partitions=2,
    tasks=(4, 6),
    mix=Mix(steps={"par": 1}, inner={"act": 2, "sleep": 3}, activities={"slow": 1, "brief": 2}, length=(2, 3), again=0,
            sleeps=(1.0, 2.0)),
    habits=Habits(meddling={"reset": 1}, messages=(0, 2), pauses=(0.7, 1.5, 2.5), delays=(0.0,), depths=(1.0,)),
    weather=only({"cut off": 1}, (16, 20), seconds=6, roles={"cut off": "worker engine"},
                  sizes={"cut off": (0.5, 1.5)}),
    workers=KEEP,
    work=(WORK, 3),
)

RESET_TIMERS = special(
    name="runs that are reset while their timers fire",
    engines=1,
    partitions=2,
    tasks=(5, 6),
    mix=Mix(steps={"par": 1}, inner={"sleep": 1}, length=(2, 3), again=0, sleeps=(1.5, 3.0), width=(5, 7)),
    habits=Habits(meddling={"reset": 1}, messages=(0, 1), pauses=(0.9, 1.4, 1.9), delays=(0.0,), depths=(1.0,)),
    weather=only({"cut off": 1}, (10, 14), seconds=5, roles={"cut off": "engine"}, sizes={"cut off": (0.4, 1.0)}),
    workers=KEEP,
)

REFUSALS = special(
    name="timers of an engine whose log refuses",
    engines=1,
    machines=1,
    partitions=2,
    tasks=(4, 6),
    mix=Mix(steps={"sleep": 1}, length=(3, 5), again=0, sleeps=(1.0, 3.0)),
    habits=CALM,
    weather=only({"expel": 1}, (0,), refuse=(0.15,), seconds=15),
    workers=TASKS,
)

TAKEOVERS = special(
    name="engines that do not hear that others lead, and go on answering",
    partitions=2,
    tasks=(4, 6),
    mix=Mix(steps={"act": 3, "sleep": 1, "par": 1}, activities={"quick": 1}, length=(6, 9), again=0),
    habits=CALM,
    weather=only({"deaf": 3, "zombie": 1, "cut off": 1}, (10, 16), seconds=10,
                  roles=dict.fromkeys(("deaf", "zombie", "cut off"), "engine"),
                  sizes={"zombie": (1.0, 20.0), "cut off": (0.5, 2.0), "deaf": (0.5, 4.0)}),
    workers={**TASKS, "cache_bytes": (1,)},
)

MOVES = special(
    name="workflows that move between workers, and are asked meanwhile",
    engines=1,
    partitions=2,
    tasks=(4, 5),
    mix=Mix(steps={"act": 2, "sleep": 1}, activities={"quick": 1}, length=(1, 2), again=0),
    habits=Habits(meddling={"none": 1}, messages=(5, 5), pauses=(0.3, 0.7, 1.2), delays=(0.0,),
                  curious=True),
    weather=only({"move": 1, "deaf": 3}, (24, 32), seconds=7, roles={"deaf": "worker"}, sizes={"deaf": (0.2, 0.6)}),
    workers=TASKS,
)

EMISSION = special(
    name="engines whose appends fail, and that die",
    partitions=2,
    tasks=(3, 5),
    mix=Mix(steps={"act": 3, "par": 2, "child": 1}, activities={"quick": 1}, length=(3, 6)),
    habits=CALM,
    weather=only({"crash": 3, "fail producers": 2, "cut off": 1, "zombie": 1}, (8, 14), seconds=10,
                  roles=dict.fromkeys(("crash", "fail producers", "cut off", "zombie"), "engine"),
                  sizes={"cut off": (0.2, 2.0), "crash": (0, 40)}, refuse=(0.0, 0.05, 0.1)),
    workers=TASKS,
)

FORGOTTEN = special(
    name="producers that brokers forget: what they send again lands twice, or fails them",
    partitions=2,
    tasks=(3, 5),
    mix=Mix(steps={"act": 3, "par": 2, "child": 1, "peer": 1, "sleep": 1}, activities={"quick": 2, "once": 1},
            length=(4, 6)),
    habits=Habits(meddling={"none": 3, "reset": 1}, messages=(2, 4), pauses=(0.3, 1.0), delays=(0.0,)),
    weather=only({"forget producers": 4, "fail producers": 1, "crash": 1, "cut off": 1}, (14, 20), seconds=10,
                  sizes={"forget producers": (0.0, 16.0), "cut off": (0.2, 1.5), "crash": (0, 30)}),
    workers=KEEP,
)

ELECTIONS = special(
    name="elections that land after others have led",
    partitions=2,
    machines=1,
    tasks=(2, 4),
    mix=Mix(steps={"act": 1, "sleep": 1}, activities={"quick": 1}, length=(3, 5), again=0, sleeps=(1.0, 3.0)),
    habits=CALM,
    weather=only({"late election": 1}, (1, 3), seconds=5),
    workers=TASKS,
)

DISKS = special(
    name="engines that come back with another disk",
    partitions=2,
    machines=1,
    tasks=(2, 4),
    mix=Mix(steps={"act": 1, "sleep": 1}, activities={"quick": 1}, length=(3, 5), again=0, sleeps=(1.0, 3.0)),
    habits=CALM,
    weather=only({"other disk": 3, "old disk": 1, "lose disk": 1, "transaction": 3,
                   "slow disk": 1, "failing disk": 2, "crash": 3}, (10, 14), seconds=10,
                  roles={"crash": "engine"}, sizes={"crash": (0, 20)}),
    workers=TASKS,
    syncs=(0.1, 0.6),
)

TORN = special(
    name="engines that die between two writes, of which any may be on disk",
    partitions=2,
    machines=1,
    tasks=(3, 5),
    mix=Mix(steps={"act": 1, "sleep": 1}, activities={"quick": 1}, length=(5, 7), again=0, sleeps=(0.5, 1.5)),
    habits=CALM,
    weather=only({"crash": 1}, (14, 18), seconds=10, roles={"crash": "engine"}, sizes={"crash": (0, 60)}),
    workers=TASKS,
    syncs=(0.3, 0.9),
)

UPGRADING: dict[str, Any] = {
    "partitions": 2,
    "machines": 1,
    "tasks": (2, 4),
    "mix": Mix(steps={"act": 1, "sleep": 2}, activities={"quick": 1}, length=(7, 10), again=0, sleeps=(2.0, 5.0)),
    "habits": Habits(meddling={"none": 1}, messages=(4, 5), pauses=(3.0, 7.0, 13.0), delays=(0.0,)),
    "weather": only(
        {"crash": 3, "zombie": 3, "rebalance": 3, "cut off": 1, "late election": 1, "pause": 1, "numb": 2},
        (4, 9), seconds=34,
        roles={**dict.fromkeys(("crash", "zombie", "cut off"), "engine"), "pause": "engine1", "numb": "engine1"},
        sizes={"crash": (0, 40), "zombie": (1.0, 20.0), "cut off": (0.5, 3.0), "pause": (5.0, 24.0),
               "numb": (14.0, 24.0)},
    ),
    "workers": TASKS,
    "announce_interval": 4.0,
    "upgrades": "back",
}
"""Engine 1 is upgraded first. Only it is silent, or deaf, for so long that others take it for gone: were it another
one, then they would be right to switch the log."""

UPGRADES = special(name="engines of two versions, and their standbys", standbys=1, **UPGRADING)

LATE_ROLLBACKS = special(
    name="engines that are taken back when it is too late",
    partitions=2,
    machines=1,
    tasks=(4, 5),
    mix=UPGRADING["mix"],
    habits=UPGRADING["habits"],
    weather=only({"crash": 3, "zombie": 1, "rebalance": 2, "lose disk": 1}, (2, 6), seconds=30,
                  roles={"crash": "engine", "zombie": "engine"}, sizes={"crash": (0, 40), "zombie": (1.0, 20.0)}),
    workers=TASKS,
    announce_interval=1.5,
    standbys=1,
    upgrades="late",
)

UPGRADED_CHECKPOINTS = special(
    name="checkpoints of newer engines, met by those that are taken back; and of older ones, met by newer",
    partitions=2,
    machines=1,
    tasks=(4, 5),
    mix=UPGRADING["mix"],
    habits=UPGRADING["habits"],
    weather=only({"crash": 2, "rebalance": 2, "lose disk": 5, "old disk": 1}, (8, 12), seconds=30,
                  roles={"crash": "engine"}, sizes={"crash": (0, 40)}),
    workers=TASKS,
    announce_interval=1.5,
    standbys=1,
    upgrades="late",
    checkpoints=1.5,
)

SPARE_UPGRADES = special(name="engines of two versions, some without a partition", engines=3, **UPGRADING)

CHECKPOINTS = special(
    name="engines that begin from checkpoints, on a log that is trimmed behind them",
    partitions=2,
    machines=1,
    tasks=(4, 5),
    mix=UPGRADING["mix"],
    habits=UPGRADING["habits"],
    weather=only({"lose disk": 4, "old disk": 2, "other disk": 1, "damaged checkpoint": 4, "crash": 3, "rebalance": 2,
                   "zombie": 1, "cut off": 1}, (12, 18), seconds=30,
                  roles=dict.fromkeys(("crash", "zombie", "cut off"), "engine"),
                  sizes={"crash": (0, 40), "zombie": (1.0, 20.0), "cut off": (0.5, 3.0)}),
    workers=TASKS,
    standbys=1,
    checkpoints=1.5,
)

OUTSIDE = special(
    name="activities that others end, of workflows whose code is repaired later",
    engines=1,
    partitions=2,
    tasks=(3, 5),
    mix=Mix(steps={"act": 3, "par": 1, "trip": 1, "side": 1}, inner={"act": 3, "trip": 1},
            activities={"handed": 3, "quick": 1}, failures=(0, 1, 2), length=(4, 6)),
    habits=Habits(meddling={"none": 3, "reset": 1, "pause": 1}, messages=(0, 3), pauses=(0.3, 1.0), delays=(0.0,)),
    weather=only({"crash": 2, "cut off": 2, "pause": 1}, (6, 10), seconds=8,
                  roles=dict.fromkeys(("crash", "cut off", "pause"), "engine worker client"),
                  sizes={"crash": (0, 20), "cut off": (0.3, 4.5), "pause": (0.3, 4.0)},
                  refuse=(0.0, 0.03), repeat=(0.0, 0.05)),
    workers={**KEEP, "eager_activities": (True, False)},
)

PIECES = special(
    name="steps that go in pieces, from workers that die and go on between them",
    engines=1,
    partitions=2,
    tasks=(3, 5),
    mix=Mix(steps={"par": 1}, inner={"act": 4, "side": 1, "sleep": 1}, activities={"quick": 1, "brief": 3},
            length=(2, 4), again=0, sleeps=(0.5, 2.0), width=(4, 7)),
    habits=Habits(meddling={"none": 1}, messages=(3, 5), pauses=(0.3, 0.7, 1.2), delays=(0.0,)),
    weather=only({"crash": 3, "zombie": 3, "numb": 2, "cut off": 2, "fail producers": 1, "move": 2}, (14, 20),
                  seconds=8,
                  roles=dict.fromkeys(("crash", "zombie", "numb", "cut off", "fail producers"), "worker"),
                  sizes={"crash": (0, 30), "zombie": (1.0, 12.0), "numb": (0.4, 1.2), "cut off": (0.3, 4.5)},
                  refuse=(0.0, 0.03), repeat=(0.0, 0.05)),
    workers=KEEP,
    worker_bytes=(600, 900),
)

CONTESTED_PIECES = special(
    name="workers that go on with what others have, in pieces",
    engines=1,
    partitions=2,
    tasks=(5, 6),
    mix=Mix(steps={"act": 2, "par": 3}, activities={"quick": 1, "brief": 4}, length=(5, 7), again=0),
    habits=CONTESTED.habits,
    weather=only({"zombie": 2, "numb": 4, "crash": 2}, (22, 26), seconds=7,
                  roles=dict.fromkeys(("zombie", "numb", "crash"), "worker"),
                  sizes={"zombie": (1.0, 12.0), "numb": (0.4, 1.2), "crash": (0, 30)}),
    workers=KEEP,
    worker_bytes=(560,),
)

MOMENTS = special(
    name="processes that die and stand still at any await, and before any call",
    partitions=2,
    tasks=(3, 5),
    mix=Mix(steps=ALL_STEPS, activities=ALL_ACTIVITIES, length=(3, 5)),
    habits=Habits(meddling={"none": 4, "reset": 1}, messages=(2, 4), pauses=(0.3, 1.0), delays=(0.0,),
                  kinds=("signal", "update")),
    weather=only({"crash at await": 4, "crash at call": 3, "zombie at await": 3}, (20, 30), seconds=15),
    workers={**KEEP, "eager_activities": (True, False)},
    standbys=1,
    syncs=(0.1, 0.6),
)

STRANGERS = special(
    name="records of strangers, in the wrong partition",
    engines=1,
    machines=1,
    partitions=3,
    tasks=(1, 2),
    habits=CALM,
    weather=only({"stranger": 1}, (4, 6), seconds=4),
    workers=TASKS,
)

CONTINUING = special(
    name="messages to runs that go on as others",
    engines=1,
    partitions=2,
    tasks=(5, 6),
    mix=Mix(steps={"act": 1, "sleep": 1}, activities={"brief": 1}, length=(3, 4), again=1.0, agains=3,
            sleeps=(0.1, 0.3)),
    habits=Habits(meddling={"none": 1}, messages=(5, 5), pauses=(0.0, 0.1, 0.3), delays=(0.0,)),
    weather=only({"cut off": 1}, (8, 12), seconds=4, roles={"cut off": "worker"}, sizes={"cut off": (0.2, 0.8)}),
    workers=TASKS,
)

CANCELS = special(
    name="timers that fire while they are cancelled",
    engines=1,
    partitions=2,
    tasks=(5, 6),
    mix=Mix(steps={"limit": 1}, inner={"act": 1}, activities={"brief": 1}, length=(3, 5), again=0, limits=(0.5, 1.2)),
    habits=CALM,
    weather=only({"cut off": 1}, (10, 14), seconds=6, roles={"cut off": "worker"}, sizes={"cut off": (0.3, 1.0)}),
    workers=TASKS,
)

REQUESTS = special(
    name="clients that do not hear what became of their requests",
    partitions=2,
    tasks=(4, 6),
    mix=Mix(steps={"act": 1}, activities={"quick": 1}, length=(1, 2), again=0),
    habits=Habits(meddling={"none": 1}, messages=(5, 5), pauses=(0.0, 0.3, 1.0), delays=(0.0,)),
    weather=only({"cut off": 2, "crash": 1, "pause": 1}, (10, 14), seconds=8,
                  roles={"cut off": "engine", "crash": "client", "pause": "client"},
                  sizes={"cut off": (1.0, 4.0), "crash": (0, 20), "pause": (0.5, 2.0)}),
    workers=TASKS,
)

CLOCKS = special(
    name="clocks that are ahead",
    engines=1,
    machines=1,
    partitions=2,
    tasks=(4, 6),
    mix=Mix(steps={"sleep": 1}, length=(3, 4), again=0, sleeps=(4.0, 8.0)),
    habits=CALM,
    weather=only({"clock jump": 2, "stamp a year ahead": 1}, (4, 6), seconds=12, roles={"clock jump": "engine"},
                  sizes={"clock jump": (14.0, 20.0)}),
    workers=TASKS,
)

UNDELIVERABLE = special(
    name="tasks for a queue whose topic the log refuses",
    machines=1,
    partitions=2,
    tasks=(3, 5),
    mix=Mix(steps={"act": 2, "nowhere": 2}, activities={"quick": 1}, length=(3, 5), again=0),
    habits=CALM,
    weather=only({"crash": 1, "rebalance": 1}, (0, 4), seconds=6, roles={"crash": "engine"}),
    workers=TASKS,
)
