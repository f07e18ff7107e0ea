"""Which attempts run, and what is reported about them (rules T1, T5, T6, T7, W5)."""

from __future__ import annotations

from typing import Any

import pytest
from odradek._worker.activities import REPORT_AGAIN_SECONDS
from odradek._worker.attempts import Completed, Deferred, Failed, Stopped
from odradek_log.protocol import LogUnavailableError, RecordTooLargeError
from odradek_schemas import Failure, Payload
from odradek_schemas.records import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityHandedBack,
    ActivityStarted,
    WorkerAlive,
)

from .activity_bench import IDENTITY, ActivityBench, activity_task, cancel_request
from .worker_fakes import payload


def test_t5_session_is_announced_before_the_start_and_the_code_runs_at_once() -> None:
    bench = ActivityBench()
    bench.task()
    assert [type(s.record) for s in bench.producer.sent] == [WorkerAlive, ActivityStarted]
    assert bench.of(ActivityStarted) == [ActivityStarted(**IDENTITY)]
    assert len(bench.launched) == 1, "it does not wait for the start to be durable"


def test_t1_offset_is_committed_once_the_start_is_durable() -> None:
    bench = ActivityBench()
    ticket = bench.task()
    bench.end(Completed(None))
    assert not ticket.finished, "the start may still be lost; then nobody would know of the task"
    bench.sent(ActivityStarted).deliver(3)
    assert ticket.finished


def test_t1_a_start_that_is_given_up_commits_nothing() -> None:
    bench = ActivityBench()
    ticket = bench.task()
    bench.sent(ActivityStarted).give_up(LogUnavailableError("fenced"))
    assert not ticket.finished


def test_a_result_that_the_log_could_not_take_is_appended_again() -> None:
    """Breaks when it is dropped: the engine knows of the start, so that an activity without a timeout never ends."""
    bench = ActivityBench()
    bench.task()
    bench.sent(ActivityStarted).deliver(3)
    bench.end(Completed(payload("1")))
    bench.sent(ActivityCompleted).give_up(LogUnavailableError("the disk is full"))
    bench.task()
    assert len(bench.launched) == 1, "its result is here"
    assert len(bench.of(ActivityCompleted)) == 1
    bench.advance(REPORT_AGAIN_SECONDS)
    assert bench.of(ActivityCompleted) == 2 * [ActivityCompleted(**IDENTITY, result=payload("1"))]
    bench.producer.sent[-1].deliver(4)
    bench.task()
    assert len(bench.launched) == 2, "it is forgotten once it is there"


def test_w5_every_result_carries_the_whole_identity() -> None:
    bench = ActivityBench()
    bench.task()
    bench.end(Completed(payload("1")))
    assert bench.of(ActivityCompleted) == [ActivityCompleted(**IDENTITY, result=payload("1"))]


def test_a_failure_carries_delay_and_last_heartbeat_details() -> None:
    bench = ActivityBench()
    bench.task()
    bench.core.on_heartbeat(bench.launched[0], [payload("7")])
    failure = Failure(message="declined")
    bench.end(Failed(failure, 250))
    assert bench.of(ActivityFailed) == [
        ActivityFailed(**IDENTITY, failure=failure, next_retry_delay_ms=250, heartbeat_details=[payload("7")])
    ]


def test_the_same_attempt_delivered_again_is_not_run_twice() -> None:
    bench = ActivityBench()
    first, second = bench.task(), bench.task()
    assert len(bench.launched) == 1
    assert len(bench.of(ActivityStarted)) == 1
    bench.sent(ActivityStarted).deliver(3)
    assert first.finished
    assert second.finished
    assert bench.task().finished


def test_an_attempt_whose_result_is_on_its_way_is_not_run_again() -> None:
    bench = ActivityBench()
    bench.task()
    bench.sent(ActivityStarted).deliver(3)
    bench.end(Completed(None))
    bench.task()
    assert len(bench.launched) == 1
    bench.sent(ActivityCompleted).deliver(4)
    bench.task()
    assert len(bench.launched) == 2, "later ones are the engine's decision"


@pytest.mark.parametrize("fields", [{"attempt": 2}, {"run_id": "run2"}, {"scheduled_by": "s9-2"}, {"seq": 2}])
def test_w5_another_identity_or_attempt_is_another_execution(fields: dict[str, Any]) -> None:
    bench = ActivityBench()
    bench.task()
    bench.task(**fields)
    assert len(bench.core.running) == 2


