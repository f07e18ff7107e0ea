"""A whole cluster in one process and one thread, from a seed: engines, workers, clients, a log, and their faults."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from odradek_engine import CheckpointSettings
from odradek_engine.engine import ensure_topics
from odradek_engine.fold import keys, step
from odradek_engine.settings import Settings
from odradek_log import TopicPartition
from odradek_schemas import Topics, history

from examples import food_order

from . import customers, programs, upgrades
from . import journal as journals
from .auditors import Auditors, Code
from .disk import SortedStorage
from .faults import Fault, strike
from .faults import plan as drawn_plan
from .golden import Run
from .hosted_log import ClusterLog
from .hub import Hub
from .journal import Journal
from .machines import NAMESPACE, AsyncMachine, EngineMachine, Job, Machine, worker_main
from .plays import EXAMPLES, staged
from .races import drawn
from .scenarios import WORKERS, Scenario
from .scripted import ACTIVITIES, NOWHERE, Scripted
from .stage import Play, Stage
from .stdlib import installed
from .traced import Traced
from .trials import TRIALS

REPERTOIRE = [*EXAMPLES, *TRIALS]
"""All plays that there are."""

THOROUGH_EVERY = 3
"""Of so many seeds, one has its invariants looked at after every single record."""

LOOK_EVERY = 1_500
"""Turns between two looks of the auditors."""


@dataclass
class Outcome:
    """How a run ended. `wrong`: what the auditors found. `plan`: the faults that it was given. `digest`, `trace`: only
    if the trace was wanted."""

    seed: int
    wrong: list[str]
    digest: str
    seconds: float
    turns: int
    plan: list[Fault]
    happened: Counter[str]
    records: int = 0
    workflows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    work: list[str] = field(default_factory=list)
    """The orders, workflows and plays that there were."""
    rates: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """How often appends were refused, landed twice, and timed out although they had landed (0 to 1)."""


class World:
    """A seed's world: of a scenario, or the one it draws; with these faults (`plan`), or those it draws. `without`:
    numbers of faults, and names of work, that are left out, while all else stays as it is."""

    def __init__(
        self,
        seed: int,
        scenario: Scenario | None = None,
        *,
        without: Sequence[int | str] = (),
        trace: bool = False,
        plan: Sequence[Fault] | None = None,
    ) -> None:
        self.seed = seed
        self.scenario = scenario = scenario or drawn(seed)
        self.rng = Random(f"plan-{seed}")
        self.hub = Hub(seed)
        self._trace = trace
        self.log = ClusterLog(self.hub, seed)
        self.topics = Topics(NAMESPACE)
        self.journal = Journal()
        self._engines = [f"engine{n + 1}" for n in range(scenario.engines)]
        self._workers = [f"worker{n + 1}" for n in range(scenario.machines)]
        self.stages = self._draw_plays(Random(f"plays-{seed}"))
        clients = ["client1", "client2", *(["client3"] if self.stages else [])]
        everything = drawn_plan(self.rng, scenario.weather, [*self._engines, *self._workers, *clients])
        everything = everything if plan is None else list(plan)
        self.plan = [fault for number, fault in enumerate(everything) if number not in without]
        kinds = [self.rng.choice((0, 0, 0, 1, 2, 3)) for _ in range(self.rng.randint(*scenario.orders))]
        self.orders = {f"order-{number}": kind for number, kind in enumerate(kinds) if f"order-{number}" not in without}
        self.partitions = scenario.partitions
        self.strangers = 0
        self.damaged: set[Path] = set()
        gone = any(fault.kind in ("skip", "expire") for fault in everything)
        self.reissues = gone or self.rng.random() < scenario.reissues
        self.log.faults.refuse = self.rng.choice(scenario.weather.refuse)
        self.log.faults.repeat = self.rng.choice(scenario.weather.repeat)
        self.log.faults.mistake = Random(f"mistakes-{seed}").choice(scenario.weather.mistake)
        self.upgrades = upgrades.drawn(Random(f"upgrades-{seed}"), scenario.upgrades, self._engines)
        calm = not (self.plan or self.log.faults.refuse or self.log.faults.repeat or self.log.faults.mistake)
        self.journal.calm = calm and scenario.machines == 1
        tasks = customers.tasks(self.rng, self.rng.randint(*scenario.tasks), scenario.mix, scenario.habits)
        self.tasks = [task for task in tasks if task.workflow_id not in without]
        self._draws_bytes = not self.stages
        self.stages = [(play, stage) for play, stage in self.stages if play.name not in without]
        self._rates = (self.log.faults.refuse, self.log.faults.repeat, self.log.faults.mistake)

    def _draw_plays(self, rng: Random) -> list[tuple[Play, Stage]]:
        """Which plays are given, each at most once: it has a task queue of its name."""
        chosen = rng.sample(REPERTOIRE, rng.randint(*self.scenario.plays))
        return [(play, Stage(play.name, f"{play.name}-{self.seed}", self.journal, self.hub)) for play in chosen]

    # ------------------------------------------------------------ the run

    def run(self) -> Outcome:
        """Faults for a while, then none until everything has ended."""
        newer = upgrades.newer() if self.upgrades else nullcontext()
        work = _steps_of(Random(f"work-{self.seed}").choice(self.scenario.work))
        written = journals.written(self.journal, self._where)
        with installed(self.hub), _errors_into(self.hub), written, staged(), newer, work:
            try:
                self._begin()
                self._turn_until(lambda: self.clients_done, self.scenario.weather.seconds + self.scenario.patience)
                if not self.auditors.wrong:
                    self._turn_until(self._settled, self.hub.now + self.scenario.patience)
                    self.journal.wrong += customers.check(self.tasks, self.journal)
                    self.auditors.close(self.engines)
                    self.auditors.wrong += self._too_early()
                return self._outcome()
            finally:
                self.hub.close()
                shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self) -> None:
        ensure_topics(self.log, self.topics, self.partitions)
        code = {programs.QUEUE: Code([food_order.Order, Scripted])} | {
            play.name: Code(play.replayed, play.converter() if play.converter is not None else None)
            for play, _ in self.stages
            if play.replayed
        }
        self.auditors = Auditors(self.log, self.topics, self.partitions, self.journal, code)
        for golden in self.auditors.golden:
            golden.thorough = self.seed % THOROUGH_EVERY == 0
        settings = Settings(
            reissue_after=self.scenario.reissue_after if self.reissues else 1e9,
            announce_interval=self.scenario.announce_interval,
        )
        every = self.scenario.checkpoints
        self.folder = Path(tempfile.mkdtemp(prefix="odradek-simulation-")) if every else Path("no files")
        self.kept = self.folder / "kept"
        checkpoints = CheckpointSettings(str(self.kept), every=every, trim=True) if every else None
        self.engines = [
            EngineMachine(
                self.hub, self.log, name, self.partitions, settings, self.scenario.standbys, self.folder / name,
                checkpoints, Random(f"syncs-{self.seed}-{name}").choice(self.scenario.syncs),
            )
            for name in self._engines
        ]
        for machine in self.engines:
            machine.disk.written = partial(self._written, machine.name)
        traced = [Traced()] if Random(f"traced-{self.seed}").random() < self.scenario.interceptors else []
        drawn_bytes = Random(f"bytes-{self.seed}").choice(self.scenario.worker_bytes)
        most = drawn_bytes if self._draws_bytes else 0
        self.workers = [
            AsyncMachine(self.hub, self.log, name, self._worker_main(), traced, most) for name in self._workers
        ]
        self.clients = [
            AsyncMachine(self.hub, self.log, name, main, traced)
            for name, main in (("client1", self._order), ("client2", self._script), ("client3", self._play))
            if name != "client3" or not self._draws_bytes
        ]
        self.machines: dict[str, Machine] = {m.name: m for m in (*self.engines, *self.workers, *self.clients)}
        for at in sorted({at for play, _ in self.stages for at in play.deployments}):
            for number, worker in enumerate(self.workers):
                self.hub.at(at + 2 * number, worker.stop)
        for fault in self.plan:
            self.hub.at(fault.at, lambda f=fault: strike(self, f))  # type: ignore[misc]
        self.hub.at(self.scenario.weather.seconds, self._end_faults)
        self._plan_upgrades()

    def _written(self, name: str, partition: str, storage: SortedStorage) -> None:
        self.auditors.written(name, int(partition), storage)

    def _plan_upgrades(self) -> None:
        if not self.upgrades:
            return
        for golden in self.auditors.golden:
            golden.state.knows = upgrades.NEW
        engines = {machine.name: machine for machine in self.engines}
        for change in self.upgrades:
            self.hub.at(change.at, partial(engines[change.engine].becomes, change.version))
            self.hub.happened[f"engine becomes version {change.version}"] += 1

    def _end_faults(self) -> None:
        self.log.faults.refuse = self.log.faults.repeat = self.log.faults.mistake = 0.0

    def _worker_main(self) -> Callable[[AsyncMachine], Awaitable[bool]]:
        """Workers with options of their own."""
        choices = {**WORKERS, **self.scenario.workers}
        options = {name: self.rng.choice(values) for name, values in choices.items()}
        usual = Job(
            programs.QUEUE, [food_order.Order, Scripted], [*programs.ORDER_ACTIVITIES, *ACTIVITIES], options
        )
        plays = {play.name: play for play, _ in self.stages}

        def jobs(machine: AsyncMachine) -> list[Job]:
            return [usual, *(
                Job(play.name, workflows, activities, {**options, **more}, more.get("converter", play.converter))
                for play in plays.values()
                for workflows, activities, more in play.hire(machine.name, self.hub.now)
            )]  # fmt: skip

        return worker_main(jobs)

    async def _play(self, machine: AsyncMachine) -> bool:
        """What the third client does: all plays, side by side."""
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            for play, stage in self.stages:
                converter = play.converter() if play.converter is not None else None
                stage.begin(await stack.enter_async_context(machine.client(converter)))
                if not stage.ended:
                    group.create_task(_give(play, stage))
        return True

    async def _script(self, machine: AsyncMachine) -> bool:
        """What the second client does: scripted workflows."""
        async with machine.client() as client:
            ending = asyncio.create_task(customers.end_what_is_handed(client, self.journal, self.tasks))
            async with asyncio.TaskGroup() as group:
                for task in self.tasks:
                    if not task.outcome:
                        group.create_task(customers.run(client, self.journal, task))
            while self.journal.handed and self._scripted_are_open():
                await asyncio.sleep(0.7)  # children that nobody waits for need somebody who ends their activities
            ending.cancel()
        return True

    def _scripted_are_open(self) -> bool:
        names = {task.workflow_id for task in self.tasks}
        return any(run.workflow_id.partition("-")[0] in names for run in self._open_runs())

    async def _order(self, machine: AsyncMachine) -> bool:
        """What the first client does: all orders that have not ended, side by side."""
        async with machine.client() as client, asyncio.TaskGroup() as group:
            for name, kind in self.orders.items():
                if name not in self.journal.results:
                    group.create_task(programs.order(client, self.journal, int(name.rpartition("-")[2]), kind))
        return True

    @property
    def clients_done(self) -> bool:
        for client in self.clients:  # noqa: SIM110 (asked after each turn: a generator costs as much again)
            if not client.finished:
                return False
        return True

    def _turn_until(self, done: object, until: float) -> None:
        while not done():  # type: ignore[operator]
            self.hub.step()
            if self.hub.turns % LOOK_EVERY == 0:
                self.auditors.look(self.engines)
            if self.hub.errors or self.auditors.wrong:
                self.auditors.wrong += self.hub.errors
                return
            if self.hub.now > until or self.hub.now > self.log.last_event + self.scenario.quiet:
                missing = self._what_is_open()
                self.auditors.wrong.append(f"no end within {self.hub.now:.0f} s of simulated time: {missing}")
                return

    def _settled(self) -> bool:
        """All partitions are led, and have folded and emitted all there is."""
        if self.hub.turns % 50 or not self._is_upgraded:
            return False
        led = {}
        for machine in self.engines:
            if machine.up and machine.engine is not None:
                led.update({n: p for n, p in machine.engine._processors.items() if p.leadership.leading})
        if sorted(led) != list(range(self.partitions)):
            return False
        living = {session for w in self.workers if w.up for session in w.session_ids}
        for partition, processor in led.items():
            end = self.log.last_record(TopicPartition(self.topics.events, partition)) + 1
            partition_row = processor.state.partition
            if partition_row.position < end or partition_row.open_workflows:
                return False
            if any(NOWHERE not in row.topic for _, row in processor.state.scan(keys.OUTBOX)):
                return False
            sessions = [row for _, row in processor.state.scan(keys.SESSION)]
            if any((row.session in living) == bool(row.ended_ms) for row in sessions):
                return False  # somebody does not know yet that a session is over
        return True

    @property
    def _is_upgraded(self) -> bool:
        """All engines have the programs that they shall have, and the log is switched if all of them know how."""
        if not self.upgrades:
            return True
        if self.hub.now < max(self.upgrades).at + 3:
            return False
        least = min(machine.settings.fold_version for machine in self.engines)
        states = [p.state for m in self.engines if m.up and m.engine is not None for p in m.engine._processors.values()]
        return all(state.partition.version >= least for state in states)

    def _too_early(self) -> list[str]:
        if self.scenario.upgrades != "back":
            return []  # some are silent for so long that others take them for gone
        switched = [golden.switched for golden in self.auditors.golden]
        return [text for one in switched for text in upgrades.too_early(self.upgrades, self._engines, one)]

    def _what_is_open(self) -> str:
        missing = [name for name in self.orders if name not in self.journal.results]
        missing += [task.workflow_id for task in self.tasks if not task.outcome]
        missing += [stage.name for _, stage in self.stages if not stage.ended]
        missing += [
            f"{run.workflow_id} ({run.run_id}) at {type(run.entries[-1].event.attributes).__name__}"
            for run in self._open_runs()
        ]
        return ", ".join(missing) or "a partition does not come to rest"

    def _open_runs(self) -> Iterator[Run]:
        for golden in self.auditors.golden:
            for run in golden.runs.values():
                if not isinstance(run.entries[-1].event.attributes, history.CLOSES):
                    yield run

    def _where(self) -> tuple[str, float]:
        current = self.hub.current
        return (current.process.name if current is not None else "?", self.hub.now)

    def _outcome(self) -> Outcome:
        return Outcome(
            self.seed,
            self.auditors.wrong,
            self.hub.digest() if self._trace else "",
            self.hub.now,
            self.hub.turns,
            self.plan,
            self.hub.happened + self.log.faults.happened,
            records=sum(len(records) for records in self.log.records.values()),
            workflows=len({run.workflow_id for run in self.auditors.runs}),
            kinds=sum((golden.kinds for golden in self.auditors.golden), Counter()),
            trace=self.hub.trace() if self._trace else [],
            work=[*self.orders, *(task.workflow_id for task in self.tasks), *(play.name for play, _ in self.stages)],
            rates=self._rates,
        )


@contextmanager
def _errors_into(hub: Hub) -> Iterator[None]:
    """What production code logs with a traceback is a bug; warnings about faults made on purpose are not looked at."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            current = hub.current
            if record.exc_info and current is not None and current.process.alive:
                hub.errors.append(f"{current.name} logged: {record.getMessage()}: {record.exc_info[1]!r}")

    handler = Handler(level=logging.ERROR)
    loggers = [logging.getLogger(name) for name in ("odradek", "odradek_engine", "odradek_log")]
    before = [(one.level, one.propagate) for one in loggers]
    for one in loggers:
        one.addHandler(handler)
        one.setLevel(logging.ERROR)
        one.propagate = False
    try:
        yield
    finally:
        for one, (level, propagate) in zip(loggers, before, strict=True):
            one.removeHandler(handler)
            one.setLevel(level)
            one.propagate = propagate


@contextmanager
def _steps_of(work: int) -> Iterator[None]:
    """One step of the fold does so much of a reset, and leaves the rest to others."""
    before, step.WORK = step.WORK, work
    try:
        yield
    finally:
        step.WORK = before


@contextmanager
def _quiet_gc() -> Iterator[None]:
    """Finalizers run at times that no seed knows: not during the run, and what it leaves goes right after."""
    enabled = gc.isenabled()
    gc.disable()
    gc.freeze()  # what is there before need not be looked at in the end
    try:
        yield
    finally:
        if enabled:
            gc.enable()
        gc.collect()
        gc.unfreeze()


async def _give(play: Play, stage: Stage) -> None:
    await asyncio.sleep(max(0.0, stage.rng.uniform(-5, 20) - stage.hub.now))
    await play.act(stage)
    stage.ended = True


def simulate(seed: int, scenario: Scenario | None = None, **options: Any) -> Outcome:
    """See `World`."""
    with _quiet_gc():
        return World(seed, scenario, **options).run()
