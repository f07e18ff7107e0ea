"""`odradek dev`: what it announces, how it ends, and what it leaves."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

from odradek_engine.store import RocksStorage

from .running import ROOT, SAMPLE, dev_server, odradek_here, running, stop


def test_it_says_what_runs_and_how_to_start_a_workflow(tmp_path: Path) -> None:
    example = ROOT / "examples" / "food_order.py"
    with dev_server(tmp_path / "data", file=example) as (process, address):
        shown = "\n".join(process.lines)
        assert "Order" in shown
        assert "charge, notify, refund" in shown
        assert json.loads((tmp_path / "data" / "server.json").read_text()) == {
            "address": address, "namespace": "default", "pid": process.pid,
        }  # fmt: skip
        command = next(line for line in process.lines if "odradek workflow start" in line)
        assert """--input '{"id": 1, "name": "text", "cents": 1}'""" in command
        assert command.endswith(f"--address {address}")
        assert stop(process) == 0
    assert not (tmp_path / "data" / "server.json").exists()
    assert "The same command goes on from here" in process.lines[-1]


def test_sigterm_ends_it_gracefully(tmp_path: Path) -> None:
    with dev_server(tmp_path / "data") as (process, _):
        process.send(signal.SIGTERM)
        assert process.wait() == 0


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import asyncio\nfrom odradek import activity, workflow\n"
        "@activity.define\nasync def slow() -> None:\n    print('begun', flush=True)\n    await asyncio.sleep(600)\n"
        "@workflow.define\nasync def wait() -> None:\n    await slow()\n"
    )
    with dev_server(tmp_path / "data", file=tmp_path / "slow.py") as (process, address):
        odradek_here("workflow", "start", "wait", address=address)
        process.wait_for("begun")
        process.send(signal.SIGINT)
        process.wait_for("Stopping")
        process.send(signal.SIGINT)
        assert process.wait() == 130


def test_workflows_go_on_after_kill_9(tmp_path: Path) -> None:
    with dev_server(tmp_path / "data") as (process, address):
        odradek_here("workflow", "start", "Counter", "--id", "kept", "--input", "5", address=address)
        assert odradek_here("workflow", "signal", "kept", "add", "--input", "2", address=address).code == 0
        process.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    with dev_server(tmp_path / "data") as (_, address):
        assert odradek_here("workflow", "query", "kept", "value", address=address).json == 2
        odradek_here("workflow", "signal", "kept", "add", "--input", "3", address=address)
        assert odradek_here("workflow", "result", "kept", address=address).json == 5


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = odradek_here("dev", str(SAMPLE), "--port", port, "--data", str(tmp_path / "data"))
    assert done.code == 4
    assert f"port {port}" in done.err
    assert "--port 0" in done.err
    assert not (tmp_path / "data").exists()


def test_a_folder_that_is_open_elsewhere(tmp_path: Path) -> None:
    with dev_server(tmp_path / "data") as (process, address):
        commands = {
            ("dev", str(SAMPLE), "--port", "0", "--data", str(tmp_path / "data")): f"there: {address}",
            ("workflow", "describe", "x", "--address", f"file:{tmp_path / 'data'}"): f"--address {address}",
            ("log", "rebuild", str(tmp_path / "data")): "stop it first",
        }
        for command, advice in commands.items():
            done = odradek_here(*command)
            assert (done.code, f"process {process.pid}" in done.err) == (4, True), done
            assert advice in done.err


def test_an_engine_that_cannot_go_on_ends_the_process(tmp_path: Path) -> None:
    held = RocksStorage(tmp_path / "data" / "state" / "default" / "3")
    try:
        with running("dev", str(SAMPLE), "--port", "0", "--data", str(tmp_path / "data")) as process:
            process.wait_for("the engine cannot go on: cannot open the store")
            assert process.wait() == 4
    finally:
        held.close()


def test_the_folder_itself_as_address_once_it_is_free(tmp_path: Path) -> None:
    with dev_server(tmp_path / "data") as (process, address):
        odradek_here("workflow", "start", "Counter", "--id", "offline", "--input", "1", address=address)
        assert stop(process) == 0
    folder = f"file:{tmp_path / 'data'}"
    assert odradek_here("workflow", "signal", "offline", "add", "--input", "1", address=folder).code == 0
    odradek_here("workflow", "start", "echo", "--id", "unserved", "--task-queue", "nowhere", address=folder)
    found = odradek_here("workflow", "describe", "unserved", address=folder)
    assert "no worker polls task queue 'nowhere'" in found.out
    unanswered = odradek_here("workflow", "query", "unserved", "value", "--timeout", "1", address=folder)
    assert (unanswered.code, "no worker polls task queue 'nowhere'" in unanswered.err) == (4, True)
    with dev_server(tmp_path / "data") as (_, address):
        assert odradek_here("workflow", "result", "offline", address=address).json == 1


def test_namespace_and_task_queue_of_the_environment(tmp_path: Path) -> None:
    env = {"ODRADEK_NAMESPACE": "shop", "ODRADEK_TASK_QUEUE": "orders"}
    with running("dev", str(SAMPLE), "--port", "0", cwd=tmp_path, env=env) as process:
        address = process.wait_for(r"Server +(http://\S+)")[1]
        process.wait_for("Ctrl-C")
        assert any("Task queues" in line and "orders" in line for line in process.lines)
        done = odradek_here("workflow", "start", "echo", "--json", address=address, env=env)
        assert done.json["task_queue"] == "orders"
        assert odradek_here("workflow", "describe", done.json["workflow_id"], address=address).code == 3
    assert (tmp_path / "odradek-data").is_dir()


def test_log_lines_as_json(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "from odradek import workflow\n@workflow.define\nasync def loud() -> None:\n    workflow.logger.info('hello')\n"
    )
    with dev_server(tmp_path / "data", "--log-format", "json", file=tmp_path / "loud.py") as (process, address):
        odradek_here("workflow", "execute", "loud", "--id", "loud-1", address=address)
        line = json.loads(process.wait_for('"hello"')[0] and process.lines[-1])
        assert (line["level"], line["logger"]) == ("info", "odradek.workflow")
        assert line["workflow_id"] == "loud-1"
