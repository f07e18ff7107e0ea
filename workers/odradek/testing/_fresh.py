"""The fresh interpreter of verify_determinism."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from .._export import ExportedHistory
from ..errors import NonDeterminismError, WorkflowTaskError
from ._replaying import replay

inside = False
"""Whether this is a fresh interpreter, which must not begin others."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Replay `name` of a module over parts of histories. `jobs`: (index of the history, how many of its events)."""

    module: str
    file: str
    name: str
    path: list[str]
    histories: list[ExportedHistory]
    jobs: list[tuple[int, int]]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The first job that failed, and how; `error` empty: none."""

    job: tuple[int, int] = (0, 0)
    error: str = ""
    differs: bool = False


def _import(work: Work) -> ModuleType:
    """The module by its name, or by its file: a program that was started as such, a test that pytest imported."""
    if work.module != "__main__":
        try:
            module = importlib.import_module(work.module)
            if Path(module.__file__ or "").resolve() == Path(work.file):
                return module
        except ModuleNotFoundError:
            pass  # by its file, then
    name = "__odradek_main__" if work.module == "__main__" else work.module
    spec = importlib.util.spec_from_file_location(name, work.file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{work.file} is no Python module")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _found(work: Work) -> Found:
    workflow: Any = reduce(getattr, work.name.split("."), _import(work))
    for job in work.jobs:
        whole = work.histories[job[0]]
        try:
            replay(msgspec.structs.replace(whole, events=whole.events[: job[1]]), workflows=[workflow])
        except WorkflowTaskError as error:
            cause = error.__cause__
            said = str(error) if cause is None else f"{type(cause).__name__}: {cause}"
            return Found(job=job, error=said, differs=isinstance(error, NonDeterminismError))
    return Found()


def main() -> None:
    """Do what is in the first file that the command line names, and write what was found into the second."""
    global inside
    inside = True
    given, answer = map(Path, sys.argv[1:])
    answer.write_bytes(msgspec.json.encode(_found(msgspec.json.decode(given.read_bytes(), type=Work))))
