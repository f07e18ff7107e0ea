"""Options of `odradek engine` that it hands to the engine."""

from __future__ import annotations

from typing import Any

import odradek_engine
import pytest
from odradek.cli import processes

from .running import odradek_here

ADDRESS = "kafka://broker:9092"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What engines are begun with, which end at once, as with a full disk."""
    found: list[dict[str, Any]] = []

    class Log:
        def close(self) -> None: ...

    def engine(**options: Any) -> Any:
        found.append(options)
        raise odradek_engine.StoreError("no space left")

    monkeypatch.setattr(processes, "open_log", lambda address, **settings: Log())
    monkeypatch.setattr(odradek_engine, "Engine", engine)
    return found


@pytest.mark.parametrize(("options", "expected"), [([], None), (["0"], 0), (["3"], 3)])
def test_how_many_processes_fold(given: list[dict[str, Any]], options: list[str], expected: int | None) -> None:
    """Breaks when whoever has little memory begins processes all the same."""
    asked = [word for number in options for word in ("--folding-processes", number)]
    done = odradek_here("engine", *asked, address=ADDRESS)
    assert (done.code, "no space left" in done.err) == (4, True), done
    assert [one["settings"] for one in given] == [odradek_engine.Settings(folding_processes=expected)]


def test_fewer_processes_than_none_are_refused(given: list[dict[str, Any]]) -> None:
    done = odradek_here("engine", "--folding-processes", "-1", address=ADDRESS)
    assert (done.code, "--folding-processes" in done.err) == (2, True), done
    assert given == []
