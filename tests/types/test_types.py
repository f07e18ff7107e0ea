"""What users write is checked by both type checkers: what must pass passes, what must be refused is refused.

In usage_neg.py and usage_wrong.py every marked line is an error in both: an ignore that suppresses nothing is an error
itself. The examples are checked with them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RIGHT = ("usage_pos.py", "usage_more.py", "usage_messages.py", "usage_interceptors.py")
WRONG = {"usage_neg.py": 49, "usage_wrong.py": 44}
"""Programs with wrong lines, and how many."""
EXAMPLES = HERE.parent.parent / "examples"
PROGRAMS = (*RIGHT, *WRONG, *sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py")))


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The programs in a folder of their own, as a user's project."""
    for name in (*RIGHT, *WRONG, "pyrightconfig.json"):
        shutil.copy(HERE / name, tmp_path)
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run_checker(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def mypy(folder: Path) -> subprocess.CompletedProcess[str]:
    return run_checker(folder, "mypy", "--strict", "--config-file=", *PROGRAMS)


def pyright_errors(folder: Path) -> list[str]:
    done = run_checker(folder, "pyright", "--outputjson", "--pythonpath", sys.executable)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(PROGRAMS), done.stdout + done.stderr
    return [f"{d['file']}:{d['range']['start']['line'] + 1}: {d['message']}" for d in report["generalDiagnostics"]]


@pytest.mark.timeout(300)
def test_mypy_strict(programs: Path) -> None:
    done = mypy(programs)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_pyright_strict(programs: Path) -> None:
    assert pyright_errors(programs) == []


def without_ignores(path: Path) -> set[int]:
    """Take the marks out; return which lines were marked."""
    lines = path.read_text().splitlines()
    unmarked = [re.sub(r"  # (type: ignore|pyright: ignore).*$", "", line) for line in lines]
    path.write_text("\n".join(unmarked) + "\n")
    return {n for n, (before, after) in enumerate(zip(lines, unmarked, strict=True), 1) if before != after}


@pytest.mark.timeout(300)
def test_each_wrong_use_is_an_error_at_its_line_in_both_checkers(programs: Path) -> None:
    marked = {name: without_ignores(programs / name) for name in WRONG}
    assert {name: len(lines) for name, lines in marked.items()} == WRONG
    said = mypy(programs).stdout
    by_pyright = "\n".join(pyright_errors(programs))
    for name, lines in marked.items():
        assert {int(n) for n in re.findall(rf"{name}:(\d+): error", said)} == lines
        assert {int(n) for n in re.findall(rf"{name}:(\d+):", by_pyright)} == lines


def test_the_generated_overloads_are_those_of_the_generator() -> None:
    script = HERE.parent.parent / "tools" / "gen_ladder.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, "run tools/gen_ladder.py: " + done.stderr
