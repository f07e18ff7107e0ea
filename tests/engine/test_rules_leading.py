"""Rules about leading, versions and partitions, as the fold keeps them (L, V, N)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from odradek_engine.fold import MemoryStorage, State, UnsupportedVersionError, engine_records, fold, keys
from odradek_engine.fold.state import load
from odradek_schemas import commands, partition_of, records
from odradek_schemas.common import Record

from .harness import TOPICS, Partition, act, reasons
from .test_rules_effects import forwarded, in_outbox, poke, undeliverable

MakePartition = Callable[..., Partition]


# ---------------------------------------------------------------- L: leading


def test_l1_a_second_copy_changes_nothing(p: Partition) -> None:
    """Breaks when the copy begins a new epoch, under which the leader's own records are dropped."""
    elected = records.LeaderElected(member="a", nonce="x", clock_ms=p.now)
    p.append(elected)
    epoch = p.row.epoch
    p.append(elected)
    assert p.row.epoch == epoch == len(p.log) - 2


def _epoch_records(p: Partition) -> dict[str, Record]:
    """A record of each kind that a leader derives from the state, all of them due, under the epoch before."""
    run, row, epoch = p.run(), p.open_activity(1), p.row.epoch
    who: dict[str, Any] = {"workflow_id": "w", "run_id": run.run_id, "epoch": epoch}
    activity: dict[str, Any] = {**who, "seq": 1, "scheduled_by": row.scheduled_by, "attempt": row.attempt}
    backing_off = {**activity, "seq": 3, "attempt": 2}
    out = in_outbox(p, "activity-tasks")
    return {
        "TimerFired": records.TimerFired(**who, seq=2),
        "ActivityTimedOut": records.ActivityTimedOut(**activity, timeout_type="start_to_close"),
        "ActivityRetryDue": records.ActivityRetryDue(**backing_off),
        "TaskReissued": records.TaskReissued(
            **who, base=run.base, offset=run.task_offset, index=run.task_index
        ),
        "WorkerLost": records.WorkerLost(session="W1", epoch=epoch),
        "WorkflowTimedOut": records.WorkflowTimedOut(**who, timeout_type="execution"),
        "ClockRead": records.ClockRead(clock_ms=p.now + 10_000, epoch=epoch),
        "EffectFailed": undeliverable(p, out),
    }


@pytest.mark.parametrize(
    "kind",
    [
        "TimerFired",
        "ActivityTimedOut",
        "ActivityRetryDue",
        "TaskReissued",
        "WorkerLost",
        "WorkflowTimedOut",
        "ClockRead",
        "EffectFailed",
    ],
)
def test_l2_what_an_earlier_leader_derived_is_dropped(make_partition: MakePartition, kind: str) -> None:
    """Breaks when a zombie's record counts; that it would count under its own epoch is checked beside it."""
    for deposed in (False, True):
        p = make_partition()
        p.lead()
        p.alive("W1")
        p.start(execution_timeout_ms=1000)
        p.advance(act(1, start_to_close_timeout_ms=1000), commands.StartTimer(seq=2, duration_ms=1000), act(3))
        p.begin(1)
        p.begin(3)
        p.fail(3)
        p.signal()
        p.wait(60_000)
        record = _epoch_records(p)[kind]
        if deposed:
            p.lead("another", clock_ms=p.now - 1)
        before = p.state.dump()
        p.append(record)
        before.pop(keys.PARTITION)
        after = p.state.dump()
        row = after.pop(keys.PARTITION)
        changed = before != after or (kind == "ClockRead" and p.row.clock_ms == p.now + 10_000)
        assert changed is not deposed, row


def test_l2_a_workflow_task_s_delay_ends_by_the_leader_of_now(p: Partition) -> None:
    """Breaks when WorkflowTaskDue of an earlier epoch is taken."""
    run = p.start(start_delay_ms=1000)
    p.wait(1000)
    due = records.WorkflowTaskDue(workflow_id="w", run_id=run.run_id, base=run.base, attempt=1, epoch=p.row.epoch)
    p.lead("another")
    assert p.changes(due) == set()
    p.task_due()
    assert p.run().task_offset == len(p.log) - 1


# ---------------------------------------------------------------- V: versions


def test_v1_a_newer_version_stops_the_fold_where_it_is(p: Partition) -> None:
    """Breaks when code that does not know a version folds on, or moves its position."""
    before = p.state.dump()
    with pytest.raises(UnsupportedVersionError):
        p.lead("newer", version=engine_records.VERSION + 1)
    assert p.state.dump() == before
    p.log.pop()


