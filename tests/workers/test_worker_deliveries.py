"""How often the thread of workflows is woken: deliveries that nobody waits for are taken in with what comes next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from odradek._converter import DataConverter
from odradek._worker.outlet import Outlet
from odradek._worker.ports import WorkerConnection
from odradek._worker.timers import TimerThread
from odradek._worker.workflow_worker import WorkflowWorker
from odradek_log import LogError
from odradek_log.memory import MemoryLog
from odradek_schemas import Topics, encode
from odradek_schemas.records import WorkerAlive

from .worker_fakes import RecordingProducer, ScriptedWorkflows, session_of


class _Timer:
    """Keeps what is to be done later."""

    def __init__(self) -> None:
        self.kept: list[Callable[[], None]] = []

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.kept.append(action)


class _Appending:
    """A worker that has appended `count` records; `taken`: deliveries that its workflow thread has taken in."""

    def __init__(self, count: int) -> None:
        log, producer = MemoryLog(), RecordingProducer()
        connection = SimpleNamespace(
            log=log, topics=Topics(), converter=DataConverter(), now_ms=lambda: 0, partitions=4
        )
        self.timer = _Timer()
        self.worker = WorkflowWorker(
            cast(WorkerConnection, connection), "tasks", workflows=cast(Any, ScriptedWorkflows({})),
            session=session_of(producer), outlet=Outlet(producer, Topics(), 4, 1_000_000),
            timer=cast(TimerThread, self.timer), cache_bytes=1_000, max_history_bytes=1_000, blocked_after=10.0,
            stale_after=1.0, on_error=lambda error: None,
        )
        self.taken: list[int] = []
        self.enough = threading.Event()
        for _ in range(count):
            self.worker.append("w", encode(WorkerAlive(session="s")), self._take)
        self.sent = producer.of(WorkerAlive)

    def _take(self, offset: int, error: LogError | None) -> None:
        self.taken.append(offset)
        if len(self.taken) == len(self.sent):
            self.enough.set()

    @property
    def wakes(self) -> int:
        """How many things the thread has to do that it does not know of."""
        return self.worker._inbox.qsize()


def test_deliveries_wake_the_thread_of_workflows_once_for_all_and_later() -> None:
    it = _Appending(100)
    for offset, sent in enumerate(it.sent):
        sent.deliver(offset)
    assert it.wakes == 0
    [remind] = it.timer.kept
    remind()
    assert it.wakes == 1
    it.worker._begin_thread()
    assert it.enough.wait(10)
    assert it.taken == list(range(100))
    it.worker._inbox.put(None)


def test_an_append_that_was_given_up_is_told_at_once_after_those_before_it() -> None:
    it = _Appending(2)
    it.sent[0].deliver(0)
    it.sent[1].give_up(LogError("no"))
    assert it.wakes == 1
    it.worker._begin_thread()
    assert it.enough.wait(10)
    assert it.taken == [0, -1]
    it.worker._inbox.put(None)


def test_what_was_delivered_is_taken_in_before_the_thread_ends() -> None:
    it = _Appending(1)
    it.sent[0].deliver(7)
    it.worker._inbox.put(None)
    it.worker._begin_thread()
    assert it.enough.wait(10)
    assert it.taken == [7]
