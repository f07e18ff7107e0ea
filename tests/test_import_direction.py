"""Imports point one way: schemas <- log <- {engine, workers}; the pure core imports nothing impure.

Also imports inside functions count, so that none is hidden there.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "odradek_schemas": ROOT / "schemas/odradek_schemas",
    "odradek_log": ROOT / "log/odradek_log",
    "odradek_engine": ROOT / "engine/odradek_engine",
    "odradek": ROOT / "workers/odradek",
}
MAY_IMPORT = {
    "odradek_schemas": set(),
    "odradek_log": {"odradek_schemas"},
    "odradek_engine": {"odradek_schemas", "odradek_log"},
    "odradek": {"odradek_schemas", "odradek_log"},
}
COMPOSING = {"odradek/_embedded.py", "odradek/cli", "odradek/testing"}
"""Where one process is both worker and engine."""
IMPURE = {
    "asyncio", "concurrent", "confluent_kafka", "datetime", "faust", "io", "logging", "multiprocessing", "os",
    "pathlib", "queue", "random", "rocksdict", "secrets", "selectors", "shutil", "signal", "socket", "subprocess",
    "tempfile", "threading", "time", "uuid",
}  # fmt: skip
THIRD_PARTY = {
    "odradek_schemas": {"msgspec", "fastavro"},
    "odradek_log": {"confluent_kafka"},
    "odradek_engine": {"msgspec", "rocksdict", "faust", "confluent_kafka", "obstore"},
    "odradek": {"msgspec", "aiohttp", "cronsim", "yarl", "typer", "click", "rich", "typing_extensions"}
    | {"pydantic", "cryptography", "obstore"}  # extras
    | {"pytest", "pytest_asyncio"},  # its plugin, which only pytest loads
}


def sources(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.py")):
        yield path.relative_to(folder.parent).as_posix(), path


@cache
def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports anywhere, other than its own by a relative import."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    files = dict(sources(PACKAGES[package]))
    assert files
    for name, path in files.items():
        allowed = MAY_IMPORT[package] | {package}
        if any(name == place or name.startswith(f"{place}/") for place in COMPOSING):
            allowed |= {"odradek_engine"}
        wrong = (imported(path) & set(PACKAGES)) - allowed
        assert not wrong, f"{name} imports {wrong}: imports point one way, schemas <- log <- {{engine, workers}}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_is_declared(package: str) -> None:
    for name, path in sources(PACKAGES[package]):
        foreign = imported(path) - set(sys.stdlib_module_names) - set(PACKAGES) - THIRD_PARTY[package]
        assert not foreign, f"{name} imports {foreign}, which is no dependency of this package"


def test_the_pure_core_imports_no_clock_no_chance_no_io() -> None:
    files = dict(sources(PACKAGES["odradek_engine"] / "fold"))
    assert files
    for name, path in files.items():
        wrong = imported(path) & IMPURE
        assert not wrong, f"{name} imports {wrong}: the fold is pure, deterministic and total"


def test_the_pure_core_stands_alone() -> None:
    for name, path in sources(PACKAGES["odradek_engine"] / "fold"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level > 1), f"{name} imports from outside of the fold"


def test_only_the_kafka_log_and_the_read_model_know_kafka() -> None:
    for folder in PACKAGES.values():
        for name, path in sources(folder):
            if not name.startswith(("odradek_log/kafka/", "odradek_engine/stats/")):
                assert "confluent_kafka" not in imported(path), name
