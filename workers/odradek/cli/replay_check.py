"""`odradek replay-check`: code that is about to be deployed, run over the histories of the workflows that are open."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import errors
from .._converter import DataConverter
from .._export import ExportedHistory
from .._gateway import WorkflowKey, WorkflowService
from .._listing import Selection
from .connect import connect
from .failures import CommandError, ExitCode, told
from .loading import attribute, load
from .logs import set_up
from .options import Address, AnswerTimeout, AsJson, Namespace
from .output import print_json, stderr, stdout


@dataclass
class Report:
    """What was found. `replayed`: how many runs, by type. `unknown`: open runs of types that the modules lack."""

    replayed: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    differences: list[dict[str, str]] = field(default_factory=list)


def replay_check(
    targets: Annotated[list[str], typer.Argument(metavar="MODULE...", help="Modules or files with the new code.")],
    sample: Annotated[
        int, typer.Option("--sample", min=0, metavar="N", help="At most so many of each type, by chance. 0: all.")
    ] = 0,
    ids: Annotated[
        list[str], typer.Option("--id", metavar="WORKFLOW_ID", help="Only this one, open or closed; repeatable.")
    ] = [],  # noqa: B006
    ids_file: Annotated[
        Path | None, typer.Option("--ids-file", metavar="FILE", help="Only these: an ID on each line.")
    ] = None,
    data_converter: Annotated[
        str, typer.Option("--data-converter", metavar="MODULE:NAME", help="What payloads are written with.")
    ] = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Replay the open workflows with new code, before it is deployed. Ends with 1 if one of them differs."""
    with told(as_json):
        set_up("error", "text")
        workflows = load(targets).workflows
        converter = attribute(data_converter, DataConverter) if data_converter else DataConverter()
        chosen = [*ids, *_lines(ids_file)]

        async def check() -> Report:
            async with connect(address, namespace, timeout) as service:
                report = Report()
                keys = _named(chosen) if chosen or ids_file else _open(service, workflows, sample, report)
                async for key in keys:
                    _replay(await service.export(key), workflows, converter, report, as_json)
                return report

        report = asyncio.run(check())
        _print(report, as_json)
        if report.differences:
            raise typer.Exit(ExitCode.FAILED)


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        return [line.strip() for line in file.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(ExitCode.USAGE, f"cannot read {file}: {error}") from error


async def _named(workflow_ids: Sequence[str]) -> AsyncIterator[WorkflowKey]:
    for workflow_id in workflow_ids:
        yield WorkflowKey(workflow_id, None)


async def _open(
    service: WorkflowService, workflows: Mapping[str, Any], sample: int, report: Report
) -> AsyncIterator[WorkflowKey]:
    """The open runs whose type is known; with `sample`, when all are counted, so many of each type."""
    seen: Counter[str] = Counter()
    drawn: dict[str, list[WorkflowKey]] = {}
    cursor, first = "", True
    while cursor or first:
        page = await service.list(Selection(status="running"), cursor)
        cursor, first = page.cursor, False
        for run in page.workflows:
            key = WorkflowKey(run.id, run.run_id)
            if run.workflow_type not in workflows:
                report.unknown[run.workflow_type] += 1
            elif not sample:
                yield key
            else:
                seen[run.workflow_type] += 1
                _draw(drawn.setdefault(run.workflow_type, []), key, sample, seen[run.workflow_type])
    for keys in drawn.values():
        for key in keys:
            yield key


def _draw(drawn: list[WorkflowKey], key: WorkflowKey, size: int, seen: int) -> None:
    """Keep a sample of `size` of those seen so far, each as likely as the others."""
    if len(drawn) < size:
        drawn.append(key)
    elif (place := random.randrange(seen)) < size:
        drawn[place] = key


def _replay(
    history: ExportedHistory, workflows: Mapping[str, Any], converter: DataConverter, report: Report, as_json: bool
) -> None:
    from ..testing import replay as replay_history  # brings the engine with it

    if history.workflow_type not in workflows:
        report.unknown[history.workflow_type] += 1
        return
    report.replayed[history.workflow_type] += 1
    try:
        replay_history(history, workflows=[workflows[history.workflow_type]], data_converter=converter)
    except (errors.WorkflowTaskError, errors.CodecError) as error:
        cause = error if isinstance(error, errors.NonDeterminismError) else error.__cause__ or error
        what = str(error) if cause is error else f"{type(cause).__name__}: {cause}"
        about = {"workflow_id": history.workflow_id, "run_id": history.run_id, "workflow_type": history.workflow_type}
        report.differences.append({**about, "error": what})
        if not as_json:
            stderr.print(f"{history.workflow_id}:\n{what}\n", markup=False, soft_wrap=True)


def _print(report: Report, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "replayed": dict(report.replayed),
                "unknown_types": dict(report.unknown),
                "differences": report.differences,
            }
        )
        return
    differ = Counter(difference["workflow_type"] for difference in report.differences)
    for workflow_type, count in sorted(report.replayed.items()):
        wrong = differ[workflow_type]
        said = f"{wrong} of {count} differ" if wrong else f"{count} replayed, none differs"
        stdout.print(f"{workflow_type}: {said}", markup=False, soft_wrap=True)
    if not report.replayed:
        stdout.print("no open workflow of these types")
    if report.unknown:
        left = ", ".join(f"{count} of {name}" for name, count in sorted(report.unknown.items()))
        stderr.print(f"Not replayed, for the modules do not have their types: {left}", markup=False, soft_wrap=True)
