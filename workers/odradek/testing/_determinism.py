"""Whether a workflow does the same again: run once, replayed after every task in interpreters of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from odradek_schemas import history

from .._activity import Activity
from .._definitions import WorkflowFunction, definition_of
from .._export import ExportedHistory, history_from_json
from .._handle import WorkflowHandle
from .._types import TakesMany
from ..errors import DefinitionError, NonDeterminismError, WorkflowFailedError, WorkflowTaskError
from . import _fresh
from ._environment import Environment
from ._fresh import Found, Work

Scenario = Callable[[Environment, WorkflowHandle[Any, Any]], Awaitable[object]]


async def verify_determinism(
    workflow: TakesMany[Any, Any],
    /,
    *args: Any,
    activities: Sequence[Activity[..., Any]] | Mapping[Activity[..., Any], Callable[..., Any]] = (),
    workflows: Sequence[TakesMany[Any, Any]] = (),
    scenario: Scenario | None = None,
    interpreters: int = 4,
) -> None:
    """Run a workflow in an Environment, then replay its history up to its tasks, in fresh Python processes, each
    with another PYTHONHASHSEED: what depends on the order of a set, the clock, chance or module state differs there.

    activities, workflows: as of Environment; the latter are those that it starts. scenario: what happens to it,
    `async def scenario(env, handle)`, for instance its messages (default: its end is awaited, also if it fails).
    interpreters: how many processes; each takes its part of the tasks.

    Raises NonDeterminismError with the first difference, what history holds beside what the code asks in a fresh
    interpreter; WorkflowTaskError for a bug in the code; DefinitionError for a workflow that is not at the top of a
    module, so that no other process can import it.
    """
    if _fresh.inside:
        raise DefinitionError(
            "verify_determinism imports this module in other processes: call it under `if __name__ == '__main__':`"
        )
    module, file, name = _place(workflow)
    histories = await _run(workflow, args, [workflow, *workflows], activities, scenario)
    jobs = [(number, end) for number, one in enumerate(histories) for end in _ends(one)]
    count = max(1, min(interpreters, len(jobs)))
    with tempfile.TemporaryDirectory(prefix="odradek-determinism-") as folder:
        works = [
            Work(module=module, file=file, name=name, histories=histories, jobs=jobs[first::count], path=sys.path)
            for first in range(count)
        ]
        found = await asyncio.gather(*[_replay(Path(folder), work, seed) for seed, work in enumerate(works, 1)])
    failures = [(one.job, seed, one) for seed, one in enumerate(found, 1) if one.error]
    if failures:
        _, seed, first = min(failures, key=lambda failure: failure[:2])
        kind = NonDeterminismError if first.differs else WorkflowTaskError
        raise kind(f"replayed in a fresh interpreter, with PYTHONHASHSEED={seed}:\n{first.error}")


def _place(workflow: Any) -> tuple[str, str, str]:
    """Module, file and name by which another process finds the workflow."""
    code: Any = workflow.fn if isinstance(workflow, WorkflowFunction) else workflow
    module = sys.modules.get(code.__module__)
    file = getattr(module, "__file__", None)
    if "<locals>" in code.__qualname__ or file is None:
        raise DefinitionError(
            f"verify_determinism runs workflow {definition_of(workflow).name} in other processes, so it has to be "
            "defined at the top of a module"
        )
    return code.__module__, str(Path(file).resolve()), code.__qualname__


async def _run(
    workflow: Any, args: Sequence[Any], workflows: Sequence[Any], activities: Any, scenario: Scenario | None
) -> list[ExportedHistory]:
    """The histories of the workflow's runs."""
    async with Environment(workflows=workflows, activities=activities) as env:
        handle = await env.client.start(workflow, *args, id="verify-determinism")
        if scenario is not None:
            await scenario(env, handle)
        else:
            await _ended(handle)
        found: list[ExportedHistory] = []
        run_id = handle.run_id or ""
        while run_id:
            found.append(history_from_json(await env.client.get(handle.id, run_id=run_id).export()))
            run_id = getattr(found[-1].events[-1].attributes, "new_run_id", "")
        return [one for one in found if one.workflow_type == definition_of(workflow).name]


async def _ended(handle: WorkflowHandle[Any, Any]) -> None:
    with contextlib.suppress(WorkflowFailedError):  # its code may end as it likes, as long as it does so again
        await handle.result()


def _ends(exported: ExportedHistory) -> list[int]:
    """After how many events each task of a run was done, with what followed from it."""
    starts = [
        index
        for index, event in enumerate(exported.events)
        if isinstance(event.attributes, history.WorkflowTaskCompleted)
    ]
    return [*starts[1:], len(exported.events)] if starts else []


async def _replay(folder: Path, work: Work, seed: int) -> Found:
    """Do a part of the work in a fresh interpreter."""
    given, answer = folder / f"{seed}.in", folder / f"{seed}.out"
    given.write_bytes(msgspec.json.encode(work))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from odradek.testing import _fresh; _fresh.main()", str(given), str(answer),
        env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    if not answer.exists():
        raise DefinitionError(f"{work.module} cannot be imported by another process:\n{said.decode(errors='replace')}")
    return msgspec.json.decode(answer.read_bytes(), type=Found)
