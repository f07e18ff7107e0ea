"""Simulated clusters from seeds: `make simulate SEEDS=200`, or 7000-7999, or 42; `--without 3,5` leaves faults out.

A seed that fails is run again with fewer and fewer faults, for as long as it fails; then it is told how to repeat it.
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


def shrink(
    seed: int, tries: int = 60, simulate: Callable[..., Outcome] = simulate, seconds: float = float("inf")
) -> tuple[list[int], Outcome]:
    """Leave out faults while the seed still fails, for so many seconds of real time; return which are left out, and
    how it fails then."""
    worst = simulate(seed)
    out: list[int] = []
    everything = list(range(len(worst.plan)))
    size = max(1, len(everything) // 2)
    until = time.monotonic() + seconds
    while size and tries and time.monotonic() < until:
        shrunk = False
        left = [n for n in everything if n not in out]
        for at in range(0, len(left), size):
            if not tries or time.monotonic() > until:
                break
            tries -= 1
            outcome = simulate(seed, without=[*out, *left[at : at + size]])
            if outcome.wrong:
                out, worst, shrunk = [*out, *left[at : at + size]], outcome, True
        if not shrunk or size > 1:
            size //= 2
    return sorted(out), worst


def explain(seed: int, seconds: float = float("inf")) -> str:
    """The smallest failing form of a seed that was found, and how to run it again."""
    out, outcome = shrink(seed, seconds=seconds)
    without = f" WITHOUT={','.join(map(str, out))}" if out else ""
    faults = "\n".join(f"    {fault}" for fault in outcome.plan) or "    none are needed"
    wrong = "\n".join(f"    {text}" for text in outcome.wrong[:10])
    return (
        f"seed {seed} fails:\n{wrong}\n  with these faults:\n{faults}\n"
        f"  again: make simulate SEEDS={seed}{without} TRACE=trace.txt"
    )


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
    parser.add_argument("--without", default="", help="numbers of faults to leave out, for one seed")
    parser.add_argument("--trace", default="", help="a file for the trace of one seed")
    arguments = parser.parse_args()
    seeds = list(seeds_of(arguments.seeds))
    if arguments.without or arguments.trace:
        without = [int(n) for n in arguments.without.split(",") if n]
        outcome = simulate(seeds[0], without=without, trace=True)
        if arguments.trace:
            with open(arguments.trace, "w") as file:
                file.write("\n".join(outcome.trace))
        print("\n".join([f"seed {outcome.seed}: {outcome.digest}", *map(str, outcome.plan), *outcome.wrong[:20]]))
        sys.exit(bool(outcome.wrong))
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
