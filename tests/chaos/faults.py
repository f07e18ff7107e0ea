"""The faults of a run: what befalls whom, when and for how long, all drawn from a seed before it begins."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

ENGINES, WORKERS, BROKERS = ("engine-0", "engine-1", "engine-2"), ("worker-0", "worker-1", "worker-2", "worker-3"), 3
CLIENT = "client"
OF_PROCESSES = tuple(f"{how} {who}" for who in ("engine", "worker", "client") for how in ("kill", "stop"))
OF_BROKERS = ("kill broker", "stop broker", "kill controller")
OF_NETWORK = (
    "cut engine", "cut worker", "cut client", "cut broker", "slow engine", "slow worker", "slow broker",
)  # fmt: skip
DISK_FULL = "disk full"
CONTROLLER = "controller"


@dataclass(frozen=True)
class Fault:
    """`victim`: a process, or the active controller. `others`: the brokers that it cannot reach, or reaches slowly.
    `seconds`: how long it is so, or until it is started again. `reset`: connections break in the end. `after`: seconds
    from the beginning of the round."""

    kind: str
    victim: str
    others: tuple[str, ...]
    seconds: float
    reset: bool
    after: float

    def __str__(self) -> str:
        others = f" from {', '.join(self.others)}" if self.others else ""
        return f"{self.kind} ({self.victim}{others}) for {self.seconds:.1f} s"


@dataclass(frozen=True)
class Lengths:
    """From and to how many seconds faults last. `after`: within how many seconds of the round they begin.
    `two_at_once`: the share of rounds with a second fault."""

    restart: tuple[float, float] = (0.0, 4.0)
    stop: tuple[float, float] = (4.0, 20.0)
    stop_broker: tuple[float, float] = (3.0, 15.0)
    cut: tuple[float, float] = (4.0, 20.0)
    after: float = 4.0
    two_at_once: float = 0.3


def kinds(brokers: int, disk: bool) -> list[str]:
    """What may happen. With one broker, that one stays."""
    of_brokers = OF_BROKERS if brokers > 1 else ()
    network = tuple(kind for kind in OF_NETWORK if brokers > 1 or not kind.endswith("broker"))
    return [*OF_PROCESSES, *of_brokers, *network, *([DISK_FULL] if disk else [])]


def plan(seed: int, count: int, of: Sequence[str], brokers: int, lengths: Lengths) -> list[list[Fault]]:
    """Rounds of one or two faults, `count` in all; all kinds come equally often."""
    rng = random.Random(seed)
    bag: list[str] = []
    while len(bag) < count:
        bag += rng.sample(list(of), len(of))
    rounds: list[list[Fault]] = []
    for number, kind in enumerate(bag[:count]):
        fault = draw(rng, kind, brokers, lengths)
        together = rounds and len(rounds[-1]) == 1 and number and rng.random() < lengths.two_at_once
        if together and _fit(rounds[-1][0], fault):
            rounds[-1].append(fault)
        else:
            rounds.append([_at(fault, 0.0)])
    return rounds


def _fit(first: Fault, second: Fault) -> bool:
    """Whether two can go on side by side: of the brokers only one at a time is in trouble, else nothing can go on."""
    brokers = [f for f in (first, second) if "broker" in f.kind or f.kind == "kill controller"]
    network = [f for f in (first, second) if f.kind.startswith(("cut", "slow"))]
    return first.victim != second.victim and len(brokers) < 2 and len(network) < 2


def _at(fault: Fault, after: float) -> Fault:
    return Fault(fault.kind, fault.victim, fault.others, fault.seconds, fault.reset, after)


def draw(rng: random.Random, kind: str, brokers: int, lengths: Lengths) -> Fault:
    how, _, who = kind.partition(" ")
    names = [f"broker-{n}" for n in range(1, brokers + 1)]
    if kind == DISK_FULL:
        victim = rng.choice(ENGINES)
    elif who == CONTROLLER:
        victim = CONTROLLER
    else:
        victim = rng.choice({"engine": ENGINES, "worker": WORKERS, "client": (CLIENT,), "broker": names}[who])
    others: tuple[str, ...] = ()
    if how in ("cut", "slow"):
        reachable = [name for name in names if name != victim]
        others = tuple(rng.sample(reachable, rng.randint(1, len(reachable)) if how == "cut" else len(reachable)))
    span = lengths.restart if how == "kill" else lengths.cut if others else lengths.stop
    if kind == "stop broker":
        span = lengths.stop_broker
    return Fault(kind, victim, others, rng.uniform(*span), rng.random() < 0.5, rng.uniform(0.0, lengths.after))
