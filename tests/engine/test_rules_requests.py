"""Rules about requests and time, as the fold keeps them (Q, C1, R2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from odradek_engine.due import REPEAT_MS, DueRecords
from odradek_engine.fold import core, keys
from odradek_engine.fold.core import TRUST_MS
from odradek_schemas import history, records, replies, task_token, tasks
from odradek_schemas.common import Record, Request

from .harness import DONE, T0, YEAR_MS, Partition, act, failure, local, outcomes, reasons, request, sleep

DAY_MS = 24 * 3600 * 1000
MakePartition = Callable[..., Partition]


def start(request: Request | None = None, **fields: str) -> records.StartWorkflow:
    values = {"workflow_id": "w", "workflow_type": "Order", "task_queue": "orders", **fields}
    return records.StartWorkflow(**values, request=request)  # type: ignore[arg-type]  # texts, all of them


def poke(request: Request | None = None) -> records.SignalWorkflow:
    return records.SignalWorkflow(workflow_id="w", signal="poke", request=request)


def expect(p: Partition, record: Record, outcome: str) -> None:
    assert outcomes(p.append(record)) == [outcome]


# ---------------------------------------------------------------- Q: requests


def test_q1_a_known_id_gets_its_stored_answer_again(p: Partition) -> None:
    """Breaks when a repeated request is done again, or answered by the state of now."""
    first = p.append(start(request("a")))
    [answer] = p.made(replies.RequestReply)
    assert (answer.outcome, answer.run_id) == ("started", p.run().run_id)
    expect(p, poke(request("b")), "ok")
    count = len(p.events())
    again = p.append(start(request("a")))
    assert outcomes(first) == outcomes(again) == ["started"]
    assert p.made(replies.RequestReply)[-1].run_id == answer.run_id
    expect(p, poke(request("b")), "ok")
    assert len(p.events()) == count


def test_q1_ids_outlive_the_close_and_the_run(p: Partition) -> None:
    """Breaks when IDs are kept with a run: the copy would start the workflow, or signal it, a second time."""
    p.append(start(request("a")))
    p.append(poke(request("b")))
    p.advance(DONE)
    expect(p, start(request("a")), "started")
    assert not p.run().is_open
    p.append(start(request("c")))
    expect(p, start(request("a")), "started")
    expect(p, poke(request("b")), "ok")
    assert p.happened() == ["WorkflowStarted"]


def test_q1_ids_belong_to_a_workflow(p: Partition) -> None:
    """Breaks when two workflows share their request IDs."""
    expect(p, start(request("a")), "started")
    expect(p, start(request("a"), workflow_id="v"), "started")
    assert p.row.open_workflows == 2


def test_q1_after_its_deadline_a_request_is_expired_and_forgotten(p: Partition) -> None:
    """Breaks when a late copy is done as a new request, or answers are kept beyond the deadline."""
    p.append(start())
    late = p.now + 10_000
    expect(p, poke(request("b", late)), "ok")
    p.now = late
    expect(p, poke(request("b", late)), "ok")
    assert list(p.state.scan(keys.REQUEST))
    p.wait(1)
    expect(p, poke(request("b", late)), "expired")
    expect(p, poke(request("new", late)), "expired")
    assert not list(p.state.scan(keys.REQUEST))
    assert p.happened().count("SignalReceived") == 1


def test_q1_without_a_deadline_an_id_is_kept_for_a_day(p: Partition) -> None:
    """Breaks when such an ID is forgotten early, kept for ever, or its later copy is called expired."""
    p.append(start())
    expect(p, poke(request("b")), "ok")
    p.wait(DAY_MS)
    expect(p, poke(request("b")), "ok")
    assert p.happened().count("SignalReceived") == 1
    p.wait(1)
    expect(p, poke(request("b")), "ok")
    assert p.happened().count("SignalReceived") == 2


def test_q1_a_refusal_is_an_answer_too(p: Partition) -> None:
    """Breaks when a refused request is done after all when its copy comes at a better moment."""
    expect(p, poke(request("b")), "not_found")
    p.append(start())
    expect(p, poke(request("b")), "not_found")
    assert "SignalReceived" not in p.happened()


def test_q1_many_forgotten_at_once_are_removed_bit_by_bit(p: Partition) -> None:
    """Breaks when rows past their time are never removed, or a copy is known by one that is only not yet removed."""
    late = p.now + 1000
    for i in range(150):
        p.append(poke(request(f"r{i}", late)))
    p.wait(1001)
    assert len(list(p.state.scan(keys.REQUEST))) == 50
    expect(p, poke(request("r149", late)), "expired")
    p.wait(1)
    assert len(list(p.state.scan(keys.REQUEST))) == 0


def test_q2_records_without_an_id_are_not_deduplicated(p: Partition) -> None:
    """Breaks when equal records without IDs are taken for copies."""
    p.append(start())
    p.append(poke())
    p.append(poke())
    assert p.happened().count("SignalReceived") == 2
    assert p.made(replies.RequestReply) == []


@pytest.mark.parametrize(
    ("state", "policies", "outcome"),
    [
        ("open", {}, "already_started"),
        ("open", {"id_conflict_policy": "use_existing"}, "existing"),
        ("open", {"id_conflict_policy": "terminate_existing"}, "started"),
        ("completed", {}, "started"),
        ("completed", {"id_reuse_policy": "allow_if_failed"}, "reuse_rejected"),
        ("completed", {"id_reuse_policy": "reject"}, "reuse_rejected"),
        ("terminated", {"id_reuse_policy": "allow_if_failed"}, "started"),
    ],
)
def test_starts_follow_the_id_policies(p: Partition, state: str, policies: dict[str, str], outcome: str) -> None:
    """Breaks when a policy is not kept."""
    first = p.start()
    if state == "completed":
        p.advance(DONE)
    elif state == "terminated":
        p.append(records.TerminateWorkflow(workflow_id="w"))
    expect(p, start(request("a"), **policies), outcome)
    assert (p.run().run_id == first.run_id) is (outcome != "started")
    assert p.row.open_workflows == (0 if outcome == "reuse_rejected" else 1)


def test_signal_with_start_signals_what_is_there(p: Partition) -> None:
    """Breaks when the open run is not signalled, or a new one begins without its signal."""
    expect(p, start(request("a"), signal="poke"), "started")
    expect(p, start(request("b"), signal="poke"), "existing")
    assert p.happened() == ["WorkflowStarted", "SignalReceived", "SignalReceived"]


def test_what_nobody_waits_for_is_reported_when_refused(p: Partition) -> None:
    """Breaks when a refused record that asks for no answer vanishes."""
    assert len(reasons(p.append(poke()))) == 1
    assert len(reasons(p.append(poke(request("a", reply_partition=-1))))) == 1


@pytest.mark.parametrize("reply_partition", [7, 2**40, -2])
def test_e6_an_answer_that_no_partition_takes_is_not_made(p: Partition, reply_partition: int) -> None:
    """Breaks when a client's mistake makes effects that can never be delivered."""
    p.append(start(request("a", reply_partition=reply_partition)))
    p.alive("W2", reply_partition=reply_partition)
    p.lost("W2")
    assert {partition for topic, partition, _ in p.effects if "replies" in topic} == set()


