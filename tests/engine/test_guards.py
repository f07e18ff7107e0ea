"""The fold asks nothing of the world: no clock, no randomness, no input or output, no unordered iteration."""

from __future__ import annotations

import ast
import builtins
import os
import random
import secrets
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from odradek_engine import fold as fold_package
from odradek_engine.fold import MemoryStorage, State, fold, keys
from odradek_engine.fold.core import _DECIDE
from odradek_engine.fold.tables import INDEXES, TABLES

from .harness import TOPICS
from .streams import random_log

FOLD = Path(fold_package.__file__).parent
FORBIDDEN = {
    "asyncio",
    "confluent_kafka",
    "datetime",
    "os",
    "pathlib",
    "random",
    "rocksdict",
    "secrets",
    "socket",
    "threading",
    "time",
    "uuid",
}


class TouchedTheWorldError(Exception):
    """The fold did what it must not."""


@contextmanager
def guards() -> Iterator[list[str]]:
    """Inside, whatever reads a clock, draws a number or does input or output is noted, and raises."""
    touched: list[str] = []

    def refuse(name: str) -> Any:
        def refused(*_: object, **__: object) -> NoReturn:
            touched.append(name)
            raise TouchedTheWorldError(name)

        return refused

    world: list[tuple[Any, list[str]]] = [
        (time, ["time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep"]),
        (random, ["random", "randint", "choice", "shuffle", "getrandbits", "uniform"]),
        (secrets, ["token_hex", "token_bytes", "randbelow", "choice"]),
        (uuid, ["uuid1", "uuid4"]),
        (os, ["urandom", "getenv", "listdir", "stat", "open", "getpid"]),
        (socket, ["socket", "create_connection", "gethostname"]),
        (builtins, ["open", "input", "print"]),
    ]
    with pytest.MonkeyPatch.context() as patched:
        for module, names in world:
            for name in names:
                patched.setattr(module, name, refuse(f"{module.__name__}.{name}"))
        yield touched


def test_the_fold_reads_no_clock_draws_no_number_does_no_io() -> None:
    """Breaks when any decision calls what is guarded; a defect of the fold is no excuse, so the calls are noted."""
    kinds: set[type] = set()
    for seed in range(1, 20):
        state = State(MemoryStorage())
        log = random_log(seed, count=500)
        with guards() as touched:
            for offset, entry in enumerate(log):
                kinds.add(type(fold(state, TOPICS, offset, *entry).record))
                if offset % 7 == 0:
                    state.flush()
        assert touched == []
        if seed > 3 and kinds >= set(_DECIDE):
            break
    assert kinds >= set(_DECIDE), "every kind of record is folded here"


def test_the_guards_notice() -> None:
    """The test above can fail."""
    with guards() as touched, pytest.raises(TouchedTheWorldError):
        time.time()
    assert touched == ["time.time"]


@pytest.mark.parametrize("path", sorted(FOLD.glob("*.py")), ids=lambda path: path.name)
def test_the_fold_imports_nothing_impure(path: Path) -> None:
    """Breaks when a module under fold/ imports a clock, randomness, a log, a store, threads or asyncio."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            imported.add(node.module.split(".")[0])
    assert imported & (FORBIDDEN | {"odradek_log", "odradek"}) == set()


def test_two_hash_seeds_give_identical_bytes() -> None:
    """Breaks when the order of a set or of hashes gets into the state or into an effect."""
    script = "from tests.engine.streams import digest; print(digest(seed=2, count=1500))"
    root = Path(__file__).parents[2]
    digests = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        ran = subprocess.run(
            [sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True, check=True
        )
        digests.add(ran.stdout)
    assert len(digests) == 1
    assert len(digests.pop()) > 60


def test_no_two_tables_or_indexes_share_their_first_byte() -> None:
    """Breaks when two features took the same letter: rows of the one are read as those of the other."""
    letters = [value for name, value in vars(keys).items() if name.isupper() and isinstance(value, bytes)]
    assert len(letters) == len(set(letters)) == len(TABLES) + len(INDEXES) + 1, "all but the events are rows or indexes"
