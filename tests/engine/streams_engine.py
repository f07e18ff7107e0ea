"""The engine's own records for random logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from odradek_engine.fold import keys
from odradek_schemas import records
from odradek_schemas.common import Record

from .harness import YEAR_MS

if TYPE_CHECKING:
    from .streams import Stream

PARTITIONS = 3


def elected(s: Stream) -> Record:
    return records.LeaderElected(
        member=s.rng.choice("ab"),
        nonce=s.fresh(),
        clock_ms=s.now,
        partitions=PARTITIONS,
        closed_retention_ms=s.rng.choice((0, 60_000, YEAR_MS)),
    )


def clock(s: Stream) -> Record:
    return records.ClockRead(clock_ms=s.now, epoch=s.epoch())


def emitted(s: Stream) -> Record:
    rows = [row for _, row in s.state.scan(keys.OUTBOX)]
    chosen = s.rng.sample(rows, min(len(rows), 3))
    return records.EffectsEmitted(
        marks=[records.Mark(topic=r.topic, partition=r.partition, offset=r.offset, index=r.index) for r in chosen]
    )


def effect_failed(s: Stream) -> Record:
    rows = [row for _, row in s.state.scan(keys.OUTBOX)]
    if not rows:
        return records.EffectFailed(topic="t", partition=0, offset=0, index=0, reason="refused", epoch=s.epoch())
    row = s.rng.choice(rows)
    return records.EffectFailed(
        topic=row.topic, partition=row.partition, offset=row.offset, index=row.index, reason="refused", epoch=s.epoch()
    )


def fired(s: Stream) -> Record:
    rows = [row for _, row in s.state.scan(keys.TIMER)]
    if not rows:
        return records.TimerFired(workflow_id=s.ids[0], run_id="none", seq=1, epoch=s.epoch())
    row = s.rng.choice(rows)
    return records.TimerFired(workflow_id=row.workflow_id, run_id=row.run_id, seq=row.seq, epoch=s.epoch())


def timed_out(s: Stream) -> Record:
    kind = s.rng.choice(("schedule_to_start", "schedule_to_close", "start_to_close", "heartbeat"))
    return records.ActivityTimedOut(**s.attempt_of(s.activity()), timeout_type=kind, epoch=s.epoch())


def retry_due(s: Stream) -> Record:
    return records.ActivityRetryDue(**s.attempt_of(s.activity()), epoch=s.epoch())


def task_due(s: Stream) -> Record:
    run = s.run()
    return records.WorkflowTaskDue(
        workflow_id=run.workflow_id, run_id=run.run_id, base=run.base, attempt=run.task_attempt, epoch=s.epoch()
    )


def workflow_timed_out(s: Stream) -> Record:
    run = s.run()
    return records.WorkflowTimedOut(
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        timeout_type=s.rng.choice(("execution", "run")),
        epoch=s.epoch(),
    )


def reissued(s: Stream) -> Record:
    if s.rng.random() < 0.5:
        run = s.run()
        return records.TaskReissued(
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            offset=run.task_offset,
            index=run.task_index,
            epoch=s.epoch(),
            base=run.base,
        )
    row = s.activity()
    return records.TaskReissued(
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        offset=row.task_offset,
        index=row.task_index,
        epoch=s.epoch(),
        seq=row.seq,
        attempt=row.attempt,
    )


def lost(s: Stream) -> Record:
    return records.WorkerLost(session=s.session(), epoch=s.epoch())


ENGINES: list[tuple[Callable[[Stream], Record], int]] = [
    (elected, 2),
    (clock, 12),
    (emitted, 3),
    (effect_failed, 2),
    (fired, 4),
    (timed_out, 10),
    (retry_due, 4),
    (task_due, 5),
    (workflow_timed_out, 4),
    (reissued, 3),
    (lost, 2),
]
"""Each kind, and how often it comes."""
