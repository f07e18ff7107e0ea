"""An engine in the client's own process, for a log that is a folder, with the worker of its schedules. The one place
where both packages meet."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from odradek_log import Log
from odradek_log.embedded import EmbeddedLog

if TYPE_CHECKING:
    from odradek_engine import Engine

logger = logging.getLogger("odradek.client")

AGAIN_SECONDS = 1.0
"""Before an engine that could not go on is started again."""


@asynccontextmanager
async def engine_in_this_process(log: Log, namespace: str) -> AsyncGenerator[None]:
    """Run an engine on an embedded log; its state is kept beside the log. If it cannot go on, for instance because the
    disk is full, another one is started, again and again until it can."""
    from odradek_engine import Engine  # only here: clients of a cluster need no engine

    if not isinstance(log, EmbeddedLog):
        raise TypeError(f"an engine is started only for a log in a folder, not for {log!r}")
    from ._schedules.worker import SchedulesOnDemand  # it has clients of its own

    schedules = SchedulesOnDemand(log, namespace)
    data = log.folder / "state"

    def make() -> Engine:
        return Engine(log=log, namespace=namespace, data_dir=data, on_topic=schedules.noticed)

    running = RestartedEngine(make)
    await asyncio.to_thread(running.start)
    try:
        async with schedules:
            yield
    finally:
        await asyncio.to_thread(running.stop)


class RestartedEngine:
    """An engine that is followed by another one when it cannot go on."""

    def __init__(self, make: Callable[[], Engine], again_after: float = AGAIN_SECONDS) -> None:
        self._make = make
        self._again_after = again_after
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._thread = threading.Thread(target=self._mind, name="odradek-engine-again", daemon=True)

    def start(self) -> None:
        """Raises what starting the first one does."""
        engine = self._make()
        engine.start()
        self._engine = engine
        self._thread.start()

    def _mind(self) -> None:
        while (engine := self._engine) is not None:
            error = engine.wait_failed()
            with self._lock:
                if error is None or self._stopping.is_set():
                    return
                self._engine = None
            logger.error("the engine in this process cannot go on, another one is started: %s", error)
            try:
                engine.stop()
            except Exception:
                logger.exception("the engine did not end in order")
            while self._engine is None and not self._stopping.wait(self._again_after):
                self._start_again()

    def _start_again(self) -> None:
        engine = self._make()
        try:
            engine.start()
        except Exception as error:
            logger.error("the engine cannot be started: %s", error)
            return
        with self._lock:
            if not self._stopping.is_set():
                self._engine = engine
                return
        engine.stop()

    def stop(self) -> None:
        """Returns when none runs any more."""
        self._stopping.set()
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.stop()
        self._thread.join()
