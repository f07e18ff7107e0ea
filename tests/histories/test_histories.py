"""Histories that were recorded once replay with today's code, on every run."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from odradek.cli.loading import load
from odradek.testing import replay

HERE = Path(__file__).parent
HISTORIES = sorted(HERE.glob("*.json"))
EXAMPLES = HERE.parent.parent / "examples"
PROGRAMS = sorted(
    [path.stem for path in EXAMPLES.glob("*.py")] + [p.parent.name for p in EXAMPLES.glob("*/__init__.py")]
)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_recorded_history_replays(path: Path) -> None:
    program = f"examples.{path.stem.partition('-')[0]}"
    workflows = list(load([program]).workflows.values())
    converter = getattr(importlib.import_module(program), "converter", None)  # if the program has one of its own
    replay(path.read_bytes(), workflows=workflows, data_converter=converter)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_has_a_recorded_history(program: str) -> None:
    assert list(HERE.glob(f"{program}-*.json"))
