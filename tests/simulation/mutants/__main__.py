"""Look for seeds that show planted bugs: `python -m tests.simulation.mutants [--tries 40] [RULE or name ...]`."""

from __future__ import annotations

import argparse
import time

from ..world import simulate
from . import bugs
from .planting import MUTANTS, Mutant, candidates, run


def search(one: Mutant, seeds: list[int]) -> None:
    began = time.process_time()
    for tried, seed in enumerate(seeds):
        outcome = run(one, seed)
        if outcome.wrong and not simulate(seed).wrong:
            took = time.process_time() - began
            print(
                f"{one.rule} {one.name}: seed={seed} after {tried + 1} in {took:.0f} s: {outcome.wrong[0][:200]}",
                flush=True,
            )
            return
    print(f"{one.rule} {one.name}: not found in {len(seeds)} seeds", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*")
    parser.add_argument("--tries", type=int, default=40)
    parser.add_argument("--first", type=int, default=5000)
    arguments = parser.parse_args()
    for one in MUTANTS:
        if not arguments.which or {one.rule, one.name} & set(arguments.which):
            search(one, candidates(one, arguments.tries, arguments.first))


if __name__ == "__main__":
    assert bugs
    main()
