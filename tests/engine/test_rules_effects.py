"""Rules about effects, as the fold keeps them (E); what cannot be folded becomes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from odradek_engine.fold import keys
from odradek_engine.fold.rows import OutboxRow
from odradek_schemas import commands, decode, encode, history, records, tasks
from odradek_schemas.common import Position, Record
from odradek_schemas.replies import RequestReply

from .harness import T0, TOPICS, Partition, act, bodies, of_kind, outcomes, payload, reasons, request

MakePartition = Callable[..., Partition]


def forwarded(inner: Record, offset: int, previous: int = -1, source: int = 1) -> records.ForwardedRecord:
    """A link of a chain from another partition, made by the record at `offset` there."""
    position = Position(partition=source, offset=offset, index=0, previous_offset=previous)
    return records.ForwardedRecord(position=position, value=encode(inner))


def poke(name: str, workflow_id: str = "w") -> records.SignalWorkflow:
    return records.SignalWorkflow(workflow_id=workflow_id, signal=name)


def signals(p: Partition) -> list[str]:
    return [e.attributes.signal for e in p.events() if isinstance(e.attributes, history.SignalReceived)]


# ---------------------------------------------------------------- E: effects


def test_e1_every_effect_names_its_predecessor(p: Partition) -> None:
    """Breaks when a position does not take its predecessor from the tail of its output."""
    p.start(request=request("r"))
    p.advance(act(1), act(2))
    p.signal(request=request("s"))
    p.succeed(1)
    chains: dict[tuple[str, int], list[Position]] = {}
    for topic, partition, body in p.effects:
        chains.setdefault((topic, partition), []).append(body.position)
    assert len(chains) >= 4
    for positions in chains.values():
        last = (-1, 0)
        for position in positions:
            assert (position.previous_offset, position.previous_index) == last
            assert (position.offset, position.index) > last
            last = (position.offset, position.index)


def test_e1_takes_the_next_link_drops_what_it_has_ignores_a_gap(two: Partition) -> None:
    """Breaks when a link behind a gap is taken or remembered, or an old one is taken again."""
    two.append(forwarded(poke("a"), 5))
    two.append(forwarded(poke("a"), 5))
    two.append(forwarded(poke("c"), 9, previous=7))
    assert signals(two) == ["a"]
    two.append(forwarded(poke("b"), 7, previous=5))
    two.append(forwarded(poke("c"), 9, previous=7))
    two.append(forwarded(poke("a"), 5))
    assert signals(two) == ["a", "b", "c"]


def test_e4_a_chain_for_each_source_and_output(two: Partition) -> None:
    """Breaks when one position is remembered for all sources, or one tail for all outputs."""
    two.append(forwarded(poke("far"), 90, source=1))
    two.append(forwarded(poke("near"), 3, source=2))
    two.append(forwarded(poke("far again"), 91, previous=90, source=1))
    assert signals(two) == ["far", "near", "far again"]
    for partition in (0, 1, 0):
        two.signal(request=request(f"r{len(two.log)}", reply_partition=partition))
    links = [(p, b.position.previous_offset) for _, p, b in two.effects if isinstance(b, RequestReply)]
    assert links == [(0, -1), (1, -1), (0, len(two.log) - 3)]


def outbox(p: Partition) -> list[tuple[str, int]]:
    return [(row.topic.removeprefix(TOPICS.prefix), row.offset) for _, row in p.state.scan(keys.OUTBOX)]


def mark(topic: str, offset: int, index: int = 99) -> records.EffectsEmitted:
    return records.EffectsEmitted(marks=[records.Mark(topic=topic, partition=0, offset=offset, index=index)])


def test_e5_marks_are_per_output_only_grow_and_need_no_epoch(p: Partition) -> None:
    """Breaks when a mark counts for other outputs too, or is refused because its writer leads no more."""
    p.start()
    p.signal(request=request("r1"))
    p.advance(act(1))
    p.lead("another")
    assert {t for t, _ in outbox(p)} == {"history", "workflow-tasks.orders", "activity-tasks.orders", "replies"}
    others = [entry for entry in outbox(p) if entry[0] != "history"]
    p.append(mark(TOPICS.history, 3))
    assert [entry for entry in outbox(p) if entry[0] != "history"] == others
    assert [offset for topic, offset in outbox(p) if topic == "history"] == [4]
    left = outbox(p)
    p.append(mark(TOPICS.history, 2))
    assert outbox(p) == left
    p.append(mark(TOPICS.history, 4))
    assert outbox(p) == others


def test_e5_a_mark_ends_within_a_record(p: Partition) -> None:
    """Breaks when a mark is taken for the whole record that made the effect."""
    p.start()
    p.advance(act(1), act(2))
    made = [(row.offset, row.index) for _, row in p.state.scan(keys.OUTBOX) if "activity" in row.topic]
    marks = [*mark(TOPICS.activity_tasks("orders"), *made[0]).marks, *mark(TOPICS.history, len(p.log)).marks]
    p.append(records.EffectsEmitted(marks=marks))
    left = [(row.offset, row.index) for _, row in p.state.scan(keys.OUTBOX) if "activity" in row.topic]
    assert left == made[1:]


def test_e5_marks_that_run_ahead_or_leave_something_behind_hide_no_effect(p: Partition) -> None:
    """Breaks when effects are looked for only behind where a mark has been, whatever it left or could not know."""
    p.start()
    p.append(mark(TOPICS.history, 10_000))  # nobody honest writes that: what comes has not left
    p.advance(act(1))
    p.append(mark(TOPICS.history, len(p.log)))
    assert {topic for topic, _ in outbox(p)} == {"workflow-tasks.orders", "activity-tasks.orders"}
    p.append(mark(TOPICS.workflow_tasks("orders"), len(p.log)))
    p.append(mark(TOPICS.activity_tasks("orders"), len(p.log)))
    assert outbox(p) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"task_queue": "no such/queue"},
        {"task_queue": "q" * 200},
        {"workflow_type": ""},
        {"workflow_type": "t" * 2000},
        {"workflow_id": "a\0b"},
        {"workflow_id": "i" * 2000},
        {"id_conflict_policy": "hope"},
        {"execution_timeout_ms": -1},
        {"start_delay_ms": 2**62},
        {"request": request("")},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_e6_what_users_choose_is_checked(p: Partition, fields: dict[str, Any]) -> None:
    """Breaks when a name that no topic or key can carry gets into the state."""
    fields = {"workflow_id": "w", "workflow_type": "Order", "task_queue": "orders", "request": request("r"), **fields}
    folded = p.append(records.StartWorkflow(**fields))
    assert outcomes(folded) == ["invalid"]
    assert len(reasons(folded)) == 1
    assert p.row.open_workflows == 0


@pytest.mark.parametrize(
    "command",
    [
        act(1, task_queue="no such/queue"),
        act(1, name=""),
        act(0),
        act(-7),
        act(1, start_to_close_timeout_ms=-1),
        act(1, heartbeat_timeout_ms=2**62),
        commands.StartTimer(seq=1, duration_ms=2**62),
        commands.StartTimer(seq=-3, duration_ms=1),
    ],
    ids=repr,
)
def test_e6_a_command_that_cannot_be_done_fails_the_task(p: Partition, command: commands.Command) -> None:
    """Breaks when such a command is taken, or when its completion vanishes and leaves the run without a task."""
    p.start()
    p.advance(command)
    run = p.run()
    assert p.happened() == ["WorkflowStarted"]
    assert run.task_failure_cause == "invalid"
    assert run.task_offset < 0 < run.task_retry_ms
    p.task_due()
    assert p.run().task_offset == len(p.log) - 1


@pytest.mark.parametrize("asked", [[act(1), act(1)], [act(2)], [commands.StartTimer(seq=2, duration_ms=5)]])
def test_e6_a_number_in_use_is_refused(p: Partition, asked: list[commands.Command]) -> None:
    """Breaks when a second command of the same number replaces the first one's row."""
    p.start()
    p.advance(act(2))
    scheduled_by = p.open_activity(2).scheduled_by
    p.signal()
    p.advance(*asked)
    assert p.run().task_failure_cause == "invalid"
    assert p.open_activity(2).scheduled_by == scheduled_by


