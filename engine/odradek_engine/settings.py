"""How an engine behaves, and what it tells of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .fold import VERSION


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an engine behaves. Times in seconds.

    mark_interval: how often `EffectsEmitted` is appended at most. reissue_after: when a task that nobody answered
    is emitted again. lost_after: for workers not heard of yet. closed_retention: how long closed workflows stay
    readable. clock_tolerance: how far records' timestamps may be from the leader's clock without an alarm.
    announce_interval: how often engines tell each other that they live. leader_lost_after: when who stands by takes a
    silent leader for gone, and leads in its place. fold_version: up to which this one goes; the log is switched to it
    once every engine knows it (V2). max_in_flight, max_in_flight_bytes: effects of a partition without acknowledgement,
    above which no more is folded. flush_rows, flush_bytes: changed rows, and bytes of the records and effects that
    changed them, above which they go to the store at once. far_behind: partitions that come with so many records to
    fold, all together, are folded by processes of their own up to the log's end. folding_processes: at most so many;
    0: none; None: one for each processor core, if there are several, and up to four.
    """

    mark_interval: float = 0.5
    reissue_after: float = 600.0
    lost_after: float = 10.0
    closed_retention: float = 30 * 24 * 3600
    clock_tolerance: float = 5.0
    announce_interval: float = 10.0
    leader_lost_after: float = 4.0
    fold_version: int = VERSION
    max_in_flight: int = 20_000
    max_in_flight_bytes: int = 64 * 1024 * 1024
    flush_rows: int = 2_000
    flush_bytes: int = 8 * 1024 * 1024
    far_behind: int = 20_000
    folding_processes: int | None = None


class Outlook(NamedTuple):
    """busy: a task is out, or something is due that has not been done. next_due_ms: when something is due next."""

    busy: bool
    next_due_ms: int | None


@dataclass
class Counters:
    """What a processor has done and seen, for metrics."""

    folded: int = 0
    emitted: int = 0
    dead_letters: int = 0
    elections: int = 0
    clock_alarms: int = 0
    rebuilds: int = 0
    appended: dict[str, int] = field(default_factory=dict)
