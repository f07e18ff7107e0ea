"""Errors as failures and back: their own class, their chain, within bounds, whatever they are."""

from __future__ import annotations

import asyncio
import re
import traceback
from datetime import datetime
from typing import Any

import msgspec
import pytest
from odradek import (
    ActivityError,
    ActivityTimeoutError,
    ApplicationError,
    DataConverter,
    PayloadError,
    WorkflowTerminatedError,
    workflow,
)
from odradek._failures import MAX_CAUSES, MAX_TEXT, activity_error, activity_timeout_error, class_path
from odradek.errors import WorkflowTaskError, WorkflowTimeoutError
from odradek_schemas import decode, encode
from odradek_schemas.common import Failure
from odradek_schemas.records import WorkflowTaskFailed

from .engine_model import EngineModel

converter = DataConverter()


class Declined(ApplicationError, non_retryable=True):
    def __init__(self, sku: str, left: int) -> None:
        super().__init__(f"{sku} is declined", sku, left)
        self.sku = sku


class OutOfStock(Exception):
    def __init__(self, sku: str, *, seen_at: datetime) -> None:
        super().__init__(f"no {sku}")
        self.sku = sku
        self.seen_at = seen_at
        self.tries = [1, {"a": None}]


class Stubborn(Exception):
    """Cannot be made from the arguments that it shows."""

    def __new__(cls, one: int, two: int) -> Stubborn:
        return super().__new__(cls)

    def __init__(self, one: int, two: int) -> None:
        super().__init__("stubborn")


class BadText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def there_and_back(error: BaseException) -> BaseException:
    record = WorkflowTaskFailed(workflow_id="w", run_id="r", base="r", failure=converter.to_failure(error))
    read = decode(encode(record))  # what a log does to it
    assert isinstance(read, WorkflowTaskFailed)
    return converter.from_failure(read.failure)


# ---------------------------------------------------------------- the class


def test_an_application_error_comes_back_as_its_own_class() -> None:
    error = there_and_back(Declined("x", 3))
    assert isinstance(error, Declined)
    assert (error.sku, error.details, error.message, str(error)) == ("x", ("x", 3), "x is declined", "x is declined")
    assert (error.type, error.non_retryable, error.next_retry_delay) == ("Declined", True, None)


def test_any_other_error_comes_back_as_its_own_class_without_its_constructor() -> None:
    error = there_and_back(OutOfStock("x", seen_at=datetime(2026, 1, 1)))
    assert isinstance(error, OutOfStock)
    assert (error.sku, error.tries, str(error)) == ("x", [1, {"a": None}], "no x")
    assert not hasattr(error, "seen_at")  # cannot be written without an annotation


@pytest.mark.parametrize(
    "error",
    [KeyError("k"), ValueError("a", 1), ZeroDivisionError(), FileNotFoundError(2, "no such file"), TimeoutError("t")],
)
def test_builtin_errors_come_back_as_themselves(error: Exception) -> None:
    read = there_and_back(error)
    assert (type(read), read.args, str(read)) == (type(error), error.args, str(error))


def test_plain_application_errors_keep_all_they_have() -> None:
    read = there_and_back(ApplicationError("m", {"a": 1}, type="Custom", non_retryable=True))
    assert type(read) is ApplicationError
    assert (read.message, read.details, read.type, read.non_retryable) == ("m", ({"a": 1},), "Custom", True)


def local_error() -> Exception:
    class Local(ApplicationError): ...

    return Local("m", 1)


@pytest.mark.parametrize("error", [local_error(), SystemExit(3), ExceptionGroup("g", [OSError()]), Stubborn(1, 2)])
def test_what_cannot_be_made_again_is_an_application_error_of_its_type(error: BaseException) -> None:
    read = there_and_back(error)
    assert type(read) is ApplicationError
    assert read.type == type(error).__name__
    assert read.message == str(error)


@pytest.mark.parametrize(
    "path",
    [
        "nowhere:Error",
        "builtins:SystemExit",
        "builtins:print",
        "odradek.errors:missing",
        "../x:Error",
        "os:path",
        ":",
        "x",
    ],
)
def test_only_exceptions_that_can_be_imported_are_made(path: str) -> None:
    failure = Failure(message="m", type="T", encoded_attributes=converter.to_payload({"class": path}))
    error = converter.from_failure(failure)
    assert type(error) is ApplicationError
    assert error.type == "T"


