"""Faults as a plan: what befalls whom, and when. A plan is drawn from a seed before anything runs, so that a fault can
be left out and the rest stays the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from odradek_engine.fold import State, fold
from odradek_log import TopicPartition
from odradek_schemas import Payload, encode
from odradek_schemas.common import Request
from odradek_schemas.records import StartWorkflow

from .disk import SortedStorage
from .journal import Acknowledged
from .machines import NAMESPACE, EngineMachine, Machine
from .programs import QUEUE

if TYPE_CHECKING:
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


def _crash_at(moment: str) -> Callable[[World, Machine, float], None]:
    """The process is gone at a moment of this kind: right before a thread of it goes on from where it waited (await),
    or before it asks something of the log, its disk, its files or its clock, reading or writing (call)."""

    def plan_it(world: World, machine: Machine, size: float) -> None:
        def strike() -> None:
            world.hub.happened[f"crash at {moment}"] += 1
            machine.crash()

        if machine.up:
            machine.process.failpoint = (moment, int(size), strike)

    return plan_it


def _zombie_at_await(world: World, machine: Machine, size: float) -> None:
    """It stands still right before a thread of it goes on, and its groups give its partitions to others at once."""

    def strike() -> None:
        world.hub.happened["zombie at await"] += 1
        machine.pause(0.2 + size % 20 / 10)
        machine.log.expel()

    if machine.up:
        machine.process.failpoint = ("await", int(size), strike)


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


def _zombie(world: World, machine: Machine, size: float) -> None:
    """It stops before a write, its groups give its partitions to others at once, and it goes on a little later."""

    def stop() -> None:
        machine.pause(0.2 + size / 10)
        machine.log.expel()

    if machine.up:
        machine.process.doom = (world.hub.rng.randrange(12), stop)


def _late_election(world: World, machine: Machine, size: float) -> None:
    """It gains partitions while it is cut off, and loses them again: what it appended lands after others have led."""
    if not machine.up:
        return
    machine.cut_off(1.0 + size / 4)
    for _ in range(3):
        world.log.rebalance(f"{world.topics.prefix}engine")
    world.hub.at(world.hub.now + 0.6, machine.log.expel)


def _fail_producers(world: World, machine: Machine, size: float) -> None:
    if machine.up:
        machine.log.fail_producers()


def _forget_producers(world: World, machine: Machine, size: float) -> None:
    """It does not hear of its appends for a moment; meanwhile brokers forget its producers, which then try again."""
    if not machine.up:
        return
    log, process = machine.log, machine.process
    log.pause(True)

    def again() -> None:
        if process.alive:
            log.forget_producers()
            log.pause(process.paused)

    world.hub.at(world.hub.now + 0.2 + size / 20, again)


def _rebalance(world: World, machine: Machine, size: float) -> None:
    groups = sorted(world.log._groups)
    if groups:
        world.log.rebalance(world.hub.rng.choice(groups))


def _move(world: World, machine: Machine, size: float) -> None:
    """A partition of tasks goes to another worker."""
    groups = sorted(name for name in world.log._groups if "-tasks." in name)
    if groups:
        world.log.rebalance(world.hub.rng.choice(groups))


def _deaf(world: World, machine: Machine, size: float) -> None:
    """The brokers of its groups do not reach it: it is taken for dead, and hears neither of that nor of anything else
    that groups read; the rest of it goes on."""
    if machine.up:
        machine.log.deaf_until = world.hub.now + size
        machine.log.expel()


def _numb(world: World, machine: Machine, size: float) -> None:
    """It is taken for dead, and hears nothing at all, not even what became of its own records."""
    if machine.up:
        machine.log.numb_until = world.hub.now + size
        machine.log.expel()


def _clock_jump(world: World, machine: Machine, size: float) -> None:
    """The wall clock of a machine is off for some time."""
    process = machine.process
    process.skew_ms = int((size - 10) * 400)
    world.hub.at(world.hub.now + size, lambda: setattr(process, "skew_ms", 0))


def _broker_clock(world: World, machine: Machine, size: float) -> None:
    """The clock of a partition's broker is off: timestamps go ahead, and back."""
    partition = TopicPartition(world.topics.events, world.hub.rng.randrange(world.partitions))
    world.log.set_skew(partition, int((size - 6) * 1000))
    world.hub.at(world.hub.now + size, lambda: world.log.set_skew(partition, 0))


def _year_ahead(world: World, machine: Machine, size: float) -> None:
    """One record with a broken stamp."""
    partition = TopicPartition(world.topics.events, world.hub.rng.randrange(world.partitions))
    world.log.set_skew(partition, 365 * 24 * 3_600_000)
    world.log.append(partition, b"", b"nonsense")
    world.log.set_skew(partition, 0)


