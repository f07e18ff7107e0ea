"""Histories of the examples, kept in tests/histories/ to be replayed on every run.

    ODRADEK_RECORD_HISTORIES=1 pytest tests/examples      writes those that are not there yet

One that is there is never written again: today's code has to do what it did then.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from odradek import WorkflowHandle

ROOT = Path(__file__).parent.parent.parent
HISTORIES = ROOT / "tests" / "histories"


async def recorded(workflow: WorkflowHandle[Any, Any], name: str) -> None:
    """Keep the history of a run as `name`, `<example>-<what happens>`, if histories are to be recorded."""
    path = HISTORIES / f"{name}.json"
    if os.environ.get("ODRADEK_RECORD_HISTORIES") and not path.exists():
        exported = await workflow.export()
        for folder in (str(ROOT), sys.base_prefix):
            exported = exported.replace(f"{folder}/", "")  # stack traces name files of this machine
        path.write_text(exported + "\n")
    assert path.exists(), f"there is no {path.name}; record it with ODRADEK_RECORD_HISTORIES=1"
