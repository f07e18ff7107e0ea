"""Histories that were recorded once replay with today's code, on every run."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from odradek.cli.loading import load
from odradek.testing import replay

HERE = Path(__file__).parent
HISTORIES = sorted(HERE.glob("*.json"))
PROGRAMS = sorted(path.stem for path in (HERE.parent.parent / "examples").glob("*.py"))


def converter(program: str) -> object:
    """The data converter that a program's histories were written with, if it has one of its own."""
    return getattr(importlib.import_module(f"examples.{program}"), "converter", None)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_recorded_history_replays(path: Path) -> None:
    workflows = load([f"examples.{path.stem.partition('-')[0]}"]).workflows
    replay(path.read_bytes(), workflows=list(workflows.values()))


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_has_a_recorded_history(program: str) -> None:
    assert list(HERE.glob(f"{program}-*.json"))
