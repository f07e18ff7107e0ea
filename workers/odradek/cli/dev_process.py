"""The process behind `odradek dev`: engine, workers and HTTP server, on a log in a folder."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from odradek_engine import Engine
from odradek_schemas import Topics

from .. import Client
from .._gateway import ClientService
from .._gateway.server import serve
from .._schedules.worker import SchedulesOnDemand
from .connect import DEFAULT_PORT, HOST, SERVER_FILE, running_process_told
from .failures import CommandError, ExitCode
from .loading import Definitions, example_input
from .long_running import collect_seldom
from .output import compact, stderr, stdout
from .serving import QueueWorkers, WatchedLog
from .stopping import stop_on_signals


@dataclass(frozen=True)
class DevSettings:
    """What `odradek dev` was asked for. `port` 0: any that is free."""

    data: Path
    namespace: str
    task_queue: str
    port: int


async def run(files: list[str], definitions: Definitions, settings: DevSettings) -> None:
    address = f"file:{settings.data}"
    with stop_on_signals() as stop:
        async with AsyncExitStack() as stack:
            listener = stack.enter_context(_listening(settings.port))
            url = f"http://{HOST}:{listener.getsockname()[1]}"
            with running_process_told(address, "start your workflows there: {served}, or stop it first"):
                log = await asyncio.to_thread(WatchedLog, settings.data)
            stack.push_async_callback(asyncio.to_thread, log.close)
            namespace, state = settings.namespace, settings.data / "state"
            schedules = SchedulesOnDemand(log, namespace)
            engine = Engine(log=log, namespace=namespace, data_dir=state, on_topic=schedules.noticed)
            await stack.enter_async_context(engine)
            await stack.enter_async_context(schedules)
            stop.watch_engine(engine.wait_failed)
            client = await stack.enter_async_context(Client(log, namespace=settings.namespace))
            announced = _Announcement()
            workers = QueueWorkers(client, definitions, stop, announced.served)
            stack.push_async_callback(workers.close)
            workers.serve_all(log, Topics(settings.namespace), [settings.task_queue, *definitions.queues])
            await stack.enter_async_context(serve(ClientService(client), listener))
            stack.enter_context(_server_file(settings, url))
            announced.all(files, definitions, settings, url)
            collect_seldom()
            await stop.wait()
    stderr.print("Stopped. The same command goes on from here.")


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """A socket on loopback. Raises CommandError if the port is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(128)
        except OSError as error:
            raise CommandError(
                ExitCode.UNAVAILABLE,
                f"port {port} of {HOST} cannot be used: {error.strerror}",
                "Another `odradek dev` may have it. Choose one with --port 8000, or --port 0 for any that is free.",
            ) from error
        yield listener


@contextmanager
def _server_file(settings: DevSettings, url: str) -> Iterator[None]:
    """Say in the folder where this process can be reached, while it runs."""
    path = settings.data / SERVER_FILE
    path.write_text(json.dumps({"address": url, "namespace": settings.namespace, "pid": os.getpid()}) + "\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


class _Announcement:
    """What is shown when everything runs, and when a further queue comes into use."""

    def __init__(self) -> None:
        self._queues: list[str] = []
        self._shown = False

    def served(self, queue: str) -> None:
        self._queues.append(queue)
        if self._shown:
            stdout.print(f"[dim]Serving task queue[/] {queue}")

    def all(self, files: list[str], definitions: Definitions, settings: DevSettings, url: str) -> None:
        self._shown = True
        lines = [
            ("Workflows", ", ".join(sorted(definitions.workflows)) or "none"),
            ("Activities", ", ".join(sorted(definitions.activities)) or "none"),
            ("Task queues", ", ".join(self._queues)),
            ("Log", f"{settings.data}/"),
            ("Server", url),
        ]
        stdout.print(f"[bold]Odradek is running[/] {' '.join(files)}")
        for name, value in lines:
            stdout.print(f"  [dim]{name:<12}[/] {value}", soft_wrap=True)
        if definitions.workflows:
            stdout.print("Start a workflow from another terminal:")
            stdout.print(f"  {_start_command(definitions, settings, url)}", markup=False, soft_wrap=True)
        stdout.print("[dim]Ctrl-C stops this process; workflows go on when it is started again.[/]")
        stdout.file.flush()


def _start_command(definitions: Definitions, settings: DevSettings, url: str) -> str:
    """A command that starts the first workflow of the file."""
    name, workflow = next(iter(definitions.workflows.items()))
    parts = ["odradek", "workflow", "start", name, "--id", f"{name.lower()}-1"]
    for value in example_input(workflow):
        parts += ["--input", compact(value)]
    if not url.endswith(f":{DEFAULT_PORT}"):
        parts += ["--address", url]
    if settings.namespace != "default":
        parts += ["--namespace", settings.namespace]
    return shlex.join(parts)
