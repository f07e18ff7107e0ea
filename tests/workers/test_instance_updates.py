"""Updates, dynamic handlers and kept signals of a workflow instance; live and replay are the same."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odradek import ApplicationError, workflow
from odradek._replay import replay
from odradek.errors import DefinitionError, ReadOnlyError, WorkflowTaskError
from odradek_schemas import commands

from .engine_model import EngineModel, converter, new_instance


@workflow.define
class Account:
    """Counts; `seen` notes every value that the balance ever had, by a condition."""

    def __init__(self) -> None:
        self.balance = 0
        self.seen: list[int] = []
        self.times: list[float] = []
        self.closed = False

    async def run(self) -> list[int]:
        while not self.closed:
            last = self.seen[-1] if self.seen else None
            await workflow.wait_condition(lambda last=last: self.closed or self.balance != last)  # type: ignore[misc]
            self.seen.append(self.balance)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.seen

    @workflow.signal
    def add(self, amount: int) -> None:
        self.balance += amount

    @workflow.signal
    def close(self) -> None:
        self.closed = True

    @workflow.update
    def take(self, amount: int) -> int:
        self.balance -= amount
        self.times.append(workflow.time())
        return self.balance

    @take.validator
    def check(self, amount: int) -> None:
        if amount > self.balance:
            raise ApplicationError(f"only {self.balance} left", type="Overdrawn")

    @workflow.update
    async def double(self) -> int:
        await workflow.execute_activity("audit")
        self.balance *= 2
        return self.balance

    @workflow.update
    def spoil(self) -> None:
        self.balance = -1

    @spoil.validator
    def writes(self) -> None:
        self.balance = -2

    @workflow.update
    def fails(self) -> None:
        raise ApplicationError("no", type="No")

    @workflow.query
    def look(self) -> int:
        return self.balance

    @workflow.query
    def meddle(self) -> None:
        self.balance = 7


def answers(engine: EngineModel) -> dict[int, Any]:
    """What the completed updates gave, by their numbers."""
    found: dict[int, Any] = {}
    for command in (c for batch in engine.batches for c in batch if isinstance(c, commands.CompleteUpdate)):
        assert command.seq not in found, "an update is answered once"
        found[command.seq] = (
            command.failure.type if command.failure is not None else converter.from_payload(command.result)  # type: ignore[arg-type]
        )
    return found


def replayed(engine: EngineModel) -> Any:
    """The workflow's object after a replay of what was recorded."""
    again = new_instance(engine.workflow)
    replay(again, engine.events)
    return again._core.object


def test_an_update_is_validated_handled_and_answered_and_replay_skips_the_validator() -> None:
    engine = EngineModel(Account)
    engine.signal("add", 10)
    taken = engine.update("take", 4)
    refused = engine.update("take", 7)
    engine.advance()
    assert answers(engine) == {taken: 6}
    assert [(r.seq, r.failure.type) for r in engine.rejected] == [(refused, "Overdrawn")]
    assert replayed(engine).balance == 6


@workflow.define
class Door:
    """`closed`: what another version of the code says."""

    closed = False

    def __init__(self) -> None:
        self.entered: list[int] = []

    async def run(self) -> None:
        await workflow.wait_condition(lambda: len(self.entered) > 9)

    @workflow.update
    def enter(self, number: int) -> None:
        self.entered.append(number)

    @enter.validator
    def open(self, number: int) -> None:
        if Door.closed:
            raise ValueError("closed")


