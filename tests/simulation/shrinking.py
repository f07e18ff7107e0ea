"""The smallest form of a seed that fails: with less work, fewer faults, and what happened in it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from .world import Outcome, simulate

TOLD = 60
"""So many lines of a trace are told."""

_HAPPENED = re.compile(r" (fault|boot|crash|pause|resume|exit|failed) ")
_RECORD = re.compile(r" odradek\.\S+\.(events|workflow-tasks|activity-tasks|replies|dead-letters)\S* ")


def shrink(
    seed: int, tries: int = 80, simulate: Callable[..., Outcome] = simulate, seconds: float = float("inf")
) -> tuple[list[int | str], Outcome]:
    """Leave out work and faults while the seed still fails in a way that it did, for so many seconds of real time;
    return what is left out, and how it fails then."""
    worst = simulate(seed)
    ways = _ways(worst)
    out: list[int | str] = []
    everything: list[int | str] = [*worst.work, *range(len(worst.plan))]
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
            if ways & _ways(outcome):
                out, worst, shrunk = [*out, *left[at : at + size]], outcome, True
        if not shrunk or size > 1:
            size //= 2
    return sorted(out, key=str), worst


def _ways(outcome: Outcome) -> set[str]:
    """In which ways it failed, without the names of this and that."""
    return {re.sub(r"'[^']*'|\S*\d\S*", "#", text)[:60] for text in outcome.wrong}


def explain(seed: int, seconds: float = float("inf")) -> str:
    """The smallest failing form of a seed that was found, what happened in it, and how to run it again."""
    out, outcome = shrink(seed, seconds=seconds)
    without = f" WITHOUT={','.join(map(str, out))}" if out else ""
    faults = "\n".join(f"    {fault}" for fault in outcome.plan) or "    none are needed"
    wrong = "\n".join(f"    {text[:1000]}" for text in outcome.wrong[:10])
    trace = simulate(seed, without=out, trace=True).trace
    return (
        f"seed {seed} fails:\n{wrong}\n  with this work: {', '.join(outcome.work) or 'none'}\n  with these faults, "
        f"and appends refused, doubled, timed out after they landed: {', '.join(f'{r:.0%}' for r in outcome.rates)}:\n"
        f"{faults}\n"
        f"  the last of what happened:\n" + "\n".join(f"    {line}" for line in told(trace, outcome.wrong)) + "\n"
        f"  again, with the whole trace in a file: make simulate SEEDS={seed}{without} TRACE=trace.txt"
    )


def told(trace: Iterable[str], wrong: list[str]) -> list[str]:
    """The lines of a trace that matter most: what befell processes; and records, of the workflows that are named in
    what is wrong, if some are."""
    lines = [line for line in trace if _HAPPENED.search(line) or _RECORD.search(line)]
    named = {word.strip("'\",()") for word in " ".join(wrong[:3]).split()}
    about = [line for line in lines if _HAPPENED.search(line) or named.intersection(line.split())]
    some_are_records = any(_RECORD.search(line) for line in about)
    return (about if some_are_records else lines)[-TOLD:]
