"""Which attempts are claimed before they run, and whose answer counts (rules T4, T6, T7, T8)."""

from __future__ import annotations

import pytest
from odradek._worker.activities import CLAIM_AGAIN_SECONDS
from odradek._worker.attempts import (
    CLAIM_VALID_SECONDS,
    Completed,
    Late,
)
from odradek_schemas.records import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityFailed,
    ActivityHandedBack,
    ActivityStarted,
    WorkerAlive,
)

from .activity_bench import IDENTITY, ActivityBench, cancel_request
from .worker_fakes import payload


def test_t6_running_attempts_are_claimed_for_the_new_session_when_delivered_again() -> None:
    bench = ActivityBench()
    bench.task()
    bench.sent(ActivityStarted).deliver(3)
    bench.session.ended("s1")
    again = bench.task()
    assert [r.session for r in bench.of(ActivityStarted)] == ["s1", "s2"]
    assert [r.session for r in bench.of(WorkerAlive)] == ["s1", "s2"]
    assert len(bench.launched) == 1
    assert not again.finished
    bench.sent(ActivityStarted).deliver(9)
    assert again.finished
    bench.end(Completed(None))
    assert bench.of(ActivityCompleted)[0].session == "s2"


def test_t4_a_task_older_than_the_assignment_is_claimed_first_and_then_run() -> None:
    bench = ActivityBench()
    ticket = bench.task(fresh=False)
    assert bench.of(ActivityStarted) == [ActivityStarted(**IDENTITY, claim=True)]
    bench.sent(ActivityStarted).deliver(30)
    assert ticket.finished
    assert bench.launched == []
    bench.claimed(True)
    bench.claimed(True)
    assert len(bench.launched) == 1


def test_t4_a_claim_that_was_not_taken_runs_nothing() -> None:
    bench = ActivityBench(limit=1)
    bench.task(fresh=False)
    assert bench.core.free == 0
    bench.claimed(False)
    assert bench.launched == []
    assert bench.core.free == 1
    assert bench.core.running == []


def test_t4_a_fresh_task_runs_at_once_and_expects_no_answer() -> None:
    bench = ActivityBench()
    bench.task()
    assert not bench.of(ActivityStarted)[0].claim
    assert len(bench.launched) == 1
    bench.claimed(False)
    assert len(bench.core.running) == 1


def test_t7_an_answer_to_a_claim_that_comes_late_counts_for_nothing() -> None:
    """Found by the kill tests: claims were granted, the first attempt's result was folded, and only then, when a new
    leader sent what the old one had left, did the answers reach the worker."""
    bench = ActivityBench()
    bench.task(fresh=False)
    bench.advance(CLAIM_VALID_SECONDS + 0.1)
    bench.claimed(True, offset=40)
    assert bench.launched == []
    assert bench.of(ActivityStarted) == [ActivityStarted(**IDENTITY, claim=True)] * 2
    bench.answer(True, offset=40)  # a repeated effect: of the first claim still
    assert bench.launched == []
    bench.claimed(False, offset=50)
    assert bench.launched == []
    assert bench.core.running == []


def test_t7_a_claim_that_is_made_again_makes_no_answer_to_an_earlier_one_count() -> None:
    """Found by the fault suite: a worker stood still for 20 s with a claim on its way. When it went on, the claim was
    made again, and then the granted one's answer came, which was taken for fresh; meanwhile there was a result."""
    bench = ActivityBench()
    bench.task(fresh=False)
    bench.sent(ActivityStarted).deliver(30)
    bench.advance(20)
    assert len(bench.of(ActivityStarted)) == 2
    bench.answer(True, offset=30)
    bench.sent(ActivityStarted).deliver(50)
    assert bench.launched == []
    bench.answer(False, offset=50)
    assert bench.core.running == []


def test_t8_an_answer_to_an_earlier_claim_is_none_to_a_later_one() -> None:
    """Found by the simulation: an at-most-once activity ran twice. Its task was delivered again after its end, to the
    same worker, whose new claim met a copy of the old answer, sent again by a new leader."""
    bench = ActivityBench()
    bench.task(delivery="at_most_once")
    bench.claimed(True, offset=14)
    bench.end(Completed(payload("1")))
    bench.sent(ActivityCompleted).deliver(20)
    bench.task(delivery="at_most_once")
    bench.answer(True, offset=14)  # before the claim's own offset is known
    bench.sent(ActivityStarted).deliver(35)
    bench.answer(True, offset=14)  # and after
    assert len(bench.launched) == 1
    bench.answer(False, offset=35)
    assert bench.core.running == []


def test_t4_an_answer_may_come_before_the_offset_of_its_claim() -> None:
    """Breaks when such answers are thrown away: the attempt waits until its claim is made again."""
    bench = ActivityBench()
    bench.task(fresh=False)
    bench.answer(True, offset=30)
    assert bench.core.has_early_answers
    assert bench.launched == []
    bench.sent(ActivityStarted).deliver(30)
    assert len(bench.launched) == 1
    assert not bench.core.has_early_answers


def test_t4_a_claim_that_is_made_again_has_more_time() -> None:
    bench = ActivityBench()
    bench.task(fresh=False)
    bench.advance(CLAIM_VALID_SECONDS + 0.1)
    bench.claimed(True, offset=40)
    bench.advance(CLAIM_VALID_SECONDS + 0.1)
    bench.claimed(True, offset=50)
    assert len(bench.launched) == 1


def test_t4_a_claim_without_an_answer_is_made_again() -> None:
    bench = ActivityBench()
    bench.task(fresh=False)
    bench.advance(CLAIM_AGAIN_SECONDS)
    assert bench.of(ActivityStarted) == [ActivityStarted(**IDENTITY, claim=True)] * 2
    bench.claimed(True)
    bench.advance(CLAIM_AGAIN_SECONDS)
    assert len(bench.of(ActivityStarted)) == 2


