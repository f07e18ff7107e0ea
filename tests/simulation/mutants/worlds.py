"""Small worlds that show planted bugs and no more: no fresh seed is one of them."""

from __future__ import annotations

from ..customers import Habits
from ..races import CALM, CONTESTED, KEEP, TASKS, UPGRADING, only, small
from ..scripts import Mix

NOTHING = only({"expel": 1}, (0,), seconds=6)

ORDERLY = small(
    name="messages with answers, and no faults",
    engines=1,
    machines=1,
    partitions=2,
    tasks=(3, 4),
    mix=Mix(steps={"act": 1}, activities={"quick": 1}, length=(1, 2), again=0),
    habits=Habits(meddling={"none": 1}, messages=(3, 4), pauses=(0.0, 0.3), delays=(0.0,), kinds=("update", "signal")),
    weather=NOTHING,
    workers=TASKS,
)

MEDDLED = small(
    name="workflows that are ended and paused from outside, with messages on their way",
    engines=1,
    machines=1,
    partitions=2,
    tasks=(5, 6),
    mix=Mix(steps={"sleep": 1}, length=(3, 4), again=0, sleeps=(1.0, 2.0)),
    habits=Habits(meddling={"terminate": 2, "pause": 1, "cancel": 1}, messages=(5, 5), pauses=(0.1, 0.3, 0.7),
                  delays=(0.0,)),
    weather=only({"cut off": 1}, (6, 8), seconds=4, roles={"cut off": "worker"}, sizes={"cut off": (0.3, 1.0)}),
    workers=TASKS,
)

FAMILIES = small(
    name="workflows that begin others, and send them messages",
    partitions=3,
    tasks=(3, 4),
    mix=Mix(steps={"child": 2, "peer": 1, "par": 1}, inner={"act": 1, "peer": 1}, activities={"quick": 1},
            length=(2, 3), again=0, children=("result", "poke", "fail")),
    habits=CALM,
    weather=only({"crash": 1}, (0, 2), seconds=6, roles={"crash": "engine"}, sizes={"crash": (0, 20)}),
    workers=TASKS,
)

ALONE = small(
    name="one worker that remembers nothing, and no faults",
    engines=1,
    machines=1,
    partitions=2,
    tasks=(2, 3),
    mix=Mix(steps={"side": 1, "local": 1, "act": 1}, activities={"quick": 1}, length=(4, 6), again=0),
    habits=CALM,
    weather=NOTHING,
    workers={**TASKS, "cache_bytes": (1,)},
)

TIMEOUTS = small(
    name="timeouts, and starts that wait, under clocks that are ahead",
    engines=1,
    machines=1,
    partitions=2,
    tasks=(4, 6),
    mix=Mix(steps={"act": 1}, activities={"stuck": 1}, length=(2, 2), again=0),
    habits=Habits(meddling={"none": 1}, messages=(0, 0), delays=(4.0,)),
    weather=only({"clock jump": 1}, (4, 6), seconds=12, roles={"clock jump": "engine"},
                  sizes={"clock jump": (16.0, 20.0)}),
    workers=TASKS,
)

OTHER_DISKS = small(
    name="engines that come back with another disk, on a log whose offsets are mostly no records",
    partitions=1,
    machines=1,
    tasks=(2, 3),
    mix=Mix(steps={"act": 1, "sleep": 1}, activities={"quick": 1}, length=(3, 5), again=0, sleeps=(1.0, 3.0)),
    habits=CALM,
    weather=only({"other disk": 1, "transaction": 4}, (64, 70), seconds=14),
    workers=TASKS,
    syncs=(1.0,),
)

TORN_DISKS = small(
    name="engines whose disks are torn when they crash",
    partitions=2,
    machines=1,
    tasks=(4, 5),
    mix=UPGRADING["mix"],
    habits=UPGRADING["habits"],
    weather=only({"torn disk": 1}, (24, 30), seconds=24),
    workers=TASKS,
    syncs=(0.5,),
)

DAMAGED_CHECKPOINTS = small(
    name="engines without disks, whose newest checkpoints are damaged",
    partitions=1,
    machines=1,
    tasks=(4, 5),
    mix=UPGRADING["mix"],
    habits=UPGRADING["habits"],
    weather=only({"lose disk": 1, "damaged checkpoint": 2}, (34, 40), seconds=30),
    workers=TASKS,
    checkpoints=1.0,
)

SILENT_UPGRADES = small(
    name="a newer engine that hears nothing of the older ones",
    **{**UPGRADING, "weather": only({"pause": 1, "numb": 3}, (5, 7), seconds=12,
       roles=dict.fromkeys(("pause", "numb"), "engine1"), sizes={"pause": (14.0, 20.0), "numb": (14.0, 20.0)})},
)

CONTESTED_ACTIVITIES = small(
    name="workers that go on with what others have, with many activities at a time",
    engines=1,
    partitions=2,
    tasks=(5, 6),
    mix=Mix(steps={"par": 1}, inner={"act": 1}, activities={"brief": 1, "slow": 1}, length=(5, 7), again=0,
            width=(3, 5)),
    habits=CONTESTED.habits,
    weather=CONTESTED.weather,
    workers=KEEP,
)
