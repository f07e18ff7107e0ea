"""`describe` and `show`: what people see of a workflow."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from odradek.cli.output import stdout
from odradek.cli.views import _print_task_failure

from .running import SECONDS, Done, odradek, odradek_here


def eventually(look: Callable[[], Done], found: Callable[[Any], bool]) -> Any:
    """What a command shows once it is so."""
    give_up = time.monotonic() + SECONDS
    while True:
        seen = look().json
        if found(seen):
            return seen
        assert time.monotonic() < give_up, seen


def test_describe_shows_attempts_last_failure_and_the_next_retry(server: str) -> None:
    odradek_here("workflow", "start", "retrying", "--id", "view-retry", address=server)
    found = eventually(
        lambda: odradek_here("workflow", "describe", "view-retry", "--json", address=server),
        lambda seen: bool(seen["pending_activities"]) and seen["pending_activities"][0]["state"] == "backing_off",
    )
    (pending,) = found["pending_activities"]
    assert (pending["activity_type"], pending["attempt"], pending["maximum_attempts"]) == ("flaky", 2, 7)
    assert pending["last_failure"]["type"] == "ConnectionError"
    assert 3000 < pending["next_retry_in"] <= 3600
    shown = odradek_here("workflow", "describe", "view-retry", address=server).out
    assert re.search(r"flaky +default +backing off +2 of 7 +in (59 min|1 h)", shown)
    assert "Last failure of flaky: ConnectionError: the payment service is away" in shown


def test_describe_shows_a_bug_with_its_traceback(server: str) -> None:
    odradek_here("workflow", "start", "buggy", "--id", "view-bug", address=server)
    found = eventually(
        lambda: odradek_here("workflow", "describe", "view-bug", "--json", address=server),
        lambda seen: seen["task_failure"] is not None,
    )
    assert found["status"] == "running"
    assert found["task_failure"]["cause"] == "bug"
    assert "KeyError" in found["task_failure"]["failure"]["type"]
    shown = odradek_here("workflow", "describe", "view-bug", address=server).out
    assert "an error in its code" in shown
    assert re.search(r'File ".*sample.py", line \d+, in buggy', shown)
    assert "no such dish" in shown


def test_describe_tells_of_wrong_input_without_our_own_frames(server: str) -> None:
    odradek_here("workflow", "start", "Counter", "--id", "view-wrong", "--input", '"five"', address=server)
    eventually(
        lambda: odradek_here("workflow", "describe", "view-wrong", "--json", address=server),
        lambda seen: seen["task_failure"] is not None,
    )
    shown = odradek_here("workflow", "describe", "view-wrong", address=server).out
    assert "parameter 'goal': this cannot be read as int" in shown
    assert "terminate it, and start it again" in shown
    assert 'File "' not in shown


def test_describe_asks_for_no_fix_where_the_history_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdout, "width", 140)  # else it is that of the terminal, or of whoever set it before
    message = "the history of workflow w takes 300,000,000 bytes of memory; this worker replays up to 268,435,456"
    failure = {"message": message, "type": "HistoryTooLarge", "kind": "bug"}
    with stdout.capture() as shown:
        _print_task_failure({"cause": "bug", "retry_in": 14.0, "failure": failure})
    first, *rest = shown.get().strip().splitlines()
    assert first == "The workflow cannot go on: its history is too large for its workers; tried again in 14 s."
    assert message in "".join(rest)


def test_describe_shows_timers(server: str) -> None:
    odradek_here("workflow", "start", "sleeper", "--id", "view-timer", address=server)
    found = eventually(
        lambda: odradek_here("workflow", "describe", "view-timer", "--json", address=server),
        lambda seen: bool(seen["pending_timers"]),
    )
    assert 29 * 86400 < found["pending_timers"][0]["due_in"] <= 30 * 86400
    assert re.search(r"29 d 23 h|30 d", odradek_here("workflow", "describe", "view-timer", address=server).out)


@pytest.mark.parametrize("columns", [80, 120])
def test_show_prints_the_history_within_the_width(server: str, columns: int) -> None:
    workflow_id = f"view-{columns}"
    odradek_here("workflow", "execute", "elsewhere", "--id", workflow_id, "--input", "4", address=server)
    done = odradek("workflow", "show", workflow_id, address=server, env={"COLUMNS": str(columns)})
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= columns
    kinds = [line.split()[2] for line in done.out.splitlines() if re.match(r" *\d+ +\d\d:", line)]
    assert kinds == [
        "WorkflowStarted", "WorkflowTaskCompleted", "ActivityScheduled", "ActivityCompleted", "WorkflowTaskCompleted",
        "WorkflowCompleted",
    ]  # fmt: skip
    assert "elsewhere(4)" in done.out
    assert "double → 8" in done.out


def test_show_json_is_the_whole_history(server: str) -> None:
    odradek_here("workflow", "execute", "echo", "--id", "view-json", "--input", '["x"]', address=server)
    shown = odradek_here("workflow", "show", "view-json", "--json", address=server).json
    assert shown["workflow_id"] == "view-json"
    assert [event["id"] for event in shown["events"]] == [1, 2, 3]
    assert set(shown["events"][0]) == {"id", "time", "type", "attributes"}
    assert shown["events"][0]["attributes"]["input"] == [["x"]]
    assert shown["events"][2]["attributes"]["result"] == [["x"], None]


def test_show_cuts_long_values_unless_told_not_to(server: str) -> None:
    odradek_here("workflow", "execute", "echo", "--id", "view-long", "--input", f'"{"x" * 500}"', address=server)
    assert "x" * 100 not in odradek("workflow", "show", "view-long", address=server, env={"COLUMNS": "600"}).out
    assert "x" * 500 in odradek("workflow", "show", "view-long", "--full", address=server, env={"COLUMNS": "1200"}).out
