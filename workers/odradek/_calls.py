"""A request of a client that is out, and how long until it is asked again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from odradek_schemas.common import Record, Request

from .errors import OdradekError

MakeRecord: TypeAlias = Callable[[Request], Record]
OnDone: TypeAlias = Callable[["Record | OdradekError"], None]
"""Called once, from any thread, with the reply or an error."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds before something is asked again; the last number holds for all further times."""

    requests: tuple[float, ...] = (5.0, 10.0)
    reads: tuple[float, ...] = (2.0, 4.0, 8.0)
    waits: tuple[float, ...] = (10.0,)


class How(NamedTuple):
    """How a request is made. `request_id` None: a new one; `deadline_ms` 0: none; `timeout` None: wait for ever."""

    request_id: str | None
    deadline_ms: int
    pauses: tuple[float, ...]
    timeout: float | None
    waits: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """A request that is out. Times are of the monotonic clock."""

    request_id: str
    workflow_id: str
    topic: str
    partition: int
    key: bytes
    value: bytes
    pauses: tuple[float, ...]
    timeout: float | None
    expires: float | None
    on_done: list[OnDone]
    sent: int = 0
    offset: int = -1  # of the first append that is known to be durable
    appending: int = 0  # copies of which nothing is known yet
    waits: bool = False
    size: int = 0


@dataclass(order=True, slots=True)
class Due:
    at: float
    number: int
    call: Call = field(compare=False)
