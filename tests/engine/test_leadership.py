"""Who leads a partition, and what a leader does with time (L1, R2, T5, T6, C2)."""

from __future__ import annotations

import logging

import pytest
from odradek_engine.leadership import CONTEST_S, READ_BACK_S
from odradek_engine.sessions import STALL_S
from odradek_log import ProducerFailedError
from odradek_schemas import decode, encode, ephemeral, records, replies, tasks

from .harness import DONE, T0, YEAR_MS, act, payload, request, sleep
from .solo import Solo


def elected(member: str, nonce: str = "n", version: int = 1) -> records.LeaderElected:
    return records.LeaderElected(member=member, nonce=nonce, clock_ms=T0, version=version, partitions=1)


START = records.StartWorkflow(workflow_id="w", workflow_type="Order", task_queue="orders")


# ---------------------------------------------------------------- L1


def test_l1_leads_only_after_reading_its_own_record_back() -> None:
    """Breaks when a processor emits from the moment of its assignment."""
    solo = Solo()
    solo.put(elected("other"))
    solo.put(START)
    solo.processor.gain()
    solo.fold()
    assert not solo.leading
    assert [s.topic.rsplit(".")[-1] for s in solo.producer.held] == ["events"]
    solo.settle()
    assert solo.leading
    assert len(solo.outputs("workflow-tasks")) == 1


def test_l1_a_foreign_record_deposes_and_is_contested_after_a_delay() -> None:
    """Breaks when a deposed leader goes on emitting, or never stands again, or stands again at once."""
    solo = Solo()
    solo.lead()
    solo.put(elected("other"))
    solo.put(START)
    solo.settle()
    assert not solo.leading
    assert solo.outputs("workflow-tasks") == []
    assert len(solo.elections()) == 2
    solo.pass_time(CONTEST_S[1])
    solo.settle()
    assert solo.leading
    assert [e.member for e in solo.elections()] == ["me", "other", "me"]
    assert len({e.nonce for e in solo.elections()}) == 3
    assert len(solo.outputs("workflow-tasks")) == 1


def test_l1_one_who_does_not_hold_the_partition_does_not_stand_again() -> None:
    """Breaks when two engines contest a partition that the group has given to one of them."""
    solo = Solo()
    solo.lead()
    solo.processor.release()
    solo.put(elected("other"))
    solo.settle()
    solo.pass_time(100)
    solo.settle()
    assert [e.member for e in solo.elections()] == ["me", "other"]


def test_l1_others_are_ignored_while_the_own_record_is_out() -> None:
    """Breaks when each foreign record is answered: two engines would depose each other for ever."""
    solo = Solo()
    solo.processor.gain()
    [own] = solo.take(records.LeaderElected)
    for nonce in "abc":
        solo.put(elected("other", nonce))
    solo.fold()
    solo.pass_time(CONTEST_S[1])
    assert solo.producer.held == []
    solo.land(own)
    solo.fold()
    assert solo.leading


def test_l1_a_second_copy_of_the_own_record_deposes_nobody() -> None:
    """Breaks when a retried append that landed twice is taken for another's."""
    solo = Solo()
    solo.processor.gain()
    [own] = solo.take(records.LeaderElected)
    solo.land(own)
    solo.fold()
    epoch = solo.state.partition.epoch
    solo.put(START)
    solo.fold()
    solo.put(own.value)
    solo.settle()
    assert solo.leading
    assert solo.state.partition.epoch == epoch
    assert len(solo.outputs("workflow-tasks")) == 1


def test_l1_an_append_that_failed_is_made_again() -> None:
    """Breaks when a lost election leaves a partition without a leader."""
    solo = Solo()
    solo.processor.gain()
    [own] = solo.take(records.LeaderElected)
    own.refuse()
    solo.processor.tick()
    assert solo.producer.held == []
    solo.pass_time(CONTEST_S[1])
    solo.settle()
    assert solo.leading


def test_l1_a_record_that_is_not_read_back_in_time_is_appended_again() -> None:
    """Breaks when an election that was lost without a word is waited for, for ever."""
    solo = Solo()
    solo.processor.gain()
    solo.take(records.LeaderElected)
    solo.pass_time(READ_BACK_S)
    solo.settle()
    assert solo.leading


