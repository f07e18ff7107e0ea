"""Planted bugs in completions that go in pieces (rules W1, W7)."""

from __future__ import annotations

from typing import Any

from odradek_engine.fold import completions, core
from odradek_engine.fold import pieces as fold_pieces
from odradek_schemas import records

from .. import races
from .planting import Patch, mutant, replaced


@mutant("W1", seed=2, scenario=races.CONTESTED_PIECES)
def pieces_take_effect_on_any_base(patch: Patch) -> None:
    """Two workers advance one workflow, one of them in pieces."""
    decide = completions.decide_task_completed

    def careless(step: Any, record: Any) -> None:
        run = step.open_run(record.workflow_id, record.run_id)
        decide(step, record if run is None else replaced(record, base=run.base))

    patch(completions, "decide_task_completed", careless)  # the table of the fold has the right one


@mutant("W7", seed=3, scenario=races.CONTESTED_PIECES)
def what_is_begun_is_waited_for(patch: Patch) -> None:
    """A worker dies after its first piece, and those of others are not taken any more."""

    def patient(step: Any, record: Any) -> None:
        run = step.open_run(record.workflow_id, record.run_id)
        kept = [] if run is None else fold_pieces._kept(step, run)
        if all(row.id == record.id for row in kept):
            fold_pieces.decide_piece(step, record)

    patch(core._DECIDE, records.CompletionPiece, patient)  # type: ignore[arg-type]
