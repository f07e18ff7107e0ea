"""The machines of a simulated cluster: where engines, workers and clients run, crash, stop and run again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from odradek import Client, DataConverter, OdradekError, Worker
from odradek._schedules.opaque import OpaqueConverter
from odradek.interceptors import Interceptor
from odradek_engine import CheckpointSettings, Engine
from odradek_engine.fold import UnsupportedVersionError
from odradek_engine.settings import Settings
from odradek_engine.store import StoreError
from odradek_log import LogError

from .disk import Disk
from .hosted_log import ClusterLog, HostedProcess
from .hub import Hub, Process
from .loop import SimLoop

NAMESPACE = "test"
SESSION_S = 6.0
"""The group takes a member for dead that has not been heard of for so long."""

RESTART_S = (0.2, 4.0)
"""A supervisor starts a program again after so long."""


class Machine:
    """A place for one process at a time. `life` counts them."""

    def __init__(self, hub: Hub, log: ClusterLog, name: str) -> None:
        self.hub = hub
        self.cluster_log = log
        self.name = name
        self.life = 0
        self.stopping = False
        self.begin()

    def begin(self) -> None:
        """A new process."""
        self.life += 1
        self.stopping = False
        self.process = Process(self.hub, f"{self.name}.{self.life}")
        self.log = HostedProcess(self.cluster_log, self.process)
        self.hub.note("boot", self.process.name)
        self.boot()

    @property
    def up(self) -> bool:
        return self.process.alive

    def boot(self) -> None:
        raise NotImplementedError

    def crash(self) -> None:
        """The process is gone at once; its groups notice later, and a supervisor starts it again."""
        if not self.up:
            return
        self.hub.note("crash", self.process.name)
        self._gone()
        log, delay = self.log, self.hub.rng.uniform(0.5, SESSION_S)
        self.hub.at(self.hub.now + delay, log.expel)

    def exited(self) -> None:
        """The process has ended by itself."""
        if self.up:
            self.hub.note("exit", self.process.name)
            self._gone()
            self.log.expel()

    def _gone(self) -> None:
        self.hub.kill(self.process)
        self.log.crash()
        life = self.life

        def again() -> None:
            if self.life == life:
                self.begin()

        self.hub.at(self.hub.now + self.hub.rng.uniform(*RESTART_S), again)

    def pause(self, seconds: float) -> None:
        """The process stands still for a while; if that is long, its groups give its partitions to others."""
        if not self.up or self.process.paused:
            return
        self.hub.note("pause", self.process.name)
        process, log = self.process, self.log
        process.stand_still(True)
        log.pause(True)
        if seconds > SESSION_S:
            self.hub.at(self.hub.now + SESSION_S, lambda: log.expel() if process.paused else None)

        def resume() -> None:
            self.hub.note("resume", process.name)
            process.stand_still(False)
            if process.alive:
                log.pause(False)

        self.hub.at(self.hub.now + seconds, resume)

    def cut_off(self, seconds: float) -> None:
        """What it sends stays in the network for a while."""
        if not self.up or self.log.stalled:
            return
        log, process = self.log, self.process
        log.stall(True)
        self.hub.at(self.hub.now + seconds, lambda: log.stall(False) if process.alive else None)

    def stop(self) -> None:
        """Asked to end in order."""


class EngineMachine(Machine):
    def __init__(
        self,
        hub: Hub,
        log: ClusterLog,
        name: str,
        partitions: int,
        settings: Settings,
        standbys: int,
        folder: Path,
        checkpoints: CheckpointSettings | None,
        syncs: float,
    ) -> None:
        self._folder = folder
        self._checkpoints = checkpoints
        self.disk = Disk(hub.rng, folder, syncs)
        self._standbys = standbys
        self._partitions = partitions
        self.settings = settings
        super().__init__(hub, log, name)

    def boot(self) -> None:
        self.engine: Engine | None = None
        self.process.spawn("main", self._main)

    def _main(self) -> None:
        engine = self.engine = Engine(
            log=self.log,
            namespace=NAMESPACE,
            data_dir=self._folder,
            checkpoints=self._checkpoints,
            partitions=self._partitions,
            settings=self.settings,
            standbys=self._standbys,
            open_storage=self.disk.opener(self.process),
        )
        engine.start()
        failure = engine.wait_failed()
        if failure is not None:
            disk = any(text in str(failure) for text in ("no space left", "input/output error", "is damaged"))
            expected = (disk and isinstance(failure, StoreError)) or isinstance(failure, UnsupportedVersionError)
            if not expected and not self._is_too_old(failure):
                self.hub.errors.append(f"{self.process.name} failed: {type(failure).__name__}: {failure}")
            self.exited()
            self.hub.give_way()

    def _is_too_old(self, failure: BaseException) -> bool:
        """Whether it could begin only from a checkpoint of newer code, behind which the log was trimmed."""
        if self._checkpoints is None or "upgrade" not in str(failure):
            return False
        made = []
        for manifest in Path(self._checkpoints.address).rglob("*.json"):
            with suppress(ValueError):  # some were damaged
                made.append(json.loads(manifest.read_bytes())["version"])
        return max(made, default=0) > self.settings.fold_version

    def becomes(self, version: int) -> None:
        """It is stopped, and goes on with the program of another fold version."""
        self.settings = replace(self.settings, fold_version=version)
        self.stop()

    def stop(self) -> None:
        engine = self.engine
        if self.stopping or engine is None or not self.up:
            return
        self.stopping = True

        def end() -> None:
            engine.stop()
            self.exited()
            self.hub.give_way()

        self.process.spawn("stop", end)


class AsyncMachine(Machine):
    """A process whose main function is a coroutine. max_record_bytes: what it takes for the log's limit; default: what
    that is."""

    def __init__(
        self,
        hub: Hub,
        log: ClusterLog,
        name: str,
        main: Callable[[AsyncMachine], Awaitable[bool]],
        interceptors: Sequence[Interceptor] = (),
        max_record_bytes: int = 0,
    ) -> None:
        self._max_record_bytes = max_record_bytes or log.max_record_bytes
        self._main = main
        self._interceptors = interceptors
        self.finished = False
        super().__init__(hub, log, name)

    def boot(self) -> None:
        self.log.max_record_bytes = self._max_record_bytes
        self.loop = SimLoop(self.process)
        self.asked_to_stop = False
        self.workers: list[Worker] = []
        self.loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            self.finished = await self._main(self)
        except (OdradekError, LogError) as error:
            self.hub.note("failed", self.process.name, error)
            self.hub.happened[f"{self.name.rstrip('0123456789')} ended by {type(error).__name__}"] += 1
        except Exception as error:
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            self.hub.errors.append(f"{self.process.name} failed: {type(error).__name__}: {error}")
        if not self.finished:
            self.exited()

    @property
    def session_ids(self) -> set[str]:
        """The sessions under which its workers are known."""
        return {worker._running._session.id for worker in self.workers if worker._running is not None}

    def client(self, converter: DataConverter | None = None) -> Client:
        """Those of schedules have no interceptors, as in production."""
        return Client(
            self.log, namespace=NAMESPACE, identity=self.name, data_converter=converter or DataConverter(),
            interceptors=() if isinstance(converter, OpaqueConverter) else self._interceptors,
        )  # fmt: skip

    def stop(self) -> None:
        if self.workers and self.up and not self.stopping:
            self.stopping = True
            for worker in self.workers:
                self.loop.call_soon(worker.shutdown)


class Job(NamedTuple):
    """A worker that a machine is to run. converter: of its client."""

    queue: str
    workflows: list[Any]
    activities: list[Any]
    options: dict[str, Any]
    converter: Callable[[], DataConverter] | None = None


def worker_main(jobs: Callable[[AsyncMachine], list[Job]]) -> Callable[[AsyncMachine], Coroutine[Any, Any, bool]]:
    """What a worker process does: it runs its workers until it is stopped."""

    async def main(machine: AsyncMachine) -> bool:
        async with AsyncExitStack() as stack:
            for job in jobs(machine):
                converter = job.converter() if job.converter is not None else None
                client = await stack.enter_async_context(machine.client(converter))
                options = {name: value for name, value in job.options.items() if name != "converter"}
                worker = Worker(
                    client, **{"task_queue": job.queue, **options}, workflows=job.workflows,
                    activities=job.activities, identity=machine.name,
                )  # fmt: skip
                machine.workers.append(worker)
            if len(machine.workers) == 1:
                await machine.workers[0].run()
            else:
                await asyncio.gather(*(worker.run() for worker in machine.workers))
        return False

    return main


__all__ = ["AsyncMachine", "EngineMachine", "Machine", "asyncio", "worker_main"]
