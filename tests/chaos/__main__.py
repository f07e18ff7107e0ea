"""`python -m tests.chaos --faults 50`: many faults, and a table of what came of them."""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .disks import can_be_full
from .faults import Lengths, kinds, plan, so_many
from .network import Network
from .stalls import LONG_S
from .suite import Report, Suite, running


def show(report: Report) -> None:
    outcome = report.outcome
    faults = Table("fault", "times", "recovery: median", "longest")
    counts = Counter(struck.fault.kind for struck in report.struck)
    for kind, count in sorted(counts.items()):
        times = report.recoveries.get(kind, [])
        median = f"{statistics.median(times):.1f} s" if times else ""
        faults.add_row(kind, str(count), median, f"{max(times):.1f} s" if times else "")
    table = Table("what", "count")
    for what, count in (
        ("faults", len(report.struck)),
        ("from the first of them to the end of the last", f"{report.faults_s:.0f} s"),
        ("workflows begun by the client", outcome.orders),
        ("of these open when a fault struck, at the least", report.fewest_open),
        ("executions of activities", outcome.executions),
        ("records in all topics", outcome.records),
        ("lost", len(outcome.lost)),
        ("doubled", len(outcome.doubled)),
        ("other findings of the auditors", len(outcome.wrong)),
        ("stored states compared with the log", outcome.stores),
        ("executions that began after their result, claimed before", outcome.claimed_before_result),
        ("longest stall of a partition that had something to do", f"{report.longest_stall_s:.1f} s"),
        ("longest silence of a partition", f"{report.longest_silence_s:.1f} s"),
        ("longest workflow", f"{outcome.longest_order_s:.1f} s"),
        ("processes that ended by themselves", str(report.ended_by_themselves or 0)),
        ("took", f"{report.seconds:.0f} s"),
    ):
        table.add_row(what, str(count))
    console = Console(width=100)
    console.print(faults)
    console.print(table)
    if report.long_stalls:
        print(f"The longest stalls, of {LONG_S:g} s and more:")
    for line in report.long_stalls:
        print(line)
    for problem in report.problems[:30]:
        print(problem)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=50, help="how many, all kinds equally often")
    parser.add_argument("--each", action="store_true", help="so many of each kind, not in all")
    parser.add_argument("--one-by-one", action="store_true", help="each when all has gone on after the last")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=3, help="one stays; of three, each may go")
    parser.add_argument("--in-flight", type=int, default=100, help="orders at a time")
    parser.add_argument("--standbys", type=int, default=0, help="engines that keep up with each partition")
    parser.add_argument("--only", default="", help="kinds of faults, with commas between")
    parser.add_argument("--keep", type=Path, help="a folder for the processes' output")
    given = parser.parse_args()
    again = f"FAULTS={given.faults} SEED={given.seed} BROKERS={given.brokers} STANDBYS={given.standbys}"
    again += " EACH=1" * given.each + " ONE_BY_ONE=1" * given.one_by_one
    again += f' ONLY="{given.only}"' if given.only else ""
    print(f"seed {given.seed}: make chaos {again}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        of = given.only.split(",") if given.only else kinds(given.brokers, can_be_full(folder))
        chosen = of * given.faults if given.each else so_many(given.seed, given.faults, of)
        faults = plan(given.seed, chosen, given.brokers, Lengths())
        network = Network()
        try:
            with running(network, given.brokers) as cluster:
                suite = Suite(cluster, network, folder, in_flight=given.in_flight, standbys=given.standbys)
                report = asyncio.run(suite.run(faults, one_by_one=given.one_by_one))
        finally:
            network.close()
    show(report)
    sys.exit(1 if report.problems else 0)


if __name__ == "__main__":
    main()