def test_t6_results_of_a_session_that_ended_are_still_reported() -> None:
    bench = ActivityBench()
    bench.task()
    bench.session.ended("s1")
    bench.end(Completed(payload("1")))
    assert bench.of(ActivityCompleted)[0].result == payload("1")


def test_slots_are_taken_by_running_attempts_only() -> None:
    bench = ActivityBench(limit=2)
    bench.task(seq=1)
    bench.task(seq=2)
    assert bench.core.free == 0
    bench.end(Completed(None), 0)
    assert bench.core.free == 1, "reporting takes no slot"
    bench.end(Deferred(), 1)
    assert bench.core.free == 2


def test_a_rate_limit_takes_room_away_until_its_time_has_come() -> None:
    bench = ActivityBench(per_second=4)
    launched = 0
    for quarter in range(40):
        while bench.core.free > 0:
            launched += 1
            bench.task(seq=launched)
        assert len(bench.launched) == quarter + 1
        bench.now += 0.25


def test_a_rate_limit_counts_eager_attempts_too() -> None:
    bench = ActivityBench(per_second=4)
    bench.core.begin(bench.core.hold(activity_task(), bench.session.announce(0)))
    assert (len(bench.launched), bench.core.free) == (1, 0)
    bench.now += 0.25
    assert bench.core.free == 1


def test_complete_async_says_that_the_session_does_not_hold_it_any_more() -> None:
    bench = ActivityBench()
    bench.task()
    bench.end(Deferred())
    assert bench.of(ActivityStarted)[-1] == ActivityStarted(**IDENTITY, deferred=True)
    assert bench.core.running == []


def test_cancel_request_stops_the_attempt_and_reports_it_as_cancelled() -> None:
    bench = ActivityBench()
    bench.task()
    bench.core.on_heartbeat(bench.launched[0], [payload("3")])
    bench.core.on_cancel(cancel_request())
    bench.core.on_cancel(cancel_request())
    assert bench.cancelled == bench.launched
    bench.end(Stopped())
    assert bench.of(ActivityCancelled) == [ActivityCancelled(**IDENTITY, details=[payload("3")])]


def test_cancel_request_of_another_activity_stops_nothing() -> None:
    bench = ActivityBench()
    bench.task()
    bench.core.on_cancel(cancel_request(seq=2))
    assert bench.cancelled == []


@pytest.mark.parametrize("reason", ["closed", "timed_out", "completed"])
def test_nothing_but_a_success_is_reported_when_the_engine_has_gone_on(reason: str) -> None:
    bench = ActivityBench()
    bench.task()
    bench.core.on_cancel(cancel_request(reason))
    assert bench.cancelled
    bench.end(Stopped())
    assert bench.of(ActivityCancelled) == []
    assert bench.core.running == []


@pytest.mark.parametrize("reason", ["cancelled", "timed_out"])
def test_t7_a_success_is_reported_even_after_a_cancel_request(reason: str) -> None:
    bench = ActivityBench()
    bench.task()
    bench.core.on_cancel(cancel_request(reason))
    bench.end(Completed(payload("1")))
    assert len(bench.of(ActivityCompleted)) == 1


def test_heartbeats_are_throttled_and_the_last_one_goes_out() -> None:
    bench = ActivityBench()
    bench.task(heartbeat_timeout_ms=1000)
    attempt = bench.launched[0]
    for i in range(5):
        bench.core.on_heartbeat(attempt, [payload(str(i))])
    assert [b.details for b in bench.beats] == [[payload("0")]]
    bench.advance(0.79)
    assert len(bench.beats) == 1
    bench.advance(0.02)
    assert [b.details for b in bench.beats] == [[payload("0")], [payload("4")]]
    assert (bench.beats[0].session, bench.beats[0].attempt) == ("s1", 1)


def test_heartbeats_without_a_timeout_go_out_once_a_second() -> None:
    bench = ActivityBench()
    bench.task()
    for _ in range(20):
        bench.core.on_heartbeat(bench.launched[0], [])
        bench.advance(0.25)
    assert len(bench.beats) == 6, "at 0, 1, 2, 3, 4 and 5 seconds"


def test_a_heartbeat_held_back_does_not_go_out_after_the_end() -> None:
    bench = ActivityBench()
    bench.task()
    bench.core.on_heartbeat(bench.launched[0], [payload("1")])
    bench.core.on_heartbeat(bench.launched[0], [payload("2")])
    bench.end(Completed(None))
    bench.advance(5)
    assert len(bench.beats) == 1


