"""Rules about activities, tasks and worker sessions, as the fold keeps them (T, W5)."""

from __future__ import annotations

from typing import Any

import pytest
from odradek_engine.fold.activities import MAX_LOSSES
from odradek_engine.fold.rows import ActivityRow
from odradek_schemas import commands, history, idempotency_key, records, replies, task_token, tasks
from odradek_schemas.common import Failure, RetryPolicy

from .harness import ONCE, Partition, act, failure, of_kind, payload


def activity_tasks(p: Partition) -> list[tuple[int, int]]:
    """(number, attempt) of every activity task made so far."""
    return [(t.seq, t.attempt) for t in p.made(tasks.ActivityTask)]


def scheduled(p: Partition, **fields: Any) -> ActivityRow:
    """A run whose only activity has its task out."""
    p.start()
    p.advance(act(1, **fields))
    return p.open_activity()


def ended(p: Partition) -> history.Attributes:
    """The event that ended the activity."""
    assert p.activity() is None
    return p.events()[-1].attributes


# ---------------------------------------------------------------- W5: identity


def test_w5_a_result_of_another_completion_s_activity_is_dropped(p: Partition) -> None:
    """Breaks when an activity is known by its number alone: a phantom's result would be taken for it."""
    scheduled(p)
    for record in (p.begin, p.succeed, p.fail, p.hand_back):
        before = p.open_activity()
        record(scheduled_by="another completion")
        assert p.open_activity() == before
    assert p.happened()[-1] == "ActivityScheduled"


def test_w5_every_attempt_has_the_same_key_and_identity(p: Partition) -> None:
    """Breaks when a task of a later attempt carries another identity."""
    scheduled(p)
    p.fail()
    p.retry_due()
    p.begin()
    p.lost()
    made = p.made(tasks.ActivityTask)
    assert [t.attempt for t in made] == [1, 2, 3]
    assert len({idempotency_key(t.run_id, t.scheduled_by, t.seq) for t in made}) == 1


# ---------------------------------------------------------------- T3: reissue


def reissue(p: Partition, row: ActivityRow, **fields: Any) -> set[bytes]:
    record = records.TaskReissued(
        workflow_id="w",
        run_id=row.run_id,
        epoch=p.row.epoch,
        seq=row.seq,
        **{"attempt": row.attempt, "offset": row.task_offset, "index": row.task_index, **fields},
    )
    return p.changes(record)


def test_t3_an_activity_task_that_is_still_out_is_made_again(p: Partition) -> None:
    """Breaks when the fold does not check that just this emission is still out."""
    row = scheduled(p)
    assert reissue(p, row, offset=row.task_offset + 1) == set()
    assert reissue(p, row, index=row.task_index + 1) == set()
    assert reissue(p, row, attempt=2) == set()
    assert reissue(p, row)
    assert activity_tasks(p) == [(1, 1), (1, 1)]
    assert reissue(p, row) == set()
    p.begin()
    assert reissue(p, p.open_activity()) == set()


def test_t3_a_workflow_task_that_is_still_out_is_made_again(p: Partition) -> None:
    """Breaks when the fold does not check that just this task is still out."""
    run = p.start()

    def again(offset: int, base: str) -> set[bytes]:
        return p.changes(
            records.TaskReissued(
                workflow_id="w", run_id=run.run_id, offset=offset, index=run.task_index, epoch=p.row.epoch, base=base
            )
        )

    assert again(run.task_offset + 1, run.base) == set()
    assert again(run.task_offset, "another") == set()
    assert again(run.task_offset, run.base)
    assert len(p.made(tasks.WorkflowTask)) == 2
    assert p.run().task_offset == len(p.log) - 1
    assert again(run.task_offset, run.base) == set()


def test_t3_a_reissue_does_not_begin_the_wait_for_a_worker_anew(p: Partition) -> None:
    """Breaks when the schedule-to-start timeout counts from the last emission: it would never strike."""
    row = scheduled(p, schedule_to_start_timeout_ms=10_000)
    p.wait(6_000)
    reissue(p, row)
    p.wait(4_000)
    p.timed_out("schedule_to_start")
    assert isinstance(ended(p), history.ActivityTimedOut)


# ---------------------------------------------------------------- T5, T6: sessions


@pytest.mark.parametrize("known", [False, True])
def test_t5_a_start_by_a_dead_session_is_delivered_again(p: Partition, known: bool) -> None:
    """Breaks when the start is believed: nobody would notice that its worker is gone. It was never heard of, or has
    ended."""
    if known:
        p.alive("dead")
        p.lost("dead")
    scheduled(p)
    p.begin(session="dead")
    row = p.open_activity()
    assert (row.state, row.session, row.attempt) == ("scheduled", "", 2)
    assert activity_tasks(p) == [(1, 1), (1, 2)]