def test_l1_two_who_hold_one_partition_come_to_rest() -> None:
    """Breaks when they answer each other without a delay, or the one that is left does not lead in the end."""
    for seed in range(20):
        a, b = Solo("a"), Solo("b")
        b.events = a.events
        a.randomness.delay, b.randomness.delay = 0.05 + 0.9 * (seed % 7) / 7, 0.05 + 0.9 * (seed % 5) / 5
        for solo in (a, b):
            solo.processor.gain()
        play(a, b, rounds=100)
        assert 4 < len(a.elections()) < 10 + 5 / min(a.randomness.delay, b.randomness.delay)
        b.processor.release()
        play(a, b, rounds=50)
        assert (a.leading, b.leading) == (True, False)
        count = len(a.elections())
        play(a, b, rounds=200)
        assert len(a.elections()) == count


def play(a: Solo, b: Solo, rounds: int) -> None:
    """Two processors of one partition take turns for `rounds` times 0.05 s."""
    for _ in range(rounds):
        for solo in (a, b):
            solo.deliver()
            solo.fold()
            solo.pass_time(0.05)


def test_v1_an_election_from_before_a_switch_of_versions_is_stood_for_again() -> None:
    """Breaks when who may lead never does, as its first election was for the version before."""
    solo = Solo(fold_version=2)
    solo.processor.gain()
    [own] = solo.take(records.LeaderElected)
    solo.put(elected("other", "n", version=2))
    solo.put(own.value)
    solo.fold()
    assert not solo.leading, "the version never goes down"
    solo.pass_time(2)
    [again] = solo.take(records.LeaderElected)
    assert (again.body.version, again.body.nonce != own.body.nonce) == (2, True)
    solo.land(again)
    solo.fold()
    assert solo.leading


# ---------------------------------------------------------------- time: R2, T5, T6


def test_r2_a_timer_is_fired_until_it_is_folded() -> None:
    """Breaks when a TimerFired that got lost is not appended again, or one is appended at every tick."""
    solo = Solo()
    solo.lead()
    advance(solo, sleep(1, 1000))
    solo.pass_time(0.9)
    assert solo.take(records.TimerFired) == []
    solo.pass_time(0.1)
    assert len(solo.take(records.TimerFired)) == 1
    solo.pass_time(1)
    assert solo.take(records.TimerFired) == []
    solo.pass_time(5)
    solo.settle()
    assert solo.processor.counters.appended["TimerFired"] == 2
    solo.pass_time(60)
    solo.settle()
    assert solo.processor.counters.appended["TimerFired"] == 2


def test_wait_s_ends_when_a_timer_is_due() -> None:
    """Breaks when the engine sleeps past a timer, or spins before it."""
    solo = Solo()
    solo.lead()
    advance(solo, sleep(1, 400))
    solo.pass_time(0.3)
    solo.settle()
    assert solo.processor.wait_s() == pytest.approx(0.1, abs=0.002)


def advance(solo: Solo, *asked: object) -> None:
    """Start "w" if it is not there, and let its code ask for something, on the present base."""
    if not solo.state.get(b"ww\0"):
        solo.put(START)
        solo.settle()
    run = solo.state.get(b"ww\0")
    solo.put(
        records.WorkflowTaskCompleted(
            workflow_id="w",
            run_id=run.run_id,
            id=f"c{len(solo.events)}",
            base=run.base,
            consumed_through=run.last_event_id,
            session="W1",
            commands=list(asked),  # type: ignore[arg-type]  # commands, all of them
        )
    )
    solo.settle()


def alive(solo: Solo, session: str = "W1") -> None:
    solo.put(records.WorkerAlive(session=session, client_id=session, reply_partition=0))
    solo.settle()


def beat(solo: Solo, session: str = "W1") -> None:
    solo.processor.handle_ephemeral(encode(ephemeral.WorkerHeartbeat(session=session, lost_after_ms=3000)))


def test_t6_a_silent_worker_is_lost_one_that_beats_is_not() -> None:
    """Breaks when silence is not noticed, or a heartbeat does not count."""
    solo = Solo()
    solo.lead()
    alive(solo, "W1")
    alive(solo, "W2")
    beat(solo, "W1")
    for _ in range(8):
        beat(solo, "W2")
        solo.pass_time(1)
    assert [s.body.session for s in solo.take(records.WorkerLost)] == ["W1"]


def test_t6_a_verdict_is_appended_again_until_it_is_folded() -> None:
    """Breaks when a lost WorkerLost leaves activities with a dead worker."""
    solo = Solo()
    solo.lead()
    alive(solo)
    beat(solo)
    for _ in range(20):
        solo.pass_time(1)
    lost = solo.take(records.WorkerLost)
    assert 2 <= len(lost) <= 5
    solo.land(lost[-1])
    solo.fold()
    for _ in range(20):
        solo.pass_time(1)
    assert solo.take(records.WorkerLost) == []


