"""The code of a page of the documentation: its ```python blocks as one module, its marked commands.

A module keeps the page's line numbers, so that a traceback names the line of the page. A ```python block whose first
line begins with `# not run` is shown only. A ```sh block runs if the line above it is `<!-- run -->`: each of its
lines that begins with `odradek `, in order, after the module, in the same folder.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

RUN, NOT_RUN = "<!-- run -->", "# not run"
TIMEOUT = 90.0


@dataclass
class Page:
    """`module`: the page with all but its Python blank. `commands`: (line of the page, command)."""

    path: Path
    module: str = ""
    commands: list[tuple[int, str]] = field(default_factory=list)


class PageError(AssertionError):
    """A page's code does not run; the message names page and line."""


def read_page(path: Path) -> Page:
    """Raises PageError for a block without an end."""
    page = Page(path)
    lines = path.read_text().splitlines()
    module = [""] * len(lines)
    at = 0
    while at < len(lines):
        opening, before = lines[at].strip(), lines[at - 1].strip() if at else ""
        at += 1
        if not opening.startswith("```"):
            continue
        begin = at
        while at < len(lines) and lines[at].strip() != "```":
            at += 1
        if at == len(lines):
            raise PageError(f"{path.name}:{begin}: this block has no end")
        if opening == "```python" and not lines[begin].startswith(NOT_RUN):
            module[begin:at] = lines[begin:at]
        if opening == "```sh" and before == RUN:
            page.commands += [(n + 1, lines[n]) for n in range(begin, at) if lines[n].startswith("odradek ")]
        at += 1
    if any(module):
        page.module = "\n".join(module) + "\n"
    return page


def run_page(page: Page, folder: Path) -> None:
    """Run the module, then the commands, each a process with `folder` as its current one. Raises PageError."""
    if page.module:
        program = folder / f"{page.path.stem.replace('-', '_')}.py"
        program.write_text(page.module)
        _run(page, folder, [sys.executable, "-W", "error::RuntimeWarning", program.name], "")
    for line, command in page.commands:
        words = shlex.split(command, comments=True)
        _run(page, folder, [sys.executable, "-m", "odradek.cli", *words[1:]], f":{line}")


def _run(page: Page, folder: Path, command: list[str], line: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        said = b"".join(part for part in (error.stdout, error.stderr) if isinstance(part, bytes)).decode()
        raise PageError(f"{page.path.name}{line} does not end: {shlex.join(command)}\n{said}") from None
    if done.returncode:
        said = f"{done.stdout}{done.stderr}".replace(
            f'{page.path.stem.replace("-", "_")}.py", line ', f"{page.path.name}:"
        )
        raise PageError(f"{page.path.name}{line} fails ({done.returncode}): {shlex.join(command)}\n{said}")