@pytest.mark.parametrize("known", [False, True])
def test_t5_an_eager_claim_by_a_dead_session_is_made_a_task(p: Partition, known: bool) -> None:
    """Breaks when the eager activity is taken to be running."""
    if known:
        p.alive("dead")
        p.lost("dead")
    p.start()
    p.advance(act(1, eager=True), session="dead")
    assert p.open_activity().state == "scheduled"
    assert activity_tasks(p) == [(1, 1)]


def test_t5_an_eager_claim_by_a_live_session_makes_no_task(p: Partition) -> None:
    """Breaks when an activity runs twice, by its worker and by a task."""
    p.start()
    p.advance(act(1, eager=True))
    assert (p.open_activity().state, p.open_activity().session) == ("started", "W1")
    assert activity_tasks(p) == []


def test_t6_a_lost_worker_s_activities_are_delivered_again_at_once(p: Partition) -> None:
    """Breaks when the attempt waits for a timeout, or another session's goes with it."""
    p.alive("W2")
    p.start()
    p.advance(act(1), act(2), act(3))
    p.begin(1)
    p.begin(2, session="W2")
    folded = p.lost("W1")
    assert [(t.seq, t.attempt) for t in of_kind(folded, tasks.ActivityTask)] == [(1, 2)]
    assert [e.session for e in of_kind(folded, replies.SessionEnded)] == ["W1"]
    assert p.open_activity(2).state == "started"


def test_t6_a_session_ends_for_good(p: Partition) -> None:
    """Breaks when a late copy of WorkerAlive brings a session back."""
    p.lost("W1")
    p.alive("W1")
    scheduled(p)
    p.begin(session="W1")
    assert p.open_activity().state == "scheduled"
    p.wait(25 * 3600 * 1000)
    p.lead()
    p.signal()
    assert p.changes(records.WorkerLost(session="W1", epoch=p.row.epoch)) == set()


def test_t6_the_details_of_the_last_heartbeat_go_with_the_next_attempt(p: Partition) -> None:
    """Breaks when the details in WorkerLost are dropped."""
    row = scheduled(p)
    p.begin()
    held = records.HeldDetails(workflow_id="w", run_id=row.run_id, seq=1, details=[payload("7")])
    p.lost(heartbeat_details=[held])
    assert p.made(tasks.ActivityTask)[-1].heartbeat_details == [payload("7")]


def test_t6_a_worker_that_stops_hands_its_activities_over(p: Partition) -> None:
    """Breaks when WorkerStopped leaves activities with a session that is over."""
    scheduled(p)
    p.begin()
    p.append(records.WorkerStopped(session="W1"))
    assert activity_tasks(p) == [(1, 1), (1, 2)]
    p.begin()
    assert p.open_activity().state == "scheduled"


@pytest.mark.parametrize("session", ["", "a\0b", "s" * 2000])
def test_t5_a_session_with_an_impossible_name_is_refused(p: Partition, session: str) -> None:
    """Breaks when a name that no key can carry gets into the keys."""
    folded = p.alive(session)
    assert len(of_kind(folded, tasks.DeadLetter)) == 1
    p.alive("a")
    p.lost("a")


# ---------------------------------------------------------------- T7: attempts


def test_t7_a_success_of_any_attempt_counts_the_first_wins(p: Partition) -> None:
    """Breaks when the success of an attempt that was given up is dropped, or a second result is taken."""
    p.alive("W2")
    scheduled(p)
    p.begin()
    p.lost("W1")
    p.begin(session="W2")
    p.succeed(attempt=1, result=payload("first"))
    event = ended(p)
    assert isinstance(event, history.ActivityCompleted)
    assert (event.result, event.attempt) == (payload("first"), 1)
    count = len(p.events())
    p.succeed(attempt=2, scheduled_by="c1", result=payload("second"))
    assert len(p.events()) == count


def test_t7_a_success_counts_while_the_next_attempt_is_backing_off(p: Partition) -> None:
    """Breaks when only running attempts may succeed."""
    scheduled(p)
    p.begin()
    p.fail()
    p.succeed(attempt=1)
    assert isinstance(ended(p), history.ActivityCompleted)


