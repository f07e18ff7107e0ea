"""Look for seeds that show planted bugs: `python -m tests.simulation.mutants [--tries 40] [RULE or name ...]`."""

from __future__ import annotations

import argparse
import time

from ..world import simulate
from . import bugs
from .planting import MUTANTS, Mutant, run


def search(one: Mutant, seeds: range) -> None:
    """Say how often it is caught, where first, and what the auditors say."""
    caught, took, first = [], 0.0, ""
    for seed in seeds:
        began = time.process_time()
        outcome = run(one, seed)
        if outcome.wrong:
            caught.append(seed)
            took += time.process_time() - began
            first = first or outcome.wrong[0][:200]
    often = f"{len(caught)} of {len(seeds)}, {took / max(1, len(caught)):.1f} s each"
    print(f"{one.rule} {one.name}: {often}: {caught[:6]} {first}", flush=True)


def check(one: Mutant, seeds: range) -> None:
    """Nothing is wrong in these worlds without the bug."""
    for seed in seeds:
        outcome = simulate(seed, one.scenario)
        if outcome.wrong:
            print(f"{one.scenario.name} {seed} fails without any bug: {outcome.wrong[0][:300]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*")
    parser.add_argument("--tries", type=int, default=12)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--sound", action="store_true", help="run the seeds without the bug, too")
    arguments = parser.parse_args()
    for one in MUTANTS:
        if not arguments.which or {one.rule, one.name} & set(arguments.which):
            seeds = range(arguments.first, arguments.first + arguments.tries)
            search(one, seeds)
            if arguments.sound:
                check(one, seeds)


if __name__ == "__main__":
    assert bugs
    main()
