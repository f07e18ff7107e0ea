"""`odradek workflow reset|pause|unpause` and `odradek activity ...`, against a real `odradek dev`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from odradek.cli.connect import identity

from .running import Done, odradek_here
from .test_views import eventually

Run = Callable[..., Done]


@pytest.fixture
def run(server: str) -> Run:
    """`odradek ...` against the shared server."""
    return lambda *arguments: odradek_here(*arguments, address=server)


def pending(run: Run, workflow_id: str, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The only pending activity, once it is so."""
    seen = eventually(
        lambda: run("workflow", "describe", workflow_id, "--json"),
        lambda seen: bool(seen["pending_activities"]) and found(seen["pending_activities"][0]),
    )
    activity: dict[str, Any] = seen["pending_activities"][0]
    return activity


def text_of(run: Run, workflow_id: str) -> str:
    """The history as people see it, but for blanks: whatever the width."""
    return "".join(run("workflow", "show", workflow_id).out.split())


def test_pause_and_unpause_a_workflow(run: Run) -> None:
    run("workflow", "start", "Counter", "--id", "op-pause", "--input", "3")
    paused = run("workflow", "pause", "op-pause", "--reason", "the till is broken")
    assert (paused.code, "odradek workflow unpause op-pause" in paused.out) == (0, True)
    run("workflow", "signal", "op-pause", "add", "--input", "3")
    found = run("workflow", "describe", "op-pause", "--json").json
    assert (found["paused"], found["pause_reason"], found["status"]) == (True, "the till is broken", "running")
    assert found["paused_by"] == identity(), "the person, not the server"
    assert found["paused_time"]
    shown = run("workflow", "describe", "op-pause").out
    assert re.search(rf"Paused +since \S+ \S+ by {re.escape(found['paused_by'])}: the till is broken", shown)
    assert f"Warning: the workflow is paused by {found['paused_by']} (the till is broken)" in shown
    assert run("workflow", "unpause", "op-pause", "--reason", "mended", "--json").json["requested"] == "unpause"
    assert run("workflow", "result", "op-pause").json == 3
    history = text_of(run, "op-pause")
    assert re.search(r"WorkflowPausedby\S+:thetillisbroken", history)
    assert re.search(r"WorkflowUnpausedby\S+:mended", history)
    closed = run("workflow", "pause", "op-pause", "--json")
    assert (closed.code, closed.error["code"]) == (6, "refused")


def test_reset(run: Run) -> None:
    first = run("workflow", "start", "Counter", "--id", "op-reset", "--input", "3", "--json").json["run_id"]
    run("workflow", "signal", "op-reset", "add", "--input", "3")
    assert run("workflow", "result", "op-reset").json == 3
    again = run("workflow", "reset", "op-reset", "--event-id", "1", "--request-id", "op-r1", "--json")
    assert again.json["run_id"] not in ("", first)
    repeated = run("workflow", "reset", "op-reset", "--event-id", "1", "--request-id", "op-r1", "--json")
    assert repeated.json == again.json
    assert run("workflow", "result", "op-reset").json == 3  # the signal came again
    told = run("workflow", "reset", "op-reset", "--event-id", "1", "--reapply", "none", "--reason", "count again")
    assert (told.code, "it goes on as run" in told.out) == (0, True)
    assert run("workflow", "query", "op-reset", "value").json == 0
    assert re.search(r"WorkflowResetrun\S{36}toevent1;by\S+:countagain", text_of(run, "op-reset"))
    beyond = run("workflow", "reset", "op-reset", "--event-id", "99", "--json")
    assert (beyond.code, "has the events 1 to" in beyond.error["message"]) == (2, True)
    wrong = run("workflow", "reset", "op-reset", "--event-id", "1", "--reapply", "some")
    assert (wrong.code, "signals or none" in wrong.err) == (2, True)
    assert run("workflow", "reset", "op-nobody", "--event-id", "1").code == 3


def test_retry_pause_and_unpause_an_activity(run: Run) -> None:
    run("workflow", "start", "retrying", "--id", "op-retry")
    number = pending(run, "op-retry", lambda a: a["state"] == "backing_off")["seq"]
    assert run("activity", "retry", "op-retry", "flaky").code == 0
    pending(run, "op-retry", lambda a: a["state"] == "backing_off" and a["attempt"] == 3)
    assert run("activity", "pause", "op-retry", str(number), "--reason", "ask the bank", "--json").json == {
        "workflow_id": "op-retry", "activity": number, "requested": "pause",
    }  # fmt: skip
    found = pending(run, "op-retry", lambda a: a["state"] == "paused")
    assert (found["paused"], found["pause_reason"]) == (True, "ask the bank")
    shown = run("workflow", "describe", "op-retry").out
    assert re.search(rf"{number} +flaky +default +paused +3 of 7", shown)
    assert re.search(rf"flaky \(number {number}\) is paused since \S+ \S+ by \S+: ask the bank", shown)
    assert run("activity", "unpause", "op-retry", "flaky").code == 0
    found = pending(run, "op-retry", lambda a: a["state"] == "backing_off" and a["attempt"] == 4)
    assert (found["paused"], found["pause_reason"], found["paused_by"], found["paused_time"]) == (False, "", "", None)