def test_t7_the_worker_that_was_overtaken_is_told_to_stop(p: Partition) -> None:
    """Breaks when the attempt that lost goes on for nothing."""
    p.alive("W2")
    scheduled(p)
    p.begin()
    p.hand_back()
    p.begin(session="W2")
    folded = p.succeed(attempt=1, session="W1")
    assert [r.session for r in of_kind(folded, replies.ActivityCancelRequest)] == ["W2"]


@pytest.mark.parametrize("kind", ["fail", "timeout", "cancelled", "hand back"])
def test_t7_only_the_current_attempt_fails(p: Partition, kind: str) -> None:
    """Breaks when a late failure, timeout or hand-back of an older attempt ends the present one."""
    row = scheduled(p, start_to_close_timeout_ms=1000)
    p.begin()
    p.fail(next_retry_delay_ms=0)
    p.retry_due()
    p.begin()
    p.wait(60_000)
    before = p.open_activity()
    if kind == "fail":
        p.fail(attempt=1)
    elif kind == "timeout":
        p.timed_out("start_to_close", attempt=1)
    elif kind == "hand back":
        p.hand_back(attempt=1)
    else:
        p.append(
            records.ActivityCancelled(
                workflow_id="w", run_id=row.run_id, seq=1, scheduled_by=row.scheduled_by, attempt=1, session="W1"
            )
        )
    assert p.open_activity() == before


def test_t7_a_failure_while_backing_off_counts_once(p: Partition) -> None:
    """Breaks when a repeated failure, or one by task token, costs a second attempt."""
    row = scheduled(p)
    p.begin()
    p.fail()
    before = p.open_activity()
    assert before.attempt == 2
    p.fail(attempt=1)
    p.fail(attempt=2)
    token = task_token("w", row.run_id, row.scheduled_by, 1)
    p.append(records.FailActivity(workflow_id="w", task_token=token, failure=failure()))
    assert p.open_activity() == before


def lose_once(p: Partition) -> None:
    """A new worker takes the activity, and is lost."""
    session = f"killed{len(p.log)}"
    p.alive(session)
    p.begin(session=session)
    p.lost(session)


def test_t7_losses_of_workers_do_not_count_as_attempts(p: Partition) -> None:
    """Breaks when a lost delivery counts toward maximum_attempts."""
    scheduled(p, retry_policy=ONCE)
    for _ in range(MAX_LOSSES - 1):
        lose_once(p)
    row = p.open_activity()
    assert (row.state, row.attempt, row.counted_attempts) == ("scheduled", MAX_LOSSES, 1)


def test_t7_five_losses_in_a_row_count_as_one_failed_attempt(p: Partition) -> None:
    """Breaks when an activity that kills its worker runs for ever, or five losses count as more than one attempt."""
    scheduled(p, retry_policy=RetryPolicy(maximum_attempts=2))
    for _ in range(5):
        lose_once(p)
    row = p.open_activity()
    assert (row.state, row.counted_attempts, row.losses) == ("backing_off", 2, 0)
    p.retry_due()
    for _ in range(5):
        lose_once(p)
    event = ended(p)
    assert isinstance(event, history.ActivityFailed)
    assert (event.reason, event.failure.type) == ("maximum_attempts", "WorkerLost")
    assert p.run().task_offset == len(p.log) - 1


def test_t7_a_failed_attempt_ends_the_row_of_losses(p: Partition) -> None:
    """Breaks when losses before and after an ordinary failure are added up."""
    scheduled(p, retry_policy=RetryPolicy(maximum_attempts=2))
    for _ in range(3):
        lose_once(p)
    p.begin()
    p.fail()
    p.retry_due()
    for _ in range(4):
        lose_once(p)
    assert p.open_activity().state == "scheduled"


def test_t7_a_lost_at_most_once_activity_fails(p: Partition) -> None:
    """Breaks when it is delivered a second time."""
    scheduled(p, delivery="at_most_once")
    p.begin()
    p.lost()
    event = ended(p)
    assert isinstance(event, history.ActivityFailed)
    assert event.failure.type == "WorkerLost"
    assert activity_tasks(p) == [(1, 1)]
    assert p.run().task_offset == len(p.log) - 1


@pytest.mark.parametrize("how", ["fail", "hand back", "stop", "timeout"])
def test_t8_an_at_most_once_activity_is_never_delivered_again_after_a_start(p: Partition, how: str) -> None:
    """Breaks when a failure, a hand-back, the end of a session or a timeout makes another task."""
    scheduled(p, delivery="at_most_once", start_to_close_timeout_ms=1000)
    p.begin()
    p.wait(60_000)
    if how == "fail":
        p.fail()
    elif how == "hand back":
        p.hand_back()
    elif how == "stop":
        p.append(records.WorkerStopped(session="W1"))
    else:
        p.timed_out("start_to_close")
    assert p.activity() is None
    assert activity_tasks(p) == [(1, 1)]
    assert p.run().task_offset == len(p.log) - 1


