"""Records one by one, for what a small namespace does not do in a moment: undeliverable tasks, resets in many steps."""

from __future__ import annotations

from odradek_engine.fold import keys
from odradek_engine.fold.rows import OutboxRow
from odradek_schemas import records

from ..engine.harness import Partition, act
from .golden import TOPICS, Entry, GoldenLog


def made_by_hand() -> GoldenLog:
    """A partition with three workflows."""
    p = Partition()
    p.lead()
    p.alive()
    p.start()
    p.advance(act(1))
    _undeliverable(p)
    _never_taken(p)
    _long_reset(p)
    return GoldenLog(0, [Entry(*one) for one in p.log])


def _undeliverable(p: Partition) -> None:
    """Of the namespace in which golden logs are folded: the harness takes no notice of it."""
    rows: list[OutboxRow] = [row for _, row in p.state.scan(keys.OUTBOX) if "activity-tasks" in row.topic]
    where = {name: getattr(rows[-1], name) for name in ("partition", "offset", "index")}
    topic = TOPICS.activity_tasks("orders")
    p.append(records.EffectFailed(topic=topic, **where, reason="refused", epoch=p.row.epoch))


def _never_taken(p: Partition) -> None:
    """An activity that no worker takes in time."""
    p.start("t")
    p.advance(act(1, schedule_to_start_timeout_ms=10_000), workflow_id="t")
    p.wait(10_000)
    row = p.open_activity(workflow_id="t")
    p.append(records.ActivityTimedOut(
        workflow_id="t", run_id=row.run_id, seq=1, scheduled_by=row.scheduled_by, attempt=row.attempt,
        timeout_type="schedule_to_start", epoch=p.row.epoch,
    ))


def _long_reset(p: Partition) -> None:
    """An activity stays open, and a signal comes while the reset goes on."""
    p.start("r")
    p.advance(act(1), workflow_id="r")
    for action in ("pause", "update", "unpause"):
        p.append(records.ChangeActivity(workflow_id="r", action=action, seq=1, start_to_close_timeout_ms=5_000))
    for _ in range(300):
        p.signal(workflow_id="r")
    p.advance(workflow_id="r")
    p.append(records.ResetWorkflow(workflow_id="r", event_id=p.run("r").last_event_id))
    p.signal("late", workflow_id="r")
    while p.row.resets:
        row = p.state.get(keys.reset("r"))
        p.append(records.ResetContinued(workflow_id="r", run_id=row.run_id, turn=row.turn, epoch=p.row.epoch))
    p.finish()