def test_activities_are_completed_from_anywhere_by_task_token(p: Partition) -> None:
    """Breaks when a token does not find its activity, finds another, or is taken twice."""
    p.start()
    p.advance(act(1), act(2))
    row = p.open_activity(1)
    token = task_token("w", row.run_id, row.scheduled_by, 1)
    for bad in (
        task_token("w", row.run_id, "another", 1),
        task_token("w", "another", row.scheduled_by, 1),
        task_token("v", row.run_id, row.scheduled_by, 1),
        task_token("w", row.run_id, row.scheduled_by, -9),
    ):
        complete = records.CompleteActivity(workflow_id="w", task_token=bad, request=request(f"r{len(p.log)}"))
        assert outcomes(p.append(complete))[0] in ("not_found", "invalid")
    nonsense = records.CompleteActivity(workflow_id="w", task_token=b"???", request=request("n"))
    expect(p, nonsense, "invalid")
    expect(p, records.CompleteActivity(workflow_id="w", task_token=token, request=request("c")), "ok")
    assert (p.activity(1), p.open_activity(2).state) == (None, "scheduled")
    failed = records.FailActivity(workflow_id="w", task_token=token, failure=failure(), request=request("d"))
    expect(p, failed, "not_found")


# ---------------------------------------------------------------- C1: fold time


def test_c1_time_never_goes_back(p: Partition) -> None:
    """Breaks when an older stamp takes fold time back: events of one run would go back in time."""
    p.append(start(), at=T0 + 5000)
    p.append(poke(), at=T0 + 1000)
    assert p.row.time_ms == T0 + 5000
    assert [e.time_ms for e in p.events()] == [T0 + 5000, T0 + 5000]


def test_c1_time_outlives_a_restart(p: Partition) -> None:
    """Breaks when fold time is not part of the state."""
    p.append(start(), at=T0 + 5000)
    assert p.row.time_ms == T0 + 5000
    p.append(poke(), at=T0)
    p.advance(sleep(1, 1000))
    timer = p.timer(1)
    assert timer is not None
    assert timer.due_ms == T0 + 6000


