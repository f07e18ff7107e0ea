"""Planted bugs in upgrades of engines (rules V)."""

from __future__ import annotations

from typing import Any

from odradek_engine.fold import core, engine_records
from odradek_engine.members import Members
from odradek_engine.processor import Processor
from odradek_schemas import records

from .. import races
from . import worlds
from .planting import Patch, mutant


@mutant("V1", seed=2, scenario=races.LATE_ROLLBACKS)
def older_code_folds_on(patch: Patch) -> None:
    """An engine that does not know the new fold version takes what follows as it always did."""

    def blind(step: Any, record: Any) -> None:
        if record.version <= step.state.knows:
            engine_records.decide_leader(step, record)

    patch(core._AT_ONCE, records.LeaderElected, blind)  # type: ignore[arg-type]


@mutant("V1", seed=1, scenario=races.LATE_ROLLBACKS)
def older_code_takes_the_state_of_newer(patch: Patch) -> None:
    """An engine whose program was taken back folds by the old version what the log says under the new one."""
    decline = Processor.decline

    def bold(self: Processor, error: Any) -> None:
        if self.state.partition.version < error.version:
            decline(self, error)

    patch(Processor, "decline", bold)


@mutant("V2", seed=3, scenario=races.UPGRADES)
def one_who_knows_is_enough(patch: Patch) -> None:
    """The first new engine switches the log, and the way back is shut."""
    patch(Members, "all_know", lambda self, version: True)


@mutant("V2", seed=1, scenario=worlds.SILENT_UPGRADES)
def the_silence_of_others_is_enough(patch: Patch) -> None:
    """An engine that stood still switches the log before it has heard who is there."""
    patch(Members, "_overdue", False)
