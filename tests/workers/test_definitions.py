"""Definitions: signatures, calls in and outside of workflows, options."""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from odradek import ApplicationError, RetryPolicy, activity, workflow
from odradek._context import WorkflowInfo, activate, current
from odradek._definitions import activity_definition, definition_of
from odradek._options import activity_timeouts_ms, milliseconds, retry_policy_record
from odradek._types import ActivityOptions
from odradek.errors import DefinitionError, NotInActivityError, NotInWorkflowError


@dataclass
class Product:
    id: int


@activity.define(start_to_close_timeout=5)
async def charge(product: Product, *, note: str = "") -> str:
    return f"{product.id}{note}"


@activity.define
def thread_name(prefix: str = "") -> str:
    return prefix + threading.current_thread().name


class Payments:
    def __init__(self, pool: str) -> None:
        self.pool = pool

    @activity.define(task_queue="pay")
    async def charge(self, product: Product, note: str = "") -> str:
        return f"{self.pool}{product.id}{note}"


@workflow.define(name="order-v2")
class Order:
    def __init__(self) -> None:
        self.state = "new"

    async def run(self, product: Product, gift: bool = False) -> str:
        return self.state

    @workflow.signal
    def paid(self, by: str, at: int = 0) -> None:
        self.state = by

    @workflow.signal(name="Moved")
    async def moved(self) -> None: ...

    @workflow.query
    def status(self) -> str:
        return self.state

    @workflow.update
    async def rename(self, name: str) -> str:
        return name

    @rename.validator
    def _check(self, name: str) -> None: ...


@workflow.define
async def greet(name: str, mark: str = "!") -> str:
    return name + mark


