"""docs/operations.md: its commands are run in their order, and answer what the page shows."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from odradek.cli import output

from ..docs.page import read_page
from .running import ROOT, SECONDS, dev_server, odradek_here
from .test_views import eventually

PAGE = ROOT / "docs" / "operations.md"
READS = ("list", "describe", "show")
_VARIES = [
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "RUN"),
    (r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?", "TIME"),
    (r"\d\d:\d\d:\d\d\.\d{3}", "TIME"),
    (r"by \S+@[^\s:]+", "by WHO"),
    (r"\bin ((\d+ h )?\d+ min( \d+ s)?|\d+ h|[\d.]+ s)", "in A WHILE"),
    (r"[\d,]+ bytes", "SOME bytes"),
    (r'File "[^"]*", line \d+', "File"),
    (r"\n *[~^]+(?=\n)", ""),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """`odradek dev` on the page's programs, with the workflows that the page speaks of."""
    (tmp_path / "operations.py").write_text(read_page(PAGE).module)
    with dev_server(tmp_path / "data", file=tmp_path / "operations.py", cwd=tmp_path) as (_, address):
        for workflow_type, workflow_id, *arguments in (
            ("Order", "order-42", "1299"), ("Order", "order-43", "500"), ("invoice", "invoice-7", "100", "0"),
        ):  # fmt: skip
            inputs = [word for argument in arguments for word in ("--input", argument)]
            odradek_here("workflow", "start", workflow_type, "--id", workflow_id, *inputs, address=address)
        for workflow_id in ("order-42", "order-43"):
            eventually(
                lambda one=workflow_id: odradek_here("workflow", "describe", one, "--json", address=address),
                lambda seen: seen["pending_activities"] and seen["pending_activities"][0]["state"] == "backing_off",
            )
        yield address


def steps() -> list[tuple[str, str]]:
    """(command, what the page shows below it), in order; the shell's own ones show nothing."""
    found: list[tuple[str, str]] = []
    for kind, block in re.findall(r"```(console|sh)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        if kind == "sh":
            found += [(line, "") for line in block.splitlines()]
        else:
            asked = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
            found += [(one.partition("\n")[0], one.partition("\n")[2]) for one in asked]
    return found


def told(text: str, in_order: bool) -> list[list[str]]:
    """The words of each line, without what is another at each run, and without the rules of tables."""
    for pattern, name in _VARIES:
        text = re.sub(pattern, name, text)
    lines = [line.split() for line in text.splitlines() if line.strip(" ─")]
    return lines if in_order else sorted(lines)


def test_the_page_shows_what_the_commands_answer(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks when a command of the page, or what it prints, is another."""
    monkeypatch.setattr(output.stdout, "width", 140)
    monkeypatch.setattr(output.stderr, "width", 140)
    assert len(steps()) > 15
    for command, shown in steps():
        words = shlex.split(command)
        if words[0] == "touch":
            (tmp_path / words[1]).touch()
            continue
        in_order = words[2] not in ("list", "reset-batch")
        expected = told(shown, in_order)
        repeats = words[2] in READS or "--dry-run" in words
        give_up = time.monotonic() + SECONDS
        while True:
            done = odradek_here(*words[1:], address=server)
            found = told(done.out + done.err, in_order)
            if found == expected or not repeats or time.monotonic() > give_up:
                break
        assert found == expected, command
