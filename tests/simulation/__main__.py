"""Simulated clusters from seeds: `make simulate SEEDS=200`, or 7000-7999, or 42,; `--without 3,order-2` leaves faults
and work out.

A seed that fails is run again with less and less work and fewer and fewer faults, for as long as it fails; then it is
told what happened, and how to repeat it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import get_args

from odradek_schemas import commands, records

from .shrinking import explain
from .world import Outcome, simulate


@dataclass
class Report:
    """What many runs came to. Times in seconds; `simulated` is the clusters' own time."""

    seeds: int = 0
    simulated: float = 0.0
    took: float = 0.0
    workflows: int = 0
    records: int = 0
    turns: int = 0
    happened: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.simulated += outcome.seconds
        self.workflows += outcome.workflows
        self.records += outcome.records
        self.turns += outcome.turns
        self.happened += outcome.happened
        self.kinds += outcome.kinds
        if outcome.wrong:
            self.failed.append(outcome)

    @property
    def unseen(self) -> list[str]:
        """Kinds of records and commands that never occurred."""
        every = [one.__name__ for one in (*get_args(records.EventRecord), *get_args(commands.Command))]
        return sorted(name for name in every if not self.kinds[name])

    def __str__(self) -> str:
        struck = ", ".join(f"{kind} {count}" for kind, count in sorted(self.happened.items()))
        return (
            f"{self.seeds} seeds, {self.simulated / 3600:.2f} simulated hours in {self.took:.0f} s, "
            f"{self.workflows:,} workflows, {self.records:,} records, {self.turns:,} turns, "
            f"{len(self.failed)} failed\n{sum(self.happened.values()):,} faults and mishaps: {struck}"
            f"\nkinds of records and commands that did not occur: {', '.join(self.unseen) or 'none'}"
            + "".join(f"\nseed {outcome.seed} failed: {outcome.wrong[0][:1000]}" for outcome in self.failed)
        )


def run(
    seeds: Iterable[int], seconds: float = float("inf"), told: Callable[[Outcome], None] = lambda _: None
) -> Report:
    """Run seeds, and begin no further one after so many seconds of real time."""
    report = Report()
    began = time.monotonic()
    for seed in seeds:
        outcome = simulate(seed)
        report.add(outcome)
        report.took = time.monotonic() - began
        told(outcome)
        if report.took > seconds:
            break
    return report


def seeds_of(text: str) -> Iterable[int]:
    """So many fresh ones (200), these (7000-7999), or just some (42,43, or one above 9999)."""
    if "-" in text:
        first, last = text.split("-")
        return range(int(first), int(last) + 1)
    if "," in text or int(text) > 9_999:
        return [int(part) for part in text.split(",") if part]
    base = random.SystemRandom().randrange(10_000, 10**9)
    return range(base, base + int(text))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", nargs="?", default="100", help="how many fresh ones, or which: 7000-7999, 42,43,")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of real time, at most")
    parser.add_argument("--without", default="", help="of one seed: numbers of faults, and work, to leave out")
    parser.add_argument("--trace", default="", help="a file for the trace of one seed")
    arguments = parser.parse_args()
    if arguments.without or arguments.trace:
        without = [int(n) if n.isdecimal() else n for n in arguments.without.split(",") if n]
        outcome = simulate(int(arguments.seeds.strip(",")), without=without, trace=True)
        if arguments.trace:
            with open(arguments.trace, "w") as file:
                file.write("\n".join(outcome.trace))
        print("\n".join([f"seed {outcome.seed}: {outcome.digest}", *map(str, outcome.plan), *outcome.wrong[:20]]))
        sys.exit(bool(outcome.wrong))
    seeds = seeds_of(arguments.seeds)
    report = run(seeds, arguments.seconds, lambda o: print(f"seed {o.seed} failed: {o.wrong[0]}") if o.wrong else None)
    print(report)
    for outcome in report.failed[:5]:
        print(explain(outcome.seed))
    sys.exit(bool(report.failed))


def digest_in_another_process(seed: int, hash_seed: str) -> str:
    """The hash of a seed's trace, from a process of its own."""
    code = f"from tests.simulation.world import simulate; print(simulate({seed}, trace=True).digest)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
