"""How a leader emits effects, and says which have left (E2, E3, E5, E6)."""

from __future__ import annotations

from typing import Any

import pytest
from odradek_engine.fold import keys
from odradek_engine.processor import Processor
from odradek_log import LogError, LogUnavailableError, RecordTooLargeError
from odradek_schemas import records, tasks
from odradek_schemas.common import Position

from .harness import TOPICS, request
from .solo import Send, Solo

WORK = TOPICS.workflow_tasks("orders")


def start(solo: Solo, *workflow_ids: str) -> None:
    """Start workflows, and fold that; their effects are held by the producer."""
    for workflow_id in workflow_ids:
        solo.put(
            records.StartWorkflow(
                workflow_id=workflow_id, workflow_type="Order", task_queue="orders", request=request("r")
            )
        )
    solo.fold()


def held(solo: Solo, topic: str = WORK) -> list[Send]:
    return [s for s in solo.producer.held if s.topic == topic]


def take(solo: Solo, topic: str = WORK) -> list[Send]:
    taken = held(solo, topic)
    solo.producer.held = [s for s in solo.producer.held if s.topic != topic]
    return taken


def places(bodies: list[Any]) -> list[tuple[int, int]]:
    return [(b.position.offset, b.position.index) for b in bodies]


def received(bodies: list[Any]) -> list[tuple[int, int]]:
    """What a receiver takes of a topic's records, by the chain (rule E1)."""
    last, taken = (-1, 0), []
    for body in bodies:
        position: Position = body.position
        here = (position.offset, position.index)
        if (position.previous_offset, position.previous_index) <= last < here:
            taken.append(here)
            last = here
    return taken


def marks(solo: Solo) -> dict[str, tuple[int, int]]:
    """The marks that the leader wants to write now."""
    solo.pass_time(solo.settings.mark_interval)
    written = solo.take(records.EffectsEmitted)
    return {m.topic: (m.offset, m.index) for s in written for m in s.body.marks}


# ---------------------------------------------------------------- E5: what left


def test_e5_marks_are_contiguous_and_per_output() -> None:
    """Breaks when a mark covers what is not acknowledged, or is one for all outputs."""
    solo = Solo()
    solo.lead()
    start(solo, "a", "b", "c")
    tasks_out, history_out = take(solo), take(solo, TOPICS.history)
    for send in history_out:
        solo.land(send)
    solo.land(tasks_out[0])
    made = marks(solo)
    assert made[WORK] == places([tasks_out[0].body])[0]
    assert made[TOPICS.history] == places([history_out[-1].body])[0]
    assert TOPICS.replies not in made
    assert marks(solo) == {}
    solo.land(tasks_out[1])
    assert marks(solo) == {WORK: places([tasks_out[1].body])[0]}


def test_e5_marks_that_got_lost_are_written_again() -> None:
    """Breaks when effects stay in the outbox for ever because one append of marks failed."""
    solo = Solo()
    solo.lead()
    start(solo, "a")
    for topic in (WORK, TOPICS.history, TOPICS.replies):
        for send in take(solo, topic):
            solo.land(send)
    solo.pass_time(1)
    [lost] = solo.take(records.EffectsEmitted)
    lost.refuse()
    solo.pass_time(1)
    solo.settle()
    assert list(solo.state.scan(keys.OUTBOX)) == []


def test_release_says_what_left() -> None:
    """Breaks when the next leader has to emit again what had left before an orderly hand-over."""
    solo = Solo()
    solo.lead()
    start(solo, "a")
    solo.deliver()
    solo.processor.release()
    [written] = solo.take(records.EffectsEmitted)
    assert {m.topic for m in written.body.marks} == {WORK, TOPICS.history, TOPICS.replies}


# ---------------------------------------------------------------- E3: taking over


def take_over(solo: Solo) -> Processor:
    """Another member gains the partition, on the same state."""
    solo.processor.release()
    solo.take(records.EffectsEmitted)
    solo.processor = solo.make("successor", solo.state)
    solo.processor.gain()
    [elected] = solo.take(records.LeaderElected)
    solo.land(elected)
    solo.fold()
    assert solo.leading
    return solo.processor


def test_e3_a_takeover_emits_exactly_what_the_marks_do_not_cover() -> None:
    """Breaks when a new leader skips what it takes for delivered, or repeats what is marked."""
    solo = Solo()
    solo.lead()
    start(solo, "a", "b", "c")
    first = take(solo)
    solo.land(first[0])
    solo.pass_time(1)
    solo.land(solo.take(records.EffectsEmitted)[0])
    solo.land(first[1])
    solo.fold()
    solo.producer.held.clear()
    take_over(solo)
    assert places([s.body for s in held(solo)]) == places([s.body for s in first[1:]])
    solo.settle()
    assert received(solo.outputs("workflow-tasks")) == places([s.body for s in first])


