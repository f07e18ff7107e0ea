"""The HTTP server of `odradek dev`: who is let in, and what it answers to wrong requests."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from odradek_schemas import task_token

BASE = "/api/v1/namespaces/default/workflows"


def ask(
    server: str, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    parts = urlsplit(server)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True)
        sent = {"Host": parts.netloc, "Content-Type": "application/json", **(headers or {})}
        data = (body or "").encode()
        for name, value in {**sent, "Content-Length": str(len(data))}.items():
            connection.putheader(name, value)
        connection.endheaders(data)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:7233"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_pages_of_other_origins_are_kept_out(server: str, headers: dict[str, str]) -> None:
    status, answer = ask(server, "GET", f"{BASE}/x", headers=headers)
    assert (status, answer["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7233", "127.0.0.1", "[::1]:7233"])
def test_loopback_names_are_let_in(server: str, host: str) -> None:
    status, answer = ask(server, "GET", f"{BASE}/nobody", headers={"Host": host})
    assert (status, answer["error"]["code"]) == (404, "not_found")


def test_a_form_cannot_post(server: str) -> None:
    body = '{"workflow_type": "echo", "workflow_id": "csrf"}'
    for content_type in ("text/plain", "application/x-www-form-urlencoded"):
        status, _ = ask(server, "POST", BASE, body, {"Content-Type": content_type})
        assert status == 400
    assert ask(server, "GET", f"{BASE}/csrf")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        "", "{", "[]", '{"workflow_type": 1, "workflow_id": "x"}', '{"workflow_type": "echo"}',
        '{"workflow_type": "echo", "workflow_id": ""}', '{"workflow_type": "echo", "workflow_id": "x", "typo": 1}',
        '{"workflow_type": "echo", "workflow_id": "x", "id_conflict_policy": "perhaps"}',
        '{"workflow_type": "echo", "workflow_id": "x", "run_timeout": -1}',
    ],
)  # fmt: skip
def test_wrong_bodies(server: str, body: str) -> None:
    status, answer = ask(server, "POST", BASE, body)
    assert status == 400
    assert answer["error"]["message"]


def test_unknown_paths_and_methods_answer_json(server: str) -> None:
    assert ask(server, "GET", "/")[0] == 404
    assert ask(server, "DELETE", f"{BASE}/x")[0] == 405
    assert ask(server, "GET", f"{BASE}/x/result?wait=forever")[0] == 400


def test_a_body_that_is_too_large(server: str) -> None:
    body = json.dumps({"workflow_type": "echo", "workflow_id": "large", "input": ["x" * 2_000_000]})
    status, answer = ask(server, "POST", BASE, body)
    assert (status, answer["error"]["code"]) == (413, "too_large")


ONE = f"{BASE}/fuzzed"
SCHEDULES = "/api/v1/namespaces/default/schedules"
ACTION = {"workflow_type": "echo", "workflow_id": "acted", "task_queue": "nobody", "input": [1], "memo": {"a": 1},
          "execution_timeout": 9, "run_timeout": 8, "search_attributes": {"city": "x", "n": 1}}  # fmt: skip
SPEC = {"intervals": [{"every": 3600, "offset": 1}], "calendars": [{"hour": [9, {"start": 1, "end": 3, "step": 2}]}],
        "skip": [{"day_of_week": [1]}], "cron_expressions": ["0 9 * * 1"], "jitter": 1, "time_zone_name": "UTC",
        "start_at": "2099-01-01T00:00:00Z", "end_at": "2099-02-01T00:00:00Z"}  # fmt: skip
RETRIES = {"initial_interval": 1, "backoff_coefficient": 2, "maximum_interval": 9, "maximum_attempts": 3,
           "non_retryable_error_types": ["E"]}  # fmt: skip
TOKEN = task_token("fuzzed", "run", "by", 1).decode()
ROUTES: dict[str, dict[str, Any]] = {
    BASE: {"workflow_type": "echo", "workflow_id": "fuzzed", "task_queue": "nobody", "input": [1], "start_delay": 1,
           "run_timeout": 3600, "execution_timeout": 7200, "memo": {"a": 1}, "id_conflict_policy": "use_existing",
           "id_reuse_policy": "allow", "request_id": "start"},
    f"{ONE}/signals/s": {"input": [1], "request_id": "r"},
    f"{ONE}/queries/q": {"input": [1], "timeout": 0.1},
    f"{ONE}/updates/u": {"input": [1], "wait_for": "accepted", "request_id": "u", "timeout": 0.1},
    f"{ONE}/cancel": {"reason": "r"},
    f"{BASE}/nobody/terminate": {"reason": "r"},
    f"{ONE}/reset": {"event_id": 1, "reason": "r", "reapply": "signals", "request_id": "reset"},
    f"{ONE}/reset-before": {"request_id": "batch", "activity": "a", "reapply": "none", "dry_run": True},
    f"{ONE}/pause": {"reason": "r"},
    f"{ONE}/activities": {"activity": 1, "action": "update", "reason": "r", "options": {
        "task_queue": "q", "start_to_close_timeout": 3, "schedule_to_close_timeout": 9, "heartbeat_timeout": 2,
        "schedule_to_start_timeout": 3, "retry_policy": RETRIES}},
    "/api/v1/namespaces/default/task-queues/q/builds/current": {"build_id": "b"},
    "/api/v1/namespaces/default/activities/complete": {"task_token": TOKEN, "result": 1},
    "/api/v1/namespaces/default/activities/fail": {"task_token": TOKEN, "message": "m", "details": [1], "type": "T"},
    SCHEDULES: {"schedule_id": "fuzzed", "action": ACTION, "spec": SPEC, "overlap": "skip", "catchup_window": 60,
                "paused": True, "remaining_actions": 3, "pause_on_failure": True, "note": "n"},
    f"{SCHEDULES}/nobody/trigger": {"overlap": "skip"},
    f"{SCHEDULES}/nobody/backfill": {"start_at": "2026-01-01T00:00:00Z", "end_at": "2026-01-02T00:00:00Z"},
    f"{SCHEDULES}/fuzzed/update": {"spec": SPEC, "note": "n", "action": ACTION, "catchup_window": 60,
                                   "remaining_actions": 3, "pause_on_failure": False, "overlap": "skip"},
    f"{SCHEDULES}/nobody/pause": {"note": "n"},
}  # fmt: skip
ODD_JSON: tuple[Any, ...] = (
    None, True, -1, 2**70, 1e308, "", "x" * 2_000, "\0", [], {}, [[[[]]]], {"a": {"b": [None]}}, "2026-01-01", "\ud800",
)  # fmt: skip


def _changed(rng: random.Random, body: dict[str, Any]) -> dict[str, Any]:
    """Another value somewhere in it, or another name."""
    name = rng.choice([*body, "nonsense"])
    inner = body.get(name)
    if isinstance(inner, dict) and inner and rng.randrange(3):
        return {**body, name: _changed(rng, inner)}
    if isinstance(inner, list) and inner and isinstance(inner[0], dict) and rng.randrange(3):
        return {**body, name: [_changed(rng, inner[0])]}
    return {**body, name: rng.choice(ODD_JSON)}


def test_the_bodies_that_are_changed_below_are_good_ones(server: str) -> None:
    """Else nothing that comes after the reading of a body would be tried."""
    for path, body in ROUTES.items():
        status, answer = ask(server, "POST", path, json.dumps(body))
        assert status in (200, 404, 409, 504), (path, answer)


def _with_each(body: Any, value: Any) -> Iterator[Any]:
    """The body with another value in one place, for each of its places in turn."""
    inside = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for name, inner in inside:
        for changed in (value, *_with_each(inner, value)):
            copy = body.copy()
            copy[name] = changed
            yield copy


@pytest.mark.parametrize("path", ROUTES)
def test_each_value_of_each_body_may_be_wrong(server: str, path: str) -> None:
    """Breaks when a value of another type, or a number that is no float or no time of this world, is answered with a
    defect of the server."""
    defects = []
    for value in (*ODD_JSON, 10**400, -(10**400), 2**63, -1e308, 0, 1e-300):
        for body in _with_each(ROUTES[path], value):
            status, answer = ask(server, "POST", path, json.dumps(body))
            if status >= 500 and answer["error"]["code"] == "defect":
                defects.append((body, answer["error"]["message"]))
    assert not defects


def test_any_body_gets_an_answer_that_is_no_defect(server: str) -> None:
    """Breaks when a body that makes no sense ends in a traceback of the server."""
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    answered = set()
    for number in range(120):
        path, good = list(ROUTES.items())[number % len(ROUTES)]
        body = good
        for _ in range(rng.randrange(3)):
            body = _changed(rng, body)
        text = json.dumps(body)
        if rng.randrange(6) == 0:
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(("", "{", "\0", '"', "9" * 400, "[" * 1_000)) + text[at + rng.randrange(3) :]
        status, answer = ask(server, "POST", path, text)
        assert status < 500 or answer["error"]["code"] != "defect", (seed, path, text, answer)
        answered.add(status)
    assert {200, 400, 404} <= answered, "bodies of all kinds were among them"
