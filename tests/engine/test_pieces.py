"""Completions in pieces: they take effect as one, with the last piece, or not at all."""

from __future__ import annotations

from itertools import permutations

import pytest
from odradek_engine.fold import pieces
from odradek_schemas import commands, encode, records
from odradek_schemas.common import Record

from .harness import Partition, payload


@pytest.fixture
def p() -> Partition:
    partition = Partition()
    partition.lead()
    partition.start()
    return partition


def completed(p: Partition, id: str = "c", count: int = 2, **fields: object) -> records.WorkflowTaskCompleted:
    run = p.run()
    asked = [commands.StartTimer(seq=seq, duration_ms=1000) for seq in range(1, count + 1)]
    return records.WorkflowTaskCompleted(**{
        "workflow_id": "w", "run_id": run.run_id, "id": id, "base": run.base,
        "consumed_through": run.last_event_id, "session": "W1", "commands": asked, **fields,
    })


def divided(whole: Record, count: int, **fields: object) -> list[records.CompletionPiece]:
    value = encode(whole)
    size = -(-len(value) // count)
    named = {name: getattr(whole, name) for name in ("workflow_id", "run_id", "id", "base")} | fields
    return [
        records.CompletionPiece(**named, index=i, count=count, piece=value[i * size : (i + 1) * size])
        for i in range(count)
    ]


def whole_state(p: Partition) -> tuple[list[str], int, str]:
    return p.happened(), p.run().pieces, p.run().base


def test_w1_pieces_take_effect_as_one_with_the_last(p: Partition) -> None:
    one = Partition()
    one.lead()
    one.start()
    one.append(completed(one, count=3))
    before = p.happened()
    *first, last = divided(completed(p, count=3), 3)
    for number, piece in enumerate(first, 1):
        p.append(piece)
        assert whole_state(p) == (before, number, p.run().run_id)
    p.append(last)
    assert whole_state(p) == (one.happened(), 0, "c")
    p.finish()


@pytest.mark.parametrize("order", [o for o in permutations(range(3)) if o[0] == 0] + [(0, 0, 1, 0, 1, 2), (0, 1, 0, 2)])
def test_w6_pieces_may_come_again_and_the_later_ones_in_any_order(p: Partition, order: tuple[int, ...]) -> None:
    made = divided(completed(p), 3)
    for index in order:
        p.append(made[index])
    assert p.run().base == "c"
    before = p.happened()
    for piece in made:  # all of them once more
        p.append(piece)
    assert whole_state(p) == (before, 0, "c")
    p.finish()


def test_without_its_first_piece_nothing_is_kept(p: Partition) -> None:
    p.append(divided(completed(p), 3)[1])
    assert p.run().pieces == 0


def test_w1_of_two_workers_the_one_that_is_whole_first_wins(p: Partition) -> None:
    run = p.run()
    a, b = divided(completed(p, "a", count=1), 2), divided(completed(p, "b"), 2)
    for piece in (a[0], b[0], a[1]):
        p.append(piece)
    assert (p.run().base, p.run().pieces) == ("a", 1)
    for piece in (b[1], *b):  # on a base that is gone: nothing of it counts
        assert piece.base == run.base
        p.append(piece)
    assert (p.run().base, p.run().pieces, p.happened().count("TimerStarted")) == ("a", 0, 1)
    p.finish()


def test_t1_a_whole_completion_counts_although_another_was_begun_within_it(p: Partition) -> None:
    """Its worker has done its part: nobody else would go on, as whoever began the other one is gone."""
    a, b = divided(completed(p, "a"), 3), divided(completed(p, "b"), 3)
    for piece in (a[0], a[1], b[0], a[2], b[1]):
        p.append(piece)
    assert (p.run().base, p.run().pieces) == ("a", 2)
    p.finish()


def test_e6_pieces_of_a_few_completions_are_kept_and_the_first_begun_goes(p: Partition) -> None:
    begun = [divided(completed(p, f"c{n}"), 3) for n in range(pieces.MAX_BEGUN + 1)]
    for one in begun:
        p.append(one[0])
    assert p.run().pieces == pieces.MAX_BEGUN
    for piece in begun[0][1:]:
        p.append(piece)
    assert p.run().base == p.run().run_id
    for piece in begun[1][1:]:
        p.append(piece)
    assert (p.run().base, p.run().pieces) == ("c1", pieces.MAX_BEGUN - 1)
    p.finish()


def test_w6_local_results_of_a_stale_completion_count_also_in_pieces(p: Partition) -> None:
    p.alive()
    p.advance(commands.ScheduleActivity(seq=1, activity_type="charge", start_to_close_timeout_ms=1000))
    row = p.open_activity()
    result = records.LocalResult(
        seq=1, kind="activity", scheduled_by=row.scheduled_by, result=payload('"paid"'), attempt=1, time_ms=p.now
    )
    for piece in divided(completed(p, base="stale", commands=[], local_results=[result]), 2):
        p.append(piece)
    assert p.happened()[-1] == "ActivityCompleted"
    p.finish()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"id": ""}, "1 to 1000 bytes"),
        ({"count": 65}, "64 at most"),
        ({"count": 0}, "64 at most"),
        ({"count": 1}, "the pieces are no record"),
        ({"piece": b"x" * (records.MAX_COMPLETION_BYTES + 1)}, "it may have 16,000,000"),
    ],
)
def test_w7_what_cannot_be_kept_leads_to_another_attempt(p: Partition, fields: dict[str, object], problem: str) -> None:
    first = divided(completed(p), 2)[0]
    p.append(records.CompletionPiece(**{**{n: getattr(first, n) for n in first.__struct_fields__}, **fields}))
    run = p.run()
    assert run.task_failure is not None
    assert problem in run.task_failure.message
    assert (run.pieces, run.task_attempt) == (0, 2)
    p.finish()


def test_w7_pieces_of_another_record_are_refused(p: Partition) -> None:
    for piece in divided(completed(p, "other"), 2, id="c"):
        p.append(piece)
    assert "another record" in (p.run().task_failure or pytest.fail("no failure")).message
    p.finish()


def test_e6_more_commands_than_an_event_holds_are_refused(p: Partition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MAX_EFFECT_BYTES", 100)
    for piece in divided(completed(p, count=20), 2):
        p.append(piece)
    assert "20 commands are too many" in (p.run().task_failure or pytest.fail("no failure")).message
    assert p.run().pieces == 0


def test_pieces_go_with_their_run(p: Partition) -> None:
    p.append(divided(completed(p), 2)[0])
    assert p.run().pieces == 1
    p.append(records.TerminateWorkflow(workflow_id="w"))
    assert (p.run().status, p.run().pieces) == ("terminated", 0)
    p.finish()
