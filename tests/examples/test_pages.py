"""Every program has a page, and who follows it line by line gets what it shows: on a folder and on Kafka, by real
processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ..cli.running import ROOT
from .pages import PAGES, Command, commands_of, follow

WITH_CONSOLE = sorted(path for path in PAGES.glob("*.md") if "```console" in path.read_text())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", WITH_CONSOLE, ids=lambda path: path.stem)
def test_a_stranger_gets_what_the_page_shows(page: Path, either_log: Mapping[str, str], tmp_path: Path) -> None:
    follow(page, tmp_path, either_log)


def test_every_program_has_a_page_that_runs_it() -> None:
    runs = {path.stem: f"python examples/{path.name}" for path in ROOT.glob("examples/*.py")}
    runs |= {path.parent.name: f"python -m examples.{path.parent.name}" for path in ROOT.glob("examples/*/__main__.py")}
    for name, run in runs.items():
        commands = commands_of(PAGES / f"{name.replace('_', '-')}.md")
        assert any(command.text.startswith(run) for command in commands), run


def test_commands_and_what_they_print(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A\n```sh\n$ not this\n```\n\n```console\n$ echo a b\n...b\n$ true\n```\n")
    assert commands_of(page) == [Command(7, "echo a b", ["...b"]), Command(9, "true")]
    (tmp_path / "1").mkdir()
    follow(page, tmp_path / "1", {})
    page.write_text("```console\n$ echo a.c\na...d\n```\n")
    (tmp_path / "2").mkdir()
    with pytest.raises(AssertionError, match=r"page\.md:2: echo a"):
        follow(page, tmp_path / "2", {})