class Recorder:
    """A workflow context that records the activities asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[Any], Any, ActivityOptions]] = []
        self.children: list[tuple[str, list[Any], Any, Mapping[str, Any]]] = []

    async def execute_activity(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, result_type: Any, options: ActivityOptions
    ) -> Any:
        assert not kwargs
        self.asked.append((name, list(args), result_type, options))
        return "done"

    async def wait_condition(self, fn: Callable[[], Any], timeout: float | None) -> Any:
        return (fn(), timeout)

    def info(self) -> WorkflowInfo:
        return WorkflowInfo(workflow_id="w", run_id="r")

    def time(self) -> float:
        return 1_000.5

    def random(self) -> random.Random:
        return random.Random(1)

    def all_handlers_finished(self) -> bool:
        return True

    def is_replaying(self) -> bool:
        return False

    def patched(self, change_id: str) -> bool:
        return True

    def deprecate_patch(self, change_id: str) -> None: ...

    def memo(self) -> Mapping[str, Any]:
        return {}

    async def start_child(self, name: str, args: Sequence[Any], *, result_type: Any, options: Mapping[str, Any]) -> Any:
        self.children.append((name, list(args), result_type, options))
        return name

    def messages(self) -> Any:
        return self


@pytest.fixture
def context() -> Iterator[Recorder]:
    recorder = Recorder()
    with activate(recorder):
        yield recorder


# ---------------------------------------------------------------- definitions


def test_a_class_workflow_has_its_name_types_and_messages() -> None:
    definition = definition_of(Order)
    assert definition.name == "order-v2"
    assert definition.signature.names == ["product", "gift"]
    assert definition.signature.types == [Product, bool]
    assert definition.signature.result_type is str
    assert set(definition.signals) == {"paid", "Moved"}
    assert definition.signals["Moved"].is_async
    assert not definition.signals["paid"].is_async
    assert definition.queries["status"].signature.result_type is str
    assert definition.updates["rename"].validator is not None
    assert isinstance(definition.instantiate(), Order)


def test_a_function_workflow_runs_like_a_class() -> None:
    definition = definition_of(greet)
    assert definition.name == "greet"
    assert definition.instantiate() is None
    assert asyncio.run(definition.run(None, "a", "?")) == "a?"
    assert asyncio.run(greet("a")) == "a!"


def test_messages_on_an_instance_are_plain_methods() -> None:
    order = Order()
    order.paid("me")
    assert order.status() == "me"
    assert asyncio.run(order.run(Product(1))) == "me"


def test_messages_are_inherited_and_may_be_replaced_by_messages() -> None:
    class Base:
        @workflow.signal
        def go(self) -> None: ...

    @workflow.define
    class Child(Base):
        async def run(self) -> None: ...

        @workflow.signal(name="go")
        def go(self) -> None: ...

    assert definition_of(Child).signals["go"].fn is vars(Child)["go"].fn


def test_types_defined_inside_a_function_are_found() -> None:
    @dataclass
    class Local:
        x: int

    @activity.define
    async def use(value: Local) -> list[Local]:
        return [value]

    @workflow.define
    class Flow:
        async def run(self, value: Local) -> None: ...

        @workflow.signal
        def poke(self, value: Local) -> None: ...

    assert use.signature.types == [Local]
    assert use.signature.result_type == list[Local]
    assert definition_of(Flow).signature.types == [Local]
    assert definition_of(Flow).signals["poke"].signature.types == [Local]


def test_types_defined_later_are_found() -> None:
    assert early.signature.types == [Later]


@activity.define
async def early(value: Later) -> None: ...


class Later: ...


# ---------------------------------------------------------------- arguments


def test_arguments_travel_in_the_order_of_the_parameters() -> None:
    signature = charge.signature
    assert signature.bind((Product(1),), {"note": "x"}) == [Product(1), "x"]
    assert signature.bind((), {"product": Product(1)}) == [Product(1)]
    assert signature.arguments([1, "x"]) == ((1,), {"note": "x"})
    assert signature.types_for(3) == [Product, str, Any]


def test_a_default_between_given_arguments_is_sent() -> None:
    @activity.define
    async def three(a: int, b: int = 2, *, c: int = 3) -> None: ...

    assert three.signature.bind((1,), {"c": 4}) == [1, 2, 4]
    assert three.signature.bind((1,), {}) == [1]


def test_any_number_of_arguments() -> None:
    @activity.define
    async def total(first: str, *numbers: int) -> int:
        return sum(numbers)

    assert total.signature.bind(("a", 1, 2), {}) == ["a", 1, 2]
    assert total.signature.arguments(["a", 1, 2]) == (("a", 1, 2), {})
    assert total.signature.types_for(3) == [str, int, int]


@pytest.mark.parametrize("count", [0, 3])
def test_a_wrong_number_of_received_arguments_is_an_error(count: int) -> None:
    with pytest.raises(DefinitionError, match=f"{count} arguments came"):
        charge.signature.arguments([1] * count)


# ---------------------------------------------------------------- calls


def test_outside_of_a_workflow_an_activity_runs() -> None:
    assert asyncio.run(charge(Product(1), note="x")) == "1x"
    assert asyncio.run(Payments("p").charge(Product(1))) == "p1"
    assert asyncio.run(charge.with_fn(lambda product, *, note="": "fake")(Product(1))) == "fake"


def test_a_plain_def_runs_in_a_thread() -> None:
    assert asyncio.run(thread_name("in ")) != f"in {threading.main_thread().name}"
    assert thread_name.fn("in ") == f"in {threading.current_thread().name}"


def test_in_a_workflow_an_activity_is_a_durable_step(context: Recorder) -> None:
    async def code() -> None:
        assert await charge(Product(1), note="x") == "done"
        await Payments.charge.with_options(summary="s")(Product(2))
        await workflow.execute_activity("resize", 1, result_type=bytes, task_queue="go")
        await workflow.execute_activity(charge, Product(3))

    drive(code())
    assert context.asked == [
        ("charge", [Product(1), "x"], str, {"start_to_close_timeout": 5}),
        ("Payments.charge", [Product(2)], str, {"task_queue": "pay", "summary": "s"}),
        ("resize", [1], bytes, {"task_queue": "go"}),
        ("charge", [Product(3)], str, {"start_to_close_timeout": 5}),
    ]


def drive(coroutine: Any) -> None:
    """Run a coroutine that never really waits."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def test_wrong_arguments_are_an_error_at_the_call_not_at_the_await(context: Recorder) -> None:
    with pytest.raises(DefinitionError, match=r"activity charge\(product, \*, note=''\): missing.*product"):
        charge()  # type: ignore[call-arg, unused-coroutine]
    assert context.asked == []


def test_a_method_needs_its_instance_only_to_run() -> None:
    with pytest.raises(DefinitionError, match=r"Payments\(\.\.\.\)\.charge"):
        activity_definition(Payments.charge)
    with pytest.raises(DefinitionError, match="on an instance"):
        asyncio.run(Payments.charge(Product(1)))
    definition = activity_definition(Payments("p").charge)
    assert (definition.name, definition.is_async) == ("Payments.charge", True)
    assert definition.signature.names == ["product", "note"]


def test_a_fake_keeps_name_types_and_options() -> None:
    definition = activity_definition(Payments.charge.with_fn(lambda product, note="": "fake"))
    assert (definition.name, definition.signature.types) == ("Payments.charge", [Product, str])
    assert definition.options == {"task_queue": "pay"}
    assert not definition.is_async


