"""The process that keeps the counts."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odradek_log import open_log
from odradek_schemas import Topics

from .counts import StatsError

if TYPE_CHECKING:
    from .app import Counter

logger = logging.getLogger(__name__)

STOP_S = 15.0
"""How long Faust has to leave its group and to write its table."""


def run_stats(
    target: str,
    namespace: str = "default",
    data_dir: str | Path = "./odradek-stats",
    *,
    log_settings: Mapping[str, Any] | None = None,
    session_timeout: float = 10.0,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Keep the counts of a namespace up to date until SIGINT or SIGTERM. Start as many as you like: they share.

    `data_dir` belongs to this process alone; deleted, it is filled again from Kafka. `log_settings` are those of
    KafkaLog. The partitions of a process that was killed go to another, or to the next, after `session_timeout`
    seconds. `on_ready` is called when partitions have come. Call it from the main thread. Raises StatsError for a log
    other than Kafka, without Faust, or without the namespace; LogUnavailableError without Kafka.
    """
    if not target.startswith("kafka:"):
        raise StatsError(f"{target} needs no process that counts: its counts are read from the log itself")
    topics = Topics(namespace)
    settings = dict(log_settings or {})
    log = open_log(target, **settings)
    try:
        partitions = log.partitions(topics.history)
    finally:
        log.close()
    if not partitions:
        raise StatsError(f"there is no topic {topics.history}: start an engine of namespace {namespace!r} first")
    try:
        from .app import Counter
    except ImportError as error:
        raise StatsError("Faust is not installed: pip install 'odradek[stats]'") from error
    from .kafka_settings import faust_settings

    found = faust_settings(target, topics.history, settings)
    folder = Path(data_dir) / namespace
    asyncio.run(_run(lambda: Counter(found, topics, folder, partitions, session_timeout, on_ready)))


async def _run(make: Callable[[], Counter]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    app = make().app
    living, stopped = asyncio.ensure_future(_live(app)), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([living, stopped], return_when=asyncio.FIRST_COMPLETED)
        if living.done():
            living.result()
    finally:
        for end in (living, stopped):
            end.cancel()
        await _end(app)
    if not stop.is_set():
        raise StatsError(f"Faust stopped by itself: {app.crash_reason!r}")


async def _live(app: Any) -> None:
    """From Faust's start, which takes as long as there is no broker, to its end."""
    await app.start()
    await app.wait_until_stopped()


async def _end(app: Any) -> None:
    """Stop Faust. Where it takes no end, as when its broker went while it started, the process ends as if it were
    killed: whoever counts next begins where the table ends."""
    stopping = asyncio.ensure_future(app.stop())
    await asyncio.wait([stopping], timeout=STOP_S)
    if not stopping.done():
        logger.warning("Kafka does not answer: this process ends without it. What it had counted is in the table")
        os._exit(0)
    stopping.result()
