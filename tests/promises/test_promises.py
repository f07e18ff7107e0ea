"""Every promise of `docs/reliability.md` has bugs that break it, one at least for each test file that it names.

That their tests fail then is shown by `python -m tests.promises`, which takes long; here, that there are such bugs, and
that each can still be planted.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..docs.test_reliability import promises
from . import bugs
from .planting import BUGS, Bug, planted

ROOT = Path(__file__).parents[2]
assert bugs


def _of(promise: str) -> list[Bug]:
    return [one for one in BUGS.values() if promise.startswith(one.promise)]


def _named(shown: str) -> set[str]:
    """The test files that a row names; those without a folder are beside the one before them."""
    found, folder = set[str](), "tests"
    for name in re.findall(r"`([^`]+\.py)`", shown):
        path = name if name.startswith("tests/") else f"{folder}/{name}"
        folder = path.rpartition("/")[0]
        found.add(path)
    return found


@pytest.mark.parametrize(("promise", "shown"), promises(), ids=lambda text: text[:40])
def test_for_each_test_of_a_promise_there_is_a_bug_that_it_finds(promise: str, shown: str) -> None:
    """Breaks when a promise is made, or a test named, and nobody has seen it fail."""
    found = {test.split()[0] for one in _of(promise) for test in one.tests}
    assert found, "no bug breaks this"
    assert {name for name in _named(shown) if name not in found} == set()
    assert {name for name in found if not (ROOT / name).exists()} == set()


def test_no_bug_is_of_a_promise_that_there_is_not() -> None:
    ours = [one.name for promise, _ in promises() for one in _of(promise)]
    assert sorted(ours) == sorted(BUGS)


@pytest.mark.parametrize("one", BUGS.values(), ids=lambda one: one.name)
def test_a_bug_can_be_planted_and_taken_out(one: Bug) -> None:
    """Breaks when what it replaces is not there any more."""
    assert one.what
    with planted(one):
        pass
