"""The auditors can fail: each planted bug is caught on its pinned seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from .mutants import bugs
from .mutants.planting import MUTANTS, Mutant, run

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.mark.parametrize("one", MUTANTS, ids=lambda m: f"{m.rule}-{m.name}")
def test_planted_bugs_are_caught_on_their_seeds(one: Mutant) -> None:
    assert bugs
    assert run(one, one.seed).wrong, (
        f"nobody notices on seed {one.seed}: {one.what} A change of the code may have given the seed another meaning: "
        f"`python -m tests.simulation.mutants --pin {one.name}` looks for the next one that shows it"
    )


def test_the_page_lists_the_rules_with_planted_bugs() -> None:
    page = PAGE.read_text()
    missing = sorted({m.name.replace("_", " ") for m in MUTANTS if m.name.replace("_", " ") not in page})
    assert not missing, "docs/reliability.md says nothing of " + ", ".join(missing)
