"""The HTTP server of `odradek dev`: who is let in, and what it answers to wrong requests."""

from __future__ import annotations

import http.client
import json
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