def test_what_was_accepted_stays_so_under_a_validator_that_would_reject_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when replay asks the validator again, which may have been changed since."""
    engine = EngineModel(Door)
    engine.update("enter", 1)
    engine.advance()
    monkeypatch.setattr(Door, "closed", True)
    assert replayed(engine).entered == [1]


def test_a_message_is_fed_where_it_came_between_the_others() -> None:
    engine = EngineModel(Account)
    early = engine.update("take", 1)
    engine.signal("add", 10)
    late = engine.update("take", 1)
    engine.advance()
    assert [r.seq for r in engine.rejected] == [early]
    assert answers(engine) == {late: 9}


def test_an_update_of_the_wrong_name_or_arguments_is_rejected() -> None:
    engine = EngineModel(Account)
    engine.update("gone")
    engine.update("take", "much", "too")
    engine.advance()
    assert ["no update 'gone'" in r.failure.message or "do not fit" in r.failure.message for r in engine.rejected] == [
        True, True,
    ]


def test_an_application_error_fails_the_update_and_not_the_workflow() -> None:
    engine = EngineModel(Account)
    seq = engine.update("fails")
    engine.advance()
    assert answers(engine) == {seq: "No"}
    assert engine.closed_by is None


def test_an_async_handler_counts_as_running_until_it_is_done() -> None:
    engine = EngineModel(Account)
    engine.signal("add", 3)
    seq = engine.update("double")
    engine.signal("close")
    engine.advance()
    assert engine.closed_by is None, "the workflow waits for its handlers"
    engine.complete(1)
    engine.advance()
    assert answers(engine) == {seq: 6}
    assert engine.closed_by is not None


def test_a_validator_that_writes_rejects_and_changes_nothing() -> None:
    engine = EngineModel(Account)
    engine.update("spoil")
    engine.advance()
    assert engine.rejected[0].failure.type == "ReadOnlyError"
    assert converter.from_payload(engine.instance.query("look", [])) == 0


def test_a_query_that_sets_an_attribute_raises_and_changes_nothing() -> None:
    engine = EngineModel(Account)
    engine.advance()
    with pytest.raises(ReadOnlyError, match="balance"):
        engine.instance.query("meddle", [])
    assert converter.from_payload(engine.instance.query("look", [])) == 0
    assert type(engine.instance._core.object) is Account
    engine.signal("add", 2)
    engine.advance()
    assert converter.from_payload(engine.instance.query("look", [])) == 2


def test_a_workflow_that_closes_with_running_handlers_names_them(caplog: pytest.LogCaptureFixture) -> None:
    @workflow.define
    class Hasty:
        async def run(self) -> None:
            await workflow.wait_condition(lambda: hasattr(self, "go"))

        @workflow.signal
        def stop(self) -> None:
            self.go = True

        @workflow.update
        async def slow(self) -> None:
            await workflow.execute_activity("slow")

    engine = EngineModel(Hasty)
    engine.update("slow")
    engine.signal("stop")
    engine.signal("nobody")
    with caplog.at_level(logging.WARNING):
        engine.advance()
    assert "closed while handlers were running: update slow" in caplog.text


# ---------------------------------------------------------------- dynamic handlers, and handlers set at run time


@workflow.define
class Anything:
    def __init__(self) -> None:
        self.got: list[Any] = []

    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: len(self.got) >= 3)
        return self.got

    @workflow.signal
    def known(self) -> None:
        self.got.append("known")

    @workflow.signal(dynamic=True)
    def any_signal(self, name: str, *args: int) -> None:
        self.got.append((name, args))

    @workflow.query(dynamic=True)
    def any_query(self, name: str, *args: Any) -> str:
        return f"{name}{list(args)}"

    @workflow.update(dynamic=True)
    async def any_update(self, name: str, first: int = 0) -> str:
        self.got.append(name)
        return f"{name} {first}"


def test_dynamic_handlers_take_what_has_no_handler_of_its_own() -> None:
    engine = EngineModel(Anything)
    engine.signal("known")
    engine.signal("other", 1, 2)
    seq = engine.update("whatever", 5)
    engine.advance()
    assert engine.result() == ["known", ["other", [1, 2]], "whatever"]
    assert answers(engine) == {seq: "whatever 5"}
    assert converter.from_payload(engine.instance.query("what", converter.to_payloads([1]))) == "what[1]"


def test_a_dynamic_handler_takes_the_name_and_has_none() -> None:
    with pytest.raises(DefinitionError, match="message's first"):
        workflow.signal(dynamic=True)(lambda self: None)  # type: ignore[misc]
    with pytest.raises(DefinitionError, match="pass the name"):
        from odradek._handle import bind_message

        bind_message("signal", Anything.any_signal, ("x",), {})


@workflow.define
class Late:
    """Sets its handlers only after the first activity; a condition sees every state."""

    def __init__(self) -> None:
        self.state = 0
        self.seen: list[int] = []

    async def run(self) -> list[int]:
        await workflow.execute_activity("prepare")
        workflow.set_signal_handler("move", self.move)
        workflow.set_query_handler("where", lambda: self.state)
        workflow.set_update_handler("jump", self.jump, validator=self.may_jump)
        for expected in (1, 2, 3):
            await workflow.wait_condition(lambda expected=expected: self.state == expected)  # type: ignore[misc]
            self.seen.append(expected)
        workflow.set_signal_handler(None, lambda name: self.seen.append(len(name)))
        await workflow.wait_condition(lambda: len(self.seen) == 5)
        return self.seen

    def move(self, to: int) -> None:
        self.state = to

    async def jump(self, to: int) -> int:
        self.state = to
        return to

    def may_jump(self, to: int) -> None:
        if to < self.state:
            raise ApplicationError("not back")


def test_signals_are_kept_until_a_handler_is_set_and_none_skips_a_state() -> None:
    engine = EngineModel(Late)
    engine.signal("move", 1)
    engine.signal("abc")
    engine.signal("move", 2)
    engine.advance()
    engine.complete(1)
    back = engine.update("jump", 1)
    engine.update("jump", 3)
    engine.signal("de")
    engine.advance()
    assert [r.seq for r in engine.rejected] == [back]
    assert engine.result() == [1, 2, 3, 3, 2]
    assert replayed(engine).seen == [1, 2, 3, 3, 2]


def test_a_bug_in_a_handler_fails_the_task_and_not_the_update() -> None:
    @workflow.define
    class Buggy:
        async def run(self) -> None:
            await workflow.wait_condition(lambda: False)

        @workflow.update
        def wrong(self) -> None:
            raise KeyError("typo")

    engine = EngineModel(Buggy)
    engine.update("wrong")
    with pytest.raises(WorkflowTaskError, match="KeyError"):
        engine.advance()


# ---------------------------------------------------------------- against a simple model

messages = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 9)),
        st.tuples(st.just("take"), st.integers(1, 9)),
        st.tuples(st.just("look"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(messages, st.lists(st.integers(1, 6), max_size=12))
def test_random_messages_in_any_batches_do_as_the_model_and_replay_as_live(
    sent: list[tuple[str, int]], batches: list[int]
) -> None:
    """No split into batches makes the code skip a state, and every answer is that of the model."""
    engine = EngineModel(Account)
    balance, seen = 0, [0]
    expected: dict[int, int] = {}
    refused: list[int] = []
    sizes = iter(batches)
    left = next(sizes, 1000)
    for kind, amount in sent:
        engine.now_ms += amount
        if kind == "look":
            engine.advance()
            assert converter.from_payload(engine.instance.query("look", [])) == balance
            continue
        if kind == "add":
            engine.signal("add", amount)
            balance += amount
            seen.append(balance)
        elif amount <= balance:
            balance -= amount
            seen.append(balance)
            expected[engine.update("take", amount)] = balance
        else:
            refused.append(engine.update("take", amount))
        left -= 1
        if not left:
            engine.advance()
            left = next(sizes, 1000)
    engine.advance()
    live = engine.instance._core.object
    assert live.seen == seen
    assert answers(engine) == expected
    assert [r.seq for r in engine.rejected] == refused
    again = replayed(engine)
    assert (again.seen, again.balance, again.times) == (live.seen, live.balance, live.times)
