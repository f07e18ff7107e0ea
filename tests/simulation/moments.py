"""Small worlds in which one process dies once, or stands still while others take over: at each moment of its first
life in turn, of which one seed meets few.

`python -m tests.simulation.moments SEEDS [--every 10] [--seconds 60]`: at each of its moments, or at about one of so
many.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from random import Random

from .__main__ import Report, seeds_of
from .customers import Habits
from .faults import Fault
from .races import KEEP, only, small
from .scripts import ALL_STEPS, Mix
from .world import Outcome, simulate

SMALL = small(
    name="two workflows, and a process that dies or stands still once",
    partitions=2,
    tasks=(2, 2),
    mix=Mix(steps=ALL_STEPS, activities={"quick": 2, "brief": 1, "once": 1}, length=(4, 6)),
    habits=Habits(meddling={"none": 1}, messages=(2, 2), pauses=(0.3, 0.7), delays=(0.0,), kinds=("signal", "update")),
    weather=only({"crash at await": 1}, (0,)),
    workers=KEEP,
    standbys=1,
)
KEPT = replace(SMALL, name=f"{SMALL.name}; checkpoints, and disks that are lost later", checkpoints=0.7)
"""What every other seed is."""

MACHINES = ("engine1", "worker1", "client2")
KINDS = ("crash at await", "crash at call", "zombie at await")


def dies(seed: int, kind: str, machine: str, moment: int) -> Outcome:
    """How the world goes in which this befalls that process when so many such moments have passed, if it has more."""
    plan = [Fault(0.0, kind, machine, float(moment))]
    if seed % 2:
        return simulate(seed, SMALL, plan=plan)
    return simulate(seed, KEPT, plan=[*plan, *(Fault(4.0 + n, "lose disk", f"engine{n}", 0.0) for n in (1, 2))])


def die_at_each(seed: int, kind: str, machine: str, every: int = 1) -> Iterator[Outcome]:
    """It befalls the process at each moment that there is, or at about one of `every`."""
    rng = Random(f"moments-{seed}-{kind}-{machine}")
    for begun in itertools.count(step=every):
        outcome = dies(seed, kind, machine, begun + rng.randrange(every))
        if not outcome.happened[kind] and not outcome.wrong:
            return
        yield outcome


def run(seeds: Iterable[int], every: int = 1, seconds: float = float("inf")) -> Report:
    """All processes, all kinds of moments; no further world after so many seconds of real time."""
    report = Report()
    began = time.monotonic()
    for seed, kind, machine in itertools.product(seeds, KINDS, MACHINES):
        for outcome in die_at_each(seed, kind, machine, every):
            report.add(outcome)
            report.took = time.monotonic() - began
            if outcome.wrong:
                print(f"{tell(outcome)}: {outcome.wrong[0][:500]}", flush=True)
            if report.took > seconds:
                return report
    return report


def tell(outcome: Outcome) -> str:
    """Which world this was, and how to see it again."""
    fault = outcome.plan[0]
    return f"seed {outcome.seed} fails (--again '{fault.kind}' {fault.target} {fault.size:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.moments", description=__doc__)
    parser.add_argument("seeds", nargs="?", default="1", help="how many fresh ones, or which: 7000-7999, 42,43,")
    parser.add_argument("--every", type=int, default=1, help="moments, of which one is taken")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of real time, at most")
    parser.add_argument("--again", nargs=3, metavar=("KIND", "MACHINE", "MOMENT"), help="one of them")
    arguments = parser.parse_args()
    seeds = list(seeds_of(arguments.seeds))
    if arguments.again:
        kind, machine, moment = arguments.again
        outcome = dies(seeds[0], kind, machine, int(moment))
        print("\n".join([f"seed {outcome.seed}: {dict(outcome.happened)}", *outcome.wrong]))
        sys.exit(bool(outcome.wrong))
    report = run(seeds, arguments.every, arguments.seconds)
    print(str(report).replace(" seeds", " worlds", 1))
    sys.exit(bool(report.failed))


if __name__ == "__main__":
    main()
