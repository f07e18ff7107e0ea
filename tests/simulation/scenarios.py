"""Kinds of worlds: who is there, what work they have, what befalls them. Everything else is drawn from the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from odradek_engine.fold.step import WORK

from .customers import ALL_MEDDLING, Habits
from .faults import ALL_KINDS, Weather
from .scripts import ALL_ACTIVITIES, ALL_STEPS, Mix

WORKERS: Mapping[str, tuple[Any, ...]] = {
    "cache_bytes": (1, 20_000, 10_000_000),
    "max_concurrent_activities": (2, 5, 100),
    "eager_activities": (True, False),
    "lost_after": (3, 10),
    "shutdown_timeout": (1, 10),
    "blocked_after": (2, 20, 20),
}
"""The options of workers, and what they are drawn from: little memory and few slots make them lose and refuse more."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """orders, tasks, plays: how many food orders, scripted workflows, and other programs there are. workers: what
    their options are drawn from, where not the usual. reissues: how often engines emit tasks again that were not
    answered within `reissue_after` s (0 to 1). quiet: if nothing comes into the log of events for so many seconds,
    nothing more will. patience: so long after the last fault everything has ended, or never will. standbys: of
    engines. announce_interval: of engines, in s; they are gone if they were not heard for 3.5 times as long. upgrades:
    of engines to another fold version (`upgrades.drawn`). checkpoints: how often engines make them, in s, and trim the
    log behind them (0: never). work: how much of a reset one step of the fold does.
    interceptors: how often clients and workers have some (0 to 1). worker_bytes: what workers take for the log's limit
    for a record, where there are no plays; what they do in one step is more than that, now and then, and goes in pieces
    (0: that is never so).
    syncs: how often the disks of engines sync a write unasked (0 to 1)."""

    name: str
    engines: int = 2
    machines: int = 2
    partitions: int = 4
    orders: tuple[int, int] = (0, 5)
    tasks: tuple[int, int] = (1, 8)
    plays: tuple[int, int] = (0, 0)
    mix: Mix = field(default_factory=Mix)
    habits: Habits = field(default_factory=Habits)
    weather: Weather = field(default_factory=Weather)
    workers: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    reissues: float = 0.5
    reissue_after: float = 60.0
    quiet: float = float("inf")
    patience: float = 300.0
    standbys: int = 0
    announce_interval: float = 10.0
    upgrades: str = ""
    checkpoints: float = 0.0
    work: tuple[int, ...] = (WORK,)
    interceptors: float = 0.0
    worker_bytes: tuple[int, ...] = (0,)
    syncs: tuple[float, ...] = (0.1,)


ANYTHING = Scenario(name="anything")

EVERYTHING = Scenario(
    name="everything",
    orders=(0, 2),
    tasks=(0, 6),
    plays=(0, 3),
    mix=Mix(
        steps=ALL_STEPS,
        activities=ALL_ACTIVITIES,
        children=("result", "result", "poke", "cancel", "abandon", "fail"),
    ),
    habits=Habits(
        meddling=ALL_MEDDLING,
        kinds=("signal", "signal", "slow", "update", "accepted", "failing", "refused"),
        with_start=("signal", "update"),
    ),
    weather=Weather(kinds=ALL_KINDS, mistake=(0.0, 0.0, 0.02)),
    work=(WORK, 30, 3),
    interceptors=0.5,
    worker_bytes=(0, 0, 0, 1_000),
    syncs=(0.1, 0.1, 0.5),
)
"""All that there is: work and faults that `ANYTHING` does not have, so that its seeds mean what they meant."""
