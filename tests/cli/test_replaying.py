"""`odradek workflow export` and `replay`."""

from __future__ import annotations

import json
from pathlib import Path

from .running import SAMPLE, odradek_here

CHANGED = '''
import asyncio
from odradek import workflow

@workflow.define(name="echo")
async def echo(value=None, other=None):
    await asyncio.sleep(1)
    return [value, other]
'''


def exported(server: str, folder: Path) -> Path:
    made = odradek_here("workflow", "execute", "echo", "--id", "exported", "--input", "1", address=server)
    assert made.code == 0, made.err
    file = folder / "history.json"
    done = odradek_here("workflow", "export", "exported", "-o", str(file), address=server)
    assert (done.code, done.out) == (0, ""), done.err
    return file


def test_what_is_exported_replays(server: str, tmp_path: Path) -> None:
    file = exported(server, tmp_path)
    assert json.loads(file.read_text())["workflow_id"] == "exported"
    printed = odradek_here("workflow", "export", "exported", address=server)
    assert printed.json == json.loads(file.read_text())
    done = odradek_here("workflow", "replay", str(file), str(SAMPLE))
    assert done.code == 0, done.err
    assert "what history holds" in done.out
    told = odradek_here("workflow", "replay", str(file), str(SAMPLE), "--json")
    assert told.json["replayed"] is True


def test_changed_code_ends_with_1_and_shows_the_difference(server: str, tmp_path: Path) -> None:
    file = exported(server, tmp_path)
    (tmp_path / "changed.py").write_text(CHANGED)
    done = odradek_here("workflow", "replay", str(file), str(tmp_path / "changed.py"))
    assert done.code == 1
    assert "StartTimer" in done.err
    told = odradek_here("workflow", "replay", str(file), str(tmp_path / "changed.py"), "--json")
    assert (told.code, told.json["replayed"]) == (1, False)


def test_debug_stops_in_the_workflows_code(server: str, tmp_path: Path) -> None:
    file = exported(server, tmp_path)
    done = odradek_here("workflow", "replay", str(file), str(SAMPLE), "--debug", stdin="p value\ncontinue\n")
    assert done.code == 0, done.err
    assert "return [value, other]" in done.out
    assert "(Pdb) 1" in done.out


def test_what_cannot_be_replayed_is_a_usage_error(server: str, tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text("{}")
    done = odradek_here("workflow", "replay", str(tmp_path / "no.json"), str(SAMPLE))
    assert done.code == 2
    assert "odradek workflow export" in done.err
    assert odradek_here("workflow", "replay", str(tmp_path / "absent.json"), str(SAMPLE)).code == 2
    file = exported(server, tmp_path)
    (tmp_path / "other.py").write_text("from odradek import workflow\n\n@workflow.define\nasync def other(): ...\n")
    done = odradek_here("workflow", "replay", str(file), str(tmp_path / "other.py"))
    assert (done.code, "there are: other" in done.err) == (2, True)


def test_a_workflow_that_is_not_there_cannot_be_exported(server: str) -> None:
    assert odradek_here("workflow", "export", "nobody", address=server).code == 3
