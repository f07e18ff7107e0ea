"""Tools for testing workflows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from ._activity import Activity
from ._client import Client
from ._types import TakesMany
from .errors import not_available


class Environment:
    """A client, a worker and an engine in one process, with time that skips."""

    client: Client

    def __init__(
        self,
        *,
        workflows: Sequence[TakesMany[Any, Any]],
        activities: Sequence[Activity[..., Any]] | Mapping[Activity[..., Any], Callable[..., Any]] = (),
    ) -> None:
        raise not_available("odradek.testing.Environment", "use Client('file:' + a temporary folder) with a Worker")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
