"""Bugs to plant in the production code, one for each promise: the tests that are to show the promise must fail then.

A bug replaces functions. `sitecustomize` (in `site/`) puts the one that the environment names into each Python process
as it begins, so that tests which run processes meet it too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

VARIABLE = "PLANTED_BUG"

Patch = Callable[[Any, str, Any], None]
"""Put a value in place of an attribute, or of an entry of a dict."""


@dataclass(frozen=True)
class Bug:
    """promise: how the row of `docs/reliability.md` begins. tests: each of these must fail, as pytest takes them."""

    name: str
    promise: str
    tests: tuple[str, ...]
    plant: Callable[[Patch], None]

    @property
    def what(self) -> str:
        return (self.plant.__doc__ or "").strip()


BUGS: dict[str, Bug] = {}


def bug(promise: str, *tests: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    """Declare a bug."""

    def declare(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        assert plant.__name__ not in BUGS, f"two bugs {plant.__name__}"
        BUGS[plant.__name__] = Bug(plant.__name__, promise, tests, plant)
        return plant

    return declare


_ABSENT = object()


@contextmanager
def planted(one: Bug) -> Iterator[None]:
    """The bug is in, until the block is left."""
    undo: list[Callable[[], None]] = []

    def patch(owner: Any, name: str, value: Any) -> None:
        if isinstance(owner, dict):
            before = owner[name]
            owner[name] = value
            undo.append(lambda: owner.__setitem__(name, before))
            return
        getattr(owner, name)  # a bug in what is not there any more is none
        before = vars(owner).get(name, _ABSENT)
        setattr(owner, name, value)
        undo.append(lambda: delattr(owner, name) if before is _ABSENT else setattr(owner, name, before))

    try:
        one.plant(patch)
        yield
    finally:
        for action in reversed(undo):
            action()


_for_good = ExitStack()


def plant_what_is_asked_for() -> None:
    """For a process that begins."""
    name = os.environ.get(VARIABLE)
    if name:
        from . import bugs

        assert bugs
        _for_good.enter_context(planted(BUGS[name]))