def test_t8_a_claim_is_accepted_from_the_first_only(p: Partition) -> None:
    """Breaks when two workers may both run one attempt."""
    p.alive("W2")
    scheduled(p, delivery="at_most_once")
    answers = []
    for session in ("W1", "W2", "W1"):
        answers += of_kind(p.begin(session=session, claim=True), replies.ActivityClaimed)
    assert [(a.session, a.accepted) for a in answers] == [("W1", True), ("W2", False), ("W1", True)]


# ---------------------------------------------------------------- retries and timeouts


def test_retries_back_off_and_end_with_the_policy(p: Partition) -> None:
    """Breaks when an interval does not grow, is not capped, or attempts do not end."""
    policy = RetryPolicy(
        initial_interval_ms=100, backoff_coefficient=3.0, maximum_interval_ms=500, maximum_attempts=4
    )
    scheduled(p, retry_policy=policy)
    waits = []
    for _ in range(3):
        p.begin()
        p.fail()
        waits.append(p.open_activity().next_retry_ms - p.now)
        p.retry_due()
    assert waits == [100, 300, 500]
    p.begin()
    p.fail()
    event = ended(p)
    assert isinstance(event, history.ActivityFailed)
    assert (event.reason, event.attempt) == ("maximum_attempts", 4)


def test_retries_end_before_the_whole_would_time_out(p: Partition) -> None:
    """Breaks when an attempt is planned that can only time out."""
    scheduled(p, schedule_to_close_timeout_ms=5000)
    p.begin()
    p.fail(next_retry_delay_ms=5000)
    event = ended(p)
    assert isinstance(event, history.ActivityFailed)
    assert event.reason == "timeout"


@pytest.mark.parametrize("said", [failure(non_retryable=True), failure(type="Declined")])
def test_failures_that_are_not_to_be_retried_end_the_activity(p: Partition, said: Failure) -> None:
    """Breaks when neither the failure's word nor the policy's list of types is heard."""
    scheduled(p, retry_policy=RetryPolicy(non_retryable_error_types=["Declined"]))
    p.begin()
    p.fail(failure=said)
    event = ended(p)
    assert isinstance(event, history.ActivityFailed)
    assert event.reason == "non_retryable"


@pytest.mark.parametrize("kind", ["schedule_to_start", "schedule_to_close", "start_to_close", "heartbeat"])
def test_timeouts_strike_when_due_and_not_before(p: Partition, kind: str) -> None:
    """Breaks when a timeout is believed that is not due, or one that is due is not."""
    scheduled(p, retry_policy=ONCE, **{f"{kind}_timeout_ms": 10_000})
    if kind in ("start_to_close", "heartbeat"):
        p.timed_out(kind)
        p.wait(60_000)
        p.timed_out(kind)
        assert p.open_activity().state == "scheduled"
        p.begin()
    p.wait(8_000)
    p.timed_out(kind)
    assert p.activity() is not None
    p.wait(2_000)
    for other in {"schedule_to_start", "schedule_to_close", "start_to_close", "heartbeat", "nonsense"} - {kind}:
        p.timed_out(other)
    p.timed_out(kind, heartbeat_details=[payload("7")])
    event = ended(p)
    assert isinstance(event, history.ActivityTimedOut)
    assert (event.timeout_type, event.timeout_ms, event.heartbeat_details) == (kind, 10_000, [payload("7")])
    assert p.run().task_offset == len(p.log) - 1


def test_a_cancelled_activity_is_gone_and_its_worker_is_told(p: Partition) -> None:
    """Breaks when the worker is not told, or a late result is still taken."""
    scheduled_by = scheduled(p).scheduled_by
    p.begin()
    p.signal()
    p.advance(commands.CancelActivity(seq=1))
    assert p.activity() is None
    assert [r.reason for r in p.made(replies.ActivityCancelRequest)] == ["cancelled"]
    count = len(p.events())
    p.succeed(scheduled_by=scheduled_by, attempt=1)
    assert len(p.events()) == count
    folded = p.begin(scheduled_by=scheduled_by, attempt=1)
    assert [r.reason for r in of_kind(folded, replies.ActivityCancelRequest)] == ["closed"]
