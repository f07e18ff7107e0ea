"""Short histories that break an engine which lacks one rule; found by breaking a model of the protocol."""

from __future__ import annotations

from odradek_schemas import commands, history, records, tasks

from .harness import DONE, Partition, act, local, payload, sleep


def activity_tasks(p: Partition) -> int:
    return len(p.made(tasks.ActivityTask))


def test_a_start_by_a_session_already_declared_lost(p: Partition) -> None:
    """Without T5 the activity is held by nobody for ever."""
    p.alive("W2")
    p.start()
    p.advance(act(1))
    p.lost("W1")
    p.begin(session="W1")
    assert (p.open_activity().session, activity_tasks(p)) == ("", 2)


def test_an_eager_claim_by_a_session_already_declared_lost(p: Partition) -> None:
    """Without T5 the activity is never emitted."""
    p.start()
    p.lost("W1")
    p.advance(act(1, eager=True), session="W1")
    assert (p.open_activity().session, activity_tasks(p)) == ("", 1)


def test_a_timer_of_an_earlier_run_lands_in_the_next(p: Partition) -> None:
    """Without R1 the retried append of the first run's TimerFired fires the second run's timer."""
    first = p.start()
    p.advance(sleep(1, 5))
    p.wait(5)
    p.fire(1)
    p.advance(DONE)
    p.start()
    p.advance(sleep(1, 500))
    p.fire(1, run_id=first.run_id)
    assert p.timer(1) is not None


def test_a_base_that_comes_back_in_another_run(p: Partition) -> None:
    """Without R1 and W1 a completion of the earlier run is accepted by the next one."""
    first = p.start()
    base = p.advance(act(1))
    p.append(records.TerminateWorkflow(workflow_id="w"))
    p.start()
    p.advance(act(1), id=base)
    p.advance(act(2), run_id=first.run_id, base=base)
    assert p.activity(2) is None


def test_the_result_of_a_phantom_activity(p: Partition) -> None:
    """Without W5 the result of a charge that was never scheduled becomes that of the refund of the same number."""
    run = p.start()
    p.signal()
    p.advance(act(1, name="refund"), id="W2/1", session="W2")
    p.advance(act(1, name="charge", eager=True), id="W1/1", base=run.run_id, consumed_through=1)
    p.advance(DONE, id="W1/2", base="W1/1", consumed_through=1, local_results=[local(1, "W1/1")])
    assert p.open_activity(1).activity_type == "refund"


def test_two_results_of_one_activity(p: Partition) -> None:
    """Without W6 the history shows a local result beside the one that came from another worker."""
    p.alive("W2")
    p.start()
    first = p.advance(act(1, eager=True))
    p.lost("W1")
    p.succeed(1, attempt=2, session="W2", result=payload("77"))
    p.advance(DONE, base=first, consumed_through=1, local_results=[local(1, first, result=payload("77"))])
    assert p.happened().count("ActivityCompleted") == 1
    assert p.run().is_open


def test_the_right_base_refused(p: Partition) -> None:
    """Without W7 nobody would try again: the worker has committed the task that it answered."""
    p.alive("W2")
    p.start()
    first = p.advance(act(1, eager=True), sleep(2, 5))
    p.wait(5)
    p.fire(2)
    p.lost("W1")
    p.succeed(1, attempt=2, session="W2")
    count = len(p.made(tasks.WorkflowTask))
    p.advance(DONE, base=first, local_results=[local(1, first)])
    assert len(p.made(tasks.WorkflowTask)) == count + 1


def test_a_zombie_leader_declares_workers_lost(p: Partition) -> None:
    """Without L2 a live worker is declared lost by a leader that was paused and deposed."""
    p.start()
    p.advance(act(1, eager=True))
    zombie = p.row.epoch
    p.lead("another")
    p.lost("W1", epoch=zombie)
    assert (p.open_activity().session, activity_tasks(p)) == ("W1", 0)


def test_a_verdict_that_comes_twice(p: Partition) -> None:
    """Without T6 the second copy of a verdict ends the new session that its worker began meanwhile."""
    p.start()
    p.advance(act(1, eager=True))
    p.lost("W1")
    p.alive("W1 again")
    p.begin(session="W1 again")
    p.lost("W1")
    assert p.open_activity().session == "W1 again"


def test_a_slow_worker_that_lives(p: Partition) -> None:
    """Without T7 each attempt is given up just before its result comes, and the activity never ends."""
    p.start()
    p.advance(act(1))
    p.begin()
    p.lost("W1")
    p.succeed(1, attempt=1)
    assert p.activity(1) is None


def test_a_late_failure_of_an_older_attempt(p: Partition) -> None:
    """Without T7 it begins a third attempt while the second runs."""
    p.alive("W2")
    p.start()
    p.advance(act(1))
    p.begin()
    p.lost("W1")
    p.begin(session="W2")
    p.fail(attempt=1)
    row = p.open_activity()
    assert (row.attempt, row.session) == (2, "W2")


def test_a_cancel_races_with_what_it_cancels(p: Partition) -> None:
    """Without W9 the completion is refused, and the code gives the same commands for ever."""
    p.start()
    p.advance(sleep(1, 5))
    p.signal()
    p.wait(5)
    p.fire(1)
    taken = p.advance(commands.CancelTimer(seq=1), act(2), consumed_through=4)
    assert p.run().base == taken
    assert not any(isinstance(e.attributes, history.TimerCancelled) for e in p.events())
