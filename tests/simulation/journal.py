"""What the outside world saw: executions of activities, and what clients were told."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from odradek import activity


class Execution(NamedTuple):
    """The code of an activity has begun. `at`: seconds of true time."""

    key: str
    name: str
    workflow_id: str
    run_id: str
    attempt: int
    process: str
    at: float


class Acknowledged(NamedTuple):
    """A request was answered with success. `token`: a text in the event that it makes; `by`: who asked, one by one."""

    kind: str
    workflow_id: str
    token: str
    by: str


class Told(NamedTuple):
    """What a client was told. kind: result (`value`), update (`value` is its answer; `token`: its request ID), or what
    was done: cancel, terminate, pause, unpause, reset (`token`: the request ID, or the reason given)."""

    kind: str
    workflow_id: str
    token: str = ""
    value: object = None


@dataclass
class Journal:
    executions: dict[str, list[Execution]] = field(default_factory=lambda: defaultdict(list))
    acknowledged: list[Acknowledged] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)
    """What clients were told about the ends of workflows, by ID."""
    handed: list[tuple[bytes, str, bool]] = field(default_factory=list)
    """Attempts of activities that somebody else is to end: the task token, the result, and whether it shall fail."""
    calm: bool = False
    """One worker, and no faults: then what a workflow does itself is done once, too."""
    done_here: Counter[str] = field(default_factory=Counter)
    """How often side effects and local activities came to their ends, by token."""
    wrong: list[str] = field(default_factory=list)
    """What clients found to be wrong by themselves."""


class _Now:
    """The world that activities run in."""

    journal: ClassVar = Journal()
    where: ClassVar[Callable[[], tuple[str, float]]] = lambda: ("", 0.0)


@contextmanager
def written(journal: Journal, where: Callable[[], tuple[str, float]]) -> Iterator[None]:
    """What happens goes to this journal. `where`: the process that runs now, and the world's time."""
    before = _Now.journal, _Now.where
    _Now.journal, _Now.where = journal, where
    try:
        yield
    finally:
        _Now.journal, _Now.where = before


def executed() -> activity.Info:
    """Note that an activity runs, from its code."""
    info = activity.info()
    process, at = _Now.where()
    _Now.journal.executions[info.idempotency_key].append(
        Execution(info.idempotency_key, info.activity_type, info.workflow_id, info.run_id, info.attempt, process, at)
    )
    return info


def hand_over(token: str, fails: bool) -> None:
    """Somebody else ends this attempt of an activity, from its code."""
    _Now.journal.handed.append((activity.info().task_token, token, fails))


def world_time() -> float:
    """The world's time (s): for code that is repaired some time."""
    return _Now.where()[1]


def done_here(token: str) -> str:
    """Note that a side effect or a local activity has come to its end, from its code."""
    _Now.journal.done_here[token] += 1
    return token
