"""`odradek checkpoint ...`: copies of the state outside of the machine, made, listed and read back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from .failures import CommandError, ExitCode, told
from .log import Target, opened, progress_bar
from .logs import set_up
from .options import AsJson, KafkaOptions, Namespace
from .output import print_json, stdout

if TYPE_CHECKING:  # imported where they are used: the other commands need not wait for them
    from odradek_engine.checkpoints import Checkpoint, CheckpointStore

app = typer.Typer(no_args_is_help=True, help="Make, list and check copies of the state, from which engines begin.")

Store = Annotated[
    str, typer.Option("--store", metavar="ADDRESS", help="A folder, s3://bucket/prefix, gs://... or az://...")
]


@contextmanager
def _store_at(address: str) -> Iterator[CheckpointStore]:
    from odradek_engine import CheckpointError, CheckpointStore, StoreError

    try:
        yield CheckpointStore(address)
    except (CheckpointError, StoreError) as error:
        raise CommandError(ExitCode.UNAVAILABLE, str(error)) from error


@app.command()
def create(
    target: Target,
    store: Store,
    namespace: Namespace = "default",
    kafka_option: KafkaOptions = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Make a checkpoint of every partition: the newest one, and what the log has after it. Needs no engine."""
    from odradek_engine import maintenance, whole_partitions

    with told(as_json):
        set_up("error", "text")
        with _store_at(store) as checkpoints, opened(target, kafka_option) as (log, _):
            total = whole_partitions.count_records(log, namespace)
            with progress_bar("Folding", total, as_json) as advance:
                made = list(maintenance.make_checkpoints(log, namespace, checkpoints, advance))
    new = [one for _, one in made if one is not None]
    if as_json:
        print_json([_shown(one) for one in new])
        return
    size = sum(one.size for one in new)
    stdout.print(f"{len(new)} checkpoints made ({size:,} bytes), {len(made) - len(new)} partitions had nothing new.")


@app.command("list")
def list_(store: Store, namespace: Namespace = "default", as_json: AsJson = False) -> None:
    """The checkpoints that there are, the newest of each partition first."""
    from odradek_engine import CheckpointError

    found: list[Checkpoint] = []
    problems: list[dict[str, Any]] = []
    with told(as_json), _store_at(store) as checkpoints:
        for entry in checkpoints.entries(namespace):
            try:
                found.append(checkpoints.read(entry))
            except CheckpointError as error:
                problems.append({"partition": entry.partition, "position": entry.position, "problem": str(error)})
    if as_json:
        print_json([*map(_shown, found), *problems])
        return
    table = Table("partition", "position", "made at", "fold version", "files", "bytes")
    for one in found:
        cells = (one.partition, f"{one.position:,}", _time(one), one.version, len(one.files), f"{one.size:,}")
        table.add_row(*map(str, cells))
    stdout.print(table if found else f"There are no checkpoints of namespace {namespace} at {store}.")
    for problem in problems:
        stdout.print(f"[red]{problem['problem']}[/]", soft_wrap=True)


@app.command()
def verify(store: Store, namespace: Namespace = "default", as_json: AsJson = False) -> None:
    """Read every checkpoint back: its files are what they were, and hold the state that they should."""
    from odradek_engine.checkpoints import CheckpointError
    from odradek_engine.restoring import CheckpointedStates

    problems, good = [], 0
    with told(as_json), _store_at(store) as checkpoints:
        states = CheckpointedStates(checkpoints, namespace)
        for entry in checkpoints.entries(namespace):
            with tempfile.TemporaryDirectory(prefix="odradek-checkpoint-") as scratch:
                try:
                    states.check(checkpoints.read(entry), Path(scratch) / "state")
                    good += 1
                except CheckpointError as error:
                    problems.append({"partition": entry.partition, "position": entry.position, "problem": str(error)})
    if as_json:
        print_json({"good": good, "problems": problems})
    else:
        for problem in problems:
            stdout.print(f"[red]{problem['problem']}[/]", soft_wrap=True)
        stdout.print(f"{good} checkpoints are good, {len(problems)} are not. Engines leave those out.")
    raise typer.Exit(ExitCode.FAILED if problems else ExitCode.OK)


def _shown(one: Checkpoint) -> dict[str, Any]:
    return {
        "partition": one.partition,
        "position": one.position,
        "made_at": _time(one),
        "version": one.version,
        "files": len(one.files),
        "bytes": one.size,
    }


def _time(one: Checkpoint) -> str:
    return datetime.fromtimestamp(one.made_at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


__all__ = ["app"]
