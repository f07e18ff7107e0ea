"""A run that has too much unread takes no more messages, until its code has looked at some of it."""

from __future__ import annotations

from typing import Any

import pytest
from odradek_engine.fold import outcomes
from odradek_schemas import decode, encode, records, replies, tasks
from odradek_schemas.common import Caller, Position

from .harness import Partition, of_kind, payload, request
from .test_rules_updates import update


@pytest.fixture
def p(monkeypatch: pytest.MonkeyPatch) -> Partition:
    monkeypatch.setattr(outcomes, "MAX_UNREAD_BYTES", 10_000)
    monkeypatch.setattr(outcomes, "MAX_OPEN_UPDATES", 3)
    p = Partition()
    p.lead()
    p.start()
    return p


def storm(p: Partition, count: int = 20, **fields: Any) -> list[str]:
    """Signals of a thousand bytes; what came of them."""
    found = []
    for n in range(count):
        signal = records.SignalWorkflow(
            workflow_id="w", signal="s", input=[payload("x" * 1_000)], request=request(f"s{n}"), **fields
        )
        found += [reply.outcome for reply in of_kind(p.append(signal), replies.RequestReply)]
    return found


def test_a_signal_storm_is_refused_and_taken_again_once_the_code_has_read(p: Partition) -> None:
    """Breaks when one sender fills the history of a run without bound, which its worker has to take into memory; or
    when a refusal is remembered and given again."""
    came = storm(p)
    assert set(came[:9]) == {"ok"}
    assert set(came[11:]) == {"overloaded"}
    taken = came.count("ok")
    assert p.happened().count("SignalReceived") == taken
    p.advance()
    assert storm(p, 5, run_id=p.run().run_id) == ["ok"] * 5, "with the request IDs of before"
    p.finish()


def test_what_nobody_waits_for_goes_to_the_dead_letters(p: Partition) -> None:
    storm(p)
    folded = p.append(records.SignalWorkflow(workflow_id="w", signal="s"))
    assert "unread messages" in of_kind(folded, tasks.DeadLetter)[0].reason
    started = records.StartWorkflow(
        workflow_id="w", workflow_type="Order", task_queue="q", signal="s", request=request("x"),
        id_conflict_policy="use_existing",
    )
    assert [r.outcome for r in of_kind(p.append(started), replies.RequestReply)] == ["overloaded"]
    assert p.run().is_open


def test_a_workflow_that_sends_is_told_so(p: Partition) -> None:
    """Breaks when a signal of another workflow is refused, and that one waits for the answer for ever."""
    storm(p)
    told = records.SignalWorkflow(workflow_id="w", signal="s", caller=Caller(workflow_id="v", run_id="r", seq=1))
    position = Position(partition=0, offset=10_000, index=0, previous_offset=-1, previous_index=0)
    p.append(records.ForwardedRecord(position=position, key=b"w", value=encode(told)))
    answers = [decode(one.value) for one in p.made(records.ForwardedRecord)]
    assert [one.outcome for one in answers if isinstance(one, records.ExternalAnswered)] == ["overloaded"]


def test_updates_are_bounded_by_their_number(p: Partition) -> None:
    answers = [of_kind(update(p, f"u{n}"), replies.RequestReply) for n in range(5)]
    assert [[r.outcome for r in one] for one in answers] == [[], [], [], ["overloaded"], ["overloaded"]]
