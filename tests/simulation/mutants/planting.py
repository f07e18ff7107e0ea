"""How bugs are planted, and how seeds are found that show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from ..scenarios import ANYTHING, Scenario
from ..world import Outcome, World, simulate

Patch = Callable[[Any, str, Any], None]
"""Put a value in place of an attribute, until the run is over."""


@dataclass(frozen=True)
class Mutant:
    """rule: of the protocol. seed: on which it is caught, in worlds of which kind. slow: not in every test run. needs:
    whether a world may show it. plant: puts the bug in."""

    name: str
    rule: str
    seed: int
    scenario: Scenario
    slow: bool
    needs: Callable[[World], bool]
    plant: Callable[[Patch], None]

    @property
    def what(self) -> str:
        return (self.plant.__doc__ or "").strip()


_ABSENT = object()

MUTANTS: list[Mutant] = []


def _eventful(world: World) -> bool:
    return len(world.plan) >= 40


def mutant(
    rule: str,
    seed: int,
    scenario: Scenario | None = None,
    slow: bool = False,
    needs: Callable[[World], bool] | None = None,
) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Declare a planted bug. Without a scenario, it is looked for in any worlds in which much happens."""

    def declare(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        fits = needs or (_eventful if scenario is None else lambda world: True)
        MUTANTS.append(Mutant(plant.__name__, rule, seed, scenario or ANYTHING, slow, fits, plant))
        return plant

    return declare


@contextmanager
def planted(one: Mutant) -> Iterator[None]:
    undo: list[Callable[[], None]] = []

    def patch(owner: Any, name: str, value: Any) -> None:
        if isinstance(owner, dict):
            before = owner[name]
            owner[name] = value
            undo.append(lambda: owner.__setitem__(name, before))
            return
        before = vars(owner).get(name, _ABSENT)
        setattr(owner, name, value)
        undo.append(lambda: delattr(owner, name) if before is _ABSENT else setattr(owner, name, before))

    try:
        one.plant(patch)
        yield
    finally:
        for action in reversed(undo):
            action()


def candidates(one: Mutant, count: int, first: int | None = None) -> list[int]:
    """Seeds whose worlds have what the bug needs to show, from a seed on."""
    seed, found = one.seed if first is None else first, []
    while len(found) < count:
        if one.needs(World(seed, one.scenario)):
            found.append(seed)
        seed += 1
    return found


def run(one: Mutant, seed: int | None = None) -> Outcome:
    """Run a seed with the bug in."""
    with planted(one):
        return simulate(one.seed if seed is None else seed, one.scenario)


def faults(world: World, kind: str, target: str = "", size: float = 0.0) -> int:
    """How many faults of a kind a world has in its plan, of at least a size."""
    return sum(f.kind == kind and f.target.startswith(target) and f.size >= size for f in world.plan)


def replaced(struct: Any, **fields: Any) -> Any:
    """A copy with other fields."""
    return msgspec.structs.replace(struct, **fields)
