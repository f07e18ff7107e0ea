"""V2: logs written by a fold version fold to the same state and effects for ever, by whatever newer code."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from odradek_engine.fold import VERSION, tasks
from odradek_schemas import DecodeError, decode, records

from .golden import LOGS, GoldenLog, digest, read_digests, read_log

RELEASED = 0
"""The newest fold version that is released: its logs, and those of all before it, never change."""

FILES = sorted(LOGS.glob("v*/*.log"))


def test_v2_there_are_logs_of_every_fold_version() -> None:
    """Breaks when a version is released without logs that hold it to what it does."""
    assert {path.parent.name for path in FILES} == {f"v{number}" for number in range(1, VERSION + 1)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_v2_a_golden_log_folds_as_it_did(path: Path) -> None:
    """Breaks when the fold does anything else with a log that is there already, or cannot read it any more."""
    version = int(path.parent.name.removeprefix("v"))
    if version <= RELEASED:
        help = "this fold version is released: behaviour changes only under a new one (engine_records.VERSION)"
    else:
        help = "if that is meant: python -m tests.golden.write, as this fold version is not released yet"
    assert digest(read_log(path)) == read_digests(path.parent)[path.stem], help


def test_a_small_change_of_the_fold_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when the digest does not cover what the fold does."""
    path = next(path for path in FILES if path.stem == "orders-0")
    monkeypatch.setattr(tasks, "MAX_TASK_EVENT_BYTES", 0)
    assert digest(read_log(path)) != read_digests(path.parent)[path.stem]


def test_the_logs_hold_every_kind_of_record_and_event() -> None:
    """Breaks when a new kind is in no golden log, so that nothing holds the fold to what it does with it."""
    logs = [read_log(path) for path in FILES]
    kinds = {type(record).__name__ for log in logs for record in _records(log)}
    assert {kind.__name__ for kind in get_args(records.EventRecord)} - kinds == set()


def _records(log: GoldenLog) -> list[object]:
    found: list[object] = []
    for entry in log.entries:
        try:
            found.append(decode(entry.value))
        except DecodeError:
            continue
    return found