def test_e3_a_deposed_leader_emits_no_more() -> None:
    """Breaks when two leaders emit side by side for longer than it takes to read a record."""
    solo = Solo()
    solo.lead()
    solo.put(records.LeaderElected(member="other", nonce="x", clock_ms=solo.clock.now_ms(), partitions=1))
    start(solo, "a")
    assert held(solo) == []
    solo.pass_time(0.9)
    assert solo.take(records.EffectsEmitted) == []


def test_effects_of_an_election_that_is_refused_leave_too() -> None:
    """Breaks when effects made by folding a LeaderElected that changed nothing are forgotten by the leader."""
    solo = Solo()
    solo.lead()
    own = solo.events[-1]
    start(solo, "a")
    solo.settle()
    solo.clock.seconds += 31 * 24 * 3600
    solo.put(own.value)
    solo.fold()
    solo.settle()
    landed = {(t, p): places([b for tt, pp, b in solo.out if (tt, pp) == (t, p)]) for t, p, _ in solo.out}
    for _, row in solo.state.scan(keys.TAIL):
        assert row.offset >= 0
    assert all(received([b for t, p, b in solo.out if (t, p) == out]) == landed[out] for out in landed)


# ---------------------------------------------------------------- E2: delivery errors


def test_e2_an_error_ends_the_session_and_all_from_the_first_unacknowledged_goes_again() -> None:
    """Breaks when the one that failed is sent alone behind later ones, or later ones count as delivered."""
    solo = Solo()
    solo.lead()
    start(solo, "a", "b", "c")
    first = take(solo)
    solo.land(first[0])
    first[1].refuse()
    solo.processor.tick()
    start(solo, "d")
    assert held(solo) == [], "nothing is sent while the session ends"
    solo.land(first[2])
    solo.fold()
    assert places([s.body for s in held(solo)])[:2] == places([first[1].body, first[2].body])
    assert len(held(solo)) == 3
    assert marks(solo).get(WORK) == places([first[0].body])[0]
    solo.settle()
    assert len(received(solo.outputs("workflow-tasks"))) == 4


def test_e2_an_error_of_one_output_leaves_the_others_alone() -> None:
    """Breaks when one broken output stops all."""
    solo = Solo()
    solo.lead()
    start(solo, "a", "b")
    take(solo)[0].refuse()
    count = len(held(solo, TOPICS.history))
    start(solo, "c")
    assert len(held(solo, TOPICS.history)) == count + 1


def test_e2_acknowledgements_of_an_earlier_term_do_not_count() -> None:
    """Breaks when a late acknowledgement from before a deposal marks what this term has not delivered."""
    solo = Solo()
    solo.lead()
    start(solo, "a", "b")
    earlier = take(solo)
    solo.producer.held.clear()
    solo.put(records.LeaderElected(member="other", nonce="x", clock_ms=solo.clock.now_ms(), partitions=1))
    solo.fold()
    solo.pass_time(1)
    solo.land(solo.take(records.LeaderElected)[0])
    solo.fold()
    assert solo.leading
    again = take(solo)
    assert places([s.body for s in again]) == places([s.body for s in earlier])
    for send in earlier:
        assert send.on_delivery is not None
        send.on_delivery(7, None)
    assert WORK not in marks(solo)
    for send in again:
        solo.land(send)
    assert marks(solo)[WORK] == places([again[-1].body])[0]


# ---------------------------------------------------------------- E6: permanent errors, bounds


def test_e6_a_permanent_error_voids_the_effect_and_keeps_the_chain() -> None:
    """Breaks when such an effect is tried for ever, or its place in the chain is lost and all later ones with it."""
    solo = Solo()
    solo.lead()
    start(solo, "a", "b", "c")
    sends = take(solo)
    solo.land(sends[0])
    sends[1].refuse(RecordTooLargeError("too large"))
    solo.land(sends[2])
    solo.settle()
    bodies = solo.outputs("workflow-tasks")
    assert received(bodies) == places([s.body for s in sends])
    void = [b for b in bodies if isinstance(b, tasks.VoidEffect)]
    assert places(void) == places([sends[1].body])
    assert solo.processor.counters.appended["EffectFailed"] == 1
    assert len(solo.outputs("dead-letters")) == 1
    run = solo.state.get(keys.current("b"))
    assert run.task_failure_cause == "undeliverable"


