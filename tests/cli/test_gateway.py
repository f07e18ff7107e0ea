"""The HTTP server of `odradek dev`: who is let in, and what it answers to wrong requests."""

from __future__ import annotations

import http.client
import json
import random
from typing import Any
from urllib.parse import urlsplit

import pytest

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


ROUTES = {
    BASE: {"workflow_type": "echo", "workflow_id": "fuzzed", "task_queue": "nobody", "input": [1]},
    f"{BASE}/nobody/signals/s": {"input": [1], "request_id": "r"},
    f"{BASE}/nobody/queries/q": {"input": [1], "timeout": 0.1},
    f"{BASE}/nobody/updates/u": {"input": [1], "wait_for": "accepted", "request_id": "r"},
    f"{BASE}/nobody/cancel": {"reason": "r"},
    f"{BASE}/nobody/terminate": {"reason": "r"},
    f"{BASE}/nobody/reset": {"event_id": 1, "reason": "r", "reapply": "signals"},
    f"{BASE}/nobody/reset-before": {"point": "last", "activity_type": "a"},
    f"{BASE}/nobody/pause": {"reason": "r"},
    f"{BASE}/nobody/activities": {"action": "pause", "which": 1, "reason": "r", "options": {"task_queue": "q"}},
    "/api/v1/namespaces/default/task-queues/q/builds/current": {"build_id": "b"},
    "/api/v1/namespaces/default/activities/complete": {"task_token": "dA==", "result": 1},
    "/api/v1/namespaces/default/activities/fail": {"task_token": "dA==", "failure": {"message": "m"}},
    "/api/v1/namespaces/default/schedules": {"schedule_id": "s", "schedule": {"spec": {}, "action": {}}},
    "/api/v1/namespaces/default/schedules/s/trigger": {"overlap": "skip"},
}
ODD_JSON: tuple[Any, ...] = (
    None, True, -1, 2**70, 1e308, "", "x" * 2_000, "\0", [], {}, [[[[]]]], {"a": {"b": [None]}}, "2026-01-01", "\ud800",
)  # fmt: skip


def test_any_body_gets_an_answer_that_is_no_defect(server: str) -> None:
    """Breaks when a body that makes no sense ends in a traceback of the server."""
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    answered = set()
    for number in range(90):
        path, good = list(ROUTES.items())[number % len(ROUTES)]
        body: dict[str, Any] = dict(good)
        for _ in range(rng.randrange(3)):
            body[rng.choice([*body, "nonsense"])] = rng.choice(ODD_JSON)
        text = json.dumps(body)
        if rng.randrange(4) == 0:
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(("", "{", "\0", '"', "9" * 400, "[" * 1_000)) + text[at + rng.randrange(3) :]
        status, answer = ask(server, "POST", path, text)
        assert status < 500 or answer["error"]["code"] != "defect", (seed, path, text, answer)
        answered.add(status)
    assert {200, 400, 404} <= answered, "bodies of all kinds were among them"
