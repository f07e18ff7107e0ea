"""The processes of the fault suite, each under a supervisor that starts it again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..kafka.broker import die_with_parent

RESTART_S = 1.0
"""A process that has ended by itself is started again after so long."""


@dataclass
class Role:
    """One process after another under one name. `ended`: the exit codes of those that ended by themselves.

    `born(name, pid)`: called for each life.
    """

    name: str
    command: list[str]
    output: Path
    born: Callable[[str, int], None]
    environment: Mapping[str, str] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    lives: int = 0
    _process: asyncio.subprocess.Process | None = None
    _killed: bool = False
    _last: bool = False
    _may_start: asyncio.Event = field(default_factory=asyncio.Event)
    _finished: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self) -> None:
        """Keep it running until `stop`, or until it has done all it was to do."""
        self._may_start.set()
        while True:
            await self._may_start.wait()
            if self._last:
                break
            self._killed = False
            code = await self._live()
            if self._last or (code == 0 and not self._killed):
                break
            if not self._killed:
                self.ended.append(code)
                await asyncio.sleep(RESTART_S)
        self._finished.set()

    async def _live(self) -> int:
        with self._append() as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, "PYTHONFAULTHANDLER": "1", **self.environment}, preexec_fn=die_with_parent,
            )
        self.lives += 1
        self.born(self.name, self._process.pid)
        if self._killed or self._last:  # that was asked for while it began
            self.signal(signal.SIGKILL if self._killed else signal.SIGTERM)
        return await self._process.wait()

    def _append(self) -> BinaryIO:
        return open(self.output, "ab")

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL. It stays dead until `restart`."""
        self._may_start.clear()
        self._killed = True
        self.signal(signal.SIGKILL)

    async def leave(self, patience: float) -> bool:
        """Ask it to end in order, and return whether it did. It stays away until `restart`."""
        self._may_start.clear()
        self._killed = True
        process = self._process
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait() if process is not None else asyncio.sleep(0), patience)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return False
        return True

    def restart(self) -> None:
        self._may_start.set()

    async def stop(self, patience: float) -> bool:
        """Ask it to end in order, and return whether it did; it is killed if it did not."""
        self._last = True
        self._may_start.set()
        self.signal(signal.SIGTERM)
        return await self.finished(patience)

    async def finished(self, patience: float) -> bool:
        """Wait until it has done all that it was to do. If it has not, it is killed."""
        try:
            await asyncio.wait_for(self._finished.wait(), patience)
        except TimeoutError:
            self._last = True
            self.signal(signal.SIGABRT)  # it writes down what its threads do
            await asyncio.sleep(1.0)
            self.signal(signal.SIGKILL)
            return False
        return True
