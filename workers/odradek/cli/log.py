"""`odradek log ...`: look at a log's records, compare the stored state with it, fold it again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from odradek_log import Log, LogLockedError, Record, TopicPartition, open_log
from odradek_log.embedded.snapshot import snapshot
from odradek_schemas import DecodeError, Topics, decode, to_json
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from .connect import existing_folder, running_process_told
from .failures import CommandError, ExitCode, told
from .logs import set_up
from .long_running import collect_seldom
from .options import AsJson, KafkaOptions, Namespace, kafka_settings
from .output import compact, cut, print_json, stderr, stdout

if TYPE_CHECKING:  # imported where they are used: the other commands need not wait for them
    from odradek_engine.checkpoints import CheckpointStore
    from odradek_engine.folding import Folded, Refolded
    from odradek_engine.maintenance import Verified

app = typer.Typer(no_args_is_help=True, help="Look at a log's records; verify or rebuild the state folded from it.")

_DETAILS_LIMIT = 120

Target = Annotated[
    str,
    typer.Argument(
        metavar="LOG", envvar="ODRADEK_ADDRESS", help="kafka://host:port, file:./folder, or a folder's path."
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="FOLDER", help="Where the state is. Of a folder: its `state` by default."),
]

Checkpoints = Annotated[
    str,
    typer.Option("--checkpoints", metavar="ADDRESS", help="Of a log that was trimmed: the checkpoints to begin from."),
]
Processes = Annotated[
    int,
    typer.Option(metavar="N", min=0, help="Fold in so many at a time. 0: one for each core, if there is work for it."),
]


def log_address(target: str) -> tuple[str, Path | None]:
    """The address of a log that may be given as a folder, and the folder. Raises CommandError if there is none."""
    address = target if "://" in target or target.startswith("file:") else f"file:{target}"
    return address, existing_folder(address) if address.startswith("file:") else None


@contextmanager
def opened_to_read(target: str, options: list[str]) -> Iterator[Log]:
    """The log; a folder that is open in another process as it stands now."""
    address, folder = log_address(target)
    if folder is None or options:
        with opened(target, options) as (log, _):
            yield log
        return
    with ExitStack() as stack:
        try:
            own = stack.enter_context(closing(open_log(address)))
        except LogLockedError:
            own = stack.enter_context(snapshot(folder))
        yield own


@contextmanager
def opened(target: str, options: list[str]) -> Iterator[tuple[Log, Path | None]]:
    """The log, and where its state is if it is a folder."""
    address, folder = log_address(target)
    try:
        settings = kafka_settings(address, options)
        with running_process_told(address, "stop it first"):
            log = open_log(address, **settings)
    except ValueError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from None
    with closing(log):
        yield log, None if folder is None else folder / "state"


# ---------------------------------------------------------------- dump


@app.command()
def dump(
    target: Target,
    topic: Annotated[
        str, typer.Option(metavar="NAME", help="events, history, dead-letters, activity-tasks.QUEUE, ...")
    ] = "events",
    partition: Annotated[int, typer.Option(metavar="N", min=-1, help="Without it: all, one after another.")] = -1,
    start: Annotated[int, typer.Option("--from", metavar="OFFSET", min=0, help="The first offset.")] = 0,
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="So many records at most. 0: all.")] = 0,
    namespace: Namespace = "default",
    kafka_option: KafkaOptions = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Print the records of a topic, decoded. The same for every kind of log; a folder may be in use."""
    with told(as_json):
        set_up("error", "text")
        with opened_to_read(target, kafka_option) as log:
            records = _records(log, Topics(namespace).prefix + topic, partition, start)
            for record in islice(records, limit or None):
                _print_record(record, as_json)


def _records(log: Log, topic: str, partition: int, start: int) -> Iterator[Record]:
    from odradek_engine import whole_partitions

    count = whole_partitions.partitions_of(log, topic)
    if partition >= count:
        raise CommandError(ExitCode.USAGE, f"topic {topic} has the partitions 0 to {count - 1}, not {partition}")
    for number in range(count) if partition < 0 else [partition]:
        here = TopicPartition(topic, number)
        first, end = log.offsets(here)
        yield from whole_partitions.read_partition(log, here, max(first, start), end)