@pytest.mark.parametrize("attributes", [None, 3, {}, {"class": 3}, {"class": "builtins:KeyError", "args": 3}])
def test_strange_attributes_do_no_harm(attributes: Any) -> None:
    failure = Failure(message="m", type="T", encoded_attributes=converter.to_payload(attributes))
    assert isinstance(converter.from_failure(failure), ApplicationError | KeyError)


def test_failures_of_other_languages_are_application_errors() -> None:
    error = converter.from_failure(Failure(message="m", type="Declined", details=[converter.to_payload(1)]))
    assert type(error) is ApplicationError
    assert (error.message, error.type, error.details) == ("m", "Declined", (1,))


def test_a_module_run_as_main_goes_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Declined, "__module__", "__main__")
    import sys

    assert class_path(Declined).startswith(("__main__:", "pytest"))
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", msgspec.__spec__)
    assert class_path(Declined) == "msgspec:Declined"


# ---------------------------------------------------------------- kinds


def test_errors_of_odradek_come_back_as_themselves() -> None:
    timeout = ActivityTimeoutError("m", 1, timeout_type="heartbeat", activity_type="charge", attempt=3)
    read = there_and_back(timeout)
    assert isinstance(read, ActivityTimeoutError)
    assert (read.timeout_type, read.activity_type, read.attempt, read.details) == ("heartbeat", "charge", 3, (1,))
    assert isinstance(there_and_back(asyncio.CancelledError("c")), asyncio.CancelledError)
    assert isinstance(there_and_back(WorkflowTerminatedError("why", reason="why")), WorkflowTerminatedError)
    read = there_and_back(WorkflowTimeoutError("m", timeout_type="run"))
    assert isinstance(read, WorkflowTimeoutError)
    assert read.timeout_type == "run"


def test_an_activity_error_is_in_the_chain_of_its_own_class() -> None:
    failure = converter.to_failure(raised(Declined("x", 3), KeyError("k")))
    error = activity_error(failure, converter, activity_type="charge", attempt=2)
    assert isinstance(error, Declined)
    behind = error.__cause__
    assert type(behind) is ActivityError
    assert (behind.type, behind.message, behind.details) == ("Declined", "x is declined", ("x", 3))
    assert (behind.activity_type, behind.attempt, behind.non_retryable) == ("charge", 2, True)
    assert isinstance(behind.__cause__, KeyError)
    again = there_and_back(error)  # as the failure of the workflow
    assert isinstance(again, Declined)
    assert isinstance(again.__cause__, ActivityError)
    assert isinstance(again.__cause__.__cause__, KeyError)


def test_an_error_of_an_unknown_class_is_the_activity_error_itself() -> None:
    error = activity_error(Failure(message="m", type="Alien"), converter, activity_type="charge", attempt=1)
    assert type(error) is ActivityError
    assert (error.type, str(error)) == ("Alien", "m")


def test_an_activity_that_raises_cancelled_does_not_cancel_its_workflow() -> None:
    failure = converter.to_failure(asyncio.CancelledError())
    assert type(activity_error(failure, converter, activity_type="charge", attempt=1)) is ActivityError


def test_a_timed_out_activity_names_its_timeout() -> None:
    error = activity_timeout_error(
        converter,
        activity_type="charge",
        timeout_type="start_to_close",
        timeout_ms=600_000,
        attempt=2,
        last_failure=converter.to_failure(KeyError("k")),
        heartbeat_details=converter.to_payloads([7]),
    )
    assert str(error) == "activity charge: its start_to_close_timeout of 0:10:00 is over (attempt 2)"
    assert (error.timeout_type, error.attempt, error.details) == ("start_to_close", 2, (7,))
    assert isinstance(error.__cause__, KeyError)


# ---------------------------------------------------------------- chain, traceback, bounds


def test_the_stack_trace_is_kept_through_several_processes_and_shown() -> None:
    failure = converter.to_failure(raised(Declined("x", 3)))
    assert "in raised" in failure.stack_trace
    error = raised(converter.from_failure(failure))
    assert converter.to_failure(error).stack_trace == failure.stack_trace
    shown = "".join(traceback.format_exception(error))
    assert "Raised in the worker (most recent call last):" in shown


@workflow.define
async def breaks(how: str) -> None:
    def here() -> None:
        raise KeyError(how)

    async def task() -> None:
        here()

    if how == "group":
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(task())
    else:
        await task()


