"""Processes die and stand still at any await, and before any call of the log, their disks, files and clocks."""

from __future__ import annotations

import itertools
import random

import pytest

from . import moments
from .faults import Fault
from .world import simulate


def until_it_dies(kind: str, moment: int) -> list[str]:
    """What happened in a world until its worker died."""
    plan = [Fault(0.0, kind, "worker1", float(moment))]
    outcome = simulate(7, moments.SMALL, plan=plan, trace=True)
    assert outcome.happened[kind] == 1
    [at] = [number for number, line in enumerate(outcome.trace) if " crash worker1.1" in line]
    return outcome.trace[:at]


@pytest.mark.parametrize("kind", ["crash at await", "crash at call"])
def test_each_moment_comes_after_the_one_before(kind: str) -> None:
    """Breaks when a moment is left out, or something goes another way before it."""
    traces = [until_it_dies(kind, moment) for moment in range(15)]
    assert not any("worker1.1" in line for line in traces[0] if " boot " not in line)
    assert all(after[: len(before)] == before for before, after in itertools.pairwise(traces))
    assert traces[0] < traces[-1]


@pytest.mark.parametrize("machine", moments.MACHINES)
@pytest.mark.parametrize("kind", moments.KINDS)
def test_it_may_befall_a_process_at_any_moment(kind: str, machine: str) -> None:
    """At one of sixty or so of those of a fresh seed; `python -m tests.simulation.moments` takes all."""
    seed = random.SystemRandom().randrange(10_000, 10**9)
    deaths = 0
    for outcome in moments.die_at_each(seed, kind, machine, every=60):
        assert not outcome.wrong, f"{moments.tell(outcome)}: {outcome.wrong[0]}"
        deaths += outcome.happened[kind]
    assert deaths
