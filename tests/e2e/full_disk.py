"""A program whose disk is full for a while, for test_full_disk: no file can grow beyond a limit (RLIMIT_FSIZE).

Arguments: a folder, and what is full: "state" or "log".
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import resource
import sys
import threading
from pathlib import Path

import pytest
from odradek import Client, Worker, workflow
from odradek._embedded import engine_in_this_process
from odradek.errors import UnavailableError
from odradek_engine import ensure_topics
from odradek_log import Log, TopicPartition
from odradek_log.embedded import EmbeddedLog
from odradek_schemas import Topics

KB, MB = 1_000, 1_000_000
SEGMENT = 300 * KB
EVENTS = TopicPartition(Topics("default").events, 0)


class Noticed(logging.Handler):
    """Waits for lines of the log file."""

    def __init__(self) -> None:
        super().__init__()
        self.full, self.goes_on = threading.Event(), threading.Event()
        logging.getLogger().addHandler(self)
        logging.getLogger("odradek_engine").setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if "Is the disk full?" in said and "another one is started" in said:
            self.full.set()
        elif self.full.is_set() and "leading partition" in said:
            self.goes_on.set()


@workflow.define
async def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def room(size: int | None) -> None:
    """Let files grow to `size` bytes; None: as far as they like."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


async def main() -> None:
    folder, what = Path(sys.argv[1]), sys.argv[2]
    log = EmbeddedLog(folder, segment_bytes=SEGMENT)
    ensure_topics(log, Topics("default"), 1)
    async with (
        engine_in_this_process(log, "default"),
        Client(log, request_timeout=120) as client,
        Worker(client, task_queue="q", workflows=[digest]),
    ):
        await (full_state if what == "state" else full_log)(client, log)
    await asyncio.to_thread(log.close)
    print("done")


async def full_state(client: Client, log: Log) -> None:
    """More than RocksDB keeps in memory, and no room for the file that it has to write."""
    noticed = Noticed()
    room(6 * MB)
    starts = {}
    for n in range(22):  # one by one: what is appended together goes into one file
        data = os.urandom(900 * KB)
        starts[data] = asyncio.ensure_future(client.start(digest, data, id=f"w{n}", task_queue="q"))
        while log.offsets(EVENTS)[1] <= len(starts):
            await asyncio.sleep(0)
    assert await asyncio.to_thread(noticed.full.wait, 60), "the engine said nothing of a full disk"
    room(None)
    assert await asyncio.to_thread(noticed.goes_on.wait, 60)
    for start in starts.values():
        start.cancel()  # those without an answer would ask again in a while
    for n, data in enumerate(starts):  # all of them are in the log
        assert await client.get(f"w{n}").result() == hashlib.sha256(data).hexdigest()


async def full_log(client: Client, log: Log) -> None:
    """Appends fail, and their callers are told; then they work again."""
    await client.execute(digest, b"before", id="before", task_queue="q")
    room(10 * KB)
    with pytest.raises(UnavailableError, match="free some space"):
        await client.start(digest, os.urandom(200 * KB), id="full", task_queue="q")
    room(None)
    assert await client.execute(digest, b"after", id="after", task_queue="q") == hashlib.sha256(b"after").hexdigest()


asyncio.run(main())