def test_e6_an_activity_too_large_for_a_task_fails(p: Partition) -> None:
    """Breaks when an effect above the limit is made, or when the workflow does not hear of it."""
    p.start()
    p.advance(act(1, input=[payload("x" * 1_200_000)]))
    assert p.activity() is None
    assert p.happened()[-1] == "ActivityFailed"
    assert p.run().task_offset == len(p.log) - 1


def test_e6_heartbeat_details_that_make_the_next_task_too_large_fail_the_activity(p: Partition) -> None:
    """Breaks when the renewed activity closes without waking its workflow."""
    p.start()
    p.advance(act(1, input=[payload("x" * 600_000)]))
    p.begin()
    p.hand_back(heartbeat_details=[payload("y" * 600_000)])
    assert p.happened()[-1] == "ActivityFailed"
    assert p.run().task_offset == len(p.log) - 1


def undeliverable(p: Partition, row: OutboxRow) -> records.EffectFailed:
    return records.EffectFailed(
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        index=row.index,
        reason="refused by the broker",
        epoch=p.row.epoch,
    )


def in_outbox(p: Partition, part: str) -> OutboxRow:
    """The last effect to the first topic whose name has `part` in it."""
    rows: list[OutboxRow] = [row for _, row in p.state.scan(keys.OUTBOX) if part in row.topic]
    return rows[-1]


