"""What workers run in tests of the worker as a whole."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from odradek import activity, workflow

from .worker_bench import SECONDS


@activity.define
async def add(value: int, more: int = 1) -> int:
    return value + more


@workflow.define
class Sum:
    async def run(self, steps: int) -> int:
        value = 0
        for _ in range(steps):
            value = await add(value)
        return value


class Gate:
    """An activity that says when it has begun, and waits for leave to end."""

    def __init__(self) -> None:
        self.began, self.leave = threading.Event(), threading.Event()
        self.running = self.most = self.ended = 0
        self.cancelled = threading.Event()
        self._lock = threading.Lock()

    async def wait_begun(self) -> None:
        assert await asyncio.to_thread(self.began.wait, SECONDS)

    def plain(self) -> Any:
        @activity.define(name="gate")
        def gate() -> str:
            with self._lock:
                self.running += 1
                self.most = max(self.most, self.running)
            self.began.set()
            assert self.leave.wait(SECONDS)
            with self._lock:
                self.running -= 1
                self.ended += 1
            return "through"

        return gate

    def cancellable(self) -> Any:
        @activity.define(name="gate")
        async def gate() -> str:
            activity.heartbeat("half")
            self.began.set()
            try:
                while not self.leave.is_set():
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return "through"

        return gate


@workflow.define(name="Gated")
class Gated:
    async def run(self, count: int) -> int:
        gate = Gate().plain()
        return len(await asyncio.gather(*(gate() for _ in range(count))))
