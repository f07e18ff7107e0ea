"""The eager path on the worker: activities begin once their completion is known to be accepted (rules W4, W6, W10)."""

from __future__ import annotations

from typing import Any

import pytest
from odradek._worker.acceptance import Acceptance, Fate
from odradek_log.protocol import Record as LogRecord
from odradek_schemas import Position, encode, records
from odradek_schemas.common import Record

OVERDUE = 5.0


class Reading:
    """One partition of `events`, read from offset 10 on; `tip` is what a task at offset 10 shows."""

    def __init__(self) -> None:
        self.now = 0.0
        self.acceptance = Acceptance(lambda: self.now, OVERDUE)
        self.acceptance.begin(0, 10)
        self.next = 10
        self.read(start())
        self.tip = self.acceptance.shown("w", 0, 10)

    def read(self, *found: Record | bytes) -> list[Fate]:
        settled = []
        for record in found:
            value = record if isinstance(record, bytes) else encode(record)
            settled += self.acceptance.read([LogRecord("events", 0, self.next, 0, b"any", value)])
            self.next += 1
        return settled

    def expect(self, id: str, after: Fate) -> Fate:
        fate = Fate("w", 0, id, after)
        self.acceptance.expect(fate)
        return fate


def start(**fields: Any) -> records.StartWorkflow:
    return records.StartWorkflow(workflow_id="w", workflow_type="Order", task_queue="q", **fields)


def completion(id: str, workflow_id: str = "w") -> records.WorkflowTaskCompleted:
    return records.WorkflowTaskCompleted(workflow_id=workflow_id, run_id="r", id=id, base="b", consumed_through=1)


def forwarded(record: Record) -> records.ForwardedRecord:
    return records.ForwardedRecord(position=Position(partition=1, offset=1, index=0), value=encode(record))


SIGNAL = records.SignalWorkflow(workflow_id="w", signal="s")
ENDED = records.ActivityCompleted(workflow_id="w", run_id="r", seq=1, scheduled_by="x", attempt=1, session="s")


def test_w4_a_completion_is_accepted_when_it_is_read_back_and_not_before() -> None:
    r = Reading()
    fate = r.expect("mine-1", r.tip)
    assert fate.state == "open"
    assert r.read(SIGNAL, forwarded(SIGNAL), completion("other", "another workflow")) == []
    assert r.read(completion("mine-1")) == [fate]
    assert fate.state == "accepted"


@pytest.mark.parametrize("between", [
    completion("theirs-1"),
    records.TerminateWorkflow(workflow_id="w"),
    records.WorkflowTimedOut(workflow_id="w", run_id="r", timeout_type="run", epoch=1),
    start(id_conflict_policy="terminate_existing"),
    forwarded(records.TerminateWorkflow(workflow_id="w")),
    records.WorkerLost(session="s", epoch=1),
    b'{"type": "TerminateWorkflow", "workflow_id": "w"}',
    b"\xc3\x01unknown!" + b"x",
    encode(records.TerminateWorkflow(workflow_id="w"))[:10],
], ids=lambda record: type(record).__name__)
def test_w4_whatever_may_have_made_it_void_in_between_is_a_doubt(between: Record | bytes) -> None:
    r = Reading()
    fate = r.expect("mine-1", r.tip)
    assert r.read(between, completion("mine-1")) == [fate]
    assert fate.state == "doubtful"


def test_w4_what_came_before_the_task_is_no_doubt() -> None:
    r = Reading()
    r.read(completion("theirs-1"))
    fate = r.expect("mine-1", r.acceptance.shown("w", 0, r.next - 1))
    r.read(completion("mine-1"))
    assert fate.state == "accepted"


def test_w4_what_was_appended_before_this_worker_read_the_partition_is_not_known() -> None:
    r = Reading()
    fate = r.expect("mine-1", r.acceptance.shown("w", 0, 8))
    assert not r.acceptance.hopeful(fate)
    r.read(completion("mine-1"))
    assert fate.state == "doubtful"


def test_w4_a_chain_is_accepted_link_by_link_and_doubt_goes_down_it() -> None:
    r = Reading()
    first = r.expect("mine-1", r.tip)
    second = r.expect("mine-2", first)
    r.read(completion("mine-1"), completion("mine-2"))
    assert (first.state, second.state) == ("accepted", "accepted")
    third = r.expect("mine-3", second)
    fourth = r.expect("mine-4", third)
    r.read(completion("theirs"), completion("mine-3"), completion("mine-4"))
    assert (third.state, fourth.state) == ("doubtful", "doubtful")