def test_e6_a_workflow_task_that_no_topic_takes_fails(p: Partition) -> None:
    """Breaks when EffectFailed only replaces the effect: the run would wait for the answer to no task."""
    p.start()
    row = in_outbox(p, "workflow-tasks")
    folded = p.append(undeliverable(p, row))
    void = decode(in_outbox(p, "workflow-tasks").value)
    assert isinstance(void, tasks.VoidEffect)
    original = decode(row.value)
    assert isinstance(original, tasks.WorkflowTask)
    assert void.position == original.position
    assert len(reasons(folded)) == 1
    assert p.run().task_failure_cause == "undeliverable"
    p.append(undeliverable(p, row))
    assert p.run().task_attempt == 2
    p.task_due()
    assert p.run().task_offset == len(p.log) - 1


def test_e6_an_activity_task_that_no_topic_takes_fails_the_activity(p: Partition) -> None:
    """Breaks when the activity stays open."""
    p.start()
    p.advance(act(1))
    p.append(undeliverable(p, in_outbox(p, "activity-tasks")))
    assert p.activity() is None
    assert p.happened()[-1] == "ActivityFailed"


def test_e6_a_refused_dead_letter_makes_no_other(p: Partition) -> None:
    """Breaks when dead letters about dead letters go on for ever."""
    p.append(b"nonsense")
    folded = p.append(undeliverable(p, in_outbox(p, "dead-letters")))
    assert bodies(folded) == []
    assert isinstance(decode(in_outbox(p, "dead-letters").value), tasks.VoidEffect)


def test_e6_a_void_link_keeps_the_chain_of_messages(two: Partition) -> None:
    """Breaks when a void effect in `events` is taken for nonsense: all later messages would seem to leave a gap."""
    two.append(forwarded(poke("a"), 5))
    void = tasks.VoidEffect(position=Position(partition=1, offset=7, index=0, previous_offset=5))
    assert reasons(two.append(void)) == []
    two.append(forwarded(poke("c"), 9, previous=7))
    assert signals(two) == ["a", "c"]


# ---------------------------------------------------------------- dead letters


def test_a_bad_record_becomes_a_dead_letter_and_the_partition_goes_on(p: Partition) -> None:
    """Breaks when anything but a dead letter comes of bytes that are no record."""
    for value in (b"", b"{", b'{"type":"Nope"}', b"\xc3\x01" + b"x" * 20, encode(poke("a"))[:-1], b"\x00" * 5000):
        folded = p.append(value, key=b"w")
        assert len(reasons(folded)) == 1
        [letter] = of_kind(folded, tasks.DeadLetter)
        assert (letter.offset, letter.key, letter.value) == (len(p.log) - 1, b"w", value)
    p.start()
    assert p.run().is_open


def test_a_record_of_another_topic_is_a_dead_letter(p: Partition) -> None:
    """Breaks when a record that does not belong into `events` is passed over in silence."""
    reply = RequestReply(position=Position(partition=0, offset=0, index=0), client_id="c", request_id="r", outcome="ok")
    assert "no record of the topic" in reasons(p.append(reply))[0]


def test_a_bad_record_among_those_that_waited_spoils_nothing(make_partition: MakePartition) -> None:
    """Breaks when one bad record that waited takes the election, or its neighbours, down with it."""
    p = make_partition()
    p.append(poke("nobody"))
    p.append(b"nonsense", at=T0 + 1)
    p.append(records.StartWorkflow(workflow_id="w", workflow_type="Order", task_queue="orders"))
    folded = p.lead()
    assert len(reasons(folded)) == 2
    assert [letter.offset for letter in of_kind(folded, tasks.DeadLetter)] == [0, 1]
    assert p.run().is_open
