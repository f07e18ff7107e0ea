"""A run in memory: what is known of it besides what its code does."""

from __future__ import annotations

from dataclasses import dataclass, field

from odradek_schemas.history import HistoryEvent

from .acceptance import Fate
from .eager import LocalReady
from .ports import RunningWorkflow


@dataclass(slots=True)
class Answer:
    """A completion of ours on some base; its offset is known once it is durable."""

    offset: int | None = None


@dataclass(slots=True)
class CachedRun:
    """A run in memory. `tip`: the ID of its last completion (at first the run ID). `answers`: our completions by
    their base, since the last one that we know was accepted.

    On the eager path: `fate` is that of the tip; `accepted` the offset of a completion that we know was accepted;
    `scheduled` where activities that run here were scheduled, by number; `ready` results that wait to be fed, and
    `unread` inputs of tasks that were superseded, which go before them (rule W10).
    """

    run_id: str
    tip: str
    running: RunningWorkflow
    consumed_through: int
    answers: dict[str, Answer] = field(default_factory=dict)
    fate: Fate | None = None
    accepted: int = -1
    scheduled: dict[int, Fate] = field(default_factory=dict)
    ready: list[LocalReady] = field(default_factory=list)
    unread: list[HistoryEvent] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.running.size

    def close(self) -> None:
        self.running.close()
