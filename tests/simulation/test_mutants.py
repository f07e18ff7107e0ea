"""The auditors can fail: each planted bug is caught on its pinned seed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .mutants import bugs
from .mutants.planting import MUTANTS, Mutant, candidates, run

ALL = bool(os.environ.get("ODRADEK_ALL_MUTANTS"))
"""Also those that take long: a seed in which something never ends is run until patience is over."""

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.mark.parametrize("one", [m for m in MUTANTS if ALL or not m.slow], ids=lambda m: f"{m.rule}-{m.name}")
def test_planted_bugs_are_caught(one: Mutant) -> None:
    """On the pinned seed; after a change of what a seed means, on one of the next ones that have what it needs."""
    assert bugs
    seeds = [one.seed, *candidates(one, 9, one.seed + 1)]
    assert any(run(one, seed).wrong for seed in seeds), f"nobody notices on the seeds {seeds}: {one.what}"


def test_the_page_lists_the_rules_with_planted_bugs() -> None:
    page = PAGE.read_text()
    missing = sorted({m.name.replace("_", " ") for m in MUTANTS if m.name.replace("_", " ") not in page})
    assert not missing, "docs/reliability.md says nothing of " + ", ".join(missing)
