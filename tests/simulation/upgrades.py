"""Engines of two fold versions in one namespace: upgrades half-way, taken back, and gone through with (rules V1, V2).

What is newer folds as version 1 does until the log is switched to version 2, and marks by whom events are from there
on: an engine of version 1 that folds one of those has another state than the log says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, NamedTuple

import msgspec
from odradek_engine.fold.step import Step

OLD, NEW = 1, 2
MARK = " (as version 2)"

HEARD_S = 10.0
"""An engine that is older than the log's new version since so long should have been heard of."""


class Change(NamedTuple):
    """At a time (s), the program of an engine is another one."""

    at: float
    engine: str
    version: int


def drawn(rng: Random, kind: str, engines: Sequence[str]) -> list[Change]:
    """How the engines, all old at first, are upgraded. kind: "" (not at all), "forward" (all of them, one by one),
    "back" (the first one goes back half-way, where nothing may be lost by that; then, perhaps, forward), or "late" (all
    go forward, and some back when it is too late for that: they cannot go on until they are new again)."""
    if not kind:
        return []
    changes: list[Change] = []
    begin = rng.uniform(1, 3 if kind == "late" else 8)
    if kind == "back":
        begin = rng.uniform(12, 34)
        changes = [Change(rng.uniform(1, 5), engines[0], NEW), Change(begin, engines[0], OLD)]
        if rng.random() < 0.5:
            return changes
    changes += [Change(begin + 2 + 2.5 * n + rng.random(), engine, NEW) for n, engine in enumerate(engines)]
    at = changes[-1].at + rng.uniform(7, 14)
    for engine in rng.sample(engines, len(engines) - 1) * 2 if kind == "late" else ():
        changes += [Change(at, engine, OLD), Change(at + rng.uniform(2, 6), engine, NEW)]
        at += rng.uniform(6, 9)
    return changes


def versions_at(changes: Iterable[Change], at: float) -> dict[str, tuple[int, float]]:
    """The last change of each engine up to a time: its version, and since when."""
    return {change.engine: (change.version, change.at) for change in sorted(changes) if change.at <= at}


def too_early(changes: Sequence[Change], engines: Iterable[str], switched: Mapping[int, float]) -> Iterator[str]:
    """The log may be switched only once every engine knows the new version (V2). switched: when it was, by version."""
    for version, at in switched.items():
        known = versions_at(changes, at)
        for engine in engines:
            is_at, since = known.get(engine, (OLD, 0.0))
            if is_at < version and since < at - HEARD_S:
                yield f"the log was switched to fold version {version} at {at:.3f}, but {engine} knows {is_at}"


@contextmanager
def newer() -> Iterator[None]:
    """The fold is that of version 2, for those who know it."""
    as_before = Step.append

    def append(step: Step, workflow_id: str, run_id: str, attributes: Any, *args: Any, **kwargs: Any) -> int:
        if min(step.partition.version, step.state.knows) >= NEW and hasattr(attributes, "identity"):
            attributes = msgspec.structs.replace(attributes, identity=attributes.identity + MARK)
        return as_before(step, workflow_id, run_id, attributes, *args, **kwargs)

    Step.append = append  # type: ignore[method-assign]
    try:
        yield
    finally:
        Step.append = as_before  # type: ignore[method-assign]
