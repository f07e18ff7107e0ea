"""Look for seeds that show planted bugs: `python -m tests.simulation.mutants [--tries 40] [RULE or name ...]`.

A change of the code may give a seed another meaning; `--pin` puts the first that shows a bug where the bug is declared.
"""

from __future__ import annotations

import argparse
import inspect
import re
import time
from pathlib import Path

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


def pin(one: Mutant, tries: int) -> None:
    """Write the first seed on which it is caught, from the one that it has on, into the file that declares it."""
    seeds = [*range(one.seed, one.seed + tries), *range(1, one.seed)]
    found = next((seed for seed in seeds if run(one, seed).wrong), None)
    if found is None:
        raise SystemExit(f"{one.rule} {one.name} is not caught on any of {len(seeds)} seeds")
    if found == one.seed:
        return
    path = Path(inspect.getfile(one.plant))
    declared = rf'(?m)(^@mutant\("{one.rule}", seed=)\d+(, [^\n]*\)\ndef {one.name}\()'
    text, count = re.subn(declared, rf"\g<1>{found}\g<2>", path.read_text())
    assert count == 1, f"{one.name} is declared in {path} otherwise than the others"
    path.write_text(text)
    print(f"{one.rule} {one.name}: {one.seed} before, {found} now", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", nargs="*")
    parser.add_argument("--tries", type=int, default=12)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--sound", action="store_true", help="run the seeds without the bug, too")
    parser.add_argument("--pin", action="store_true", help="write down the first seed of each")
    arguments = parser.parse_args()
    for one in MUTANTS:
        if arguments.which and not {one.rule, one.name} & set(arguments.which):
            continue
        if arguments.pin:
            pin(one, arguments.tries)
        else:
            seeds = range(arguments.first, arguments.first + arguments.tries)
            search(one, seeds)
            if arguments.sound:
                check(one, seeds)


if __name__ == "__main__":
    assert bugs
    main()
