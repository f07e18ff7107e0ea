"""An attempt of an activity that a worker has taken, and how its code may end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from odradek_schemas import Failure, Payload
from odradek_schemas.replies import ActivityClaimed
from odradek_schemas.tasks import ActivityTask

from .heartbeats import HeartbeatThrottle
from .offsets import Ticket

CLAIM_VALID_SECONDS = 1.0
"""An answer that comes later than this after its claim counts for nothing: meanwhile the activity may have ended.
The next claim of the attempt is given twice the time, so that a slow log does not go on claiming for ever."""


class Key(NamedTuple):
    """An attempt: the identity of the activity (rule W5), and which one it is."""

    run_id: str
    scheduled_by: str
    seq: int
    attempt: int


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt that this worker has taken. `session`: under which it was claimed last.

    cancel_reason: empty while nobody has asked it to stop; else the engine's reason, or shutdown. begin_before: on
    the core's clock; code that has not begun by then must not begin. claimed: when each claim without an answer was
    made, by its offset, which its answer has, too. claim_valid: for how long after that an answer counts. appending:
    how many claims have no offset yet; `early` holds the answers that may be to these. An eager one is held until its
    completion is known to be accepted (rule W4), and local while its result is on its way into the next completion.
    """

    task: ActivityTask
    session: str
    beats: HeartbeatThrottle
    state: str = "claiming"  # held, claiming, running, local, reporting
    cancel_reason: str = ""
    begin_before: float = float("inf")
    claimed: dict[int, float] = field(default_factory=dict)
    claim_valid: float = CLAIM_VALID_SECONDS
    appending: int = 0
    early: list[ActivityClaimed] = field(default_factory=list)
    tickets: list[Ticket] = field(default_factory=list)
    eager: bool = False
    key: Key = field(init=False)

    def __post_init__(self) -> None:
        self.key = Key(self.task.run_id, self.task.scheduled_by, self.task.seq, self.task.attempt)


class Completed(NamedTuple):
    result: Payload | None


class Failed(NamedTuple):
    failure: Failure
    next_retry_delay_ms: int = -1


class Stopped(NamedTuple):
    """It ended because it was asked to."""


class Late(NamedTuple):
    """It has not begun: this process stood still, and meanwhile another worker may have done it."""


class Deferred(NamedTuple):
    """It will be completed from elsewhere, by its task token."""


Outcome: TypeAlias = Completed | Failed | Stopped | Late | Deferred
