"""Children and messages to other workflows, as the parent's code sees them; every history here is also replayed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from odradek import (
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
    WorkflowCancelledError,
    WorkflowNotFoundError,
    WorkflowTerminatedError,
    WorkflowTimeoutError,
    workflow,
)
from odradek._replay import replay
from odradek.errors import WorkflowClosedError
from odradek_schemas import commands, history
from odradek_schemas.common import Failure

from .engine_model import EngineModel, converter, new_instance

pytestmark = pytest.mark.filterwarnings("error")


def kinds(given: list[commands.Command]) -> list[str]:
    return [type(command).__name__ for command in given]


def replayed(engine: EngineModel) -> None:
    """The history replays to the same commands, with nothing left."""
    again = new_instance(engine.workflow)
    replay(again, engine.events)
    assert again.take_commands() == []
    again.close()


@workflow.define
async def parent(how: str, cancellation_type: str) -> Any:
    try:
        async with asyncio.timeout(5):
            return await workflow.execute_child("Child", 1, result_type=int, cancellation_type=cancellation_type)  # type: ignore[call-overload]  # the test passes all of them
    except TimeoutError:
        await workflow.execute_activity("clean up")
        return "late"


def test_a_child_becomes_a_command_with_an_id_of_its_own() -> None:
    engine = EngineModel(parent, "", "wait")
    timer, command = engine.advance()
    assert command == commands.StartChildWorkflow(
        seq=2, workflow_id="run-1_2", workflow_type="Child", task_queue="queue", input=converter.to_payloads([1])
    )
    assert isinstance(timer, commands.StartTimer)
    engine.child_started(2)
    assert engine.advance() == []
    engine.child_ended(2, result=converter.to_payload(7))
    engine.advance()
    assert engine.result() == 7
    replayed(engine)


@pytest.mark.parametrize("started", [True, False])
def test_w9_cancelling_the_wait_cancels_the_child_and_waits_for_its_end(started: bool) -> None:
    engine = EngineModel(parent, "", "wait")
    engine.advance()
    if started:
        engine.child_started(2)
    engine.fire(1)
    assert kinds(engine.advance()) == ["CancelChildWorkflow"]
    if not started:
        engine.child_started(2)
        assert engine.advance() == []
    engine.child_ended(2, history.ChildWorkflowCancelled)
    assert kinds(engine.advance()) == ["ScheduleActivity"]
    replayed(engine)


def test_w9_try_asks_and_goes_on_and_ignores_what_comes_later() -> None:
    engine = EngineModel(parent, "", "try")
    engine.advance()
    engine.child_started(2)
    engine.fire(1)
    assert kinds(engine.advance()) == ["CancelChildWorkflow", "ScheduleActivity"]
    engine.child_ended(2, result=converter.to_payload(7))
    assert engine.advance() == []
    engine.complete(3)
    engine.advance()
    assert engine.result() == "late"
    replayed(engine)


def test_abandon_does_not_ask() -> None:
    engine = EngineModel(parent, "", "abandon")
    engine.advance()
    engine.fire(1)
    assert kinds(engine.advance()) == ["ScheduleActivity"]
    engine.child_started(2)
    engine.child_ended(2, result=converter.to_payload(7))
    assert engine.advance() == []
    replayed(engine)


@workflow.define
async def plain() -> int:
    result: int = await workflow.execute_child("Child", id="c", result_type=int)
    return result


@pytest.mark.parametrize(
    ("kind", "fields", "cause"),
    [
        (history.ChildWorkflowFailed, {"failure": Failure(message="no", type="T")}, ApplicationError),
        (history.ChildWorkflowCancelled, {}, WorkflowCancelledError),
        (history.ChildWorkflowTerminated, {"reason": "why"}, WorkflowTerminatedError),
        (history.ChildWorkflowTimedOut, {"timeout_type": "run"}, WorkflowTimeoutError),
    ],
)
def test_a_child_that_ends_without_a_result_fails_its_parent_with_the_reason_behind_it(
    kind: Any, fields: dict[str, Any], cause: type[Exception]
) -> None:
    caught: list[ChildWorkflowError] = []

    @workflow.define
    async def catches() -> int:
        try:
            return await workflow.execute_child("Child", id="c", result_type=int)
        except ChildWorkflowError as error:
            caught.append(error)
            raise

    engine = EngineModel(catches)
    engine.advance()
    engine.child_started(1)
    engine.child_ended(1, kind, **fields)
    engine.advance()
    (error,) = caught
    assert (error.workflow_id, error.run_id, error.workflow_type) == ("c", "run-of-1", "Child")
    assert isinstance(error.__cause__, cause)
    assert engine.failure().kind == "child"
    assert engine.failure().cause is not None
    replayed_failure = converter.from_failure(engine.failure())
    assert isinstance(replayed_failure, ChildWorkflowError)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [("already_started", WorkflowAlreadyStartedError), ("reuse_rejected", WorkflowAlreadyStartedError),
     ("too_large", ChildWorkflowError), ("invalid", ChildWorkflowError)],
)  # fmt: skip
def test_a_child_that_cannot_be_started(cause: str, expected: type[Exception]) -> None:
    caught: list[BaseException] = []

    @workflow.define
    async def starts() -> None:
        try:
            await workflow.start_child("Child", id="c")
        except Exception as error:
            caught.append(error)
            raise

    engine = EngineModel(starts)
    engine.advance()
    engine.child_not_started(1, cause)
    engine.advance()
    assert type(caught[0]) is expected
    assert isinstance(engine.closed_by, commands.FailWorkflow), "it fails the parent; it is no bug of its code"


def test_a_handle_signals_cancels_and_gives_the_result_more_than_once() -> None:
    @workflow.define
    async def uses_handle() -> list[Any]:
        child = await workflow.start_child("Child", result_type=int)
        await child.signal("go", 1)
        await child.cancel()
        await child.cancel()
        both = await asyncio.gather(child, child.result())
        return [*both, await child, child.id, child.run_id]

    engine = EngineModel(uses_handle)
    engine.advance()
    engine.child_started(1)
    (signal,) = engine.advance()
    assert signal == commands.SignalExternalWorkflow(
        seq=2, workflow_id="run-1_1", signal="go", child_seq=1, input=converter.to_payloads([1])
    )
    engine.answered(2)
    assert kinds(engine.advance()) == ["CancelChildWorkflow"]
    engine.child_ended(1, result=converter.to_payload(7))
    engine.advance()
    assert engine.result() == [7, 7, 7, "run-1_1", "run-of-1"]
    replayed(engine)


@pytest.mark.parametrize(("cause", "kind"), [("not_found", WorkflowNotFoundError), ("closed", WorkflowClosedError)])
def test_messages_to_other_workflows(cause: str, kind: type[Exception]) -> None:
    caught: list[BaseException] = []

    @workflow.define
    async def sends() -> None:
        other = workflow.external("other", run_id="r")
        await other.signal("go", 1)
        await other.cancel("enough")
        try:
            await other.signal("go", 2)
        except WorkflowNotFoundError as error:
            caught.append(error)
            raise

    engine = EngineModel(sends)
    (signal,) = engine.advance()
    assert signal == commands.SignalExternalWorkflow(
        seq=1, workflow_id="other", run_id="r", signal="go", input=converter.to_payloads([1])
    )
    engine.answered(1)
    assert engine.advance() == [
        commands.CancelExternalWorkflow(seq=2, workflow_id="other", run_id="r", reason="enough")
    ]
    engine.answered(2)
    engine.advance()
    engine.answered(3, cause)
    engine.advance()
    assert type(caught[0]) is kind
    assert isinstance(engine.closed_by, commands.FailWorkflow), "it fails the workflow; it is no bug of its code"
    replayed(engine)


def test_w9_the_answer_to_a_message_that_nobody_waits_for_is_ignored() -> None:
    @workflow.define
    async def gives_up() -> str:
        try:
            async with asyncio.timeout(1):
                await workflow.external("other").signal("go")
        except TimeoutError:
            await asyncio.sleep(1)
        return "went on"

    engine = EngineModel(gives_up)
    engine.advance()
    engine.fire(1)
    engine.advance()
    engine.answered(2, "not_found")
    engine.advance()
    engine.fire_next()
    engine.advance()
    assert engine.result() == "went on"
    replayed(engine)
