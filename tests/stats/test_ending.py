"""How the process that counts ends where Faust does not, as without a broker."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, os, signal
from odradek_engine.stats import running

class Stuck:
    async def start(self):
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    async def wait_until_stopped(self):
        await asyncio.Event().wait()

    async def stop(self):
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

class Counter:
    app = Stuck()

running.STOP_S = 0.1
asyncio.run(running._run(Counter))
"""


def test_sigterm_ends_it_also_while_faust_begins_and_where_it_takes_no_end() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Kafka does not answer: this process ends without it" in done.stderr) == (0, True), done
