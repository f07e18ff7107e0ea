"""What the pages name is there: where their links lead, and their commands with all options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from odradek.cli.app import application

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])
COMMANDS: Any = typer.main.get_command(application())
NOT_ODRADEK = re.compile(r"\||>|;|&&|&$")


def blocks(text: str) -> Iterator[str]:
    """The lines of shell blocks, those that go on behind a backslash as one."""
    for block in re.findall(r"(?ms)^```(?:sh|console)\n(.*?)^```", text):
        yield from re.sub(r"\\\n\s*", " ", block).splitlines()


def commands(page: Path) -> list[list[str]]:
    """The `odradek` commands in the shell blocks of a page."""
    text = page.read_text()
    lines = [line.removeprefix("$ ").strip() for line in blocks(text)]
    found = [NOT_ODRADEK.split(line)[0] for line in lines if re.match(r"(docker compose exec \w+ )?odradek ", line)]
    return [shlex.split(line.partition("odradek ")[2], comments=True) for line in found]


def refusal(words: list[str]) -> str:
    """Why the command line does not take this command; empty if it does."""
    command, context, rest = COMMANDS, None, words
    try:
        while True:
            context = command.make_context(command.name, list(rest), parent=context)
            if not hasattr(command, "resolve_command"):
                return ""
            _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    except Exception as error:  # click's, or what typer has for it
        told = getattr(error, "format_message", error.__repr__)
        return str(told())


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_commands_are_as_the_page_writes_them(page: Path) -> None:
    assert [(words, why) for words in commands(page) if (why := refusal(words))] == []


def test_what_the_command_line_does_not_take_is_told() -> None:
    assert refusal(["workflow", "start", "Order", "--id", "order-42"]) == ""
    assert "--idd" in refusal(["workflow", "start", "Order", "--idd", "order-42"])
    assert "workflo" in refusal(["workflo", "start"])


def _anchors(page: Path) -> set[str]:
    """The places of a page that a link can name."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if not link.startswith("https://")]
    for link in links:
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link
