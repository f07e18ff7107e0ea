"""Engines of a fold version that is not there yet: it calls itself 2, and marks who sends a signal where the log is
switched to it (rules V1, V2).

`newer.py engine TARGET NAMESPACE FOLDER ANNOUNCE_S VERSION` is an engine of version 1 or 2, `newer.py verify TARGET
NAMESPACE FOLDER ...` folds the log as version 2 does, and prints what differs from the states in the folders.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
from odradek_engine import Engine
from odradek_engine.fold import engine_records
from odradek_engine.fold.step import Step
from odradek_engine.maintenance import verify
from odradek_engine.settings import Settings
from odradek_log import open_log
from odradek_schemas import history

MARK = " (as version 2)"


def become_newer() -> None:
    """From here on this process has the code of version 2."""
    as_before = Step.append

    def append(step: Step, workflow_id: str, run_id: str, attributes: Any, *args: Any, **kwargs: Any) -> int:
        if step.partition.version >= 2 and isinstance(attributes, history.SignalReceived):
            attributes = msgspec.structs.replace(attributes, identity=attributes.identity + MARK)
        return as_before(step, workflow_id, run_id, attributes, *args, **kwargs)

    Step.append = append  # type: ignore[method-assign]
    engine_records.VERSION = 2


async def engine(target: str, namespace: str, folder: str, announce_s: str, version: str) -> None:
    settings = Settings(fold_version=int(version), announce_interval=float(announce_s))
    async with Engine(target, namespace=namespace, data_dir=folder, settings=settings):
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        print("ready", flush=True)
        await stopped.wait()


def verify_states(target: str, namespace: str, *folders: str) -> None:
    log = open_log(target)
    for folder in folders:
        for found in verify(log, namespace, Path(folder)):
            print(found.partition, found.records, "the same" if found.ok else f"{found.examples} {found.problems}")
    log.close()


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "verify" or arguments[-1] == "2":
        become_newer()
    if role == "verify":
        verify_states(*arguments)
    else:
        asyncio.run(engine(*arguments))
