"""V2: logs written by a fold version fold to the same state and effects for ever, by whatever newer code."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from odradek_engine.fold import VERSION, MemoryStorage, State, fold, tasks
from odradek_engine.fold.events import Appended, Event
from odradek_schemas import commands, history, records

from .golden import LOGS, TOPICS, GoldenLog, digest, read_digests, read_log

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
    found: set[type] = set()
    for path in FILES:
        found |= _kinds(read_log(path))
    every = [get_args(union) for union in (records.EventRecord, commands.Command, history.Attributes)]
    assert [kind.__name__ for kinds in [*every, Event.__subclasses__()] for kind in kinds if kind not in found] == []


def _kinds(log: GoldenLog) -> set[type]:
    """The kinds of records in it, of commands, of history events, and of internal ones."""
    found: set[type] = set()
    state = State(MemoryStorage(), log.partition)
    for offset, entry in enumerate(log.entries):
        record, made, *_ = fold(state, TOPICS, offset, *entry)
        found |= {type(record), *map(type, made), *map(type, getattr(record, "commands", ()))}
        found |= {type(event.attributes) for event in made if isinstance(event, Appended)}
    return found
