"""How bugs are planted, and how seeds are found that show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from odradek_engine.fold import core

from ..scenarios import Scenario
from ..world import Outcome, simulate

Patch = Callable[[Any, str, Any], None]
"""Put a value in place of an attribute, until the run is over."""


@dataclass(frozen=True)
class Mutant:
    """rule: of the protocol. scenario, seed: the world in which it is caught. plant: puts the bug in."""

    name: str
    rule: str
    seed: int
    scenario: Scenario
    plant: Callable[[Patch], None]

    @property
    def what(self) -> str:
        return (self.plant.__doc__ or "").strip()


_ABSENT = object()

MUTANTS: list[Mutant] = []


def mutant(rule: str, seed: int, scenario: Scenario) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Declare a planted bug."""

    def declare(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        MUTANTS.append(Mutant(plant.__name__, rule, seed, scenario, plant))
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
        core._kind_of.cache_clear()  # who decides on a record is looked up once
        yield
    finally:
        for action in reversed(undo):
            action()
        core._kind_of.cache_clear()


def run(one: Mutant, seed: int) -> Outcome:
    """Run a seed with the bug in."""
    with planted(one):
        return simulate(seed, one.scenario)


def replaced(struct: Any, **fields: Any) -> Any:
    """A copy with other fields."""
    return msgspec.structs.replace(struct, **fields)