def test_t6_a_leader_that_stalled_itself_blames_nobody() -> None:
    """Breaks when a leader that was stopped for a while declares all workers lost."""
    solo = Solo()
    solo.lead()
    alive(solo)
    beat(solo)
    solo.pass_time(1)
    solo.pass_time(STALL_S + 60)
    solo.pass_time(1)
    assert solo.take(records.WorkerLost) == []
    beat(solo)
    for _ in range(8):
        solo.pass_time(1)
    assert len(solo.take(records.WorkerLost)) >= 1


def test_t6_a_leader_that_stalls_now_and_then_misses_the_dead_all_the_same() -> None:
    """Breaks when each stall of a busy machine gives a dead worker all its time again."""
    solo = Solo()
    solo.lead()
    alive(solo)
    beat(solo)  # it may be silent for 3 s
    solo.pass_time(1)
    for _ in range(6):
        solo.pass_time(STALL_S + 0.5)
        for _ in range(3):
            solo.pass_time(1)
    assert len(solo.take(records.WorkerLost)) >= 1


def test_t6_a_new_leader_gives_workers_time() -> None:
    """Breaks when a leader that has just begun counts the silence before its own time."""
    solo = Solo(lost_after=10.0)
    alive(solo)
    solo.clock.seconds += 1000
    solo.processor.gain()
    solo.settle()
    for _ in range(9):
        solo.pass_time(1)
    assert solo.take(records.WorkerLost) == []
    for _ in range(3):
        solo.pass_time(1)
    assert len(solo.take(records.WorkerLost)) == 1


def test_heartbeats_put_the_timeout_off_and_give_their_details() -> None:
    """Breaks when a heartbeating activity times out, a silent one does not, or its last details are lost."""
    solo = Solo()
    solo.lead()
    alive(solo)
    advance(solo, act(1, heartbeat_timeout_ms=3000))
    run = solo.state.get(b"ww\0")
    who = {"workflow_id": "w", "run_id": run.run_id, "seq": 1, "scheduled_by": run.base, "attempt": 1, "session": "W1"}
    solo.put(records.ActivityStarted(**who))
    solo.settle()
    details = [payload("7")]
    for _ in range(5):
        solo.pass_time(2)
        beat(solo)
        solo.processor.handle_ephemeral(encode(ephemeral.ActivityHeartbeat(**who, details=details)))
        assert solo.take(records.ActivityTimedOut) == []
    solo.pass_time(2.9)
    assert solo.take(records.ActivityTimedOut) == []
    solo.pass_time(0.2)
    [timed_out] = solo.take(records.ActivityTimedOut)
    assert (timed_out.body.timeout_type, timed_out.body.heartbeat_details) == ("heartbeat", details)


def test_a_heartbeat_may_come_before_the_command_that_schedules_its_activity() -> None:
    """Breaks when the details are lost of an activity that a worker began once its completion was durable (W4)."""
    details = [payload("7")]
    who: dict[str, object] = {}
    for early in (False, True):  # the second time it is known what they will be called
        solo = Solo()
        solo.lead()
        alive(solo)
        if early:
            solo.processor.handle_ephemeral(encode(ephemeral.ActivityHeartbeat(**who, details=details)))
        advance(solo, act(1, heartbeat_timeout_ms=3000))
        run = solo.state.get(b"ww\0")
        who = {"workflow_id": "w", "run_id": run.run_id, "seq": 1, "scheduled_by": run.base}
        who |= {"attempt": 1, "session": "W1"}
        solo.put(records.ActivityStarted(**who))
        solo.settle()
        solo.pass_time(3.1)
        [timed_out] = solo.take(records.ActivityTimedOut)
        assert timed_out.body.heartbeat_details == (details if early else [])


def test_t3_a_task_that_nobody_answers_is_made_again() -> None:
    """Breaks when a task that a consumer group skipped is waited for, for ever."""
    solo = Solo(reissue_after=60.0)
    solo.lead()
    solo.put(START)
    solo.settle()
    for _ in range(61):
        solo.pass_time(1)
        solo.settle()
    first, second = solo.outputs("workflow-tasks")
    assert (first.base, first.last_event_id) == (second.base, second.last_event_id)


# ---------------------------------------------------------------- C1, C2: clocks


