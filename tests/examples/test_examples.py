"""Every example runs by itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..cli.running import ROOT, SECONDS, Process, dev_server, environment, odradek_here

HELLO, FOOD_ORDER = ROOT / "examples" / "hello.py", ROOT / "examples" / "food_order.py"
POKE = '{"id": 1, "name": "Poke", "cents": 1299}'


def run(example: Path, *arguments: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, str(example), *arguments],
        cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def steps(journal: Path) -> list[list[str]]:
    """Activity, workflow, idempotency key and attempt of each line."""
    return [line.split() for line in journal.read_text().splitlines()]


def test_hello_greets_each_time(tmp_path: Path) -> None:
    for _ in range(2):
        assert run(HELLO, "Ada", cwd=tmp_path) == "Hello, Ada!\n"


def test_food_order_by_itself(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    out = run(FOOD_ORDER, cwd=tmp_path, ODRADEK_EXAMPLE_JOURNAL=str(journal))
    assert "charged 12.99 for Poke" in out
    assert out.splitlines()[-1].startswith("order-1: delivered, paid with ch_")
    assert [step[0] for step in steps(journal)] == ["charge", "notify"]


def test_food_order_goes_on_after_kill_9(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    process = Process(sys.executable, str(FOOD_ORDER), cwd=tmp_path, env={"ODRADEK_EXAMPLE_JOURNAL": str(journal)})
    try:
        process.wait_for("charged")
        process.send(signal.SIGKILL)
        process.wait()
    finally:
        process.end()
    out = run(FOOD_ORDER, cwd=tmp_path, ODRADEK_EXAMPLE_JOURNAL=str(journal))
    assert out.splitlines()[-1].startswith("order-1: delivered, paid with ch_")
    done = steps(journal)
    assert {step[0] for step in done} == {"charge", "notify"}
    assert len({step[2] for step in done}) == 2  # killed before its result was in the log, a charge has the same key


def test_food_order_with_the_command_line(tmp_path: Path) -> None:
    with dev_server(tmp_path / "data", file=FOOD_ORDER) as (_, address):

        def workflow(*arguments: str) -> str:
            done = odradek_here("workflow", *arguments, address=address)
            assert done.code == 0, done.err
            return done.out.strip()

        workflow("start", "Order", "--id", "o", "--input", POKE, "--input", '{"rating_after": 0.1}')
        while workflow("query", "o", "status") == '"charging card"':
            pass
        assert workflow("query", "o", "status") == '"paid"'
        workflow("signal", "o", "picked_up")
        workflow("signal", "o", "delivered")
        assert workflow("result", "o").startswith('"ch_')
        assert workflow("query", "o", "status") == '"delivered"'


@pytest.mark.parametrize(
    ("product", "pace", "error", "status", "activities"),
    [
        (POKE, '{"step_timeout": 0.2}', "NotDelivered", "refunded", ["charge", "refund"]),
        ('{"id": 3, "name": "Caviar", "cents": 99900}', "{}", "CardDeclined", "declined", ["charge", "notify"]),
        ('{"id": 9, "name": "Unicorn", "cents": 1}', "{}", "UnknownProduct", "refused", ["notify"]),
    ],
)
def test_food_order_that_fails(
    tmp_path: Path, product: str, pace: str, error: str, status: str, activities: list[str]
) -> None:
    journal = tmp_path / "journal"
    with dev_server(tmp_path / "data", file=FOOD_ORDER, env={"ODRADEK_EXAMPLE_JOURNAL": str(journal)}) as (_, address):
        inputs = ["--input", product, "--input", pace]
        done = odradek_here("workflow", "execute", "Order", "--id", "o", *inputs, "--json", address=address)
        assert (done.code, done.json["status"], done.json["failure"]["type"]) == (1, "failed", error)
        assert odradek_here("workflow", "query", "o", "status", address=address).json == status
    assert [step[0] for step in steps(journal)] == activities