def test_w6_a_local_result_of_an_activity_that_ended_otherwise_is_a_doubt() -> None:
    r = Reading()
    first = r.expect("mine-1", r.tip)
    r.read(completion("mine-1"), ENDED)
    second = r.expect("mine-2", first)
    second.local_since = first.offset
    r.read(completion("mine-2"))
    assert second.state == "doubtful"


def test_w4_skipped_records_partitions_that_went_and_long_silence_are_doubts() -> None:
    r = Reading()
    skipped = r.expect("mine-1", r.tip)
    r.next += 1
    r.read(completion("mine-1"))
    assert skipped.state == "doubtful"
    late = r.expect("mine-2", r.acceptance.shown("w", 0, r.next - 1))
    assert r.acceptance.overdue() == []
    r.now += OVERDUE
    assert r.acceptance.overdue() == [late]
    assert r.read(completion("mine-2")) == []
    gone = r.expect("mine-3", r.acceptance.shown("w", 0, r.next - 1))
    assert r.acceptance.stop([0]) == [gone]
    assert {late.state, gone.state} == {"doubtful"}


def test_w4_a_completion_whose_append_was_given_up_is_doubtful_at_once() -> None:
    r = Reading()
    fate = r.expect("mine-1", r.tip)
    assert r.acceptance.lost(fate) == [fate]
    assert r.acceptance.lost(fate) == []
    assert fate.state == "doubtful"


def test_w4_an_acknowledged_append_counts_as_read_back_once_all_before_it_is_known() -> None:
    r = Reading()
    fate = r.expect("mine-1", r.tip)
    assert r.acceptance.acknowledged(fate, r.next) == [fate]
    assert (fate.state, fate.offset) == ("accepted", r.next)
    second = r.expect("mine-2", fate)
    assert r.acceptance.acknowledged(second, r.next + 1) == [second]
    assert second.state == "accepted"
    assert r.read(completion("mine-1"), completion("mine-2"), SIGNAL) == [], "they are known"
    third = r.expect("mine-3", second)
    assert r.read(completion("mine-3")) == [third]
    assert third.state == "accepted"


def test_w4_an_acknowledged_append_waits_for_what_others_appended_before_it() -> None:
    r = Reading()
    harmless = r.expect("mine-1", r.tip)
    assert r.acceptance.acknowledged(harmless, r.next + 1) == []
    assert harmless.state == "open"
    assert r.read(SIGNAL) == [harmless], "its own record need not come back, too"
    assert harmless.state == "accepted"
    r.read(completion("mine-1"))
    ended = r.expect("mine-2", harmless)
    chained = r.expect("mine-3", ended)
    assert r.acceptance.acknowledged(ended, r.next + 1) == r.acceptance.acknowledged(chained, r.next + 2) == []
    assert r.read(records.TerminateWorkflow(workflow_id="w")) == [ended, chained]
    assert {ended.state, chained.state} == {"doubtful"}


def test_w4_an_acknowledgement_is_of_no_use_beyond_a_gap_or_of_what_is_read_already() -> None:
    r = Reading()
    fate = r.expect("mine-1", r.tip)
    r.read(completion("mine-1"))
    assert r.acceptance.acknowledged(fate, r.next - 1) == []
    skipped = r.expect("mine-2", fate)
    assert r.acceptance.acknowledged(skipped, r.next + 1) == []
    r.next += 2
    after = r.expect("mine-3", skipped)
    assert r.read(completion("mine-3")) == [after]
    assert after.state == "doubtful", "what lies in the gap is not known"
    assert skipped.state == "open"
    assert r.acceptance.acknowledged(skipped, r.next - 2) == []
    gone = r.expect("mine-4", r.acceptance.shown("w", 0, r.next - 1))
    assert r.acceptance.stop([0]) == [skipped, gone]
    assert r.acceptance.acknowledged(gone, r.next) == []
    r.acceptance.begin(0, r.next)
    assert r.acceptance.acknowledged(gone, r.next) == [], "it was given back when the partition went"
    assert gone.state == "doubtful"