def test_c1_the_leader_writes_its_clock_when_records_wait() -> None:
    """Breaks when nobody reads the clock: records later than a minute after the election would wait for ever."""
    solo = Solo()
    solo.lead()
    for _ in range(3):
        solo.pass_time(3600)
        solo.put(START)
        solo.settle()
        assert solo.state.partition.waiting == 0
        assert solo.state.partition.time_ms == solo.clock.now_ms()
    assert solo.processor.counters.appended["ClockRead"] == 3


def test_c1_a_clock_reading_that_gets_lost_is_repeated() -> None:
    """Breaks when one lost ClockRead stops the partition."""
    solo = Solo()
    solo.lead()
    solo.clock.seconds += 3600
    solo.put(START)
    solo.fold()
    assert len(solo.take(records.ClockRead)) == 1
    solo.pass_time(1)
    solo.settle()
    assert solo.state.partition.waiting == 0


def test_c1_very_many_waiting_records_need_no_second_each() -> None:
    """Breaks when the next part of what waits goes on only with the next second."""
    solo = Solo()
    for _ in range(3500):
        solo.put(b"nonsense")
    solo.lead()
    assert solo.state.partition.waiting == 0
    assert len(solo.outputs("dead-letters")) == 3500


@pytest.mark.parametrize("ahead_s", [YEAR_MS / 1000, -3600], ids=["log ahead", "leader ahead"])
def test_c2_clocks_that_disagree_raise_an_alarm(ahead_s: float, caplog: pytest.LogCaptureFixture) -> None:
    """Breaks when a leader with a wrong clock fires timers at wrong times, and nobody is told."""
    solo = Solo()
    solo.lead()
    assert solo.processor.counters.clock_alarms == 0
    with caplog.at_level(logging.ERROR):
        if ahead_s > 0:
            solo.put(START, at_ms=solo.clock.now_ms() + round(ahead_s * 1000))
        else:
            solo.put(
                records.ClockRead(clock_ms=solo.clock.now_ms(), epoch=solo.state.partition.epoch),
                at_ms=solo.clock.now_ms() + round(ahead_s * 1000),
            )
        solo.settle()
    assert solo.processor.counters.clock_alarms > 0
    assert "clocks disagree" in caplog.text


def test_c2_an_old_record_is_no_alarm() -> None:
    """Breaks when catching up with the log looks like a wrong clock."""
    solo = Solo()
    solo.put(START)
    solo.clock.seconds += 3600
    solo.lead()
    solo.put(START, at_ms=T0)
    solo.settle()
    assert solo.processor.counters.clock_alarms == 0


# ---------------------------------------------------------------- reads


def ask(solo: Solo, barrier: int = -1, workflow_id: str = "w", **fields: int) -> None:
    read = ephemeral.AwaitResult(
        workflow_id=workflow_id, request=request(f"q{solo.clock.seconds}", **fields), barrier=barrier
    )
    solo.processor.handle_ephemeral(encode(read))


def results(solo: Solo) -> list[replies.WorkflowResult]:
    return [body for body in solo.outputs("replies") if isinstance(body, replies.WorkflowResult)]


def test_reads_wait_for_their_barrier() -> None:
    """Breaks when a read is answered before what was acknowledged before it is folded."""
    solo = Solo()
    solo.lead()
    ask(solo, barrier=len(solo.events) + 1)
    solo.settle()
    assert results(solo) == []
    solo.put(START)
    solo.settle()
    advance(solo, DONE)
    assert [r.status for r in results(solo)] == ["completed"]


def test_a_read_without_a_barrier_waits_for_the_log_s_end() -> None:
    """Breaks when it is answered from where the fold just happens to be."""
    solo = Solo()
    solo.lead()
    ask(solo)
    solo.put(START)
    [found] = solo.ends
    found(len(solo.events))
    solo.processor.tick()
    solo.deliver()
    assert results(solo) == []
    solo.settle()
    advance(solo, DONE)
    assert [r.status for r in results(solo)] == ["completed"]


def test_a_query_waits_until_the_code_has_read_what_came_before_it() -> None:
    """Breaks when a query is handed to a worker before signals that were acknowledged earlier."""
    solo = Solo()
    solo.lead()
    advance(solo)
    solo.put(records.SignalWorkflow(workflow_id="w", signal="poke"))
    solo.settle()
    query = ephemeral.QueryWorkflow(workflow_id="w", query="state", request=request("q"), barrier=0)
    solo.processor.handle_ephemeral(encode(query))
    solo.deliver()
    assert not any(isinstance(t, tasks.QueryTask) for t in solo.outputs("workflow-tasks"))
    advance(solo, sleep(1, 60_000))
    [task] = [t for t in solo.outputs("workflow-tasks") if isinstance(t, tasks.QueryTask)]
    assert task.base == solo.state.get(b"ww\0").base