def test_e6_a_report_that_got_lost_is_made_again() -> None:
    """Breaks when one lost EffectFailed stops an output."""
    solo = Solo()
    solo.lead()
    start(solo, "a", "b")
    sends = take(solo)
    sends[0].refuse(RecordTooLargeError("too large"))
    solo.land(sends[1])
    solo.fold()
    [report] = solo.take(records.EffectFailed)
    report.refuse()
    solo.settle()
    assert solo.processor.counters.appended["EffectFailed"] == 2
    assert received(solo.outputs("workflow-tasks")) == places([s.body for s in sends])


@pytest.mark.parametrize("settings", [{"max_in_flight": 5}, {"max_in_flight_bytes": 500}])
def test_e6_unacknowledged_effects_are_bounded(settings: dict[str, Any]) -> None:
    """Breaks when a log that does not acknowledge fills the engine's memory."""
    solo = Solo(**settings)
    solo.lead()
    assert not solo.processor.overloaded
    start(solo, "a", "b", "c")
    assert solo.processor.overloaded
    solo.settle()
    assert not solo.processor.overloaded
    start(solo, "d")
    take(solo)[0].refuse()
    take(solo, TOPICS.history)[0].refuse()
    solo.deliver()
    solo.fold()
    solo.settle()
    assert (solo.processor.emitter.in_flight, solo.processor.emitter.in_flight_bytes) == (0, 0)


@pytest.mark.parametrize("settings", [{"max_in_flight": 5}, {"max_in_flight_bytes": 700}])
def test_e6_a_new_leader_reads_the_outbox_piece_by_piece(settings: dict[str, Any]) -> None:
    """Breaks when a takeover after a long absence takes all that waits into memory at once; or in another order, or
    what is folded meanwhile before it."""
    solo = Solo(**settings)
    start(solo, *(f"w{i}" for i in range(20)))
    solo.processor.gain()
    [elected] = solo.take(records.LeaderElected)
    solo.land(elected)
    solo.fold()
    assert solo.leading
    waiting = [(row.topic, row.partition, row.offset, row.index) for _, row in solo.state.scan(keys.OUTBOX)]
    assert len(waiting) == 60
    emitter = solo.processor.emitter
    start(solo, "late")
    while solo.processor.overloaded:
        assert 0 < len(solo.producer.held) <= 6
        assert emitter.in_flight <= 5 or emitter.in_flight_bytes <= 700 + 500
        solo.land(solo.producer.held.pop(0))
        solo.processor.tick()
    solo.settle()
    landed = [(topic, number, b.position.offset, b.position.index) for topic, number, b in solo.out]
    assert landed[:60] == waiting
    assert solo.outputs("workflow-tasks")[-1].workflow_id == "late"
    assert list(solo.state.scan(keys.OUTBOX)) == [] or marks(solo)


def test_e6_an_output_that_recovers_is_emitted_piece_by_piece() -> None:
    """Breaks when all that waited for an output's topic is in flight at once when the topic can be made."""
    solo = Solo(max_in_flight=6)
    solo.lead()
    solo.topic_error = LogUnavailableError("no broker answers")
    for i in range(20):
        start(solo, f"w{i}")
        solo.settle()
    solo.topic_error = None
    solo.pass_time(1.0)
    assert len(held(solo)) == 6
    assert solo.processor.overloaded
    solo.settle()
    assert [task.workflow_id for task in solo.outputs("workflow-tasks")] == [f"w{i}" for i in range(20)]
    assert not solo.processor.overloaded


def test_a_topic_is_made_before_it_is_first_used() -> None:
    """Breaks when a task queue's topic is not there when its first task comes."""
    solo = Solo()
    solo.lead()
    start(solo, "a", "b")
    assert solo.prepared.count(WORK) == 1


def test_a_log_that_cannot_make_a_topic_now_only_delays() -> None:
    """Breaks when an engine stops, or an effect is lost, because the broker is away at a task queue's first use."""
    solo = Solo()
    solo.lead()
    solo.topic_error = LogUnavailableError("no broker answers")
    start(solo, "a", "b")
    solo.settle()
    assert solo.outputs("workflow-tasks") == []
    for _ in range(3):
        solo.pass_time(1.0)
    assert solo.prepared.count(WORK) == 4  # about once a second
    solo.topic_error = None
    start(solo, "c")
    solo.pass_time(1.0)
    solo.settle()
    assert [task.workflow_id for task in solo.outputs("workflow-tasks")] == ["a", "b", "c"]