def test_what_belongs_to_a_workflow_or_an_activity_says_so_elsewhere() -> None:
    for call in (workflow.info, workflow.now, workflow.random, workflow.uuid4, current):
        with pytest.raises(NotInWorkflowError, match="only inside a workflow"):
            call()
    for ask in (activity.info, activity.is_cancelled, activity.heartbeat):
        with pytest.raises(NotInActivityError, match="only inside a running activity"):
            ask()


def test_workflow_time_and_randomness_come_from_the_context(context: Recorder) -> None:
    assert workflow.now().timestamp() == 1_000.5
    assert workflow.uuid4() == workflow.uuid4()
    assert workflow.uuid4().version == 4
    assert workflow.info().workflow_id == "w"


def test_wait_condition_refuses_what_is_always_true(context: Recorder) -> None:
    class Flow:
        def ready(self) -> bool:
            return False

        async def later(self) -> bool:
            return False

    unchecked: Any = workflow.wait_condition
    for wrong in (lambda: Flow().ready, lambda: Flow().later(), Flow().later, True, charge):
        with pytest.raises(DefinitionError, match="condition"):
            unchecked(wrong).send(None)
    drive(workflow.wait_condition(Flow().ready, timeout=timedelta(minutes=1)))


async def nothing() -> None: ...


def test_side_effects_take_plain_functions(context: Recorder) -> None:
    for wrong in (nothing, 7, charge):
        with pytest.raises(DefinitionError, match="plain function"):
            workflow.side_effect(wrong).send(None)  # type: ignore[arg-type]


def test_local_activities_are_activities_or_their_names(context: Recorder) -> None:
    for wrong in (nothing, 7):
        with pytest.raises(DefinitionError, match="takes an activity or its name"):
            workflow.execute_local_activity(wrong).send(None)  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="unknown"):
        workflow.execute_local_activity("charge", often=True).send(None)  # type: ignore[call-overload]


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


def test_children_are_started_by_class_or_name_with_bound_arguments(context: Recorder) -> None:
    finish(workflow.start_child(greet, "x", id="c", parent_close_policy="abandon"))
    finish(workflow.start_child("Other", 1, result_type=int))
    assert context.children == [
        ("greet", ["x"], str, {"id": "c", "parent_close_policy": "abandon"}),
        ("Other", [1], int, {}),
    ]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"id": ""}, "id is a string"),
        ({"parent_close_policy": "keep"}, "parent_close_policy is one of"),
        ({"cancellation_type": "maybe"}, "cancellation_type is one of"),
        ({"start_delay": 1}, "unknown option"),
        ({"run_timeout": 0}, "more than 0"),
    ],
)
def test_options_of_children_are_checked(context: Recorder, options: dict[str, Any], match: str) -> None:
    with pytest.raises(DefinitionError, match=match):
        finish(workflow.start_child(greet, "x", **options))
    with pytest.raises(DefinitionError, match="workflow_id is a string"):
        workflow.external("")


# ---------------------------------------------------------------- options and errors


@pytest.mark.parametrize(
    "options",
    [{"initial_interval": 0}, {"backoff_coefficient": 0.5}, {"maximum_interval": 0.5}, {"maximum_attempts": 0}],
)
def test_retry_policies_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        RetryPolicy(**options)


def test_options_become_milliseconds() -> None:
    assert milliseconds(timedelta(seconds=1.5)) == 1500
    assert milliseconds(0.0001) == 1
    assert milliseconds(0.07) == 70
    assert activity_timeouts_ms({})["start_to_close_timeout_ms"] == 600_000
    assert activity_timeouts_ms({"start_to_close_timeout": None})["start_to_close_timeout_ms"] == 0
    policy = retry_policy_record(RetryPolicy(maximum_interval=60, non_retryable_error_types=(ValueError, "Declined")))
    assert policy is not None
    assert (policy.maximum_interval_ms, policy.maximum_attempts) == (60_000, 0)
    assert policy.non_retryable_error_types == ["ValueError", "Declined"]


def test_application_errors_know_their_type_and_whether_to_retry() -> None:
    class Declined(ApplicationError, non_retryable=True): ...

    class VeryDeclined(Declined): ...

    assert (Declined("no").type, Declined("no").non_retryable) == ("Declined", True)
    assert VeryDeclined("no").non_retryable
    assert not Declined("no", non_retryable=False).non_retryable
    assert ApplicationError("no", 1, type="T").details == (1,)
    assert ApplicationError("no", type="T").type == "T"


def test_public_modules_show_only_public_names() -> None:
    assert "execute_child" in dir(workflow)
    assert all(not name.startswith("_") for name in (*dir(workflow), *dir(activity)))
    assert inspect.getdoc(workflow.now)
