"""What users write is checked by both type checkers: what must pass passes, what must be refused is refused.

In usage_neg.py every marked line is an error in both: an ignore that suppresses nothing is an error itself.
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
PROGRAMS = ("usage_pos.py", "usage_more.py", "usage_messages.py", "usage_neg.py")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The programs in a folder of their own, as a user's project."""
    for name in (*PROGRAMS, "pyrightconfig.json"):
        shutil.copy(HERE / name, tmp_path)
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


def without_ignores(folder: Path) -> int:
    """Take the marks out of usage_neg.py; return how many lines were marked."""
    path = folder / "usage_neg.py"
    lines = path.read_text().splitlines()
    unmarked = [re.sub(r"  # type: ignore.*$", "", line) for line in lines]
    path.write_text("\n".join(unmarked) + "\n")
    return sum(before != after for before, after in zip(lines, unmarked, strict=True))


@pytest.mark.timeout(300)
def test_each_wrong_use_is_an_error_in_both_checkers(programs: Path) -> None:
    marked = without_ignores(programs)
    assert marked == 49
    wrong = set(re.findall(r"usage_neg\.py:(\d+): error", mypy(programs).stdout))
    assert len(wrong) == marked
    wrong = {line for text in pyright_errors(programs) for line in re.findall(r"usage_neg\.py:(\d+):", text)}
    assert len(wrong) == marked


def test_the_generated_overloads_are_those_of_the_generator() -> None:
    script = HERE.parent.parent / "tools" / "gen_ladder.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, "run tools/gen_ladder.py: " + done.stderr