def test_e6_a_topic_that_can_never_be_made_is_reported() -> None:
    """Breaks when a cluster that forbids a topic stops the partition."""
    solo = Solo()
    solo.lead()
    solo.topic_error = LogError("not allowed")
    start(solo, "a")
    [report] = solo.take(records.EffectFailed)
    assert report.body.topic == WORK
    assert solo.leading


def test_e6_an_output_that_refuses_everything_has_all_its_effects_reported() -> None:
    """Breaks when the second task for a topic that can never be made waits for ever behind the first."""
    solo = Solo()
    solo.lead()
    solo.topic_error = LogError("not allowed")
    start(solo, "a", "b")
    [report] = solo.take(records.EffectFailed)
    solo.land(report)
    solo.fold()
    for send in take(solo):  # a void one in place of the first, and the second
        send.refuse(LogError("no such topic"))
    solo.fold()
    [report] = solo.take(records.EffectFailed)
    solo.land(report)
    solo.fold()
    start(solo, "c")
    for send in take(solo):
        send.refuse(LogError("no such topic"))
    solo.fold()
    [report] = solo.take(records.EffectFailed)
    solo.land(report)
    solo.fold()
    causes = [solo.state.get(keys.current(workflow_id)).task_failure_cause for workflow_id in ("a", "b", "c")]
    assert causes == ["undeliverable"] * 3


def test_e6_reports_of_an_output_that_refuses_everything_are_few_at_a_time_and_forgotten() -> None:
    """Breaks when an engine's memory grows with every task for a topic that can never be made."""
    solo = Solo(max_in_flight=5)
    solo.topic_error = LogError("not allowed")
    names = [f"w{i}" for i in range(20)]
    start(solo, *names)
    solo.processor.gain()
    [elected] = solo.take(records.LeaderElected)
    solo.land(elected)
    solo.fold()
    start(solo, "late")
    emitter, most = solo.processor.emitter, 0
    while solo.producer.held:
        reports = solo.take(records.EffectFailed)
        assert len(reports) == emitter.reports
        most = max(most, len(reports))
        for send in take(solo):
            send.refuse(LogError("no such topic"))
        solo.deliver()
        for report in reports:
            solo.land(report)
        solo.fold()
    assert (most, emitter.reports) == (5, 0)
    assert solo.processor.counters.appended["EffectFailed"] == 21
    causes = [solo.state.get(keys.current(workflow_id)).task_failure_cause for workflow_id in [*names, "late"]]
    assert causes == ["undeliverable"] * 21


def refuse_all(solo: Solo) -> int:
    """Let the log refuse all tasks, until nothing is out any more. How many sends that were."""
    sends = 0
    while solo.producer.held:
        reports, refused = solo.take(records.EffectFailed), take(solo)
        sends += len(refused)
        for send in refused:
            send.refuse(LogError("no such topic"))
        solo.deliver()
        for report in reports:
            solo.land(report)
        solo.fold()
    return sends


def test_e6_a_task_more_that_nothing_takes_costs_the_same_however_many_there_were() -> None:
    """Breaks when each sends all the void ones before it again: what tries it each minute takes ever more time."""
    solo = Solo()
    solo.lead()
    solo.topic_error = LogError("not allowed")
    start(solo, *(f"w{i}" for i in range(30)))
    refuse_all(solo)
    start(solo, "late")
    for report in solo.take(records.EffectFailed):
        solo.land(report)
    solo.fold()
    start(solo, "later")
    assert len(held(solo)) == 1
    assert not solo.processor.overloaded
    assert refuse_all(solo) <= 2
    causes = [solo.state.get(keys.current(workflow_id)).task_failure_cause for workflow_id in ("late", "later")]
    assert causes == ["undeliverable"] * 2

    start(solo, "last")
    solo.settle()  # somebody has made the topic
    bodies = solo.outputs("workflow-tasks")
    assert received(bodies) == places(bodies)
    assert [type(b) for b in bodies] == [tasks.VoidEffect] * 33
    start(solo, "in time")
    solo.settle()
    assert solo.outputs("workflow-tasks")[-1].workflow_id == "in time"
    assert marks(solo)[WORK] == places(solo.outputs("workflow-tasks"))[-1]


def test_errors_that_last_do_not_lose_the_order() -> None:
    """Breaks when repeated errors leave a gap or an effect behind."""
    solo = Solo()
    solo.lead()
    start(solo, *(f"w{i}" for i in range(6)))
    want = places([s.body for s in held(solo)])
    for round_number in range(5):
        sends = take(solo)
        for i, send in enumerate(sends):
            if i < round_number:
                solo.land(send)
            else:
                send.refuse(LogUnavailableError("away"))
        solo.fold()
    solo.settle()
    assert received(solo.outputs("workflow-tasks")) == want
