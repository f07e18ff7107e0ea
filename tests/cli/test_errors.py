"""What goes wrong: the exit code, what the message says to do next, and no traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .running import ODRADEK, ROOT, environment, odradek, odradek_here

NOT_FOUND, UNAVAILABLE, USAGE, REFUSED = 3, 4, 2, 6


@pytest.mark.parametrize(
    "command",
    [("result", "nobody"), ("describe", "nobody"), ("show", "nobody"), ("query", "nobody", "value"),
     ("signal", "nobody", "add"), ("update", "nobody", "add_and_wait"), ("cancel", "nobody"), ("terminate", "nobody")],
)  # fmt: skip
def test_an_unknown_workflow(server: str, command: tuple[str, ...]) -> None:
    done = odradek_here("workflow", *command, "--json", address=server)
    assert (done.code, done.error["code"], done.out) == (NOT_FOUND, "not_found", "")
    assert "nobody" in done.error["message"]


def test_an_unknown_run_and_namespace(server: str) -> None:
    odradek_here("workflow", "execute", "echo", "--id", "error-run", address=server)
    assert odradek_here("workflow", "describe", "error-run", "--run-id", "other", address=server).code == NOT_FOUND
    done = odradek_here("workflow", "describe", "error-run", "--namespace", "other", address=server)
    assert done.code == NOT_FOUND
    assert "'other', only 'default'" in done.err


def test_queries_that_cannot_be_answered(server: str) -> None:
    odradek_here("workflow", "start", "Counter", "--id", "error-query", "--input", "1", address=server)
    unknown = odradek_here("workflow", "query", "error-query", "valeu", address=server)
    assert unknown.code == REFUSED
    assert "value" in unknown.err  # what there is
    broken = odradek_here("workflow", "query", "error-query", "broken", address=server)
    assert (broken.code, "a query with a defect" in broken.err) == (REFUSED, True)


@pytest.mark.parametrize(
    ("value", "hint"),
    [("Ada", """'"Ada"'"""), ("{'id': 1}", "An object looks like this"), ("@missing.json", "missing.json"),
     ("NaN", "there is no NaN in JSON"), ("[1e999]", "there is no 1e999 in JSON")],
)
def test_input_that_is_no_json(value: str, hint: str) -> None:
    done = odradek_here("workflow", "start", "echo", "--input", value)
    assert done.code == USAGE
    assert hint in done.err


def test_no_server_at_the_default_or_a_given_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, and nobody listens
        done = odradek_here("workflow", "describe", "x", address=f"http://127.0.0.1:{free.getsockname()[1]}")
    assert done.code == UNAVAILABLE
    assert "odradek dev FILE" in done.err


def test_a_server_that_is_not_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def answer() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        done = odradek_here("workflow", "describe", "x", address=f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert done.code == UNAVAILABLE
    assert "is not Odradek" in done.err


@pytest.mark.parametrize("address", ["localhost:9092", "redis://localhost", "file:./no-such-folder"])
def test_wrong_addresses(address: str, tmp_path: Path) -> None:
    done = odradek_here("workflow", "describe", "x", address=address, cwd=tmp_path)
    assert done.code == (NOT_FOUND if address.startswith("file:") else USAGE)
    assert not list(tmp_path.iterdir())  # looking makes no folder


def test_a_namespace_and_a_folder_that_cannot_be(tmp_path: Path) -> None:
    done = odradek_here("workflow", "describe", "x", "--namespace", "a b", address="kafka://127.0.0.1:1")
    assert (done.code, "--namespace 'a b': use 1 to 100" in done.err) == (USAGE, True)
    done = odradek_here("log", "dump", "no-such-folder", cwd=tmp_path)
    assert (done.code, f"there is no log in the folder {tmp_path / 'no-such-folder'}" in done.err) == (NOT_FOUND, True)


def test_no_broker(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"kafka://127.0.0.1:{free.getsockname()[1]}"
        commands = [
            ("workflow", "describe", "x", "--timeout", "1"),
            ("engine", "--data", "state"),
            ("worker", str(ROOT / "examples" / "hello.py")),
            ("log", "dump", address),
        ]
        with ThreadPoolExecutor() as pool:
            for done in pool.map(lambda command: odradek(*command, address=address, cwd=tmp_path), commands):
                assert (done.code, "127.0.0.1" in done.err) == (UNAVAILABLE, True), done


@pytest.mark.parametrize("command", ["engine", "worker"])
@pytest.mark.parametrize("address", ["", "file:./data", "http://127.0.0.1:7233"])
def test_engine_and_worker_need_kafka(command: str, address: str) -> None:
    files = [str(ROOT / "examples" / "hello.py")] if command == "worker" else []
    done = odradek_here(command, *files, address=address)
    assert (done.code, "odradek dev FILE" in done.err) == (USAGE, True)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.py", None, "there is no file"),
        ("README.md", "# Orders", "is no Python file"),
        ("no.such.module", None, "there is no module 'no.such.module'"),
        ("empty.py", "x = 1", "no workflow and no activity"),
        ("broken.py", "import asyncio\n\ndef f():\n    return 1 / 0\n\nf()\n", "ZeroDivisionError"),
        ("typo.py", "def f(:\n    pass\n", "SyntaxError"),
        ("json.py", "x = 1", "Give the file another name"),
        ("with-dash.py", "x = 1", "is no name of a module"),
    ],
)
def test_files_that_cannot_be_loaded(tmp_path: Path, name: str, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    done = odradek_here("dev", name, "--port", "0", cwd=tmp_path)
    assert done.code == USAGE
    assert says in done.err
    if name == "broken.py":
        assert 'broken.py", line 4, in f' in done.err
    assert not (tmp_path / "odradek-data").exists()


def test_two_definitions_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text(
        "from odradek import activity\n"
        "@activity.define(name='pay')\ndef one() -> None: ...\n"
        "@activity.define(name='pay')\ndef two() -> None: ...\n"
    )
    done = odradek_here("dev", "twice.py", "--port", "0", cwd=tmp_path)
    assert (done.code, "two activity definitions named 'pay'" in done.err) == (USAGE, True)


def test_help_documents_the_exit_codes() -> None:
    for group in ([], ["workflow"]):
        done = odradek_here(*group, "--help")
        assert done.code == 0
        for code in ("0  done", "3  there is no such workflow", "5  the workflow or the update did not end"):
            assert code in done.out
    for command in ("update", "reset", "export", "replay"):
        assert odradek_here("workflow", command).code == USAGE


def test_a_reader_that_goes_away_is_no_error(server: str) -> None:
    odradek_here("workflow", "execute", "echo", "--id", "error-pipe", address=server)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [ODRADEK, "workflow", "show", "error-pipe"],
        env=environment(ODRADEK_ADDRESS=server), stdout=write, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write)
    assert "Traceback" not in done.stderr