def test_t5_who_gets_no_answer_announces_its_session_again() -> None:
    """Breaks when a log that has lost the announcement answers none of the worker's claims, for ever."""
    bench = ActivityBench()
    bench.task(fresh=False)
    assert len(bench.producer.of(WorkerAlive)) == 1
    bench.advance(CLAIM_AGAIN_SECONDS)
    assert len(bench.producer.of(WorkerAlive)) == 2
    bench.claimed(True)
    bench.task(fresh=False, seq=2)
    assert len(bench.producer.of(WorkerAlive)) == 2


def test_t6_claims_of_a_session_that_ended_are_void() -> None:
    bench = ActivityBench(limit=2)
    bench.task(fresh=False)
    bench.task(seq=2)
    bench.session.ended("s1")
    bench.core.on_session_ended("s1")
    bench.claimed(True)
    assert [a.task.seq for a in bench.launched] == [2], "what runs goes on"
    assert bench.core.free == 1


def test_t6_an_answer_to_a_claim_of_a_former_session_counts_for_nothing() -> None:
    bench = ActivityBench()
    bench.task(fresh=False)
    bench.session.ended("s1")
    bench.core.on_session_ended("s1")
    bench.task(fresh=False)
    bench.claimed(True, session="s1")
    assert bench.launched == []
    bench.claimed(True, session="s2")
    assert len(bench.launched) == 1


def test_t8_at_most_once_is_claimed_first_even_if_fresh() -> None:
    bench = ActivityBench()
    bench.task(delivery="at_most_once")
    assert bench.of(ActivityStarted) == [ActivityStarted(**IDENTITY, claim=True)]
    assert bench.launched == []
    bench.claimed(True)
    assert len(bench.launched) == 1


def test_a_task_that_says_so_is_claimed_first_even_if_fresh() -> None:
    bench = ActivityBench()
    bench.task(claim=True)
    assert bench.of(ActivityStarted) == [ActivityStarted(**IDENTITY, claim=True)]
    assert bench.launched == []


def test_a_claim_that_is_granted_after_a_cancel_request_runs_nothing() -> None:
    bench = ActivityBench()
    bench.task(fresh=False)
    bench.core.on_cancel(cancel_request())
    bench.claimed(True)
    assert bench.launched == []
    assert len(bench.of(ActivityCancelled)) == 1
    assert bench.core.free == 100


@pytest.mark.parametrize("reason", ["completed", "closed", "timed_out"])
def test_t7_a_claim_that_is_granted_runs_nothing_if_the_activity_has_ended_meanwhile(reason: str) -> None:
    """Breaks when what is known to have a result begins again: the result of an attempt that was believed lost came
    between the claim and its answer."""
    bench = ActivityBench()
    bench.task(attempt=2)
    bench.core.on_cancel(cancel_request(reason))
    bench.sent(ActivityStarted).deliver(40)
    bench.answer(True, attempt=2)
    assert bench.launched == []
    assert bench.of(ActivityCancelled) + bench.of(ActivityHandedBack) + bench.of(ActivityFailed) == []
    assert bench.core.free == 100


def test_a_request_to_stop_an_attempt_that_was_given_up_stops_none_that_came_after_it() -> None:
    """Breaks when it comes late, with the next attempt already here: nobody runs that, until its timeout."""
    bench = ActivityBench()
    bench.task(attempt=2)
    bench.core.on_cancel(cancel_request("timed_out", offset=9))
    bench.sent(ActivityStarted).deliver(40)
    bench.answer(True, attempt=2)
    assert len(bench.launched) == 1
    bench.core.on_cancel(cancel_request("timed_out", offset=10))
    assert bench.cancelled == []
    bench.core.on_cancel(cancel_request("timed_out", offset=11))
    assert bench.cancelled == bench.launched


def test_a_claim_that_is_granted_while_the_worker_shuts_down_is_handed_back() -> None:
    bench = ActivityBench()
    bench.task(fresh=False)
    bench.core.stop_all()
    bench.claimed(True)
    assert bench.launched == []
    assert len(bench.of(ActivityHandedBack)) == 1


def test_t4_an_attempt_that_did_not_begin_in_time_is_claimed_before_it_does() -> None:
    bench = ActivityBench()
    bench.task()
    assert bench.launched[0].begin_before == bench.now + 5.0
    bench.advance(20)
    bench.end(Late())
    assert [started.claim for started in bench.of(ActivityStarted)] == [False, True]
    bench.claimed(True)
    assert len(bench.launched) == 2
    assert bench.launched[1].begin_before == bench.now + 5.0
    bench.end(Completed(None))
    assert len(bench.of(ActivityCompleted)) == 1


def test_t4_an_attempt_that_another_worker_did_meanwhile_never_begins() -> None:
    bench = ActivityBench()
    bench.task()
    bench.end(Late())
    bench.claimed(False)
    assert len(bench.launched) == 1
    assert bench.of(ActivityCompleted) + bench.of(ActivityFailed) == []
    assert bench.core.free == 100


def test_an_attempt_that_is_late_and_unwanted_is_not_claimed() -> None:
    bench = ActivityBench()
    bench.task()
    bench.core.on_cancel(cancel_request("closed"))
    bench.end(Late())
    assert [started.claim for started in bench.of(ActivityStarted)] == [False]
    assert bench.core.free == 100


def test_t7_a_repeated_attempt_is_claimed_for_the_one_before_may_have_a_result() -> None:
    bench = ActivityBench()
    bench.task(attempt=2)
    assert bench.launched == []
    assert [started.claim for started in bench.of(ActivityStarted)] == [True]
