"""Seeded simulations of the whole cluster: fresh seeds each time, seeds that once failed, and that a seed repeats."""

from __future__ import annotations

import os
import random

import pytest

from . import __main__ as simulation
from .world import simulate

FRESH_SECONDS = float(os.environ.get("ODRADEK_SIMULATE_SECONDS", "30"))
"""How long fresh seeds are run, of real time."""

ONCE_FAILED: list[int] = []
"""Seeds that have found a bug."""


def test_the_same_seed_gives_the_same_trace() -> None:
    """In two processes in which sets and dictionaries have different orders."""
    seed = random.SystemRandom().randrange(10**6)
    traces = {hash_seed: simulation.digest_in_another_process(seed, hash_seed) for hash_seed in ("1", "2")}
    assert traces["1"] == traces["2"], f"seed {seed}"


@pytest.mark.parametrize("seed", ONCE_FAILED)
def test_seeds_that_once_failed(seed: int) -> None:
    assert simulate(seed).wrong == []


def test_fresh_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    base = random.SystemRandom().randrange(10_000, 10**9)
    report = simulation.run(range(base, base + 10_000), FRESH_SECONDS)
    with capsys.disabled():
        print(f"\n{report}")
    assert not report.failed, simulation.explain(report.failed[0].seed)
    assert report.happened["crash"] > 0
