"""The pages of docs/examples/: their ```console blocks, command by command, with the output that they promise.

A line that begins with `$ ` is a command, the lines under it are what it prints, where `...` stands for any text.
Commands run in a folder that holds `examples/`, as a stranger's checkout does. A process that is killed leaves the line
`Killed`, as a shell prints it.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..cli.running import ROOT, SECONDS, environment

PAGES = ROOT / "docs" / "examples"


@dataclass
class Command:
    """What a page says: a command of its line `line`, and the lines that it prints."""

    line: int
    text: str
    output: list[str] = field(default_factory=list)


def commands_of(page: Path) -> list[Command]:
    """The commands of a page, in order."""
    found: list[Command] = []
    inside = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            found.append(Command(number, line.removeprefix("$ ")))
        elif inside:
            assert found, f"{page.name}:{number}: output without a command"
            found[-1].output.append(line)
    return found


def follow(page: Path, folder: Path, env: Mapping[str, str]) -> None:
    """Do what the page says, in `folder`; fail at the first command that prints something else."""
    (folder / "examples").symlink_to(ROOT / "examples")
    for command in commands_of(page):
        printed = _printed(command, folder, env)
        if not _same(printed, command.output):
            assert printed == command.output, f"{page.name}:{command.line}: {command.text}"


def _same(printed: Sequence[str], promised: Sequence[str]) -> bool:
    """Whether line after line fits."""
    patterns = [".*".join(map(re.escape, line.split("..."))) for line in promised]
    return len(printed) == len(promised) and all(map(re.fullmatch, patterns, printed))


def _printed(command: Command, folder: Path, env: Mapping[str, str]) -> list[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        shlex.split(command.text), env=environment(**{**env, "PATH": path}),
        cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    killed = done.returncode == -signal.SIGKILL
    assert done.returncode == 0 or killed, (
        f"line {command.line}: {command.text} ({done.returncode})\n{done.stdout}{done.stderr}"
    )
    return done.stdout.splitlines() + ["Killed"] * killed
