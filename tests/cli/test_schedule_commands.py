"""`odradek schedule ...` against a real `odradek dev`."""

from __future__ import annotations

from typing import Any

from .running import Done, odradek_here
from .test_views import eventually

ONCE_A_YEAR = '{"month": [1], "day_of_month": [1], "hour": [{"start": 8, "end": 18}]}'
"""Hardly while the test runs: the schedule is not paused all the time."""


def schedule(server: str, *arguments: str) -> Done:
    return odradek_here("schedule", *arguments, address=server)


def described(server: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = schedule(server, "describe", name, "--json").json
    return found


def test_the_life_of_a_schedule(server: str) -> None:
    made = schedule(
        server, "create", "nightly", "--type", "echo", "--input", '"hello"', "--cron", "30 2 * * *",
        "--time-zone", "Europe/Berlin", "--interval", "1d/2h", "--calendar", ONCE_A_YEAR,
        "--jitter", "90s", "--overlap", "allow_all", "--catchup-window", "2h", "--paused", "--note", "not yet",
    )  # fmt: skip
    assert (made.code, made.out) == (0, "Created schedule nightly\n"), made.err
    found = described(server, "nightly")
    assert found["spec"] == {
        "cron_expressions": ["30 2 * * *"], "time_zone_name": "Europe/Berlin", "jitter": 90.0,
        "intervals": [{"every": 86400.0, "offset": 7200.0}],
        "calendars": [found["spec"]["calendars"][0]],
    }  # fmt: skip
    assert found["spec"]["calendars"][0]["hour"] == [{"start": 8, "end": 18}]
    assert (found["paused"], found["note"], found["catchup_window"]) == (True, "not yet", 7200)
    assert found["action"]["input"] == ["hello"]
    assert len(found["next_action_times"]) == 10
    again = schedule(server, "create", "nightly", "--type", "echo", "--json")
    assert (again.code, again.error["code"]) == (6, "refused")

    assert schedule(server, "trigger", "nightly").code == 0
    done = schedule(
        server, "backfill", "nightly", "--start-at", "2026-03-01T02:00Z", "--end-at", "2026-03-01T02:00:00Z",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = eventually(
        lambda: schedule(server, "describe", "nightly", "--json"),
        lambda seen: seen["num_actions"] >= 2 and not seen["running_actions"],
    )
    assert [taken["status"] for taken in found["recent_actions"]] == ["completed"] * 2
    backfilled = found["recent_actions"][1]["workflow_id"]
    assert backfilled == "nightly-2026-03-01T02:00:00Z"
    assert odradek_here("workflow", "result", backfilled, address=server).json == ["hello", None]

    assert schedule(server, "unpause", "nightly", "--note", "go").code == 0
    changes = ("--cron", "@weekly", "--overlap", "skip", "--remaining-actions", "3", "--pause-on-failure")
    assert schedule(server, "update", "nightly", *changes).code == 0
    found = described(server, "nightly")
    assert (found["spec"]["cron_expressions"], found["spec"]["time_zone_name"]) == (["@weekly"], "Europe/Berlin")
    assert (found["overlap"], found["remaining_actions"], found["pause_on_failure"]) == ("skip", 3, True)
    assert (found["paused"], found["note"]) == (False, "go")
    assert schedule(server, "pause", "nightly", "--note", "holiday").code == 0
    shown = schedule(server, "describe", "nightly").out
    assert "nightly (paused: holiday)" in shown
    assert 'echo("hello") on task queue default' in shown
    assert backfilled in shown
    assert schedule(server, "create", "another", "--type", "echo", "--remaining-actions", "0").code == 0
    listed = schedule(server, "list", "--json").json["schedules"]
    ours = [one for one in listed if one["schedule_id"] in ("another", "nightly")]  # other tests use this server, too
    assert [(one["schedule_id"], one["paused"]) for one in ours] == [("another", False), ("nightly", True)]
    assert schedule(server, "list", "--limit", "1").out.count("echo") == 1
    assert schedule(server, "delete", "another").code == 0
    assert schedule(server, "delete", "nightly").code == 0
    assert "nightly" not in schedule(server, "list").out
    gone = schedule(server, "describe", "nightly", "--json")
    assert (gone.code, gone.error["code"]) == (3, "not_found")


def test_what_makes_no_sense_is_refused(server: str) -> None:
    create = ("create", "bad", "--type", "echo")
    for arguments, says in (
        ((*create, "--cron", "61 * * * *"), "cron expression"),
        ((*create, "--interval", "1x"), "90s, 10m"),
        ((*create, "--calendar", '{"hours": [1]}'), "hours"),
        ((*create, "--calendar", '{"hour": [24]}'), "from 0 to 23"),
        ((*create, "--time-zone", "Nowhere"), "no time zone"),
        ((*create, "--start-at", "2026-03-01"), "2026-03-01T09:00Z"),
        ((*create, "--overlap", "sometimes"), "overlap"),
        ((*create, "--catchup-window", "1s"), "at least 10 seconds"),
        (("update", "bad"), "what is to be changed"),
        (("update", "bad", "--input", "1"), "--type"),
    ):
        done = schedule(server, *arguments, "--json")
        assert (done.code, says in done.error["message"]) == (2, True), (arguments, done)
    for operation in ("pause", "trigger", "delete"):
        assert schedule(server, operation, "nobody").code == 3
