"""What users write is checked by both type checkers: what must pass passes, what must be refused is refused.

In usage_neg.py and usage_wrong.py every marked line is an error in both: an ignore that suppresses nothing is an error
itself, and without the marks each of these lines is one. The examples are checked with them.
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
_MARK = re.compile(r"(?m)  # (type: ignore|pyright: ignore).*$")
EXAMPLES = HERE.parent.parent / "examples"
UNMARKED = tuple(name.replace(".py", "_unmarked.py") for name in WRONG)
PROGRAMS = (*RIGHT, *WRONG, *UNMARKED, *sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py")))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs in a folder of their own, as a user's project; each wrong one also with its marks taken out."""
    folder = tmp_path_factory.mktemp("programs")
    for name in (*RIGHT, *WRONG, "pyrightconfig.json"):
        shutil.copy(HERE / name, folder)
    shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name, unmarked in zip(WRONG, UNMARKED, strict=True):
        (folder / unmarked).write_text(_MARK.sub("", (folder / name).read_text()))
    return folder


def marked_lines() -> set[tuple[str, int]]:
    """Where the checkers must find errors: the unmarked file, and the line."""
    found = set()
    for (name, count), unmarked in zip(WRONG.items(), UNMARKED, strict=True):
        lines = [n for n, line in enumerate((HERE / name).read_text().splitlines(), 1) if _MARK.search(line)]
        assert len(lines) == count, name
        found |= {(unmarked, n) for n in lines}
    return found


def run_checker(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.timeout(300)
def test_mypy_strict_finds_each_wrong_use_and_nothing_else(programs: Path) -> None:
    done = run_checker(programs, "mypy", "--strict", "--config-file=", *PROGRAMS)
    errors = {(file, int(line)) for file, line in re.findall(r"(?m)^(\S+?):(\d+): error", done.stdout)}
    assert errors == marked_lines(), done.stdout + done.stderr
    assert f"in {len(WRONG)} files (checked {len(PROGRAMS)} source files)" in done.stdout


@pytest.mark.timeout(300)
def test_pyright_strict_finds_each_wrong_use_and_nothing_else(programs: Path) -> None:
    done = run_checker(programs, "pyright", "--outputjson", "--pythonpath", sys.executable)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(PROGRAMS), done.stdout + done.stderr
    said = report["generalDiagnostics"]
    folder = programs.resolve()
    errors = {(Path(d["file"]).relative_to(folder).as_posix(), d["range"]["start"]["line"] + 1) for d in said}
    assert errors == marked_lines(), "\n".join(f"{d['file']}: {d['range']['start']}: {d['message']}" for d in said)


def test_the_generated_overloads_are_those_of_the_generator() -> None:
    script = HERE.parent.parent / "tools" / "gen_ladder.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, "run tools/gen_ladder.py: " + done.stderr
