"""Whatever the log holds: the fold takes it, the state stays sound, and folding again gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odradek_engine.fold import evolve, keys, load, step
from odradek_engine.fold.core import _DECIDE
from odradek_engine.fold.invariants import problems
from odradek_schemas import Failure, commands, encode, partition_of, records, tasks

from .harness import (
    DONE,
    T0,
    TOPICS,
    Entry,
    Partition,
    act,
    fold_all,
    fold_on_disk,
    fold_with_reloads,
    of_kind,
    reasons,
    request,
    sleep,
)
from .streams import Stream, random_log

CALM = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))

ALL_KINDS = set(_DECIDE) | {records.LeaderElected, records.ClockRead, records.EffectsEmitted}
SOME_EVENTS = {
    "ActivityFailed",
    "ActivityTimedOut",
    "ActivityCancelled",
    "ActivityRenewed",
    "EffectReplaced",
    "MessageTaken",
    "RecordReleased",
    "RowExpired",
    "SessionOver",
    "TaskAttemptFailed",
    "TimerFired",
    "UpdateAccepted",
    "UpdateCompleted",
    "UpdateRejected",
    "WorkflowCompleted",
    "WorkflowTerminated",
    "WorkflowTimedOut",
}


def grow_checked(stream: Stream, count: int) -> None:
    """Grow a log, and check every step of it."""
    before = stream.state.dump()
    for _ in range(count):
        folded = stream.grow()
        after = stream.state.dump()
        evolved = load(before)
        for event in folded.events:
            evolve(evolved, event)
        assert evolved.dump() == after
        assert problems(stream.state) == []
        assert [r for r in reasons(folded) if "defect" in r] == []
        before = after


@pytest.fixture(autouse=True, scope="module")
def small_steps() -> Iterator[None]:
    """Resets of histories as short as these take several steps too."""
    with mock.patch.object(step, "WORK", 4):
        yield


@CALM
@given(rng=st.randoms(use_true_random=False), spoilt=st.sampled_from([0.0, 0.3, 0.9]), elected=st.booleans())
def test_any_sequence_of_records_keeps_the_state_sound(rng: Random, spoilt: float, elected: bool) -> None:
    """Breaks when one kind of record, at any moment, raises, breaks an invariant, or is not what its events tell."""
    stream = Stream(rng, spoilt)
    if elected:
        stream.append(random_log(1, 1)[0])
    grow_checked(stream, 60)
    dump = stream.state.dump()
    assert fold_all(stream.log) == dump
    assert fold_with_reloads(stream.log) == dump


@pytest.mark.parametrize("seed", range(4))
def test_long_logs_keep_the_state_sound(seed: int) -> None:
    """The same over logs long enough for retention, many runs and many sessions; also on disk."""
    stream = Stream(Random(seed))
    stream.append(random_log(seed, 1)[0])
    grow_checked(stream, 400)
    dump = stream.state.dump()
    assert fold_all(stream.log) == dump
    assert fold_on_disk(stream.log, reopen_at=200) == dump


def test_random_logs_hold_all_kinds_and_do_something() -> None:
    """The tests above mean something: every kind of record is in these logs, and every kind of event comes of them."""
    kinds, happened = set(), set()
    for seed in range(30):
        stream = Stream(Random(seed))
        stream.append(random_log(seed, 1)[0])
        for _ in range(800):
            folded = stream.grow()
            kinds.add(type(folded.record))
            happened |= {type(getattr(e, "attributes", e)).__name__ for e in folded.events}
        if kinds >= ALL_KINDS and happened >= SOME_EVENTS:
            return
    assert kinds >= ALL_KINDS
    assert happened >= SOME_EVENTS


@CALM
@given(value=st.binary(max_size=200), key=st.binary(max_size=20), stamp=st.integers(-(2**40), 2**50))
def test_any_bytes_become_a_dead_letter_or_wait(value: bytes, key: bytes, stamp: int) -> None:
    """Breaks when bytes that are no record change anything, or stop the partition."""
    p = Partition()
    p.lead()
    p.start()
    before = {k: v for k, v in p.state.dump().items() if k[:1] in (keys.CURRENT, keys.EVENT, keys.SESSION)}
    folded = p.append(value, at=stamp, key=key)
    assert p.row.waiting or len(of_kind(folded, tasks.DeadLetter)) == 1
    after = {k: v for k, v in p.state.dump().items() if k[:1] in (keys.CURRENT, keys.EVENT, keys.SESSION)}
    assert before == after


def test_the_reason_of_a_dead_letter_is_the_same_every_time() -> None:
    """Breaks when an error's text that holds an address gets into a dead letter: a rebuilt state would differ."""
    whole = encode(records.ActivityStarted(workflow_id="w", run_id="r", seq=1, scheduled_by="c", attempt=1, session=""))
    log = [random_log(1, 1)[0], *(Entry(T0, b"", whole[:end]) for end in range(11, len(whole)))]
    kept = [fold_all(log) for _ in range(2)]
    assert kept[0] == kept[1]
    assert not any(b" at 0x" in row for row in kept[0].values())