def test_an_activity_that_waits_for_a_person_says_so_and_goes_on_with_other_options(run: Run) -> None:
    run("workflow", "start", "shipping", "--id", "op-exhausted", "--input", "40")
    found = pending(run, "op-exhausted", lambda a: a["state"] == "paused")
    assert (found["pause_reason"], found["paused_by"]) == ("no attempt is left (maximum_attempts)", "")
    assert found["paused_time"]
    policy = '{"maximum_attempts": 5, "initial_interval": 0.5}'
    changed = run("activity", "update", "op-exhausted", "unreliable", "-q", "carrier", "--retry-policy", policy)
    assert (changed.code, "Changed activity unreliable of op-exhausted" in changed.out) == (0, True), changed.err
    found = pending(run, "op-exhausted", lambda a: a["maximum_attempts"] == 5)
    assert found["task_queue"] == "carrier"
    assert run("activity", "retry", "op-exhausted", "unreliable").code == 0
    assert run("workflow", "result", "op-exhausted").json == 42


def test_complete_and_fail_by_task_token(run: Run) -> None:
    run("workflow", "start", "approval", "--id", "op-yes", "--input", '"may I?"')
    token = pending(run, "op-yes", lambda a: a["state"] == "started")["task_token"]
    assert run("activity", "complete", token, "--result", '"you may"').code == 0
    assert run("workflow", "result", "op-yes").json == "you may"
    late = run("activity", "complete", token, "--json")
    assert (late.code, "it has ended" in late.error["message"]) == (3, True)
    run("workflow", "start", "approval", "--id", "op-no", "--input", '"may I?"')
    token = pending(run, "op-no", lambda a: a["state"] == "started")["task_token"]
    assert run("activity", "fail", token, "--message", "never", "--type", "No", "--non-retryable").code == 0
    outcome = run("workflow", "result", "op-no", "--json").json
    assert (outcome["failure"]["type"], outcome["failure"]["message"]) == ("No", "never"), outcome
    assert run("activity", "complete", "no token").code == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("pause", "op-nobody", "flaky"), 3),
        (("retry", "op-errors", "never-scheduled"), 3),
        (("retry", "op-errors", "7777"), 3),
        (("update", "op-errors", "flaky"), 2),
        (("update", "op-errors", "flaky", "--retry-policy", '{"attempts": 1}'), 2),
        (("update", "op-errors", "flaky", "--retry-policy", "7"), 2),
        (("update", "op-errors", "flaky", "--task-queue", "a queue"), 2),
    ],
)
def test_what_cannot_be_done_is_refused(run: Run, arguments: tuple[str, ...], code: int) -> None:
    run("workflow", "start", "retrying", "--id", "op-errors", "--id-conflict-policy", "use_existing")
    pending(run, "op-errors", lambda a: a["state"] == "backing_off")
    assert run("activity", *arguments).code == code


def test_list_and_reset_batch(run: Run, tmp_path: Path) -> None:
    for n in range(3):
        run("workflow", "start", "Counter", "--id", f"op-batch-{n}", "--input", "3")
        run("workflow", "signal", f"op-batch-{n}", "add", "--input", "3")
        assert run("workflow", "result", f"op-batch-{n}").json == 3
    run("workflow", "start", "Counter", "--id", "op-batch-open", "--input", "9")
    listed = run("workflow", "list", "--type", "Counter", "--status", "completed", "--json").json["workflows"]
    assert {f"op-batch-{n}" for n in range(3)} <= {w["id"] for w in listed}
    assert {w["status"] for w in listed} == {"completed"}
    assert "op-batch-open" in run("workflow", "list", "--type", "Counter").out
    ids = tmp_path / "ids"
    run_id = next(w["run_id"] for w in run("workflow", "list", "--status", "completed", "--json").json["workflows"]
                  if w["id"] == "op-batch-1")
    ids.write_text(f"op-batch-0\nop-batch-1\t{run_id}\n\nop-batch-2\nop-batch-nobody\n")
    batch = ("workflow", "reset-batch", "--request-id", "op-batch", "--ids-from", str(ids), "--last-task")
    tried = run(*batch, "--dry-run")
    assert len(re.findall(r"would be reset to event \d", tried.out)) == 3
    assert "4 workflows: 1 failed, 3 would reset" in tried.err
    done = run(*batch, "--reason", "count again", "--json")
    results = {r["workflow_id"]: r for r in map(json.loads, done.out.splitlines())}
    assert done.code == 1, "one of them is not there"
    assert {r["status"] for w, r in results.items() if w != "op-batch-nobody"} == {"reset"}
    assert "op-batch-nobody" in results["op-batch-nobody"]["error"]
    again = [json.loads(line)["status"] for line in run(*batch, "--json").out.splitlines()]
    assert sorted(again) == ["already_reset"] * 3 + ["failed"]
    assert run("workflow", "result", "op-batch-1").json == 3
    two = run("workflow", "reset-batch", "--request-id", "x", "--last-task", "--activity", "double")
    assert (two.code, "one of event_id, last_task" in two.err) == (2, True)
    assert run("workflow", "list", "--status", "perhaps").code == 2


def test_list_shows_what_is_stuck(run: Run) -> None:
    run("workflow", "start", "buggy", "--id", "op-stuck")
    run("workflow", "start", "sleeper", "--id", "op-paused")
    run("workflow", "pause", "op-paused")
    stuck = eventually(
        lambda: run("workflow", "list", "--stuck", "--json"),
        lambda seen: "op-stuck" in {w["id"] for w in seen["workflows"]},
    )
    found = {w["id"]: w for w in stuck["workflows"]}
    assert "KeyError" in found["op-stuck"]["task_failure"]
    assert found["op-paused"]["paused"]
    assert "op-errors" not in found, "an activity that is tried again holds up nothing for good"
