"""What the modules of evolve share: changing the row of the partition, and that of a run."""

from __future__ import annotations

from typing import Any

import msgspec

from . import keys
from .rows import RunRow
from .state import State

replace = msgspec.structs.replace

Changes = dict[str, Any]
"""Fields of a row, and their new values."""

NOT_PAUSED: Changes = {"paused": False, "pause_reason": "", "paused_by": "", "paused_ms": 0}
"""What a run that is not paused has, and an activity."""


def change_partition(state: State, **changes: Any) -> None:
    """Change the partition's row."""
    state.put_partition(replace(state.partition, **changes))


def run_of(state: State, workflow_id: str) -> RunRow:
    """The workflow's current run."""
    row: RunRow = state.get(keys.current(workflow_id))
    return row


def change_run(state: State, workflow_id: str, **changes: Any) -> None:
    """Change the row of the workflow's current run."""
    state.put(keys.current(workflow_id), replace(run_of(state, workflow_id), **changes))
