"""A workflow that continues as new: what it asks for, and where it may."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from odradek import RetryPolicy, workflow
from odradek._replay import replay
from odradek.errors import DefinitionError, WorkflowTaskError
from odradek_schemas import commands, history

from .engine_model import EngineModel, converter, new_instance


@workflow.define
class Loop:
    def __init__(self) -> None:
        self.heard = 0

    async def run(self, how: str) -> str:
        if how == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(self.leave())
        if how == "caught":
            try:
                workflow.continue_as_new(Loop, "swallowed?")
            except Exception:
                return "caught"
        if how == "options":
            workflow.continue_as_new(
                "Other", 1, "x", task_queue="q", run_timeout=5, memo={}, retry_policy=RetryPolicy(maximum_attempts=3)
            )
        if how == "execution_timeout":
            workflow.continue_as_new(Loop, "x", execution_timeout=5)
        await workflow.wait_condition(lambda: False)
        return "never"

    async def leave(self) -> None:
        workflow.continue_as_new(Loop, "from a task")

    @workflow.signal
    async def later(self) -> None:
        await asyncio.sleep(1)
        workflow.continue_as_new(Loop, "from a handler")

    @workflow.signal
    def noted(self) -> None:
        self.heard += 1

    @workflow.query
    def wrong(self) -> None:
        workflow.continue_as_new(Loop, "x")


def asked(how: str) -> Any:
    engine = EngineModel(Loop, how)
    command = engine.advance()[-1]
    again = new_instance(Loop)
    replay(again, engine.events)
    assert again.ended
    return command


@pytest.mark.parametrize(("how", "argument"), [("group", "from a task"), ("caught", "swallowed?")])
def test_it_leaves_the_code_wherever_it_is_called(how: str, argument: str) -> None:
    command = asked(how)
    assert isinstance(command, commands.ContinueAsNewWorkflow)
    assert (command.workflow_type, converter.from_payloads(command.input, [str])) == ("Loop", [argument])


def test_options_that_are_not_given_stay_as_they_are() -> None:
    given, plain = asked("options"), asked("caught")
    assert (given.workflow_type, given.task_queue, given.run_timeout_ms, given.keep_memo) == ("Other", "q", 5000, False)
    assert (given.task_timeout_ms, given.keep_search_attributes) == (-1, True)
    assert given.retry_policy.maximum_attempts == 3
    assert (plain.task_queue, plain.run_timeout_ms, plain.keep_memo, plain.retry_policy) == ("", -1, True, None)


def test_an_async_handler_may_end_the_run_and_nothing_is_fed_after_it() -> None:
    """Rule W2: a signal behind the event at which the run ends is left for the next one."""
    engine = EngineModel(Loop, "")
    engine.signal("later")
    engine.advance()
    engine.fire(1)
    engine.signal("noted")
    (command,) = engine.advance()
    assert isinstance(command, commands.ContinueAsNewWorkflow)
    last = engine.events[engine.consumed_through - 1].attributes
    assert isinstance(last, history.TimerFired)
    assert engine.instance._core.object.heard == 0


def test_signals_without_a_handler_are_given_to_the_next_run() -> None:
    engine = EngineModel(Loop, "")
    engine.signal("later")
    engine.signal("unknown", 7)
    engine.signal("noted")
    engine.advance()
    engine.fire(1)
    (command,) = engine.advance()
    assert isinstance(command, commands.ContinueAsNewWorkflow)
    assert command.kept == [commands.KeptSignal(signal="unknown", input=converter.to_payloads([7]))]


def test_a_query_may_not() -> None:
    engine = EngineModel(Loop, "")
    engine.advance()
    with pytest.raises(WorkflowTaskError, match="only reads"):
        engine.instance.query("wrong", [])


def test_the_execution_timeout_is_not_given_anew() -> None:
    with pytest.raises(WorkflowTaskError) as failed:
        EngineModel(Loop, "execution_timeout").advance()
    assert isinstance(failed.value.__cause__, DefinitionError)