def test_v1_the_version_never_goes_down(p: Partition, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when an older engine's election takes the log back to an older fold."""
    monkeypatch.setattr(engine_records, "VERSION", 2)
    p.lead("newer", version=2)
    epoch = p.row.epoch
    p.lead("older", version=1)
    assert (p.row.version, p.row.epoch, p.row.member) == (2, epoch, "newer")
    p.finish()
    p.log.clear()
    p.state = Partition().state


# ---------------------------------------------------------------- N: partitions


def test_n1_the_first_partition_count_holds(make_partition: MakePartition) -> None:
    """Breaks when a later leader's setting changes the homes of workflows."""
    p = make_partition(0, 4)
    p.lead()
    p.lead("another", partitions=16)
    assert p.row.partitions == 4


def test_n1_records_wait_for_the_partition_count(make_partition: MakePartition) -> None:
    """Breaks when a record is folded, or taken to be at home, before the count is known."""
    ids = [f"w{i}" for i in range(21)]
    p = make_partition(1, 4)
    p.lead(partitions=0)
    for workflow_id in ids:
        p.append(records.StartWorkflow(workflow_id=workflow_id, workflow_type="Order", task_queue="orders"))
    assert (p.row.waiting, p.row.open_workflows, p.effects) == (21, 0, [])
    p.lead()
    at_home = [i for i in ids if partition_of(i.encode(), 4) == 1]
    assert p.row.waiting == 0
    assert p.row.open_workflows == len(at_home) > 0
    assert len(p.made(records.ForwardedRecord)) == 21 - len(at_home)


def test_n1_a_record_in_the_wrong_partition_is_forwarded(make_partition: MakePartition) -> None:
    """Breaks when the record is folded where it lies, or sent to another partition than its home."""
    home = partition_of(b"w", 4)
    p = make_partition((home + 1) % 4, 4)
    p.lead()
    start = records.StartWorkflow(workflow_id="w", workflow_type="Order", task_queue="orders")
    p.append(start)
    [(topic, partition, message)] = p.effects
    assert (topic, partition) == (TOPICS.events, home)
    assert p.row.open_workflows == 0
    there = make_partition(home, 4)
    there.lead()
    there.append(message)
    assert there.run().is_open


def test_n1_a_forwarded_record_is_never_forwarded_again(make_partition: MakePartition) -> None:
    """Breaks when two partitions that disagree about a home send a record to and fro."""
    elsewhere = next(f"w{i}" for i in range(99) if partition_of(f"w{i}".encode(), 4) == 0)
    p = make_partition(2, 4)
    p.lead()
    inner = records.StartWorkflow(workflow_id=elsewhere, workflow_type="Order", task_queue="orders")
    p.append(forwarded(inner, 5))
    assert p.made(records.ForwardedRecord) == []
    assert p.run(elsewhere).is_open
    assert reasons(p.append(forwarded(forwarded(inner, 1), 6, previous=5))) == [
        "a forwarded record is never forwarded again"
    ]


def test_n1_what_waited_behind_a_message_is_forwarded_still(make_partition: MakePartition) -> None:
    """Breaks when the message's having been forwarded sticks to the records that waited with it."""
    elsewhere = next(f"w{i}" for i in range(99) if partition_of(f"w{i}".encode(), 4) == 0)
    here = next(f"w{i}" for i in range(99) if partition_of(f"w{i}".encode(), 4) == 2)
    p = make_partition(2, 4)
    start = records.StartWorkflow(workflow_id=here, workflow_type="Order", task_queue="orders")
    p.append(forwarded(start, 5))
    p.append(records.StartWorkflow(workflow_id=elsewhere, workflow_type="Order", task_queue="orders"))
    p.lead()
    assert p.run(here).is_open
    assert [e[1] for e in p.effects if isinstance(e[2], records.ForwardedRecord)] == [0]
    assert p.row.open_workflows == 1


def test_l3_the_checksum_is_of_the_record_that_lies_in_the_log(two: Partition) -> None:
    """Breaks when a message's content is hashed in place of its record: a restart would discard a sound state."""
    for record in (forwarded(poke("a"), 5), poke("b")):
        two.append(record)
        assert two.row.checksum == zlib.crc32(two.log[-1].value)
    assert two.row.position == len(two.log)


class Kept(MemoryStorage):
    """Keeps what it held after each write: a crash may come behind any."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[dict[bytes, bytes]] = []

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        super().write(changes)
        self.moments.append(dict(self.entries))


def test_l3_what_is_stored_is_at_every_moment_the_state_of_its_position(two: Partition) -> None:
    """Breaks when the position is written apart from the rest: after a crash, the state lacks what records did."""
    two.advance(act(1))
    for name in "abcdef":
        two.append(poke(name))
    partition, storage = two.row.partition, Kept()
    state, right = State(storage, partition), {0: {}}
    for offset, entry in enumerate(two.log):
        fold(state, TOPICS, offset, *entry)
        right[offset + 1] = state.dump()
        if offset % 3 == 2:
            state.flush()
    assert len(storage.moments) > 2
    for moment in storage.moments:
        stored = load(moment, partition)
        assert stored.dump() == right[stored.partition.position]
