"""`odradek dev`: everything in one process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from .connect import DEFAULT_PORT
from .failures import told
from .loading import load
from .logs import set_up
from .options import LogFormat, LogLevel, Namespace, TaskQueue
from .output import stderr


def dev(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files or modules with workflows.")],
    data: Annotated[Path, typer.Option("--data", metavar="FOLDER", help="Where the log is kept.")] = Path(
        "odradek-data"
    ),
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Of the HTTP server, on loopback. 0: any.")
    ] = DEFAULT_PORT,
    namespace: Namespace = "default",
    task_queue: TaskQueue = "default",
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
) -> None:
    """Run everything in one process: engine, workers, and a server for the other commands.

    The log is a folder: stop this process, or kill it, and start it again, and all workflows go on. Every task
    queue that comes into use is served with all that FILE defines. Nothing starts by itself: use
    `odradek workflow start`.
    """
    from .dev_process import DevSettings, run  # only here: the other commands need not wait for its imports

    with told():
        set_up(log_level, log_format)
        definitions = load(files)
        for warning in definitions.warnings:
            stderr.print(f"[yellow]Warning:[/] {warning}")
        asyncio.run(run(files, definitions, DevSettings(data, namespace, task_queue, port)))
