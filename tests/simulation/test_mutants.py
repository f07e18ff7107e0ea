"""The auditors can fail: each planted bug is caught on its pinned seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from .mutants import bugs
from .mutants.planting import MUTANTS, Mutant, run

TRIES = 12
"""Seeds that are looked at after the pinned one, which may mean another world after any change of the code."""

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.mark.parametrize("one", MUTANTS, ids=lambda m: f"{m.rule}-{m.name}")
def test_planted_bugs_are_caught(one: Mutant) -> None:
    """On the pinned seed, or on one of the next ones."""
    assert bugs
    seeds = range(one.seed, one.seed + TRIES + 1)
    assert any(run(one, seed).wrong for seed in seeds), f"nobody notices on the seeds {seeds}: {one.what}"


def test_the_page_lists_the_rules_with_planted_bugs() -> None:
    page = PAGE.read_text()
    missing = sorted({m.name.replace("_", " ") for m in MUTANTS if m.name.replace("_", " ") not in page})
    assert not missing, "docs/reliability.md says nothing of " + ", ".join(missing)
