"""Completions of workflow tasks that are larger than a record may be: they come in pieces, and take effect as one.

A run keeps the pieces of a few completions, each begun with its first piece, as those of several workers may come
mixed. What becomes of a completion is decided when its last piece is there, as if it had come as one record then: what
was appended as a whole is never dropped without an answer (rules W6, W7), unless many others were begun meanwhile.
"""

from __future__ import annotations

from odradek_schemas import DecodeError, decode, history
from odradek_schemas.common import Failure
from odradek_schemas.records import (
    MAX_COMPLETION_BYTES,
    MAX_COMPLETION_PIECES,
    CompletionPiece,
    WorkflowTaskCompleted,
)

from . import completions, events, keys
from .limits import check_id
from .rows import PieceRow, RunRow
from .step import MAX_EFFECT_BYTES, Step
from .tasks import fail_task

MAX_BEGUN = 4
"""Of so many completions a run keeps pieces; the one that was begun first goes for a further one."""

_NUMBER_BYTES = 10
"""The most that a command's number, and the lengths of its texts, take in an event."""


def decide_piece(step: Step, record: CompletionPiece) -> None:
    """Keep a piece; with the last one, decide on the whole."""
    run = step.open_run(record.workflow_id, record.run_id)
    if run is None or record.id == run.base:  # accepted: this came twice
        return
    kept = _kept(step, run)
    mine = [row for row in kept if row.id == record.id]
    if mine and mine[0].count != record.count:
        if record.index != 0:
            return
        step.apply(events.PiecesDropped(run.workflow_id, run.run_id, record.id))
        mine = []
    if not mine and record.index != 0:
        return
    problem = _problem(record, mine)
    if problem:
        _refuse(step, run, record, problem)
        return
    if not mine:
        _make_room(step, run, kept)
    row = PieceRow(id=record.id, count=record.count, piece=record.piece, offset=step.source.offset)
    step.apply(events.PieceKept(run.workflow_id, run.run_id, record.index, row))
    if len(mine) + 1 < record.count:
        return  # one that is there already may have come again: then they are fewer
    mine = [row for row in _kept(step, run) if row.id == record.id]
    if len(mine) == record.count:
        _decide_whole(step, run, record, b"".join(row.piece for row in mine))


def _kept(step: Step, run: RunRow) -> list[PieceRow]:
    """The pieces that are there, those of each completion in their order."""
    now = step.run(run.workflow_id)
    if now is None or not now.pieces:
        return []
    return [row for _, row in step.state.scan(keys.of_run(keys.PIECE, run.workflow_id, run.run_id))]


def _make_room(step: Step, run: RunRow, kept: list[PieceRow]) -> None:
    """For a further completion."""
    begun: dict[str, int] = {}
    for row in kept:
        begun[row.id] = min(row.offset, begun.get(row.id, row.offset))
    if len(begun) >= MAX_BEGUN:
        step.apply(events.PiecesDropped(run.workflow_id, run.run_id, min(begun, key=lambda id: (begun[id], id))))


def _problem(record: CompletionPiece, mine: list[PieceRow]) -> str:
    """Why a piece cannot be kept with those of its completion; empty if it can (rule E6)."""
    try:
        check_id("id", record.id)
    except ValueError as error:
        return str(error)
    if not 1 <= record.count <= MAX_COMPLETION_PIECES or not 0 <= record.index < record.count:
        return f"piece {record.index} of {record.count}: they count from 0, and are {MAX_COMPLETION_PIECES} at most"
    size = len(record.piece) + sum(len(row.piece) for row in mine)
    if size > MAX_COMPLETION_BYTES:
        return f"a completion of {size:,} bytes or more; it may have {MAX_COMPLETION_BYTES:,}"
    return ""


def _decide_whole(step: Step, run: RunRow, last: CompletionPiece, value: bytes) -> None:
    step.apply(events.PiecesDropped(run.workflow_id, run.run_id, last.id))
    try:
        record = decode(value)
    except DecodeError as error:
        _refuse(step, run, last, f"the pieces are no record: {error}")
        return
    whole = isinstance(record, WorkflowTaskCompleted) and (record.workflow_id, record.run_id, record.id, record.base)
    if not isinstance(record, WorkflowTaskCompleted) or whole != (last.workflow_id, last.run_id, last.id, last.base):
        _refuse(step, run, last, "the pieces are another record than they say")
        return
    kept = [history.summarize(command) for command in record.commands]
    if sum(len(command.kind) + len(command.name.encode()) + _NUMBER_BYTES for command in kept) > MAX_EFFECT_BYTES:
        _refuse(step, run, last, f"{len(record.commands):,} commands are too many for one event of the history")
        return
    completions.decide_task_completed(step, record)


def _refuse(step: Step, run: RunRow, record: CompletionPiece, problem: str) -> None:
    """The task is tried again (rule W7), if the completion would have counted."""
    if any(row.id == record.id for row in _kept(step, run)):
        step.apply(events.PiecesDropped(run.workflow_id, run.run_id, record.id))
    now = step.run(run.workflow_id)
    if now is not None and record.base == now.base:
        fail_task(step, now, Failure(message=problem, type="InvalidCommands", kind="server"), "invalid")