def _print_record(record: Record, as_json: bool) -> None:
    shown: dict[str, Any]
    try:
        shown = to_json(decode(record.value))
    except DecodeError as error:
        shown = {"type": "?", "error": str(error), "hex": record.value.hex()}
    at = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds")
    if as_json:
        place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        key = record.key.decode(errors="backslashreplace")
        print_json({**place, "time": at.replace("+00:00", "Z"), "key": key, "record": shown})
        return
    line = Text(f"{record.partition}:{record.offset}  ", "dim")
    line.append(f"{at[11:23]}Z  ", "dim")
    line.append(shown.pop("type"), "bold")
    kept = {name: value for name, value in shown.items() if value not in (None, "", [], {}, 0)}
    line.append(f"  {cut(_fields(kept), _DETAILS_LIMIT) if sys.stdout.isatty() else _fields(kept)}")
    stdout.print(line, soft_wrap=True)


def _fields(values: dict[str, Any]) -> str:
    return "  ".join(f"{name}={compact(value)}" for name, value in values.items())


# ---------------------------------------------------------------- verify and rebuild


class _Share(ProgressColumn):
    """How many records of how many."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f} of {task.total or 0:,.0f} records")


class _Rates(ProgressColumn):
    """Events of workflows a second, since it began."""

    def render(self, task: Task) -> Text:
        seconds = task.elapsed or 0
        if not seconds or not task.completed:
            return Text("")
        return Text(f"{task.fields['events'] / seconds:,.0f} events/s", "dim")


@contextmanager
def progress_bar(text: str, total: int, as_json: bool) -> Iterator[Callable[[Folded], None]]:
    """A bar on stderr, where a person looks at it: records of how many, how fast, and how long it will go on."""
    whole = [Column(no_wrap=True) for _ in range(5)]  # the bar has what room is left in the line
    columns = (
        TextColumn(text, table_column=whole[0]), BarColumn(None), _Share(whole[1]), _Rates(whole[2]),
        TimeRemainingColumn(table_column=whole[3]), TextColumn("left", table_column=whole[4]),
    )  # fmt: skip
    disable = as_json or not sys.stderr.isatty()
    with Progress(*columns, console=stderr, transient=True, expand=True, disable=disable) as progress:
        task = progress.add_task(text, total=total, events=0)

        def advance(folded: Folded) -> None:
            progress.update(task, advance=folded.records, events=progress.tasks[task].fields["events"] + folded.events)

        yield advance


def _data_dir(given: Path | None, beside: Path | None) -> Path:
    found = given or beside
    if found is None:
        raise CommandError(
            ExitCode.USAGE,
            "where is the state? On Kafka it is on the machine of the engine",
            "Give the folder of `odradek engine --data FOLDER` with --data-dir FOLDER.",
        )
    return found


@contextmanager
def _store_errors() -> Iterator[None]:
    from odradek_engine import CheckpointError, StoreError
    from odradek_engine.fold import UnsupportedVersionError

    try:
        yield
    except (CheckpointError, StoreError, UnsupportedVersionError) as error:
        raise CommandError(ExitCode.UNAVAILABLE, str(error)) from error


@app.command()
def verify(
    target: Target,
    data_dir: DataDir = None,
    checkpoints: Checkpoints = "",
    processes: Processes = 0,
    namespace: Namespace = "default",
    kafka_option: KafkaOptions = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Fold the log from zero, and compare with the stored state byte for byte. Changes nothing; it may be in use."""
    from odradek_engine import maintenance, whole_partitions

    with told(as_json), _store_errors():
        set_up("error", "text")
        collect_seldom()
        _, own = log_address(target)
        folder = _data_dir(data_dir, own and own / "state")
        stores = maintenance.open_stores(namespace, folder)  # first, so that the log is not behind them
        with opened_to_read(target, kafka_option) as log:
            total = whole_partitions.count_records(log, namespace)
            with progress_bar("Verifying", total, as_json) as advance:
                kept = _store_at(checkpoints)
                found = list(maintenance.verify(log, namespace, folder, advance, stores, kept, processes))
    results = sorted(found, key=lambda result: result.partition)
    if as_json:
        print_json({"ok": all(r.ok for r in results), "partitions": [_verified_json(r) for r in results]})
    else:
        _print_verified(results)
    raise typer.Exit(ExitCode.OK if all(r.ok for r in results) else ExitCode.FAILED)