def test_numbers_that_cannot_be_are_no_defect(p: Partition) -> None:
    """Breaks when an impossible number in a record of the engine's own gets into a key."""
    p.start()
    outbox = list(p.state.scan(keys.OUTBOX))
    for offset, index in ((-5, 0), (0, -5)):
        mark = records.Mark(topic=TOPICS.history, partition=0, offset=offset, index=index)
        p.append(records.EffectsEmitted(marks=[mark]))
        p.append(
            records.EffectFailed(
                topic=TOPICS.history, partition=0, offset=offset, index=index, reason="no", epoch=p.row.epoch
            )
        )
    assert list(p.state.scan(keys.OUTBOX)) == outbox
    p.lead("odd", partitions=-4, closed_retention_ms=-5)
    p.append(records.TerminateWorkflow(workflow_id="w"))
    assert not p.run().is_open


def test_an_oversized_record_is_shortened_in_its_dead_letter(p: Partition) -> None:
    """Breaks when a record above the limit of an effect cannot even be reported."""
    [letter] = of_kind(p.append(b"x" * 5_000_000, key=b"k" * 200_000), tasks.DeadLetter)
    assert 800_000 < len(letter.value) < 1_000_000
    p.start()


def _world(p: Partition) -> list[Entry]:
    """A log in which each kind of record does its work once."""
    p.start(request=request("start"))
    p.alive("W2")
    p.advance(act(1), act(2, start_to_close_timeout_ms=5000), act(3), act(4), sleep(5, 1000), act(6), act(7))
    for seq in (1, 2, 3, 4):
        p.begin(seq)
    p.succeed(1)
    p.signal(request=request("signal"))
    p.wait(5000)
    p.fire(5)
    p.timed_out("start_to_close", seq=2)
    p.retry_due(2)
    p.fail(3)
    p.retry_due(3)
    p.begin(3)
    p.fail(3)
    p.hand_back(4)
    p.begin(6, session="W2")
    p.lost("W2")
    row = p.open_activity(7)
    p.append(
        records.ActivityCancelled(
            workflow_id="w", run_id=row.run_id, seq=7, scheduled_by=row.scheduled_by, attempt=1, session="W1"
        )
    )
    run = p.run()
    p.append(
        records.WorkflowTaskFailed(
            workflow_id="w", run_id=run.run_id, base=run.base, failure=Failure(message="bug")
        )
    )
    p.task_due()
    p.append(records.CancelWorkflow(workflow_id="w", request=request("cancel")))
    p.advance(commands.CancelActivity(seq=4), sleep(8, 10))
    p.append(records.WorkerStopped(session="W1"))
    p.append(records.TerminateWorkflow(workflow_id="v", request=request("terminate")))
    p.start("done", request=request("start"))
    p.advance(DONE, workflow_id="done")
    return list(p.log)


WORKFLOW_ROWS = (keys.CURRENT, keys.EARLIER, keys.ACTIVITY, keys.TIMER, keys.EVENT, keys.SESSION, keys.REQUEST)


def test_a_copy_of_any_record_changes_nothing(p: Partition) -> None:
    """Breaks when a record that was folded counts a second time when a copy of it lies at the end of the log."""
    log = _world(p)
    rows = {k: v for k, v in p.state.dump().items() if k[:1] in WORKFLOW_ROWS}
    kinds = set()
    for entry in log:
        folded = p.append(entry.value, at=p.now)
        kinds.add(type(folded.record))
        after = {k: v for k, v in p.state.dump().items() if k[:1] in WORKFLOW_ROWS}
        assert after == rows, folded.record
    assert len(kinds) >= 20


def test_a_copy_of_any_record_right_behind_it_changes_nothing(p: Partition) -> None:
    """Breaks when a record that was just folded counts a second time."""
    log = _world(p)
    again = Partition()
    for offset, entry in enumerate(log):
        again.append(entry.value, at=entry.timestamp_ms)
        rows = {k: v for k, v in again.state.dump().items() if k[:1] in WORKFLOW_ROWS}
        again.append(entry.value, at=entry.timestamp_ms)
        after = {k: v for k, v in again.state.dump().items() if k[:1] in WORKFLOW_ROWS}
        assert after == rows, (offset, entry)


def test_a_misplaced_record_of_any_kind_is_forwarded_whole(p: Partition) -> None:
    """Breaks when a record in the wrong partition is folded there, or loses a byte on its way."""
    log = _world(p)
    away = Partition((partition_of(b"w", 7) + 1) % 7, 7)
    away.lead()
    sent = []
    for entry in log:
        folded = away.append(entry.value, at=entry.timestamp_ms)
        sent += of_kind(folded, records.ForwardedRecord)
        if hasattr(folded.record, "workflow_id") and not hasattr(folded.record, "epoch"):
            assert sent[-1].value == entry.value
    assert len(sent) > 15
    assert away.row.open_workflows <= 1
