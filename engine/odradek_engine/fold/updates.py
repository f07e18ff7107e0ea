"""Updates: messages with an answer. They wait outside history until a worker has looked at them.

A worker accepts an update, which is then an event of history, or rejects it, which leaves nothing. Each gets exactly
one answer: its result, its failure, a rejection, or "closed" where the run ends first (rule W3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from odradek_schemas import commands, encode, history
from odradek_schemas.common import Failure, Payload, Request
from odradek_schemas.records import RejectedUpdate, StartWorkflow, UpdateWorkflow, WorkflowTaskCompleted
from odradek_schemas.tasks import PendingUpdate

from . import events, keys
from .limits import check_id, payload_bytes, shorten
from .rows import RequestRow, RunRow, UpdateRow
from .step import Step

MAX_UPDATE_BYTES = 400_000
"""An update with larger arguments is refused: it travels in a workflow task beside new events."""

MAX_TASK_UPDATE_BYTES = 256_000
"""Updates beyond this wait for the next task."""


def check_update(
    record: StartWorkflow | UpdateWorkflow, name: str, input: Sequence[Payload], wait_for: str
) -> None:
    """Raise ValueError for an update that cannot be taken."""
    check_id("update", name)
    if record.request is None:
        raise ValueError("an update needs a request with an ID: nobody would get its answer")
    if wait_for not in ("accepted", "completed"):
        raise ValueError(f"wait_for {wait_for!r}: use accepted or completed")
    size = sum(map(payload_bytes, [*input, *record.headers.values()]))
    if size > MAX_UPDATE_BYTES:
        raise ValueError(f"an update's arguments have {size:,} bytes, it may have {MAX_UPDATE_BYTES:,}")


# ---------------------------------------------------------------- asking


def ask_update(
    step: Step,
    run: RunRow,
    request: Request,
    name: str,
    input: Sequence[Payload],
    headers: Mapping[str, Payload],
    wait_for: str,
    identity: str,
) -> int:
    """Keep an update until a worker looks at it; its number in the run."""
    row = UpdateRow(
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        seq=run.last_update_seq + 1,
        update_id=request.request_id,
        update=name,
        after_event_id=run.last_event_id,
        time_ms=step.now,
        input=list(input),
        headers=dict(headers),
        client_id=request.client_id,
        reply_partition=request.reply_partition,
        wait_for=wait_for,
        identity=identity,
    )
    step.apply(events.UpdateAsked(row))
    return row.seq


def wait_again(step: Step, workflow_id: str, known: RequestRow, request: Request, wait_for: str) -> None:
    """A request for an update that is open came again: the answer goes to whoever asked last."""
    row = step.state.row(keys.update(workflow_id, known.run_id, known.update_seq), UpdateRow)
    if row is None:
        step.reply(request, "closed", known.run_id, "the run closed before it answered the update")
        return
    asked = msgspec.structs.replace(
        row, client_id=request.client_id, reply_partition=request.reply_partition, wait_for=wait_for
    )
    if asked != row:
        step.apply(events.UpdateAsked(asked))
    if row.accepted and wait_for == "accepted":
        step.reply(request, "accepted", row.run_id)


def pending_updates(step: Step, run: RunRow) -> tuple[list[PendingUpdate], int]:
    """The updates for the next workflow task, in the order in which they came, and up to which event it goes.

    One that does not fit is for the task after that; so are the events that came after it.
    """
    found: list[PendingUpdate] = []
    size = 0
    if not run.pending_updates:
        return found, run.last_event_id
    for row in open_updates(step, run):
        if row.accepted:
            continue
        update = PendingUpdate(
            seq=row.seq,
            update_id=row.update_id,
            update=row.update,
            after_event_id=row.after_event_id,
            time_ms=row.time_ms,
            input=row.input,
            headers=row.headers,
        )
        size += len(encode(update))
        if found and size > MAX_TASK_UPDATE_BYTES:
            return found, max(row.after_event_id, run.consumed_through)
        found.append(update)
    return found, run.last_event_id


def open_updates(step: Step, run: RunRow) -> list[UpdateRow]:
    """The updates of a run without an answer, in the order in which they came."""
    if not run.open_updates:
        return []
    return [row for _, row in step.state.scan(keys.of_run(keys.UPDATE, run.workflow_id, run.run_id))]


# ---------------------------------------------------------------- what the worker made of them


def _pending(step: Step, run: RunRow, seq: int, update_id: str) -> UpdateRow | None:
    row = step.state.row(keys.update(run.workflow_id, run.run_id, seq), UpdateRow) if seq > 0 else None
    return row if row is not None and not row.accepted and row.update_id == update_id else None


def check_decided(step: Step, run: RunRow, record: WorkflowTaskCompleted) -> str:
    """Why the updates of a completion cannot be taken; empty if they can. One rejected twice is no matter."""
    seen: set[int] = set()
    after, time_ms = run.consumed_through, 0
    for accepted in record.accepted_updates:
        if accepted.seq in seen or _pending(step, run, accepted.seq, accepted.update_id) is None:
            return f"update {accepted.seq} {accepted.update_id!r} is not pending"
        if not after <= accepted.fed_after <= record.consumed_through or accepted.fed_ms < time_ms:
            return f"update {accepted.seq} is fed after event {accepted.fed_after} at {accepted.fed_ms}: out of order"
        after, time_ms = accepted.fed_after, accepted.fed_ms
        seen.add(accepted.seq)
    if any(rejected.seq in seen for rejected in record.rejected_updates):
        return "an update is accepted and rejected"
    return ""


def accept_updates(step: Step, run: RunRow, record: WorkflowTaskCompleted) -> list[int]:
    """Put accepted updates into history; the IDs of their events."""
    event_ids = []
    for accepted in record.accepted_updates:
        row = _pending(step, run, accepted.seq, accepted.update_id)
        if row is None:
            raise AssertionError("the completion was checked")
        event = history.UpdateAccepted(
            seq=row.seq,
            update_id=row.update_id,
            update=row.update,
            input=row.input,
            headers=row.headers,
            fed_after=accepted.fed_after,
            fed_ms=accepted.fed_ms,
            identity=row.identity,
        )
        event_ids.append(step.append(run.workflow_id, run.run_id, event, min(accepted.fed_ms, step.now)))
        if row.wait_for == "accepted":
            step.reply(_request(row), "accepted", row.run_id)
    return event_ids


def reject_updates(step: Step, run: RunRow, rejected: Sequence[RejectedUpdate]) -> int:
    """Answer rejected updates, and forget them; how many were still pending."""
    count = 0
    for one in rejected:
        row = _pending(step, run, one.seq, one.update_id)
        if row is not None:
            count += 1
            step.apply(events.UpdateRejected(run.workflow_id, run.run_id, row.seq))
            answer_update(step, row, "rejected", failure=shorten(one.failure))
    return count


def complete_update(step: Step, run: RunRow, command: commands.CompleteUpdate) -> None:
    """The handler of an accepted update has ended. On one that was answered before, a no-op (rule W9)."""
    row = step.state.row(keys.update(run.workflow_id, run.run_id, command.seq), UpdateRow) if command.seq > 0 else None
    if row is None or not row.accepted:
        return
    completed = history.UpdateCompleted(
        seq=row.seq, update_id=row.update_id, result=command.result, failure=command.failure
    )
    step.append(run.workflow_id, run.run_id, completed)
    outcome = "completed" if command.failure is None else "failed"
    answer_update(step, row, outcome, result=command.result, failure=command.failure)


def answer_update(
    step: Step,
    row: UpdateRow,
    outcome: str,
    *,
    message: str = "",
    result: Payload | None = None,
    failure: Failure | None = None,
) -> None:
    """Give the answer to whoever asked last, and keep it as long as the request is remembered (rule Q1)."""
    known = step.state.row(keys.request(row.workflow_id, row.update_id), RequestRow)
    if known is not None and (known.run_id, known.update_seq, known.outcome) == (row.run_id, row.seq, "pending"):
        step.apply(
            events.RequestAnswered(
                row.workflow_id, row.update_id, outcome, row.run_id, message, known.expire_ms, row.seq, result, failure
            )
        )
    step.reply(_request(row), outcome, row.run_id, message, result, failure)
    if row.reply_partition < 0 and not row.accepted:
        _report(step, row, outcome, message if failure is None else failure.message)


def _report(step: Step, row: UpdateRow, outcome: str, message: str) -> None:
    """Nobody waits for the answer, and history does not show it: people find the update in the dead letters."""
    asked = UpdateWorkflow(
        workflow_id=row.workflow_id,
        update=row.update,
        input=row.input,
        headers=row.headers,
        request=Request(request_id=row.update_id),
        identity=row.identity,
    )
    reason = f"update {row.update!r}: {outcome}: {message}"
    step.dead_letter(reason, encode(asked), row.workflow_id.encode())


def _request(row: UpdateRow) -> Request:
    return Request(request_id=row.update_id, client_id=row.client_id, reply_partition=row.reply_partition)


# ---------------------------------------------------------------- handing on


def take_undecided(step: Step, run: RunRow) -> list[UpdateRow]:
    """Take the updates that no worker has decided on from a run that is about to close, for `carry`."""
    rows = [row for row in open_updates(step, run) if not row.accepted]
    for row in rows:
        step.apply(events.UpdateRejected(run.workflow_id, run.run_id, row.seq))
    return rows


def carry(step: Step, workflow_id: str, rows: Sequence[UpdateRow], before: int | None = None) -> list[UpdateRow]:
    """Give updates of an earlier run to the open one, ahead of newer ones; whoever waits goes on waiting.

    Only those that came before the event `before` of the earlier run, so that each keeps its place among the messages
    that are carried with it; returns the rest. Call `wake` afterwards.
    """
    left = list(rows)
    while left and (before is None or left[0].after_event_id < before):
        row = left.pop(0)
        run = step.run(workflow_id)
        if run is None:
            raise AssertionError("the run was begun in this step")
        seq = run.last_update_seq + 1
        moved = msgspec.structs.replace(
            row, run_id=run.run_id, seq=seq, after_event_id=run.last_event_id, time_ms=step.now
        )
        step.apply(events.UpdateAsked(moved))
        known = step.state.row(keys.request(row.workflow_id, row.update_id), RequestRow)
        if known is not None and (known.run_id, known.update_seq, known.outcome) == (row.run_id, row.seq, "pending"):
            step.apply(
                events.RequestAnswered(
                    row.workflow_id, row.update_id, "pending", run.run_id, "", known.expire_ms, seq
                )
            )
    return left
