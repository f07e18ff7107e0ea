"""Engines as processes of their own, for tests that kill them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def two_engines(target: str, namespace: str, folder: Path) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Both serve when this is entered; what is left of them is killed at the end."""
    script, running = str(Path(__file__).parent / "roles.py"), []
    environment = {**os.environ, "ODRADEK_TEST_LINES": str(folder / "lines")}
    try:
        for number in range(2):
            arguments = ["engine", target, namespace, str(folder / f"state-{number}")]
            running.append(
                await asyncio.create_subprocess_exec(
                    sys.executable, script, *arguments, stdout=asyncio.subprocess.PIPE, env=environment
                )
            )
        for process in running:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        yield running
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
                await process.wait()