def _verified_json(result: Verified) -> dict[str, Any]:
    return {
        "partition": result.partition,
        "begun_at": result.begun_at,
        "records": result.records,
        "rows": result.rows,
        "differing": result.differing,
        "problems": result.problems,
        "examples": [
            {"table": d.table, "key": d.name, "stored": _hex(d.stored), "folded": _hex(d.folded)}
            for d in result.examples
        ],
    }


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _print_verified(results: list[Verified]) -> None:
    for result in results:
        for problem in result.problems:
            stdout.print(Text(f"partition {result.partition}: {problem}", "red"), soft_wrap=True)
        for difference in result.examples:
            title = f"partition {result.partition}: {difference.table} {difference.name}"
            stdout.print(Text(title, "red"), soft_wrap=True)
            for name, value in (("stored", difference.stored), ("folded", difference.folded)):
                row = "nothing" if value is None else str(difference.row(value))
                stdout.print(Text(f"  {name}: {cut(row, 500)}"), soft_wrap=True)
        more = result.differing - len(result.examples)
        if more > 0:
            stdout.print(f"partition {result.partition}: {more:,} further rows differ")
    records, rows = sum(r.records for r in results), sum(r.rows for r in results)
    bad = [r for r in results if not r.ok]
    checked = f"{records:,} records folded into {rows:,} rows, in {len(results)} partitions{_begun(results)}"
    if bad:
        stdout.print(f"[bold red]Not the same[/] in {len(bad)} partitions ({checked}).")
        stdout.print("The log is the truth: `odradek log rebuild` folds the state again. Please report the difference.")
    else:
        stdout.print(f"[bold green]The same[/], byte for byte: {checked}.")


@app.command()
def rebuild(
    target: Target,
    data_dir: DataDir = None,
    checkpoints: Checkpoints = "",
    processes: Processes = 0,
    namespace: Namespace = "default",
    kafka_option: KafkaOptions = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Fold the log again into a new state, in place of the stored one. No engine may have it open."""
    from odradek_engine import maintenance, whole_partitions

    with told(as_json), _store_errors():
        set_up("error", "text")
        collect_seldom()
        with opened(target, kafka_option) as (log, beside):
            folder = _data_dir(data_dir, beside)
            total = whole_partitions.count_records(log, namespace)
            began = datetime.now(UTC)
            with progress_bar("Rebuilding", total, as_json) as advance:
                kept = _store_at(checkpoints)
                results = list(maintenance.rebuild(log, namespace, folder, advance, kept, processes))
            seconds = (datetime.now(UTC) - began).total_seconds()
    found = {name: sum(getattr(r, name) for r in results) for name in ("records", "events", "rows")}
    if as_json:
        print_json({"partitions": len(results), **found, "seconds": round(seconds, 3)})
        return
    records, events, rows = found.values()
    took = f"in {seconds:,.1f} s ({records / seconds:,.0f} records/s, {events / seconds:,.0f} events/s)"
    made = f"{records:,} records with {events:,} events of workflows, folded into {rows:,} rows"
    stdout.print(f"Rebuilt {len(results)} partitions{_begun(results)}: {made} {took}.")


def _begun(results: Sequence[Verified | Refolded]) -> str:
    """What to say where the log has no beginning any more."""
    begun = sum(result.begun_at > 0 for result in results)
    return f" ({begun} of them from checkpoints, as the log was trimmed)" if begun else ""


def _store_at(address: str) -> CheckpointStore | None:
    from odradek_engine import CheckpointStore

    return CheckpointStore(address) if address else None


# ---------------------------------------------------------------- trim


@app.command()
def trim(
    target: Target,
    checkpoints: Annotated[
        str, typer.Option("--checkpoints", metavar="ADDRESS", help="Where they are: a folder, s3://bucket/prefix ...")
    ],
    with_history: Annotated[
        bool, typer.Option("--with-history", help="Of a folder: the public history and dead letters beside them, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    namespace: Namespace = "default",
    kafka_option: KafkaOptions = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Delete the records of `events` that the oldest checkpoint of each partition makes unnecessary, for good.

    The checkpoints are read back first; if any partition has no good one, nothing is deleted. From then on, whoever has
    no state of a partition begins from a checkpoint: engines, `log verify` and `log rebuild` need --checkpoints.
    """
    from odradek_engine import maintenance

    with told(as_json), _store_errors():
        set_up("error", "text")
        store = _store_at(checkpoints)
        assert store is not None
        if not yes and not as_json:
            typer.confirm("What is deleted from the log is only in the checkpoints. Go on?", abort=True)
        with opened(target, kafka_option) as (log, beside):
            if with_history and beside is None:
                raise CommandError(ExitCode.USAGE, "On Kafka, set the retention of the topic history instead")
            trimmed = maintenance.trim(log, namespace, store, with_history)
    if as_json:
        print_json([
            {"partition": t.partition, "before": t.before, "first": t.first, "checkpoint": t.checkpoint}
            for t in trimmed
        ])  # fmt: skip
        return
    gone = sum(t.first - t.before for t in trimmed)
    kept = sum(t.checkpoint - t.first for t in trimmed)
    stdout.print(f"{gone:,} records deleted, in {len(trimmed)} partitions.")
    if kept:
        stdout.print(f"{kept:,} more share files with what is kept; those go as a whole. See --with-history.")


__all__ = ["app"]
