"""What a leader does with time: timers, silent workers, tasks that nobody answers, clocks (R2, T3, T6, C1, C2)."""

from __future__ import annotations

import logging

import pytest
from odradek_engine.sessions import ECHO_AGAIN_S, STALL_S
from odradek_schemas import encode, ephemeral, records

from .harness import T0, YEAR_MS, act, payload, sleep
from .solo import START, Solo, advance, alive, beat

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


def test_t6_nobody_is_lost_while_the_log_lets_nothing_through() -> None:
    """Breaks when a broker that is away for ten seconds makes all workers begin all their activities again."""
    solo = Solo()
    solo.lead()
    alive(solo)
    beat(solo)  # it may be silent for 3 s
    solo.mute = True
    for _ in range(30):
        solo.pass_time(1)
    assert solo.take(records.WorkerLost) == []
    asked = len([send for send in solo.producer.held if isinstance(send.body, ephemeral.EngineAlive)])
    assert 2 <= asked <= 30 / ECHO_AGAIN_S + 1, "again, as one may be lost, but seldom"
    solo.mute = False
    solo.echo()
    solo.pass_time(1)
    beat(solo)  # it comes as late as the echo
    for _ in range(2):
        solo.pass_time(1)
    assert solo.take(records.WorkerLost) == []
    for _ in range(5):
        solo.pass_time(1)
    assert len(solo.take(records.WorkerLost)) == 1, "and then it is missed as ever"


def test_t6_what_a_leader_asks_the_log_takes_no_time_from_the_living_and_gives_none_to_the_dead() -> None:
    solo = Solo()
    solo.clock.seconds = 100
    solo.lead()
    alive(solo, "W1")
    alive(solo, "W2")
    beat(solo, "W1")
    verdicts = []
    for second in range(8):
        beat(solo, "W2")
        solo.pass_time(1)
        verdicts += [second + 1] * len(solo.take(records.WorkerLost))
    assert verdicts == [4], "after 3 s, as looked at once a second"


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
