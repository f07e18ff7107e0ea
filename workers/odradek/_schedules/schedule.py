"""A schedule as its author writes it, and as it is described."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from .._converter import DataConverter
from .._options import milliseconds as duration_ms
from .._types import Duration
from .action import ScheduleActionStartWorkflow, from_record, to_record
from .spec import ScheduleSpec, milliseconds
from .state import Backfill, Found, OverlapPolicy, Plan, Taken

_POLICIES = ("skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all")


def check_overlap(overlap: str | None) -> None:
    """Raise ValueError for what is no overlap policy."""
    if overlap is not None and overlap not in _POLICIES:
        raise ValueError(f"overlap is one of {', '.join(_POLICIES)}, not {overlap!r}")


@dataclass(frozen=True, kw_only=True)
class SchedulePolicy:
    """How a schedule acts.

    overlap, when it is time and an earlier action still runs: skip (nothing happens), buffer_one (this one follows when
    that has ended, one at most), buffer_all (up to 1,000 follow, one after the other), cancel_other and
    terminate_other (this one takes its place), allow_all (both run). catchup_window: times that are older when the
    engine sees them, because it was down, are left out (at least 10 seconds; default 365 days). pause_on_failure:
    pause the schedule when a workflow that it started fails or times out.
    """

    overlap: OverlapPolicy = "skip"
    catchup_window: Duration = timedelta(days=365)
    pause_on_failure: bool = False

    def __post_init__(self) -> None:
        check_overlap(self.overlap)
        if duration_ms(self.catchup_window) < 10_000:
            raise ValueError(f"SchedulePolicy: catchup_window is at least 10 seconds, not {self.catchup_window}")


@dataclass(frozen=True, kw_only=True)
class ScheduleState:
    """Whether a schedule is paused, and a note for people. remaining_actions: how many it may still take; None: without
    limit; triggers and backfills do not count."""

    note: str = ""
    paused: bool = False
    remaining_actions: int | None = None

    def __post_init__(self) -> None:
        if self.remaining_actions is not None and self.remaining_actions < 0:
            raise ValueError(f"ScheduleState: remaining_actions is at least 0, not {self.remaining_actions}")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is done, and when."""

    action: ScheduleActionStartWorkflow
    spec: ScheduleSpec
    policy: SchedulePolicy = field(default_factory=SchedulePolicy)
    state: ScheduleState = field(default_factory=ScheduleState)


@dataclass(frozen=True, kw_only=True)
class ScheduleBackfill:
    """Act at the times from `start_at` to `end_at` (both included, with a time zone) as if they were now, but for those
    that have been acted on: no time starts a second workflow. overlap: None is that of the schedule; with skip only the
    first of the times starts a workflow, so allow_all or buffer_all may be what is wanted."""

    start_at: datetime
    end_at: datetime
    overlap: OverlapPolicy | None = None

    def __post_init__(self) -> None:
        check_overlap(self.overlap)
        for name, at in (("start_at", self.start_at), ("end_at", self.end_at)):
            if at.utcoffset() is None:
                raise ValueError(f"ScheduleBackfill: {name} needs a time zone, datetime(..., tzinfo=UTC), not {at}")
        if self.end_at < self.start_at:
            raise ValueError(f"ScheduleBackfill: end_at {self.end_at} is before start_at {self.start_at}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleAction:
    """An action that was taken. `nominal_time`: the time that it was taken for, before jitter.

    status: running, completed, failed, cancelled, terminated or timed_out, as its workflow; exists (a workflow of this
    ID was started before, and no other one), failed_to_start (see `message`). `manual`: by a trigger or a backfill.
    """

    workflow_id: str
    run_id: str
    nominal_time: datetime
    start_time: datetime
    status: str
    message: str = ""
    manual: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleDescription:
    """How a schedule stands. `next_action_times`: the next ten, with jitter. `recent_actions`: the last ten.

    num_actions: workflows started. num_actions_missed_catchup_window, num_actions_skipped_overlap,
    num_actions_dropped_from_buffer: times at which none was, and why. `buffered`: actions that wait for their turn.
    `pending_backfills`: backfills under way. `version` grows with each change.
    """

    id: str
    schedule: Schedule
    next_action_times: tuple[datetime, ...]
    running_actions: tuple[ScheduleAction, ...]
    recent_actions: tuple[ScheduleAction, ...]
    num_actions: int
    num_actions_missed_catchup_window: int
    num_actions_skipped_overlap: int
    num_actions_dropped_from_buffer: int
    buffered: int
    pending_backfills: int
    created_at: datetime
    last_updated_at: datetime | None
    version: int


def plan_of(schedule: Schedule, schedule_id: str, converter: DataConverter) -> Plan:
    """As it is kept."""
    policy, state = schedule.policy, schedule.state
    return Plan(
        action=to_record(schedule.action, schedule_id, converter),
        spec=schedule.spec,
        overlap=policy.overlap,
        catchup_window_ms=duration_ms(policy.catchup_window),
        pause_on_failure=policy.pause_on_failure,
        note=state.note,
        paused=state.paused,
        remaining_actions=state.remaining_actions,
    )


def backfill_of(backfill: ScheduleBackfill, overlap: OverlapPolicy) -> Backfill:
    """As it is kept: the end of it belongs to it, and so does its beginning."""
    return Backfill(
        after_ms=milliseconds(backfill.start_at) - 1,
        end_ms=milliseconds(backfill.end_at),
        overlap=backfill.overlap or overlap,
    )


def description_of(found: Found, converter: DataConverter) -> ScheduleDescription:
    """What is described, for people and programs."""
    standing, plan = found.standing, found.standing.plan
    counts = standing.counts
    schedule = Schedule(
        action=from_record(plan.action, converter),
        spec=plan.spec,
        policy=SchedulePolicy(
            overlap=plan.overlap,
            catchup_window=timedelta(milliseconds=plan.catchup_window_ms),
            pause_on_failure=plan.pause_on_failure,
        ),
        state=ScheduleState(note=plan.note, paused=plan.paused, remaining_actions=plan.remaining_actions),
    )
    return ScheduleDescription(
        id=standing.schedule_id,
        schedule=schedule,
        next_action_times=tuple(_moment(at) for at in found.upcoming_ms),
        running_actions=tuple(_action(taken) for taken in standing.running),
        recent_actions=tuple(_action(taken) for taken in standing.recent),
        num_actions=counts.actions,
        num_actions_missed_catchup_window=counts.missed,
        num_actions_skipped_overlap=counts.skipped,
        num_actions_dropped_from_buffer=counts.dropped,
        buffered=len(standing.buffer),
        pending_backfills=len(standing.backfills),
        created_at=_moment(standing.created_ms),
        last_updated_at=_moment(standing.updated_ms) if standing.updated_ms else None,
        version=standing.version,
    )


def _action(taken: Taken) -> ScheduleAction:
    return ScheduleAction(
        workflow_id=taken.workflow_id,
        run_id=taken.run_id,
        nominal_time=_moment(taken.nominal_ms),
        start_time=_moment(taken.started_ms),
        status=taken.status,
        message=taken.message,
        manual=taken.manual,
    )


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
