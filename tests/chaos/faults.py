"""The faults of a run: what befalls whom, when and for how long, all drawn from a seed before it begins."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

ENGINES, WORKERS, BROKERS = ("engine-0", "engine-1", "engine-2"), ("worker-0", "worker-1", "worker-2", "worker-3"), 3
CLIENT = "client"
OF_PROCESSES = (
    "kill engine", "stop engine", "leave engine", "kill worker", "stop worker", "leave worker", "kill client",
    "stop client",
)  # fmt: skip
OF_BROKERS = ("kill broker", "stop broker", "restart broker", "kill controller")
OF_NETWORK = (
    "cut engine", "cut worker", "cut client", "cut broker", "slow engine", "slow worker", "slow broker",
)  # fmt: skip
DISK_FULL = "disk full"
CONTROLLER = "controller"
REPAIR_S = 6.0
"""What copies take, more or less, until they are complete after a fault of a broker."""


@dataclass(frozen=True)
class Fault:
    """`victim`: a process, or the active controller. `others`: those that it cannot reach, or reaches slowly.
    `seconds`: how long it is so, or until it is started again. `reset`: connections break in the end. `after`: seconds
    from the end of the fault before it in its lane."""

    kind: str
    victim: str
    others: tuple[str, ...]
    seconds: float
    reset: bool
    after: float

    def __str__(self) -> str:
        others = f" and {', '.join(self.others)}" if self.others else ""
        return f"{self.kind} ({self.victim}{others}) for {self.seconds:.1f} s"

    @property
    def of_brokers(self) -> bool:
        return self.victim == CONTROLLER or self.victim.startswith("broker-")

    @property
    def of_network(self) -> bool:
        return bool(self.others)

    @property
    def lane(self) -> str:
        """What may not go on at the same time: two faults of one process, or of two brokers, as then nothing can."""
        return "brokers" if self.of_brokers else "network" if self.of_network else self.victim


@dataclass(frozen=True)
class Lengths:
    """From and to how many seconds faults last. `gap`: between two of one lane."""

    restart: tuple[float, float] = (0.0, 4.0)
    stop: tuple[float, float] = (20.0, 20.0)
    stop_broker: tuple[float, float] = (3.0, 15.0)
    cut: tuple[float, float] = (4.0, 20.0)
    gap: tuple[float, float] = (0.5, 6.0)


def kinds(brokers: int, disk: bool) -> list[str]:
    """What may happen. With one broker, that one stays."""
    of_brokers = OF_BROKERS if brokers > 1 else ()
    network = tuple(kind for kind in OF_NETWORK if brokers > 1 or not kind.endswith("broker"))
    return [*OF_PROCESSES, *of_brokers, *network, *([DISK_FULL] if disk else [])]


def so_many(seed: int, count: int, of: Sequence[str]) -> list[str]:
    """`count` kinds, all of them equally often."""
    rng = random.Random(seed)
    bag: list[str] = []
    while len(bag) < count:
        bag += rng.sample(list(of), len(of))
    return bag[:count]


def plan(seed: int, of: Sequence[str], brokers: int, lengths: Lengths) -> list[Fault]:
    """A fault of each of these kinds, in any order. Those of one kind befall all whom they can in turn."""
    rng = random.Random(seed)
    victims: dict[str, Iterator[str]] = defaultdict(lambda: iter(()))
    faults = []
    for kind in rng.sample(list(of), len(of)):
        victim = next(victims[kind], "")
        if not victim:
            all_of = _victims(kind, brokers)
            victims[kind] = iter(rng.sample(all_of, len(all_of)))
            victim = next(victims[kind])
        faults.append(_draw(rng, kind, victim, brokers, lengths))
    return faults


def in_lanes(faults: Sequence[Fault]) -> list[list[Fault]]:
    """The faults of each lane follow each other; the lanes go on side by side, all for about as long."""
    lanes: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        lanes[fault.lane].append(fault)
    lengths = {
        name: sum(fault.after + fault.seconds + REPAIR_S * fault.of_brokers for fault in lane)
        for name, lane in lanes.items()
    }
    longest = max(lengths.values(), default=0.0)
    return [
        [replace(fault, after=fault.after + (longest - lengths[name]) / len(lane)) for fault in lane]
        for name, lane in lanes.items()
    ]


def _brokers(count: int) -> list[str]:
    return [f"broker-{n}" for n in range(1, count + 1)]


def _victims(kind: str, brokers: int) -> Sequence[str]:
    who = "engine" if kind == DISK_FULL else kind.partition(" ")[2]
    return {
        "engine": ENGINES, "worker": WORKERS, "client": (CLIENT,), "broker": _brokers(brokers),
        "controller": (CONTROLLER,),
    }[who]  # fmt: skip


def _draw(rng: random.Random, kind: str, victim: str, brokers: int, lengths: Lengths) -> Fault:
    how = kind.partition(" ")[0]
    others: tuple[str, ...] = ()
    if how in ("cut", "slow"):
        reachable = [name for name in _brokers(brokers) if name != victim]
        others = tuple(rng.sample(reachable, rng.randint(1, len(reachable)) if how == "cut" else len(reachable)))
    if kind == "slow broker":  # for everybody
        others += (*ENGINES, *WORKERS, CLIENT)
    span = lengths.cut if others else lengths.stop if how == "stop" else lengths.restart
    if kind == "stop broker":
        span = lengths.stop_broker
    return Fault(kind, victim, others, rng.uniform(*span), rng.random() < 0.5, rng.uniform(*lengths.gap))
