"""Faults as a plan: what befalls whom, and when. A plan is drawn from a seed before anything runs, so that a fault can
be left out and the rest stays the same."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .machines import Machine
    from .world import World


class Fault(NamedTuple):
    """`at`: seconds. `size`: how long it lasts, or after how many touches of the world it strikes."""

    at: float
    kind: str
    target: str
    size: float

    def __str__(self) -> str:
        return f"{self.at:8.3f} s  {self.kind} {self.target} ({self.size:.3g})"


def _crash(world: World, machine: Machine, size: float) -> None:
    """The process is gone before its next write but so many."""
    if machine.up:
        machine.process.doom = (int(size), machine.crash)


def _pause(world: World, machine: Machine, size: float) -> None:
    """The process stops before a write, and goes on where it was: a zombie, if others took over meanwhile."""
    if machine.up:
        machine.process.doom = (world.hub.rng.randrange(20), lambda: machine.pause(size))


def _cut_off(world: World, machine: Machine, size: float) -> None:
    machine.cut_off(size)


def _stop(world: World, machine: Machine, size: float) -> None:
    machine.stop()


def _expel(world: World, machine: Machine, size: float) -> None:
    """Its groups take it for dead, which it is not."""
    if machine.up:
        machine.log.expel()


def _fail_producers(world: World, machine: Machine, size: float) -> None:
    if machine.up:
        machine.log.fail_producers()


def _rebalance(world: World, machine: Machine, size: float) -> None:
    groups = sorted(world.log._groups)
    if groups:
        world.log.rebalance(world.hub.rng.choice(groups))


def _clock_jump(world: World, machine: Machine, size: float) -> None:
    """The wall clock of a machine is off for some time."""
    process = machine.process
    process.skew_ms = int((size - 10) * 400)
    world.hub.at(world.hub.now + size, lambda: setattr(process, "skew_ms", 0))


_KINDS: dict[str, tuple[float, Callable[[World, Machine, float], None], str]] = {
    "crash": (6, _crash, "engine worker client"),
    "pause": (5, _pause, "engine worker client"),
    "cut off": (3, _cut_off, "engine worker client"),
    "stop": (1, _stop, "engine worker"),
    "expel": (2, _expel, "engine worker"),
    "rebalance": (3, _rebalance, "engine"),
    "fail producers": (1, _fail_producers, "engine"),
    "clock jump": (1, _clock_jump, "engine worker client"),
}


def plan(rng: Random, seconds: float, machines: list[str]) -> list[Fault]:
    """Faults of the first `seconds`. Some seeds have many, some few."""
    count = rng.choice((0, 3, 8, 20, 40))
    kinds = sorted(_KINDS)
    faults = []
    for _ in range(count):
        kind = rng.choices(kinds, [_KINDS[k][0] for k in kinds])[0]
        roles = _KINDS[kind][2].split()
        target = rng.choice([m for m in machines if m.rstrip("0123456789") in roles])
        size = rng.randrange(40) if kind == "crash" else rng.choice((0.5, 2.0, 8.0, 20.0)) * rng.random()
        faults.append(Fault(rng.uniform(0.5, seconds), kind, target, float(size)))
    return sorted(faults)


def strike(world: World, fault: Fault) -> None:
    machine = world.machines[fault.target]
    world.hub.note("fault", fault.kind, fault.target)
    world.hub.happened[fault.kind] += 1
    _KINDS[fault.kind][1](world, machine, fault.size)
