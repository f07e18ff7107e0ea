"""`odradek engine` and `odradek worker`: the two kinds of processes around a Kafka cluster."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from odradek_log import LogError, open_log

from .. import Client, Worker
from .._worker.bounded_history import DEFAULT_MAX_HISTORY_BYTES
from .failures import CommandError, ExitCode, told
from .loading import Definitions, load
from .logs import set_up
from .long_running import collect_seldom
from .options import KafkaOptions, LogFormat, LogLevel, Namespace, TaskQueue, kafka_settings
from .output import stderr
from .stopping import stop_on_signals

MIB = 1024 * 1024

Log = Annotated[
    str,
    typer.Option("--log", "--address", envvar="ODRADEK_ADDRESS", metavar="URL", help="kafka://host:port[,host:port]"),
]


def engine(
    log: Log = "",
    namespace: Namespace = "default",
    data: Annotated[
        Path, typer.Option("--data", metavar="FOLDER", help="Where the state is kept; deleted, it is rebuilt.")
    ] = Path("odradek-state"),
    partitions: Annotated[
        int, typer.Option("--partitions", min=1, max=1024, help="Of a namespace that is new.")
    ] = 16,
    standbys: Annotated[
        int, typer.Option(min=0, help="How many other engines keep up with each partition, to lead it at once.")
    ] = 0,
    checkpoints: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where copies of the state are kept: a folder, s3://bucket/prefix.")
    ] = "",
    checkpoint_every: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="How often they are made.")] = 600,
    trim: Annotated[
        bool, typer.Option("--trim", help="With --checkpoints: delete the log behind the oldest of them, for good.")
    ] = False,
    store_memory: Annotated[
        int, typer.Option(metavar="MIB", min=32, help="What RocksDB may use for the state of all its partitions.")
    ] = 256,
    folding_processes: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Fold partitions far behind in so many processes. Default: one a core, up to 4."
        ),
    ] = None,
    kafka_option: KafkaOptions = [],  # noqa: B006
    log_level: LogLevel = "info",
    log_format: LogFormat = "text",
) -> None:
    """Run an engine on Kafka. Start as many as you like: they share the partitions."""
    with told():
        set_up(log_level, log_format)
        _check(log, "engine")
        if trim and not checkpoints:
            raise CommandError(ExitCode.USAGE, "--trim needs --checkpoints: what is deleted is only there then")
        kept = (checkpoints, checkpoint_every, trim) if checkpoints else None
        asyncio.run(
            _run_engine(
                log, namespace, data, partitions, standbys, store_memory, folding_processes, kafka_option, kept
            )
        )


async def _run_engine(
    log: str,
    namespace: str,
    data: Path,
    partitions: int,
    standbys: int,
    store_memory: int,
    folding_processes: int | None,
    options: list[str],
    kept: tuple[str, float, bool] | None,
) -> None:
    from odradek_engine import (  # the other commands need not wait for it
        CheckpointError,
        CheckpointSettings,
        Engine,
        Settings,
        StoreError,
    )

    from .._schedules.worker import SchedulesOnDemand

    settings = kafka_settings(log, options)
    with stop_on_signals(": other engines take its partitions over") as stop:
        async with AsyncExitStack() as stack:
            try:
                opened = await asyncio.to_thread(open_log, log, **settings)
                stack.push_async_callback(asyncio.to_thread, opened.close)
                schedules = SchedulesOnDemand(opened, namespace)
                running = Engine(
                    log=opened, namespace=namespace, data_dir=data, partitions=partitions, on_topic=schedules.noticed,
                    standbys=standbys, checkpoints=CheckpointSettings(kept[0], kept[1], trim=kept[2]) if kept else None,
                    store_memory=store_memory * MIB, settings=Settings(folding_processes=folding_processes),
                )
                await stack.enter_async_context(running)
                await stack.enter_async_context(schedules)
            except (CheckpointError, StoreError) as error:
                raise CommandError(ExitCode.UNAVAILABLE, str(error)) from error
            except (LogError, ValueError) as error:
                raise _unreachable(log, error) from error
            stop.watch_engine(running.wait_failed)
            stderr.print(f"Engine running on {log}, namespace {namespace}, state in {data}/", soft_wrap=True)
            collect_seldom()
            await stop.wait()


def worker(
    modules: Annotated[list[str], typer.Argument(metavar="MODULE...", help="Modules or files with workflows.")],
    log: Log = "",
    task_queue: TaskQueue = "default",
    namespace: Namespace = "default",
    max_concurrent_activities: Annotated[int, typer.Option(min=1, help="More wait for their turn.")] = 100,
    max_history: Annotated[
        int, typer.Option(min=1, metavar="MIB", help="Longer histories are not replayed: their workflows wait.")
    ] = DEFAULT_MAX_HISTORY_BYTES // MIB,
    build_id: Annotated[
        str,
        typer.Option(
            metavar="ID", help="The version of the code; what is current, `odradek deployment set-current` says."
        ),
    ] = "",
    versioning: Annotated[
        str, typer.Option(metavar="HOW", help="With a build ID: pinned (to the build it began on) or auto_upgrade.")
    ] = "pinned",
    kafka_option: KafkaOptions = [],  # noqa: B006
    log_level: LogLevel = "info",
    log_format: LogFormat = "text",
) -> None:
    """Run a worker on Kafka, with all workflows and activities that the modules define or import."""
    with told():
        set_up(log_level, log_format)
        _check(log, "worker")
        definitions = load(modules)
        for warning in definitions.warnings:
            stderr.print(f"[yellow]Warning:[/] {warning}")
        bounds = {"max_concurrent_activities": max_concurrent_activities, "max_history_bytes": max_history * MIB}
        terms: dict[str, Any] = {"build_id": build_id or None, "versioning": versioning, **bounds}
        if versioning not in ("pinned", "auto_upgrade"):
            raise CommandError(ExitCode.USAGE, f"--versioning is pinned or auto_upgrade, not {versioning}")
        asyncio.run(_run_worker(log, namespace, task_queue, definitions, kafka_option, terms))


async def _run_worker(
    log: str,
    namespace: str,
    task_queue: str,
    definitions: Definitions,
    options: list[str],
    terms: dict[str, Any],
) -> None:
    settings = kafka_settings(log, options)
    with stop_on_signals() as stop:
        async with Client(log, namespace=namespace, log_settings=settings) as client:
            running = Worker(
                client,
                task_queue=task_queue,
                workflows=list(definitions.workflows.values()),
                activities=list(definitions.activities.values()),
                **terms,
            )
            serving = asyncio.ensure_future(running.run())
            serving.add_done_callback(lambda task: stop.fail(None if task.cancelled() else task.exception()))
            names = ", ".join([*sorted(definitions.workflows), *sorted(definitions.activities)])
            on = f"task queue {task_queue}{f', build {running.build_id}' * bool(running.build_id)}"
            stderr.print(f"Worker running on {log}, {on}: {names}", soft_wrap=True)
            collect_seldom()
            try:
                await stop.wait()
            finally:
                running.shutdown()
                await asyncio.wait([serving])


def _check(log: str, command: str) -> None:
    if log.startswith("kafka://"):
        return
    if not log:
        raise CommandError(
            ExitCode.USAGE,
            f"`odradek {command}` needs the address of a Kafka cluster",
            "Give it with --log kafka://host:port, or ODRADEK_ADDRESS. Without Kafka, use `odradek dev FILE`.",
        )
    raise CommandError(
        ExitCode.USAGE,
        f"`odradek {command}` runs on Kafka, not on {log}",
        "Give --log kafka://host:port. A log in a folder is for one process: use `odradek dev FILE`.",
    )


def _unreachable(log: str, error: Exception) -> CommandError:
    if isinstance(error, ValueError):
        return CommandError(ExitCode.USAGE, f"--log {log}: {error}")
    return CommandError(
        ExitCode.UNAVAILABLE, str(error), "Check the address, and that the broker is up, then start it again."
    )
