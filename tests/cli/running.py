"""The command line as processes: commands that end, and servers that run."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from odradek.cli.app import application
from odradek.cli.logs import _OF_USERS, _OURS

ROOT = Path(__file__).parent.parent.parent
SAMPLE = Path(__file__).parent / "sample.py"
ODRADEK = str(Path(sys.executable).parent / "odradek")
SECONDS = 60.0


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ODRADEK_")}
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **more}


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        """What --json says on stderr."""
        details: dict[str, str] = json.loads(self.err)["error"]
        return details


def odradek(
    *arguments: str, address: str = "", cwd: Path | None = None, stdin: str = "", env: Mapping[str, str] | None = None
) -> Done:
    """Run a command to its end, in a process of its own."""
    done = subprocess.run(
        [ODRADEK, *arguments],
        env=environment(**{**(env or {}), **({"ODRADEK_ADDRESS": address} if address else {})}),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr or "cannot be imported" in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def _logging_kept() -> Iterator[None]:
    """The log lines of this process are pytest's: a command's levels and handlers go with it."""
    loggers = [logging.getLogger(name) for name in ("", *_OURS, *_OF_USERS)]
    levels, handlers = [one.level for one in loggers], loggers[0].handlers[:]
    try:
        with mock.patch("logging.basicConfig"):
            yield
    finally:
        loggers[0].handlers[:] = handlers
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """`folder` as the current one; what is imported from it is forgotten."""
    path, modules = sys.path[:], set(sys.modules)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(folder):
                del sys.modules[name]
        importlib.invalidate_caches()


def odradek_here(
    *arguments: str, address: str = "", cwd: Path | None = None, stdin: str = "", env: Mapping[str, str] | None = None
) -> Done:
    """Run a command to its end in this process, which saves a second of imports."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        _inside(cwd) if cwd else contextlib.nullcontext(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, environment(**{"ODRADEK_ADDRESS": address, **(env or {})}), clear=True),
        mock.patch("sys.stdin", io.StringIO(stdin)),
        _logging_kept(),
    ):
        try:
            application(*arguments[:1])(list(arguments), prog_name="odradek")
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


class Process:
    """A command that runs on. Its lines can be waited for."""

    def __init__(
        self, *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.lines: list[str] = []
        self._coming: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            arguments,
            env=environment(**(env or {})),
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._coming.put(line.rstrip())
        self._coming.put(None)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The next line that matches."""
        give_up = time.monotonic() + SECONDS
        while True:
            try:
                line = self._coming.get(timeout=max(0.0, give_up - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line {pattern!r} within {SECONDS:g} s, but: {self.lines}") from None
            assert line is not None, f"the process ended with {self._process.wait()}: {self.lines}"
            self.lines.append(line)
            found = re.search(pattern, line)
            if found:
                return found

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended; the rest of its lines are in `lines`."""
        code = self._process.wait(SECONDS)
        while (line := self._coming.get(timeout=SECONDS)) is not None:
            self.lines.append(line)
        return code

    def end(self) -> None:
        """End it in any case."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextlib.contextmanager
def running(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """A command of ours that runs on until the block is left."""
    process = Process(ODRADEK, *arguments, cwd=cwd, env=env)
    try:
        yield process
    finally:
        process.end()


@contextlib.contextmanager
def dev_server(
    data: Path,
    *arguments: str,
    file: Path = SAMPLE,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[tuple[Process, str]]:
    """`odradek dev` on any port, and its address."""
    with running("dev", str(file), "--data", str(data), "--port", "0", *arguments, env=env, cwd=cwd) as process:
        address = process.wait_for(r"Server +(http://\S+)")[1]
        process.wait_for("Ctrl-C")
        yield process, address


def until(condition: Callable[[], bool], what: str) -> None:
    """Look until it holds, 200 times a second. For what processes write into files, which nothing announces; who
    looked all the time would take a core from them. `what`: is missing, if it does not."""
    give_up = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < give_up, f"not after {SECONDS:g} s: {what}"
        time.sleep(0.005)


def stop(process: Process) -> int:
    """Ctrl-C, and the exit code."""
    process.send(signal.SIGINT)
    return process.wait()
