"""`odradek workflow ...` against a real `odradek dev`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .running import Done, odradek_here

Run = Callable[..., Done]


@pytest.fixture
def run(server: str) -> Run:
    """`odradek workflow ...` against the shared server."""

    def run(*arguments: str, stdin: str = "") -> Done:
        return odradek_here("workflow", *arguments, address=server, stdin=stdin)

    return run


def test_execute_prints_the_result_as_json(run: Run) -> None:
    done = run("execute", "echo", "--input", '{"id": 1, "name": "Pökè"}', "-i", '"two"')
    assert (done.code, done.json) == (0, [{"id": 1, "name": "Pökè"}, "two"]), done.err


def test_execute_json_holds_outcome_and_ids(run: Run) -> None:
    done = run("execute", "echo", "--id", "json-1", "--json")
    outcome = done.json
    assert outcome.pop("run_id")
    assert outcome == {
        "workflow_id": "json-1", "status": "completed", "result": [None, None], "message": "", "failure": None,
    }  # fmt: skip
    assert done.code == 0


def test_inputs_come_from_files_and_stdin(run: Run, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"from": "a file"}')
    done = run("execute", "echo", "--input", f"@{tmp_path / 'one.json'}", "--input", "@-", stdin="[1, 2]")
    assert done.json == [{"from": "a file"}, [1, 2]]


def test_start_signal_query_result_of_one_workflow(run: Run) -> None:
    started = run("start", "Counter", "--id", "counter/1 a?b", "--input", "10", "--json")
    assert started.code == 0
    assert started.json["workflow_type"] == "Counter"
    assert started.json["task_queue"] == "default"
    assert started.json["run_id"]
    assert run("signal", "counter/1 a?b", "add", "--input", "2", "--input", "3").code == 0
    assert run("query", "counter/1 a?b", "value").json == 6
    asked = run("query", "counter/1 a?b", "value", "--input", "7", "--json")
    assert asked.json == {"workflow_id": "counter/1 a?b", "query": "value", "result": 42}
    early = run("result", "counter/1 a?b", "--timeout", "0.2")
    assert early.code == 5
    assert "odradek workflow describe" in early.err
    assert run("result", "counter/1 a?b", "--timeout", "0.2", "--json").json["status"] == "running"
    assert run("signal", "counter/1 a?b", "add", "--input", "4").code == 0
    assert run("result", "counter/1 a?b").json == 10
    assert run("query", "counter/1 a?b", "value").json == 10  # also after its end
    closed = run("signal", "counter/1 a?b", "add", "--input", "4", "--json")
    assert (closed.code, closed.error["code"]) == (6, "refused")


@pytest.mark.parametrize("workflow_id", [".", "..", "a/../b", "%2e", "ü#?&"])
def test_any_workflow_id_survives_http(run: Run, workflow_id: str) -> None:
    assert run("execute", "echo", "--id", workflow_id, "--input", "1").json == [1, None]
    assert run("describe", workflow_id, "--json").json["workflow_id"] == workflow_id


def test_request_id_makes_a_repeated_signal_count_once(run: Run) -> None:
    run("start", "Counter", "--id", "repeated", "--input", "10")
    for _ in range(2):
        assert run("signal", "repeated", "add", "--input", "4", "--request-id", "r-1").code == 0
    assert run("query", "repeated", "value").json == 4


def test_updates(run: Run) -> None:
    run("start", "Counter", "--id", "updated", "--input", "100")
    done = run("update", "updated", "add_and_wait", "--input", "2")
    assert (done.code, done.json) == (0, 2), done.err
    rejected = run("update", "updated", "add_and_wait", "--input", "0", "--json")
    assert (rejected.code, rejected.error["code"]) == (6, "refused")
    assert "NotUp: 0 is not above 0" in rejected.error["message"]
    failed = run("update", "updated", "break_update")
    assert (failed.code, "Broken: it broke" in failed.err) == (1, True)
    wrong = run("update", "updated", "add_and_wait", "--wait", "perhaps")
    assert (wrong.code, "accepted or completed" in wrong.err) == (2, True)


def test_an_accepted_update_is_waited_for_by_its_request_id(run: Run) -> None:
    run("start", "Counter", "--id", "update-wait", "--input", "100")
    arguments = ("update-wait", "add_and_wait", "--input", "1", "--input", "5", "--request-id", "u-1")
    accepted = run("update", *arguments, "--wait", "accepted", "--json")
    assert (accepted.code, accepted.json["status"], accepted.json["update_id"]) == (0, "accepted", "u-1"), accepted.err
    assert "--request-id u-1" in run("update", *arguments, "--wait", "accepted").out
    (shown,) = run("describe", "update-wait", "--json").json["pending_updates"]
    assert (shown["id"], shown["name"], shown["state"]) == ("u-1", "add_and_wait", "accepted")
    assert re.search(r"add_and_wait +u-1 +accepted", run("describe", "update-wait").out)
    late = run("update", *arguments, "--timeout", "0.3")
    assert (late.code, "To go on waiting" in late.err and "--request-id u-1" in late.err) == (5, True)
    run("signal", "update-wait", "add", "--input", "4")
    assert run("update", "update-wait", "add_and_wait", "--request-id", "u-1").json == 5
    assert run("query", "update-wait", "value").json == 5


def test_id_policies(run: Run) -> None:
    first = run("start", "sleeper", "--id", "policies", "--json").json["run_id"]
    again = run("start", "sleeper", "--id", "policies", "--json")
    assert (again.code, again.error["code"]) == (6, "refused")
    assert "id_conflict_policy" in again.error["message"]
    same = run("start", "sleeper", "--id", "policies", "--id-conflict-policy", "use_existing", "--json")
    assert same.json["run_id"] == first
    other = run("start", "sleeper", "--id", "policies", "--id-conflict-policy", "terminate_existing", "--json")
    assert other.json["run_id"] != first
    assert run("describe", "policies", "--run-id", first, "--json").json["status"] == "terminated"
    wrong = run("start", "sleeper", "--id-conflict-policy", "perhaps")
    assert (wrong.code, "use_existing" in wrong.err) == (2, True)


def test_a_failed_workflow_ends_the_command_with_1(run: Run) -> None:
    run("start", "refusing", "--id", "refusing-1", "--input", '"closed on Mondays"')
    done = run("result", "refusing-1")
    assert done.code == 1
    assert not done.out
    assert "Refused: closed on Mondays" in done.err
    outcome = run("result", "refusing-1", "--json")
    assert (outcome.code, outcome.json["status"]) == (1, "failed")
    assert outcome.json["failure"]["type"] == "Refused"
    assert outcome.json["failure"]["message"] == "closed on Mondays"


def test_cancel_and_terminate(run: Run) -> None:
    for workflow_id in ("to-cancel", "to-terminate"):
        run("start", "sleeper", "--id", workflow_id)
    assert run("cancel", "to-cancel", "--reason", "changed my mind").code == 0
    cancelled = run("result", "to-cancel", "--json")
    assert (cancelled.code, cancelled.json["status"]) == (1, "cancelled")
    assert "changed my mind" in run("show", "to-cancel").out
    done = run("terminate", "to-terminate", "--reason", "enough", "--json")
    assert done.json == {"workflow_id": "to-terminate", "requested": "terminate"}
    terminated = run("result", "to-terminate", "--json")
    assert (terminated.code, terminated.json["status"]) == (1, "terminated")
    assert "enough" in terminated.json["message"]


def test_a_queue_that_comes_into_use_is_served(run: Run) -> None:
    assert run("execute", "elsewhere", "--input", "21", "--timeout", "30").json == 42
    assert run("execute", "echo", "--task-queue", "yet-another", "--timeout", "30").json == [None, None]
