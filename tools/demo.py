#!/usr/bin/env python3
"""Odradek in a minute: a food order that survives `kill -9` of everything.

    python3 tools/demo.py

Makes .venv and installs the project into it if that has not been done, then starts an order, kills the process in the
middle of it, starts the process again, and shows that the order goes on: the card is charged once. Leaves nothing
running, and ends with 0 only if all came out right. Needs Python 3.11 or later, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMP = VENV / "odradek-installed"
WAIT_SECONDS = 60
COLORED = sys.stdout.isatty() and "NO_COLOR" not in os.environ
PRODUCT = {"id": 1, "name": "Poke", "cents": 1299}
PACE = {"step_timeout": 3600, "rating_after": 3}


class DemoError(Exception):
    """The demonstration did not come out as it should."""


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036  # whatever `python3` is on this machine runs this file
        print(f"Odradek needs Python 3.11 or later; this is {sys.version.split()[0]}. Try python3.11 {sys.argv[0]}")
        return 2
    try:
        install()
        with tempfile.TemporaryDirectory(prefix="odradek-demo-") as folder:
            demonstrate(Path(folder))
    except DemoError as error:
        say(f"The demonstration failed: {error}", "31;1")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


# ---------------------------------------------------------------- showing


def say(text: str, style: str = "1") -> None:
    """A line of the demonstration itself."""
    print(f"\033[{style}m{text}\033[0m" if COLORED else text, flush=True)


def heading(number: int, text: str) -> None:
    say(f"\n{number}. {text}", "1;36")


# ---------------------------------------------------------------- installing


def install() -> None:
    """Make the environment and install the project, unless this very project is installed already."""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted and (BIN / "odradek").exists():
        return
    say(f"Installing Odradek into {VENV} (once) ...")
    if not (BIN / "python").exists():
        try:
            venv.create(VENV, with_pip=True)
        except subprocess.CalledProcessError as error:
            shutil.rmtree(VENV, ignore_errors=True)
            raise DemoError("this Python makes no environments; on Debian: apt install python3-venv") from error
    pip = [str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    uv = [str(BIN / "uv"), "pip", "install", "--quiet", "--system-certs", "--python", str(BIN / "python")]
    quick = (subprocess.run(command, capture_output=True, check=False) for command in ([*pip, "uv"], [*uv, "-e", ROOT]))
    if any(done.returncode for done in quick):  # pip's settings may lead to packages that uv does not reach
        command = [*pip, "-e", str(ROOT)]
        if subprocess.run(command, check=False).returncode:
            raise DemoError(f"`{shlex.join(command)}` failed; see above")
    STAMP.write_text(wanted)


# ---------------------------------------------------------------- the process that is killed


class Server:
    """`odradek dev` on the order example. Its lines are shown as they come, and can be waited for."""

    def __init__(self, folder: Path, journal: Path) -> None:
        command = ["dev", "examples/food_order.py", "--data", str(folder), "--port", "0"]
        say("$ odradek dev examples/food_order.py")
        self._address_file = folder / "server.json"
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [str(BIN / "odradek"), *command],
            cwd=ROOT,
            env=environment(ODRADEK_EXAMPLE_JOURNAL=str(journal)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.wait_for("Ctrl-C stops", shown=False)
        self.address = json.loads(self._address_file.read_text())["address"]
        say(f"  running, process {self.process.pid}", "2")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip())
        self._lines.put(None)

    def wait_for(self, text: str, shown: bool = True) -> None:
        """Wait for a line that contains `text`, and show what comes until then."""
        seen: list[str] = []
        give_up = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, give_up - time.monotonic()))
            except queue.Empty:
                raise DemoError(f"no line {text!r} within {WAIT_SECONDS} s, but: {seen}") from None
            if line is None:
                raise DemoError("the process ended early:\n" + "\n".join(seen))
            seen.append(line)
            if shown:
                say(f"  {line}", "32")
            if text in line:
                return

    def kill(self) -> None:
        """kill -9: no clean-up, no last words."""
        say(f"$ kill -9 {self.process.pid}", "31;1")
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it in any case."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings that would lead the demonstration elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ODRADEK_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


def odradek(server: Server, *arguments: str) -> str:
    """Run a command against the server; show it and what it prints, and return that."""
    say(f"$ odradek {shlex.join(arguments)}")
    done = subprocess.run(
        [str(BIN / "odradek"), *arguments],
        cwd=ROOT,
        env=environment(ODRADEK_ADDRESS=server.address, COLUMNS="110"),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS * 2,
        check=False,
    )
    if done.returncode:
        raise DemoError(f"odradek {shlex.join(arguments)} ended with {done.returncode}: {done.stderr or done.stdout}")
    print("\n".join(f"  {line.rstrip()}" for line in done.stdout.rstrip().splitlines()), flush=True)
    return done.stdout


# ---------------------------------------------------------------- the story


def demonstrate(folder: Path) -> None:
    data, journal = folder / "odradek-data", folder / "journal"
    server = first_half(data, journal)
    try:
        heading(3, "Kill it. The card is charged, the food is not picked up, nobody is asked to stop.")
        server.kill()
    finally:
        server.stop()
    heading(4, "The same command again: the order goes on where it was, to its end.")
    server = Server(data, journal)
    try:
        charge = second_half(server)
    finally:
        server.stop()
    check(journal, charge)


def first_half(data: Path, journal: Path) -> Server:
    heading(1, "Start everything in one process: engine, worker, and a log in a folder.")
    server = Server(data, journal)
    try:
        heading(2, "Order some food. Its first step charges the card.")
        inputs = ["--input", json.dumps(PRODUCT), "--input", json.dumps(PACE)]
        odradek(server, "workflow", "start", "Order", "--id", "order-42", *inputs)
        server.wait_for("charged")
        wait_until_paid(server)
    except BaseException:
        server.stop()
        raise
    return server


def wait_until_paid(server: Server) -> None:
    """The charge has been made; a moment later the workflow has read so."""
    give_up = time.monotonic() + WAIT_SECONDS
    while odradek(server, "workflow", "query", "order-42", "status").strip() != '"paid"':
        if time.monotonic() > give_up:
            raise DemoError("the order is not paid")


def second_half(server: Server) -> str:
    odradek(server, "workflow", "query", "order-42", "status")
    odradek(server, "workflow", "signal", "order-42", "picked_up")
    odradek(server, "workflow", "signal", "order-42", "delivered")
    say("  (a durable sleep, of 3 seconds here and of a month in earnest)", "2")
    server.wait_for("notified")
    charge = odradek(server, "workflow", "result", "order-42")
    heading(5, "All of it is in the history.")
    odradek(server, "workflow", "show", "order-42")
    return charge


def check(journal: Path, charge: str) -> None:
    """Each activity ran once: every line of the journal has a key of its own."""
    steps = [line.split() for line in journal.read_text().splitlines()]
    names, keys = [step[0] for step in steps], {step[2] for step in steps}
    if names != ["charge", "notify"] or len(keys) != 2 or not json.loads(charge).startswith("ch_"):
        raise DemoError(f"the activities ran as {names} with {len(keys)} keys, and the result is {charge}")
    say("\nThe order is complete. One charge, one notification, and a kill -9 in between.", "32;1")
    say("Next: read examples/food_order.py, then run it yourself: .venv/bin/odradek dev examples/food_order.py", "0")


if __name__ == "__main__":
    sys.exit(main())
