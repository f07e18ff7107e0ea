"""What the workflow of a schedule knows and is told, as JSON that any version can read: new fields have defaults.

It is not encrypted, for the engine's process runs that workflow. What an action carries (arguments, memo) is: payloads
as the client wrote them, which nobody here looks into. Moments and durations are ms.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from odradek_schemas.common import Payload, RetryPolicy

from .spec import ScheduleSpec

TYPE = "odradek.Schedule"
TASK_QUEUE = "odradek.schedules"
ID_PREFIX = "odradek.schedule:"
"""Of the workflows of schedules: their type and queue, and their IDs before that of the schedule."""

OverlapPolicy: TypeAlias = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]
"""What becomes of a time while an earlier action still runs. skip: nothing. buffer_one: it is made up for once that has
ended, one at most; buffer_all: up to 1,000. cancel_other, terminate_other: once the other, so ended, is gone.
allow_all: it starts all the same."""


class Action(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The workflow to start."""

    workflow_type: str
    workflow_id: str
    task_queue: str = "default"
    input: list[Payload] = []
    execution_timeout_ms: int = 0
    run_timeout_ms: int = 0
    task_timeout_ms: int = 0
    retry_policy: RetryPolicy | None = None
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}


class Plan(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A schedule: what it does, and when. `remaining_actions` None: no limit."""

    action: Action
    spec: ScheduleSpec
    overlap: OverlapPolicy = "skip"
    catchup_window_ms: int = 365 * 86_400_000
    pause_on_failure: bool = False
    note: str = ""
    paused: bool = False
    remaining_actions: int | None = None


class Start(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An action that is to begin, or waits for its turn. `manual`: asked for, by a trigger or a backfill."""

    nominal_ms: int
    overlap: OverlapPolicy
    manual: bool = False


class Taken(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An action that was begun. status: running, and how its workflow ended; exists (the ID was used before, nothing
    was started), failed_to_start (see `message`)."""

    workflow_id: str
    nominal_ms: int
    started_ms: int
    run_id: str = ""
    status: str = "running"
    message: str = ""
    manual: bool = False
    asked: str = ""  # to end: cancel, terminate


class Backfill(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Times later than `after_ms`, up to `end_ms`, that are still to be made up for."""

    after_ms: int
    end_ms: int
    overlap: OverlapPolicy


class Counts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """actions: workflows started. missed: times older than the catch-up window when they were seen. skipped: times at
    which an earlier action still ran. dropped: times beyond what is buffered."""

    actions: int = 0
    missed: int = 0
    skipped: int = 0
    dropped: int = 0


class Standing(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How a schedule stands. `handled_ms`: nominal times up to here are done with. `version`: of the plan.

    `created_ms` 0: it is new; then `trigger` says whether it acts at once.
    """

    schedule_id: str
    plan: Plan
    handled_ms: int = 0
    created_ms: int = 0
    updated_ms: int = 0
    version: int = 1
    counts: Counts = msgspec.field(default_factory=Counts)
    buffer: list[Start] = []
    running: list[Taken] = []
    recent: list[Taken] = []
    backfills: list[Backfill] = []
    last_manual_ms: int = 0
    trigger: bool = False


# ---------------------------------------------------------------- what it is told


class SetPlan(msgspec.Struct, kw_only=True, tag="update"):
    """Another plan. `version`: the one that was changed; 0: whichever there is."""

    plan: Plan
    version: int = 0


class SetPaused(msgspec.Struct, kw_only=True, tag="pause"):
    paused: bool
    note: str = ""


class Trigger(msgspec.Struct, kw_only=True, tag="trigger"):
    """Act now. `overlap` None: as planned."""

    overlap: OverlapPolicy | None = None


class AddBackfills(msgspec.Struct, kw_only=True, tag="backfill"):
    backfills: list[Backfill]


Change: TypeAlias = SetPlan | SetPaused | Trigger | AddBackfills


class Ended(msgspec.Struct, kw_only=True):
    """The signal that a workflow of an action has ended: see odradek_schemas.common.Caller."""

    workflow_id: str
    run_id: str
    status: str


class Found(msgspec.Struct, kw_only=True):
    """How the schedule stands, and when it acts next (with jitter)."""

    standing: Standing
    upcoming_ms: list[int] = []