@pytest.mark.parametrize("how", ["alone", "group"])
def test_the_stack_trace_of_a_bug_in_a_workflow_begins_with_its_own_code(how: str) -> None:
    engine = EngineModel(breaks, how)
    with pytest.raises(WorkflowTaskError) as bug:
        engine.advance()
    assert bug.value.__cause__ is not None
    stack = converter.to_failure(bug.value.__cause__).stack_trace
    assert "_instance.py" in "".join(traceback.format_exception(bug.value)), "it was there"
    assert re.findall(r'File ".*?([^/]+)", line \d+, in (\w+)', stack)[0] == ("test_failures.py", "breaks")
    assert "in here" in stack
    assert "_instance" not in stack


def test_a_stack_trace_of_nothing_but_our_own_frames_is_that_of_a_defect() -> None:
    """An error that we raise on purpose says all in its message, unless the user's code led there."""
    with pytest.raises(PayloadError) as caught:
        converter.from_payload(converter.to_payload("x"), int)
    error, first = caught.value, caught.value.__traceback__
    assert first is not None, "the frame of this test"
    assert "test_failures.py" in converter.to_failure(error).stack_trace
    assert converter.to_failure(error.with_traceback(first.tb_next)).stack_trace == ""
    defect = KeyError("ours").with_traceback(first.tb_next)
    assert "_converter.py" in converter.to_failure(defect).stack_trace


def test_the_context_of_an_error_is_its_cause_unless_suppressed() -> None:
    def decline(after: Exception, *, suppress: bool) -> None:
        try:
            raise after
        except KeyError:
            if suppress:
                raise Declined("x", 1) from None
            raise Declined("x", 1)  # noqa: B904

    with pytest.raises(Declined) as caught:
        decline(KeyError("k"), suppress=False)
    assert isinstance(there_and_back(caught.value).__cause__, KeyError)
    with pytest.raises(Declined) as caught:
        decline(KeyError("k"), suppress=True)
    assert there_and_back(caught.value).__cause__ is None


def test_a_group_has_its_first_error_as_cause() -> None:
    group = ExceptionGroup("g", [Declined("x", 1), KeyError("k")])
    assert isinstance(there_and_back(group).__cause__, Declined)


def test_long_chains_are_cut_and_cycles_end() -> None:
    error: BaseException = KeyError(0)
    for number in range(1, 50):
        error = raised(KeyError(number), error)
    failure: Failure | None = converter.to_failure(error)
    length = 0
    last = failure
    while failure is not None:
        length, last, failure = length + 1, failure, failure.cause
    assert length == MAX_CAUSES + 1
    assert last is not None
    assert last.message == "30 more causes are left out"

    first, second = KeyError(1), KeyError(2)
    first.__cause__, second.__cause__ = second, first
    failure = converter.to_failure(first)
    assert failure.cause is not None
    assert failure.cause.cause is None


def test_a_failure_fits_into_a_record_whatever_it_holds() -> None:
    def deep(level: int) -> None:
        if level:
            deep(level - 1)
        else:
            raise ApplicationError("é" * 100_000, *["x" * 50_000] * 100)

    error: BaseException = ApplicationError()
    for _ in range(30):
        try:
            deep(200)
        except ApplicationError as caught:
            caught.__cause__ = error
            error = caught
    failure = converter.to_failure(error)
    assert len(failure.message.encode()) <= MAX_TEXT
    assert "characters in all" in failure.message
    assert len(failure.stack_trace.encode()) <= MAX_TEXT
    assert converter.from_payload(failure.details[-1]) == "more details are left out: they are too large"
    record = WorkflowTaskFailed(workflow_id="w", run_id="r", base="r", failure=failure)
    assert len(encode(record)) < 1_000_000


def test_what_cannot_be_written_is_shown_instead() -> None:
    failure = converter.to_failure(ApplicationError("m", object(), 1))
    first, second = converter.from_payloads(failure.details, [])
    assert "cannot be written as JSON" in first
    assert second == 1
    assert converter.to_failure(BadText()).message == "(its __str__ raised RuntimeError)"
    assert converter.to_failure(ValueError("\ud800")).message == "?"
    assert str(there_and_back(ValueError("\ud800"))) == "?"


@pytest.mark.parametrize("ends", [StopIteration, StopAsyncIteration])
async def test_an_activity_that_runs_out_of_items_fails_with_what_a_future_can_hold(ends: type[Exception]) -> None:
    """Breaks when it is raised as itself: asyncio refuses that, and the workflow could never go on."""
    failure = converter.to_failure(ends("no more"))
    error = activity_error(failure, converter, activity_type="next_one", attempt=1)
    future = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    with pytest.raises(ActivityError, match="no more") as raised:
        await future
    assert raised.value.type == ends.__name__
