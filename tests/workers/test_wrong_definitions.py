"""Wrong definitions are refused with what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from odradek import RetryPolicy, activity, workflow
from odradek._definitions import activity_definition, definition_of
from odradek.errors import DefinitionError

from .test_definitions import Order, Product, charge


def define_class(**members: Any) -> Any:
    async def run(self: Any) -> None: ...

    return workflow.define(type("Flow", (), {"run": run, **members}))


async def async_method(self: Any) -> int:
    return 1


def method(self: Any) -> None: ...


def takes_keywords(**options: Any) -> None: ...


def sync_run(self: Any) -> None: ...


async def keyword_run(self: Any, *, x: int) -> None: ...


def unresolved(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


class WithArguments:
    def __init__(self, x: int) -> None: ...
    async def run(self) -> None: ...


class Inherits(Order): ...


class Overrides(Order):
    async def run(self, product: Product, gift: bool = False) -> str:
        return ""

    def status(self) -> str:
        return ""


m: Any = SimpleNamespace(  # unchecked: what follows is wrong on purpose
    workflow=workflow, activity=activity, charge=charge, activity_definition=activity_definition
)
WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: m.workflow.query(async_method), "query async_method: a query is a plain `def`.*workflow.update"),
    (lambda: m.workflow.define(method), "workflow method: a workflow is an `async def`"),
    (lambda: m.workflow.define(type("Flow", (), {})), "workflow Flow has no `run` method"),
    (lambda: define_class(run=sync_run), "write `async def run`"),
    (lambda: define_class(run=staticmethod(async_method)), "`run` is a plain method"),
    (lambda: definition_of(define_class(run=keyword_run)), "arguments of workflows are positional"),
    (lambda: m.workflow.define(Inherits), "inherits `run`: define it on the class itself"),
    (lambda: definition_of(Inherits), "is not a workflow: put @workflow.define"),
    (lambda: m.workflow.define(Overrides), "'status' replaces a query of a base class"),
    (lambda: m.workflow.define(WithArguments), "`__init__` takes no arguments"),
    (
        lambda: define_class(a=m.workflow.signal(name="x")(method), b=m.workflow.signal(name="x")(method)),
        "two handlers of signal 'x': a and b",
    ),
    (lambda: m.workflow.signal(staticmethod(method)), "is for a method"),
    (lambda: definition_of(define_class(a=m.workflow.signal(async_method))), "use @workflow.update"),
    (lambda: m.workflow.update(method).validator(async_method), "a validator is a plain `def`"),
    (lambda: m.workflow.update(method).validator(lambda: None), "same parameters"),
    (lambda: m.activity.define(staticmethod(method)), "put @staticmethod above"),
    (lambda: m.activity.define(Product), "an activity is a function or a method"),
    (lambda: m.activity.define(name="a")(iterates), "return a list"),
    (lambda: m.activity.define(takes_keywords).signature, "name each parameter"),
    (
        lambda: m.activity.define(unresolved).signature,
        "an annotation cannot be resolved.*Nowhere.*top of its module",
    ),
    (lambda: m.activity.define(timeout=3), "unknown option 'timeout'; there are cancellation_type, delivery"),
    (
        lambda: m.activity.define(start_to_close_timeout="5")(method),
        "start_to_close_timeout: a duration is a timedelta",
    ),
    (lambda: m.activity.define(heartbeat_timeout=0)(method), "heartbeat_timeout is more than 0"),
    (lambda: m.charge.with_options(delivery="once"), "at_least_once"),
    (lambda: m.charge.with_options(retry_policy=3), "is a RetryPolicy"),
    (lambda: m.activity_definition(method), "is not an activity: put @activity.define"),
]


def iterates() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(("define", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_wrong_use_is_refused_with_what_to_write_instead(define: Callable[[], Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        define()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial_interval": 0}, "more than 0"),
        ({"initial_interval": 10**400}, "between 0 and 1000 years"),
        ({"backoff_coefficient": 0.5}, "from 1 to"),
        ({"backoff_coefficient": 10**400}, "from 1 to"),
        ({"backoff_coefficient": float("nan")}, "from 1 to"),
        ({"maximum_interval": 0.5}, "not below"),
        ({"maximum_attempts": 0}, "at least 1"),
        ({"non_retryable_error_types": "ValueError"}, "names or classes"),
        ({"non_retryable_error_types": [ValueError()]}, "names or classes"),
    ],
)
def test_retry_policies_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, DefinitionError), match=message):
        RetryPolicy(**options)
