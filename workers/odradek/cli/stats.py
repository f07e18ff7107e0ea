"""`odradek stats`: how many workflows of each type started, completed and failed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from .connect import running_process_told
from .failures import CommandError, ExitCode, told
from .log import Target, log_address
from .logs import set_up
from .options import AsJson, KafkaOptions, LogFormat, LogLevel, Namespace, kafka_settings
from .output import plain_table, print_json, stderr, stdout

if TYPE_CHECKING:  # imported where it is used: the other commands need not wait for it
    from odradek_engine.stats import Stats

_COLUMNS = ("started", "open", "completed", "failed", "cancelled", "terminated", "timed_out")


def stats(
    target: Target,
    keep: Annotated[
        bool, typer.Option("--keep", help="On Kafka: be the process that counts, until it is stopped.")
    ] = False,
    data: Annotated[
        Path, typer.Option("--data", metavar="FOLDER", help="Where --keep has its table; deleted, it is refilled.")
    ] = Path("odradek-stats"),
    namespace: Namespace = "default",
    kafka_option: KafkaOptions = [],  # noqa: B006
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
    as_json: AsJson = False,
) -> None:
    """Show how many workflows of each type started, and how they ended.

    On Kafka a process of its own counts (`odradek stats --keep`); a log in a folder is counted here and now.
    """
    from odradek_engine.stats import StatsError, read_stats, run_stats

    with told(as_json):
        set_up(log_level, log_format)
        address, _ = log_address(target)
        settings = kafka_settings(address, kafka_option)
        try:
            if keep:
                ready = lambda: stderr.print(f"Counting {address}, namespace {namespace}", soft_wrap=True)  # noqa: E731
                run_stats(address, namespace, data, log_settings=settings, on_ready=ready)
                return
            with running_process_told(address, "stop it first"):
                found = read_stats(address, namespace, log_settings=settings)
        except StatsError as error:
            hint = "" if keep else "`odradek stats --keep` is the process that counts on Kafka."
            raise CommandError(ExitCode.UNAVAILABLE, str(error), hint) from error
        except ValueError as error:
            raise CommandError(ExitCode.USAGE, str(error)) from None
    if as_json:
        print_json(_json(found))
    else:
        _print(found)


def _json(found: Stats) -> dict[str, Any]:
    types = {name: {column: getattr(counts, column) for column in _COLUMNS} for name, counts in found.types.items()}
    return {"types": types, "behind": found.behind}


def _print(found: Stats) -> None:
    table = plain_table()
    table.add_column("Workflow type")
    for column in _COLUMNS:
        table.add_column(column.replace("_", " ").capitalize(), justify="right")
    for name, counts in found.types.items():
        table.add_row(Text(name), *(f"{getattr(counts, column):,}" for column in _COLUMNS))
    stdout.print(table)
    if found.behind:
        stdout.print(f"[yellow]{found.behind:,} records of history are not counted yet.[/]")