def test_c1_a_year_ahead_delays_no_timer_and_expires_no_request(p: Partition) -> None:
    """Breaks when one broken stamp moves fold time: all requests would expire, and every new timer be a year late."""
    p.append(start())
    p.append(poke(request("r", p.now + 60_000)))
    p.append(poke(), at=p.now + YEAR_MS)
    assert p.row.waiting == 1
    p.wait(1000)
    assert (p.row.waiting, p.row.time_ms) == (0, p.now)
    expect(p, poke(request("r", p.now + 59_000)), "ok")
    assert p.happened().count("SignalReceived") == 2
    p.advance(sleep(1, 5000))
    timer = p.timer(1)
    assert timer is not None
    assert timer.due_ms == p.now + 5000


def test_c1_a_year_ahead_election_moves_no_time(p: Partition) -> None:
    """Breaks when the stamp of a record that does not wait is believed."""
    p.append(
        records.LeaderElected(member="b", nonce="b", clock_ms=p.now, partitions=1), at=p.now + YEAR_MS
    )
    p.append(records.EffectsEmitted(), at=p.now + YEAR_MS)
    p.append(start())
    assert p.row.time_ms == p.now


def test_c1_records_wait_in_order_for_the_clock(p: Partition) -> None:
    """Breaks when a record overtakes one that waits, or one is released before the clock is read."""
    p.append(start())
    p.now += TRUST_MS + 1
    p.append(records.SignalWorkflow(workflow_id="w", signal="first"))
    p.append(records.SignalWorkflow(workflow_id="w", signal="second"), at=T0)
    assert p.row.waiting == 2
    for other in (
        records.EffectsEmitted(),
        records.ClockRead(clock_ms=p.now, epoch=p.row.epoch - 1),
        records.LeaderElected(member="engine", nonce="n1", clock_ms=p.now),
    ):
        p.append(other)
        assert (p.row.waiting, p.row.time_ms) == (2, T0), other
    p.wait(0)
    assert p.row.waiting == 0
    signals = [e for e in p.events() if isinstance(e.attributes, history.SignalReceived)]
    assert [s.attributes.signal for s in signals] == ["first", "second"]  # type: ignore[union-attr]
    assert [s.time_ms for s in signals] == [p.now, p.now]


def test_c1_a_timer_set_by_a_record_that_waited_is_not_early(p: Partition) -> None:
    """Breaks when marks release what waits for the clock: its timers would count from a time long past."""
    p.append(start())
    p.now += 3600_000
    p.advance(sleep(1, 1000))
    p.append(records.EffectsEmitted())
    p.wait(0)
    timer = p.timer(1)
    assert timer is not None
    assert timer.due_ms == p.now + 1000


def test_c1_very_many_waiting_records_go_on_bit_by_bit(
    monkeypatch: pytest.MonkeyPatch, make_partition: MakePartition
) -> None:
    """Breaks when one record lets any number of others go on in one step, however much that is."""
    monkeypatch.setattr(core, "MAX_RELEASED", 10)
    p = make_partition()
    for _ in range(25):
        p.append(poke())
    p.lead()
    assert p.row.waiting == 15
    p.append(poke())
    p.wait(0)
    assert p.row.waiting == 6
    p.wait(0)
    assert p.row.waiting == 0
    assert [letter.offset for letter in p.made(tasks.DeadLetter)] == [*range(25), 26]


def test_c1_retention_of_nothing_does_not_disturb_what_waited(make_partition: MakePartition) -> None:
    """Breaks when a run that closed in this very step is removed before its events are published."""
    p = make_partition()
    p.append(start())
    p.append(records.TerminateWorkflow(workflow_id="w"))
    p.append(start(workflow_id="v"), at=T0 + 5000)
    p.lead(closed_retention_ms=0)
    assert p.run("v").is_open
    assert sum(len(b.events) for b in p.made(tasks.HistoryBatch)) == 3


def test_c1_a_fired_timer_never_shows_less_than_its_due_time(p: Partition) -> None:
    """Breaks when the event has the record's own stamp: the workflow's clock would be before the timer's end."""
    p.start()
    p.advance(sleep(1, 5000))
    p.now += 4500
    p.fire(1)
    assert p.happened()[-1] == "TimerFired"
    assert p.events()[-1].time_ms == T0 + 5000


def test_c1_a_timer_fired_early_is_dropped(p: Partition) -> None:
    """Breaks when a leader whose clock is ahead fires timers before their time."""
    p.start()
    p.advance(sleep(1, 5000))
    p.now += 3999
    p.fire(1)
    assert p.timer(1) is not None
    p.now += 1
    p.fire(1)
    assert p.timer(1) is None


