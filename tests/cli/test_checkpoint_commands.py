"""`odradek checkpoint ...` on the log of a server that has stopped, and an engine that begins from what it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from .running import dev_server, odradek_here, stop


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("log") / "data"
    with dev_server(data) as (process, address):
        odradek_here("workflow", "execute", "elsewhere", "--id", "done", "--input", "1", address=address)
        assert stop(process) == 0
    return data


def test_checkpoints_are_made_listed_and_verified(used: Path, tmp_path: Path) -> None:
    store = ("--store", str(tmp_path / "kept"))
    assert "There are no checkpoints" in odradek_here("checkpoint", "list", *store).out
    made = odradek_here("checkpoint", "create", str(used), *store)
    assert made.code == 0, made.err
    assert "16 checkpoints made" in made.out
    assert "0 checkpoints made" in odradek_here("checkpoint", "create", str(used), *store).out
    listed = odradek_here("checkpoint", "list", *store, "--json").json
    assert [one["partition"] for one in listed] == list(range(16))
    assert all(one["position"] > 0 and one["version"] == 1 for one in listed)
    assert odradek_here("checkpoint", "verify", *store, "--json").json == {"good": 16, "problems": []}

    path = next((tmp_path / "kept").rglob("checkpoints/3/*.json"))
    path.write_bytes(path.read_bytes().replace(b"CURRENT", b"CURRANT"))
    verified = odradek_here("checkpoint", "verify", *store, "--json")
    assert verified.code == 1
    assert [problem["partition"] for problem in verified.json["problems"]] == [3]

    path.write_bytes(path.read_bytes()[:100])
    listed = odradek_here("checkpoint", "list", *store)
    assert listed.code == 0
    assert "is damaged" in listed.out
    assert "1 checkpoints made" in odradek_here("checkpoint", "create", str(used), *store).out
    assert odradek_here("checkpoint", "verify", *store, "--json").json == {"good": 16, "problems": []}


def test_what_cannot_be_is_told(used: Path) -> None:
    done = odradek_here("checkpoint", "create", str(used), "--store", "nowhere://x")
    assert done.code != 0
    assert "s3://bucket/prefix" in done.err
    assert "Traceback" not in done.err


def test_a_log_is_trimmed_behind_checkpoints_only(used: Path, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept")
    refused = odradek_here("log", "trim", str(used), "--checkpoints", kept, "--yes")
    assert refused.code == 4
    assert "odradek checkpoint create" in refused.err
    assert odradek_here("checkpoint", "create", str(used), "--store", kept).code == 0
    done = odradek_here("log", "trim", str(used), "--checkpoints", kept, "--yes")
    assert "0 records deleted, in 16 partitions" in done.out, done.err
    assert "share files with what is kept" in done.out, "the newest file stays"
    assert odradek_here("log", "verify", str(used), "--checkpoints", kept).code == 0
    assert odradek_here("engine", "--log", "kafka://127.0.0.1:1", "--trim").code == 2