def _poison(world: World, machine: Machine, size: float) -> None:
    """Bytes that mean nothing, or half of a record, somewhere."""
    rng = world.hub.rng
    where = rng.choice(sorted(world.log.records))
    stored = world.log.records[where]
    whole = rng.choice(stored).value if stored else b""
    bad = [b"", b"{", rng.randbytes(40), whole[: len(whole) // 2], b"\xff" + whole[1:]]
    world.log.append(where, b"poison", rng.choice(bad))


def _marker(world: World, machine: Machine, size: float) -> None:
    """A stranger appends to some partition within transactions: their ends take offsets that nobody reads."""
    where = TopicPartition(world.topics.events, world.hub.rng.randrange(world.partitions))
    for _ in range(world.hub.rng.randint(1, 3)):
        world.log.mark(where)


def _strangers(world: World, machine: Machine, size: float) -> None:
    """Somebody with another partitioner starts a workflow: its records are in the wrong partition."""
    world.strangers += 1
    workflow_id = f"stranger-{world.strangers}"
    world.journal.acknowledged.append(Acknowledged("start", workflow_id, f"start-{workflow_id}", "stranger"))
    started = StartWorkflow(
        workflow_id=workflow_id,
        workflow_type="Scripted",
        task_queue=QUEUE,
        input=[Payload({"encoding": b"json/plain"}, data) for data in (b'[["sleep",1.5]]', b"[]", b"[]", b"[]")],
        request=Request(f"start-{workflow_id}"),
    )
    where = TopicPartition(world.topics.events, world.hub.rng.randrange(world.partitions))
    for _ in range(world.hub.rng.choice((1, 1, 2))):  # it may not know whether its first append has landed
        world.log.append(where, workflow_id.encode(), encode(started))


def _skip(world: World, machine: Machine, size: float) -> None:
    """A worker's consumers lose their places, and go to the end."""
    for where in sorted(world.log.records):
        if "-tasks." in where.topic and machine.up:
            machine.log.skip(where)


def _expire(world: World, machine: Machine, size: float) -> None:
    """Retention: all tasks that are there are gone, read or not."""
    for where in sorted(world.log.records):
        if "-tasks." in where.topic:
            world.log.expire(where, len(world.log.records[where]))


def _forget_commits(world: World, machine: Machine, size: float) -> None:
    for name in sorted(world.log._groups):
        if "-tasks." in name:
            world.log.forget_commits(name)


def _lose_disk(world: World, machine: Machine, size: float) -> None:
    """The machine is gone, and comes back with an empty disk."""
    assert isinstance(machine, EngineMachine)
    machine.crash()
    machine.disk.lose()


def _old_disk(world: World, machine: Machine, size: float) -> None:
    """The machine is gone, and somebody puts back an older copy of its disk."""
    assert isinstance(machine, EngineMachine)
    machine.crash()
    machine.disk.restore_older()


def _torn_disk(world: World, machine: Machine, size: float) -> None:
    """The power is gone while something is synced: a part of a state is not what was written, which shows at once, or
    when it is read."""
    assert isinstance(machine, EngineMachine)
    machine.crash()
    states = sorted(machine.disk.durable)
    if states:
        machine.disk.torn[world.hub.rng.choice(states)] = world.hub.rng.randrange(8)


def _other_disk(world: World, machine: Machine, size: float) -> None:
    """The machine is gone, and the disk that it gets holds what was never in this log."""
    assert isinstance(machine, EngineMachine)
    machine.crash()
    for name in sorted(machine.disk.durable):
        storage = SortedStorage(machine.disk.durable[name])
        state = State(storage, int(name))
        ghost = StartWorkflow(workflow_id=f"ghost-{name}", workflow_type="Scripted", task_queue=QUEUE)
        fold(state, world.topics, state.partition.position, world.hub.now_ms, b"", encode(ghost))
        state.flush()
        machine.disk.durable[name] = dict(storage.entries)


def _full_disk(world: World, machine: Machine, size: float) -> None:
    assert isinstance(machine, EngineMachine)
    disk = machine.disk
    disk.full = True
    world.hub.at(world.hub.now + size, lambda: setattr(disk, "full", False))


def _slow_disk(world: World, machine: Machine, size: float) -> None:
    """Each write takes up to a second or so, for a while."""
    assert isinstance(machine, EngineMachine)
    disk = machine.disk
    disk.slow = 0.1 + world.hub.rng.random() * 1.5
    world.hub.at(world.hub.now + size, lambda: setattr(disk, "slow", 0.0))


def _failing_disk(world: World, machine: Machine, size: float) -> None:
    assert isinstance(machine, EngineMachine)
    machine.disk.fails = True


def _damage(world: World, machine: Machine, size: float) -> None:
    """The newest checkpoint of a partition is damaged, if neither it is nor the one before it."""
    partition = world.hub.rng.randrange(world.partitions)
    manifests = sorted((world.kept / NAMESPACE / "checkpoints" / str(partition)).glob("*.json"))
    if len(manifests) < 2 or world.damaged.intersection(manifests[-2:]):
        return
    data = bytearray(manifests[-1].read_bytes())
    if world.hub.rng.random() < 0.5:
        del data[len(data) // 2 :]
    else:
        content = data.index(b'"content":"') + len(b'"content":"')
        at = world.hub.rng.randrange(content, len(data) - 20)
        data[at] = ord("A") if data[at] != ord("A") else ord("B")
    manifests[-1].write_bytes(data)
    world.damaged.add(manifests[-1])


_KINDS: dict[str, tuple[float, Callable[[World, Machine, float], None], str]] = {
    "zombie": (4, _zombie, "engine worker"),
    "late election": (2, _late_election, "engine"),
    "crash": (6, _crash, "engine worker client"),
    "pause": (5, _pause, "engine worker client"),
    "cut off": (3, _cut_off, "engine worker client"),
    "stop": (1, _stop, "engine worker"),
    "expel": (2, _expel, "engine worker"),
    "rebalance": (6, _rebalance, "engine"),
    "fail producers": (3, _fail_producers, "engine worker client"),
    "clock jump": (1, _clock_jump, "engine worker client"),
    "broker clock": (1, _broker_clock, "engine"),
    "stamp a year ahead": (0.5, _year_ahead, "engine"),
    "poison": (2, _poison, "engine"),
    "transaction": (0, _marker, "engine"),
    "stranger": (2, _strangers, "engine"),
    "skip": (1, _skip, "worker"),
    "move": (0, _move, "worker"),
    "deaf": (0, _deaf, "engine worker"),
    "numb": (0, _numb, "engine worker"),
    "expire": (0, _expire, "worker"),
    "forget commits": (0.5, _forget_commits, "worker"),
    "lose disk": (1, _lose_disk, "engine"),
    "old disk": (1, _old_disk, "engine"),
    "other disk": (1, _other_disk, "engine"),
    "full disk": (1, _full_disk, "engine"),
    "slow disk": (0, _slow_disk, "engine"),
    "failing disk": (0, _failing_disk, "engine"),
    "torn disk": (0, _torn_disk, "engine"),
    "forget producers": (0, _forget_producers, "engine worker client"),
    "damaged checkpoint": (0, _damage, "engine"),
    "crash at await": (0, _crash_at("await"), "engine worker client"),
    "crash at call": (0, _crash_at("call"), "engine worker client"),
    "zombie at await": (0, _zombie_at_await, "engine worker"),
}

MOMENTS = {"crash at await": 300, "crash at call": 2_000, "zombie at await": 300}
"""Faults that strike at a moment, and are counted when they do: after at most so many others of its kind."""



ALL_KINDS = {
    **{kind: known[0] for kind, known in _KINDS.items()}, "transaction": 2.0, "slow disk": 1.5, "failing disk": 1.0,
    "torn disk": 1.0, "forget producers": 2.0, "crash at await": 4.0, "crash at call": 3.0, "zombie at await": 3.0,
}  # fmt: skip
"""How often each kind strikes, with those that the seeds of former days do not know."""


@dataclass(frozen=True, kw_only=True)
class Weather:
    """Which faults are drawn. kinds: how often each. roles: who meets a kind (engine,
    or engine1), if not whoever may. sizes: of a kind, from and to, if not the usual. counts: how many faults there are.
    seconds: in which they strike. refuse, repeat, mistake: how often appends are refused, land twice, and are said to
    have been given up although they landed (0 to 1)."""

    kinds: Mapping[str, float] = field(default_factory=lambda: {kind: known[0] for kind, known in _KINDS.items()})
    roles: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    counts: tuple[int, ...] = (0, 8, 20, 40, 70)
    seconds: float = 30.0
    refuse: tuple[float, ...] = (0.0, 0.01, 0.04)
    repeat: tuple[float, ...] = (0.0, 0.0, 0.02)
    mistake: tuple[float, ...] = (0.0,)


def plan(rng: Random, weather: Weather, machines: list[str]) -> list[Fault]:
    """Faults of the first seconds. Some seeds have many, some few."""
    count = rng.choice(weather.counts)
    kinds = sorted(weather.kinds)
    faults = []
    for _ in range(count):
        kind = rng.choices(kinds, [weather.kinds[k] for k in kinds])[0]
        roles = weather.roles.get(kind, _KINDS[kind][2]).split()
        target = rng.choice([m for m in machines if m in roles or m.rstrip("0123456789") in roles])
        if kind in weather.sizes:
            size = rng.uniform(*weather.sizes[kind])
        elif kind in MOMENTS:
            size = MOMENTS[kind] ** rng.random()
        else:
            size = rng.randrange(40) if kind == "crash" else rng.choice((0.5, 2.0, 8.0, 20.0)) * rng.random()
        faults.append(Fault(rng.uniform(0.5, weather.seconds), kind, target, float(size)))
    return sorted(faults)


def strike(world: World, fault: Fault) -> None:
    machine = world.machines[fault.target]
    world.hub.note("fault", fault.kind, fault.target)
    world.hub.happened[fault.kind] += fault.kind not in MOMENTS
    _KINDS[fault.kind][1](world, machine, fault.size)