def test_c1_a_sleep_counts_from_the_clock_of_the_workflow(p: Partition) -> None:
    """Breaks when it counts from the log's time, which may be less: after a timer that fired a little early, or a delay
    that ended so, the workflow would see itself sleep for too short."""
    p.start(start_delay_ms=5000)
    p.now += 4500
    p.task_due()
    p.advance(sleep(1, 300))
    assert p.timer(1).due_ms == T0 + 5300
    p.now = T0 + 4900
    p.fire(1)
    p.advance(sleep(2, 100))
    assert p.timer(2).due_ms == T0 + 5400


def test_c1_local_results_have_times_of_their_own_that_never_fall(p: Partition) -> None:
    """Breaks when a local result gets fold time (replay would show the code another clock), or goes back in time."""
    p.start()
    first = p.advance(act(1, eager=True), act(2, eager=True), act(3, eager=True))
    p.wait(10_000)
    p.advance(
        DONE,
        consumed_through=1,
        local_results=[local(i, first, time_ms=T0 + t) for i, t in ((1, 3000), (2, 2000), (3, -YEAR_MS))],
    )
    times = [e.time_ms for e in p.events() if isinstance(e.attributes, history.ActivityCompleted)]
    assert times == [T0 + 3000, T0 + 3000, T0 + 3000]
    assert p.events()[-1].time_ms == T0 + 10_000


# ---------------------------------------------------------------- R2: the leader fires from the state


def due(p: Partition) -> DueRecords:
    return DueRecords(p.state, lambda row: (row.started_ms, []), 600_000)


def test_r2_what_is_due_is_given_again_until_it_is_folded(p: Partition) -> None:
    """Breaks when a lost TimerFired is not appended again, or one is appended at every turn."""
    p.start()
    p.advance(sleep(1, 5000))
    service = due(p)
    assert list(service.take(T0 + 4999)) == []
    at = T0 + 5000
    [record] = service.take(at)
    assert isinstance(record, records.TimerFired)
    assert list(service.take(at + REPEAT_MS - 1)) == []
    assert list(service.take(at + REPEAT_MS)) == [record]
    p.now = at + REPEAT_MS
    p.append(record)
    assert list(service.take(at + 10 * REPEAT_MS)) == []
    assert p.happened()[-1] == "TimerFired"


def test_r2_a_new_leader_fires_what_the_last_one_did_not(p: Partition) -> None:
    """Breaks when what is due is remembered outside the state."""
    p.start()
    p.advance(sleep(1, 5000))
    [lost] = due(p).take(T0 + 5000)
    p.lead("another", clock_ms=T0 + 5000)
    [record] = due(p).take(T0 + 5000)
    p.now += 5000
    assert p.changes(lost) == set()
    assert p.changes(record)


def test_r2_every_kind_of_wake_up_is_in_the_due_index(p: Partition) -> None:
    """Breaks when one kind of row has no entry: its workflow would sleep for ever."""
    p.start(execution_timeout_ms=80_000, run_timeout_ms=70_000)
    p.advance(
        act(1, start_to_close_timeout_ms=1000),
        act(2, heartbeat_timeout_ms=1000),
        act(3, schedule_to_start_timeout_ms=1000),
        act(4, schedule_to_close_timeout_ms=1000),
        act(5),
        sleep(6, 1000),
    )
    for seq in (1, 2, 5):
        p.begin(seq)
    p.fail(5, next_retry_delay_ms=1000)
    p.signal()
    p.append(
        records.WorkflowTaskFailed(workflow_id="w", run_id=p.run().run_id, base=p.run().base, failure=failure())
    )
    given = list(due(p).take(T0 + 100_000))
    kinds = sorted(getattr(r, "timeout_type", type(r).__name__) for r in given)
    assert kinds == sorted(
        ["start_to_close", "heartbeat", "schedule_to_start", "schedule_to_close", "ActivityRetryDue", "TimerFired",
         "WorkflowTaskDue", "execution", "run"]
    )
    p.wait(100_000)
    for record in given:
        assert p.changes(record) or not p.run().is_open
    assert list(due(p).take(T0 + 200_000)) == []


def test_r2_reissues_come_from_what_is_out(p: Partition) -> None:
    """Breaks when a task that nobody answered is not found, or one that was answered is (rule T3)."""
    p.start()
    p.advance(act(1))
    p.signal()
    service = due(p)
    assert list(service.reissues(T0 + 600_000)) == []
    found = list(service.reissues(T0 + 600_001))
    assert sorted(type(r).__name__ + str(getattr(r, "seq", "")) for r in found) == ["TaskReissued0", "TaskReissued1"]
    for record in found:
        assert p.changes(record)
    p.begin(1)
    p.advance(sleep(2, 1000))
    assert list(service.reissues(T0 + 10 * 600_000)) == []
