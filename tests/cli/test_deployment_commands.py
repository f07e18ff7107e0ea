"""`odradek deployment ...` against a real `odradek dev`."""

from __future__ import annotations

from .running import odradek_here

QUEUE = ("--task-queue", "with-builds")


def test_a_build_is_made_current_and_drained(server: str) -> None:
    def deployment(*arguments: str) -> tuple[int, str, str]:
        done = odradek_here("deployment", *arguments, *QUEUE, address=server)
        return done.code, done.out, done.err

    def listed() -> dict[str, tuple[bool, int]]:
        done = odradek_here("deployment", "list", "--json", *QUEUE, address=server)
        return {one["build_id"]: (one["current"], one["open_workflows"]) for one in done.json["builds"]}

    assert deployment("set-current", "v1")[0] == 0
    started = odradek_here("workflow", "start", "sleeper", "--id", "on-v1", *QUEUE, address=server)
    assert started.code == 0, started.err
    assert listed()["v1"] == (True, 1)
    code, out, _ = deployment("list")
    assert (code, "no worker of build v1" in out) == (0, True)
    code, _, err = deployment("drain", "v1")
    assert (code, "set-current" in err) == (6, True), "the current build takes new workflows"
    assert deployment("set-current", "v2")[0] == 0
    code, out, _ = deployment("drain", "v1")
    assert (code, "still needed by 1: on-v1" in out) == (5, True)
    assert odradek_here("workflow", "terminate", "on-v1", address=server).code == 0
    code, out, _ = deployment("drain", "v1", "--wait", "30")
    assert (code, "No open workflow needs build v1" in out) == (0, True)
    assert deployment("set-current", "")[0] == 0
    assert listed()[None] == (True, 0)  # type: ignore[index]


def test_a_workflow_is_started_and_reset_on_a_build(server: str) -> None:
    def needed() -> dict[str, list[str]]:
        done = odradek_here("deployment", "list", "--json", *QUEUE, address=server)
        return {one["build_id"]: one["workflow_ids"] for one in done.json["builds"]}

    def workflow(*arguments: str) -> None:
        done = odradek_here("workflow", *arguments, address=server)
        assert done.code == 0, done.err

    workflow("start", "sleeper", "--id", "canary", "--build-id", "v8", *QUEUE)
    assert needed()["v8"] == ["canary"]
    workflow("reset", "canary", "--event-id", "1", "--build-id", "v9")
    assert needed()["v9"] == ["canary"]
    assert "v8" not in needed()
    workflow("terminate", "canary")


def test_names_that_cannot_be_are_refused(server: str) -> None:
    for arguments in (("set-current", "v/1"), ("list", "-q", "a b"), ("drain", "v1", "-q", "a/b")):
        done = odradek_here("deployment", *arguments, "--json", address=server)
        assert (done.code, done.error["code"]) == (2, "usage"), done