def test_shutdown_hands_back_what_does_not_stop_with_its_last_details() -> None:
    bench = ActivityBench()
    bench.task(heartbeat_details=[payload("before")])
    bench.core.stop_all()
    assert bench.cancelled == bench.launched
    bench.core.hand_back()
    assert bench.of(ActivityHandedBack) == [
        ActivityHandedBack(**IDENTITY, heartbeat_details=[payload("before")])
    ]
    count = len(bench.producer.sent)
    bench.end(Completed(None))
    assert len(bench.producer.sent) == count, "it was handed back: what it still does counts for nothing"


def test_an_attempt_that_stops_at_shutdown_is_handed_back_not_failed() -> None:
    bench = ActivityBench()
    bench.task()
    bench.core.stop_all()
    bench.end(Failed(Failure(message="cut off")))
    assert len(bench.of(ActivityHandedBack)) == 1
    assert bench.of(ActivityFailed) == []


def test_an_attempt_that_finishes_during_shutdown_is_completed() -> None:
    bench = ActivityBench()
    bench.task()
    bench.core.stop_all()
    bench.end(Completed(None))
    assert len(bench.of(ActivityCompleted)) == 1
    assert bench.of(ActivityHandedBack) == []


def test_result_too_large_for_the_log_fails_for_good_with_its_size() -> None:
    bench = ActivityBench()
    bench.task()
    bench.end(Completed(Payload(data=b"x" * 200_000)))
    (failed,) = bench.of(ActivityFailed)
    assert failed.failure.non_retryable
    assert "200," in failed.failure.message


def test_result_that_the_log_refuses_as_too_large_fails_for_good() -> None:
    bench = ActivityBench()
    bench.task()
    bench.end(Completed(Payload(data=b"x" * 900)))
    bench.sent(ActivityCompleted).give_up(RecordTooLargeError("too large"))
    (failed,) = bench.of(ActivityFailed)
    assert failed.failure.non_retryable
    bench.sent(ActivityFailed).give_up(RecordTooLargeError("too large"))
    assert len(bench.of(ActivityFailed)) == 1, "it does not go round in circles"


def test_failure_too_large_for_the_log_keeps_its_message() -> None:
    bench = ActivityBench()
    bench.task()
    bench.end(Failed(Failure(message="declined", details=[Payload(data=b"x" * 200_000)])))
    (failed,) = bench.of(ActivityFailed)
    assert failed.failure.message.startswith("declined")
    assert failed.failure.details == []


# ---------------------------------------------------------------- short attempts


def test_t1_a_short_attempt_is_not_announced_and_its_offset_waits_for_the_result() -> None:
    bench = ActivityBench(start_after=0.005)
    ticket = bench.task()
    bench.end(Completed(None))
    bench.advance(1)
    assert bench.of(ActivityStarted) == []
    (completed,) = bench.of(ActivityCompleted)
    assert completed.session == "s1"
    assert not ticket.finished
    bench.sent(ActivityCompleted).deliver(7)
    assert ticket.finished


def test_t1_an_attempt_that_takes_longer_is_announced_and_committed_then() -> None:
    bench = ActivityBench(start_after=0.005)
    first, second = bench.task(seq=1), bench.task(seq=2)
    bench.advance(0.004)
    assert bench.of(ActivityStarted) == []
    bench.end(Completed(None), index=1)
    bench.advance(0.002)
    assert [started.seq for started in bench.of(ActivityStarted)] == [1]
    bench.sent(ActivityStarted).deliver(7)
    assert (first.finished, second.finished) == (True, False)


def test_a_short_attempt_that_is_completed_from_elsewhere_is_announced() -> None:
    bench = ActivityBench(start_after=0.005)
    ticket = bench.task()
    bench.end(Deferred())
    bench.sent(ActivityStarted).deliver(7)
    assert ticket.finished


def test_a_short_attempt_that_nobody_wants_any_more_leaves_no_record() -> None:
    bench = ActivityBench(start_after=0.005)
    ticket = bench.task()
    bench.core.on_cancel(cancel_request("closed"))
    bench.end(Stopped())
    assert ticket.finished
    assert bench.of(ActivityStarted) + bench.of(ActivityCancelled) == []


# ---------------------------------------------------------------- attempts that begin late
