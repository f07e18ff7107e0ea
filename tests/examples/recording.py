"""Histories of the examples, kept in tests/histories/ to be replayed on every run.

    ODRADEK_RECORD_HISTORIES=1 pytest tests/examples      writes those that are not there yet

One that is there is never written again: today's code has to do what it did then.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from odradek import WorkflowHandle

HISTORIES = Path(__file__).parent.parent / "histories"


async def recorded(workflow: WorkflowHandle[Any, Any], name: str) -> None:
    """Keep the history of a run as `name`, `<example>-<what happens>`, if histories are to be recorded."""
    path = HISTORIES / f"{name}.json"
    if os.environ.get("ODRADEK_RECORD_HISTORIES") and not path.exists():
        path.write_text(await workflow.export() + "\n")
    assert path.exists(), f"there is no {path.name}; record it with ODRADEK_RECORD_HISTORIES=1"