def start_and_wait(request_id: str = "s") -> records.StartWorkflow:
    return records.StartWorkflow(
        workflow_id="w", workflow_type="Order", task_queue="orders", request=request(request_id),
        result_request="result",
    )


def test_a_start_may_ask_for_the_result_of_the_run_that_it_begins() -> None:
    """Breaks when the result needs a request of its own, or a repeated start asks for the result of another run."""
    solo = Solo()
    solo.lead()
    solo.put(start_and_wait())
    solo.settle()
    assert results(solo) == []
    advance(solo, DONE)
    assert [(r.request_id, r.status) for r in results(solo)] == [("result", "completed")]
    solo.put(START)
    solo.put(start_and_wait())
    solo.settle()
    assert solo.processor.reads.waiting == 0


@pytest.mark.parametrize("age_s", [0, 60])
def test_a_start_of_just_before_an_election_asks_the_new_leader(age_s: int) -> None:
    """Breaks when a result is awaited in vain whose start was folded between two leaders, or by all of a log."""
    solo = Solo()
    solo.put(elected("other"))
    solo.put(start_and_wait())
    solo.clock.seconds += age_s
    solo.fold()
    solo.lead()
    assert solo.processor.reads.waiting == (0 if age_s else 1)


def test_reads_that_nobody_waits_for_are_forgotten() -> None:
    """Breaks when reads with barriers that never come, or without an end, fill the memory."""
    solo = Solo()
    solo.lead()
    advance(solo)
    ask(solo, barrier=10**9, deadline_ms=T0 + 2000)
    ask(solo, barrier=10**9)
    ask(solo, barrier=0, deadline_ms=T0 + 2000)
    ask(solo, barrier=0)
    for _ in range(130):
        solo.pass_time(1)
    assert solo.processor.reads.waiting == 0


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"nonsense",
        encode(START),
        encode(
            ephemeral.ActivityHeartbeat(workflow_id="w", run_id="r", scheduled_by="c", seq=-9, attempt=1, session="")
        ),
        encode(ephemeral.AwaitResult(workflow_id="a\0b", request=request("q", reply_partition=2**40), barrier=0)),
        encode(ephemeral.FetchHistory(workflow_id="w", request=request("q"), from_event_id=2**62, barrier=0)),
        encode(ephemeral.FetchHistory(workflow_id="w", request=request("q"), from_event_id=-(2**62), barrier=0)),
        encode(ephemeral.WorkerHeartbeat(session="W", lost_after_ms=-5)),
    ],
    ids=range(8),
)
def test_what_is_wrong_in_ephemeral_disturbs_nobody(value: bytes) -> None:
    """Breaks when a read or heartbeat by a broken client stops the engine, or is answered into nowhere."""
    solo = Solo()
    solo.lead()
    advance(solo)
    solo.processor.handle_ephemeral(value)
    solo.settle()
    assert {partition for topic, partition, _ in solo.out if "replies" in topic} <= {0}
    ask(solo, barrier=0, workflow_id="unknown")
    solo.settle()
    assert [r.status for r in results(solo)][-1] == "not_found"


def test_a_poison_record_becomes_a_dead_letter_and_the_partition_goes_on() -> None:
    """Breaks when bytes that are no record stop the processor."""
    solo = Solo()
    solo.lead()
    solo.put(b"\xc3\x01poison")
    solo.put(START)
    solo.settle()
    assert [letter.value for letter in solo.outputs("dead-letters")] == [b"\xc3\x01poison"]
    assert len(solo.outputs("workflow-tasks")) == 1
    assert solo.processor.counters.dead_letters == 1
    assert decode(encode(START)) == START


# ---------------------------------------------------------------- E2


def test_e2_a_producer_that_fails_under_an_answer_is_replaced() -> None:
    """Breaks when only appends and effects tell of a producer's end: a quiet partition then answers nobody for ever."""
    solo = Solo()
    solo.lead()
    asked = ephemeral.DescribeWorkflow(workflow_id="w", request=request("r"), barrier=0)
    solo.processor.handle_ephemeral(encode(asked))
    (answer,) = solo.take(replies.WorkflowDescription)
    answer.refuse(ProducerFailedError("fenced"))
    assert solo.processor.producer_failed
    solo.processor.use(solo.producer, solo.producer)
    assert not solo.processor.producer_failed
