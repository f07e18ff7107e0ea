"""`odradek log ...`, and the maintenance behind it, on the log of a server that has stopped."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from odradek.cli import log as log_commands
from odradek_engine import folding, maintenance
from odradek_engine.fold import keys
from odradek_engine.store import RocksStorage
from odradek_log import TopicPartition, open_log
from odradek_schemas import Topics, partition_of
from rich.console import Console

from .running import dev_server, odradek_here, stop

HOME = partition_of(b"counted", 16)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a closed and an open workflow in it."""
    data = tmp_path_factory.mktemp("log") / "data"
    with dev_server(data) as (process, address):
        odradek_here("workflow", "execute", "elsewhere", "--id", "done", "--input", "1", address=address)
        odradek_here("workflow", "start", "Counter", "--id", "counted", "--input", "5", address=address)
        odradek_here("workflow", "signal", "counted", "add", "--input", "2", address=address)
        assert stop(process) == 0
    return data


@pytest.fixture
def data(used: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    shutil.copytree(used, tmp_path / "data")
    return tmp_path / "data"


def test_dump_prints_every_record_of_a_topic(used: Path) -> None:
    done = odradek_here("log", "dump", f"file:{used}", "--json")
    records = [json.loads(line) for line in done.out.splitlines()]
    with_log = open_log(f"file:{used}")
    try:
        ends = [with_log.offsets(TopicPartition(Topics().events, p))[1] for p in range(16)]
    finally:
        with_log.close()
    assert len(records) == sum(ends)
    for partition in range(16):
        assert [r["offset"] for r in records if r["partition"] == partition] == list(range(ends[partition]))
    signal, *again = [r for r in records if r["record"]["type"] == "SignalWorkflow"]
    assert all(one["record"]["request"] == signal["record"]["request"] for one in again), "a slow answer is asked for"
    assert (signal["key"], signal["partition"], signal["topic"]) == ("counted", HOME, "odradek.default.events")
    assert (signal["record"]["signal"], signal["record"]["input"]) == ("add", [2])


def test_dump_of_a_part(used: Path) -> None:
    one = ("log", "dump", str(used), "--partition", str(HOME))
    everything = odradek_here(*one).out.splitlines()
    assert odradek_here(*one, "--from", "2", "--limit", "1").out.splitlines() == everything[2:3]
    assert any(f"{HOME}:" in line and "StartWorkflow" in line for line in everything)
    history = odradek_here("log", "dump", str(used), "--topic", "history", "--json").out.splitlines()
    assert {json.loads(line)["record"]["type"] for line in history} == {"HistoryBatch"}
    missing = odradek_here("log", "dump", str(used), "--topic", "evnets")
    assert (missing.code, "odradek.default.events" in missing.err) == (4, True)
    assert odradek_here("log", "dump", str(used), "--partition", "99").code == 2


def test_dump_shows_what_cannot_be_decoded(data: Path) -> None:
    log = open_log(f"file:{data}")
    producer = log.producer()
    producer.send(Topics().events, 0, b"\xff", b"no record")
    assert producer.flush(10) == 0
    producer.close()
    log.close()
    lines = odradek_here("log", "dump", str(data), "--partition", "0", "--json").out.splitlines()
    last = json.loads(lines[-1])
    assert last["record"]["hex"] == b"no record".hex()
    assert "neither Avro" in last["record"]["error"]


def test_verify_finds_the_same_state(used: Path) -> None:
    done = odradek_here("log", "verify", str(used))
    assert (done.code, "The same" in done.out) == (0, True), done
    found = odradek_here("log", "verify", str(used), "--json").json
    assert found["ok"] is True
    assert sum(p["rows"] for p in found["partitions"]) > 20
    assert all(p["differing"] == 0 for p in found["partitions"])


def test_verify_finds_every_changed_added_and_lost_row(data: Path) -> None:
    storage = RocksStorage(data / "state" / "default" / str(HOME))
    row = storage.get(keys.current("counted"))
    assert row is not None
    event = next(key for key, _ in storage.scan(keys.EVENT, keys.after(keys.EVENT)))
    storage.write([(keys.current("counted"), row.replace(b"Counter", b"Kounter")), (event, None), (b"zz", b"stray")])
    storage.close()
    done = odradek_here("log", "verify", str(data), "--json")
    assert (done.code, done.json["ok"]) == (1, False)
    bad = done.json["partitions"][HOME]
    assert bad["differing"] == 3
    assert bad["problems"]  # the lost event leaves a gap in the history
    tables = {e["table"]: (e["stored"] is None, e["folded"] is None) for e in bad["examples"]}
    assert tables["workflow"] == (False, False)
    assert tables["event"] == (True, False)
    assert (False, True) in tables.values()
    shown = odradek_here("log", "verify", str(data)).out
    assert f"partition {HOME}: workflow counted" in shown
    assert "Kounter" in shown
    assert odradek_here("log", "rebuild", str(data)).code == 0
    assert odradek_here("log", "verify", str(data)).code == 0


def test_verify_tells_the_state_of_another_log(data: Path) -> None:
    shutil.rmtree(data / "durable")
    shutil.rmtree(data / "other")
    done = odradek_here("log", "verify", str(data))
    assert (done.code, "the state of another log" in done.out) == (1, True), done


def test_rebuild_folds_the_deleted_state_again(data: Path) -> None:
    shutil.rmtree(data / "state")
    gone = odradek_here("log", "verify", str(data))
    assert (gone.code, "there is no state" in gone.err) == (4, True)
    done = odradek_here("log", "rebuild", str(data), "--json")
    assert done.code == 0
    assert done.json["partitions"] == 16
    assert 0 < done.json["events"] < done.json["rows"], "each event of a workflow is a row"
    assert odradek_here("log", "verify", str(data)).code == 0
    with dev_server(data) as (_, address):
        assert odradek_here("workflow", "query", "counted", "value", address=address).json == 2


def test_rebuild_refuses_a_state_that_is_open(data: Path) -> None:
    held = RocksStorage(data / "state" / "default" / "3")
    try:
        done = odradek_here("log", "rebuild", str(data))
    finally:
        held.close()
    assert (done.code, "Another engine may have it open" in done.err) == (4, True)
    assert odradek_here("log", "verify", str(data)).code == 0  # nothing was lost


def test_a_rebuild_that_fails_keeps_the_old_state(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    log = open_log(f"file:{data}")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(folding, "fold", fail)
            with pytest.raises(MemoryError):
                list(maintenance.rebuild(log, "default", data / "state"))
        assert all(result.ok for result in maintenance.verify(log, "default", data / "state"))
    finally:
        log.close()


def test_stats_counts_a_folder(used: Path) -> None:
    counts = {"started": 1, "open": 0, "completed": 1, "failed": 0, "cancelled": 0, "terminated": 0, "timed_out": 0}
    found = odradek_here("stats", str(used), "--json").json
    assert found == {"types": {"Counter": {**counts, "open": 1, "completed": 0}, "elsewhere": counts}, "behind": 0}
    assert "elsewhere" in odradek_here("stats", f"file:{used}").out
    refused = odradek_here("stats", str(used), "--keep")
    assert (refused.code, "needs no process" in refused.err) == (4, True)
    assert odradek_here("stats", "file:./nowhere").code == 3


def test_kafka_needs_the_folder_of_the_state(kafka_bootstrap: str) -> None:
    done = odradek_here("log", "verify", f"kafka://{kafka_bootstrap}")
    assert (done.code, "--data-dir" in done.err) == (2, True)


def test_dump_and_verify_look_into_a_folder_that_is_in_use(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with dev_server(data) as (process, address):
        assert odradek_here("workflow", "execute", "echo", "--id", "in-use", address=address).code == 0
        before = {path: path.stat().st_size for path in data.rglob("*.log")}
        lines = odradek_here("log", "dump", str(data), "--json").out.splitlines()
        types = [json.loads(line)["record"]["type"] for line in lines]
        assert {"StartWorkflow", "WorkflowTaskCompleted", "LeaderElected"} <= set(types)
        found = odradek_here("log", "verify", str(data), "--json")
        assert (found.code, found.json["ok"]) == (0, True), found
        assert all(path.stat().st_size >= size for path, size in before.items()), "the folder is not touched"
        assert odradek_here("workflow", "execute", "echo", "--id", "still", address=address).code == 0
        assert stop(process) == 0
    assert odradek_here("log", "verify", str(data)).code == 0


def test_the_progress_of_a_million_events_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when the line is wrapped in a terminal of 80 columns, or does not tell events a second."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(log_commands, "stderr", console)
    monkeypatch.setattr(log_commands.sys.stderr, "isatty", lambda: True, raising=False)
    with log_commands.progress_bar("Rebuilding", 1_003_292, as_json=False) as advance:
        advance(folding.Folded(records=1_003_291, events=2_003_292))
    lines = [line for line in shown.getvalue().splitlines() if "events/s" in line]
    assert any("1,003,291 of 1,003,292 records" in line and "left" in line for line in lines)
