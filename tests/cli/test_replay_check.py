"""`odradek replay-check`: a gate before a deployment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .running import dev_server, odradek_here
from .test_views import eventually

OLD = """
import asyncio
from odradek import workflow

@workflow.define
async def patient(name: str) -> None:
    await asyncio.sleep(3600)

@workflow.define
class Shelf:
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)
"""
OTHER = "from odradek import workflow\n\n@workflow.define\nasync def other() -> None: ...\n"
NEW = OLD.replace("    await asyncio.sleep(3600)", "    await workflow.wait_condition(lambda: name == 'nobody')")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with three open runs of `patient`, one of which has closed, and one of `Shelf`."""
    folder = tmp_path_factory.mktemp("gate")
    (folder / "gate_old.py").write_text(OLD)
    with dev_server(folder / "data", file=folder / "gate_old.py") as (_, address):
        for name in ("ada", "bob", "cy"):
            start = ("workflow", "start", "patient", "--id", name, "--input", f'"{name}"')
            assert odradek_here(*start, address=address).code == 0
        assert odradek_here("workflow", "start", "Shelf", "--id", "shelf", address=address).code == 0
        for name in ("ada", "bob", "cy", "shelf"):
            eventually(
                lambda one=name: odradek_here("workflow", "show", one, "--json", address=address),
                lambda seen: "WorkflowTaskCompleted" in [event["type"] for event in seen["events"]],
            )
        assert odradek_here("workflow", "terminate", "cy", address=address).code == 0
        yield address


def module(folder: Path, name: str, code: str) -> str:
    (folder / f"{name}.py").write_text(code)
    return str(folder / f"{name}.py")


def test_the_same_code_passes(served: str, tmp_path: Path) -> None:
    done = odradek_here("replay-check", module(tmp_path, "gate_same", OLD), address=served)
    assert done.code == 0, done.err
    assert done.out.splitlines() == ["Shelf: 1 replayed, none differs", "patient: 2 replayed, none differs"]


def test_changed_code_ends_with_1_and_the_differences(served: str, tmp_path: Path) -> None:
    new = module(tmp_path, "gate_new", NEW)
    done = odradek_here("replay-check", new, address=served)
    assert done.code == 1
    assert done.out.splitlines() == ["Shelf: 1 replayed, none differs", "patient: 2 of 2 differ"]
    assert "StartTimer" in done.err
    told = odradek_here("replay-check", new, "--json", address=served)
    assert told.code == 1
    assert told.json["replayed"] == {"patient": 2, "Shelf": 1}
    assert sorted(one["workflow_id"] for one in told.json["differences"]) == ["ada", "bob"]


def test_a_sample_and_chosen_ones(served: str, tmp_path: Path) -> None:
    new = module(tmp_path, "gate_few", NEW)
    assert odradek_here("replay-check", new, "--sample", "1", "--json", address=served).json["replayed"] == {
        "patient": 1,
        "Shelf": 1,
    }
    assert odradek_here("replay-check", new, "--id", "shelf", address=served).code == 0
    (tmp_path / "ids").write_text("shelf\ncy\n\n")
    chosen = odradek_here("replay-check", new, "--ids-file", str(tmp_path / "ids"), "--json", address=served)
    assert [one["workflow_id"] for one in chosen.json["differences"]] == ["cy"]
    assert odradek_here("replay-check", new, "--id", "nobody", address=served).code == 3


def test_types_that_the_modules_lack_are_told(served: str, tmp_path: Path) -> None:
    other = module(
        tmp_path, "gate_other", OTHER
    )
    done = odradek_here("replay-check", other, address=served)
    assert (done.code, done.out.strip()) == (0, "no open workflow of these types")
    assert "1 of Shelf, 2 of patient" in done.err
    wrong = odradek_here("replay-check", other, "--data-converter", "gate_other:other", address=served)
    assert (wrong.code, "is no DataConverter" in wrong.err) == (2, True)
