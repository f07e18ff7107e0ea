"""docs/reliability.md names the tests behind its promises: they are there, and no promise is without one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
_NAMED = re.compile(r"`(tests/[^`]+|test_[^`]+|bench/[^`]+)`")


def promises() -> list[tuple[str, str]]:
    """The rows of the page's first table: what is promised, and what shows it."""
    table = PAGE.partition("| promise | shown by |")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
    return [(promise, shown) for promise, shown in rows]


def _is_there(name: str) -> bool:
    """Whether a file or folder of that name is there; names without a folder are of the tests. `*` stands for some."""
    name = name.partition("::")[0]
    return any(ROOT.glob(name)) or any((ROOT / "tests").rglob(name))


def test_every_test_that_the_page_names_is_there() -> None:
    named = _NAMED.findall(PAGE)
    assert len(named) > 50
    assert [name for name in named if not _is_there(name)] == []


def test_no_promise_is_without_a_test() -> None:
    """A rule's tests, a test file, a folder of tests, or the simulation."""
    assert len(promises()) > 20
    assert [promise for promise, shown in promises() if not _NAMED.search(shown)] == []


def test_every_command_that_the_page_names_is_one() -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    assert [name for name in re.findall(r"`make ([a-z-]+)", PAGE) if name not in targets] == []


def test_every_rule_that_the_page_names_is_one_of_the_design() -> None:
    design = (ROOT / "docs" / "design.md").read_text()
    rules = set(re.findall(r"\b[EWLTRQCVN]\d+\b", PAGE))
    assert [rule for rule in sorted(rules) if not re.search(rf"\b{rule}\b", design)] == []


def test_every_rule_of_the_design_has_tests_that_carry_its_name() -> None:
    design = (ROOT / "docs" / "design.md").read_text()
    rules = {rule for row in re.findall(r"(?m)^\| ([A-Z]\d.*?) \|", design) for rule in row.split(", ")}
    assert len(rules) > 30
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    names = re.findall(r"def (test_\w+)", tests)
    named = {rule.upper() for name in names for rule in re.findall(r"(?<=_)[a-zA-Z]\d+(?=_)", name)}
    assert rules - named == set()
