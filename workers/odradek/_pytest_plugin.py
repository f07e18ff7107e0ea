"""The pytest plugin: fixtures that make test environments, and close them at the end of the test.

pytest finds it by itself where Odradek is installed; the fixtures need pytest-asyncio, and are not there without it.
The engine is imported by the first test that asks for one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from .errors import DefinitionError

if TYPE_CHECKING:
    from ._activity import Activity
    from ._types import TakesMany
    from .testing import Environment, NewEnvironment

if find_spec("pytest_asyncio") is not None:
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def new_odradek_env() -> AsyncIterator[NewEnvironment]:
        """`env = await new_odradek_env(workflows=[...], activities=[...])`: an open odradek.testing.Environment, as
        many as the test needs. Takes what Environment takes."""
        from .testing import Environment

        async with AsyncExitStack() as stack:

            async def new(**options: Any) -> Environment:
                return await stack.enter_async_context(Environment(**options))

            yield new

    @pytest_asyncio.fixture
    async def odradek_env(
        odradek_workflows: Sequence[TakesMany[Any, Any]],
        odradek_activities: Sequence[Activity[..., Any]] | Mapping[Activity[..., Any], Callable[..., Any]],
        new_odradek_env: NewEnvironment,
    ) -> Environment:
        """An open odradek.testing.Environment of what the fixtures odradek_workflows and odradek_activities give."""
        return await new_odradek_env(workflows=odradek_workflows, activities=odradek_activities)


@pytest.fixture
def odradek_workflows() -> Sequence[TakesMany[Any, Any]]:
    """The workflows of `odradek_env`. To be overridden in a test module or a conftest.py."""
    raise DefinitionError("define a fixture `odradek_workflows` that returns the workflows for odradek_env to serve")


@pytest.fixture
def odradek_activities() -> Sequence[Activity[..., Any]]:
    """The activities of `odradek_env`, or a dict of activities and what runs in their place. To be overridden."""
    return []
