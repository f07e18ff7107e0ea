"""`odradek workflow export` and `odradek workflow replay`: a run's history as a file, and code run over it again."""

from __future__ import annotations

import asyncio
import pdb
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import errors
from .._definitions import WorkflowFunction
from .._export import ExportedHistory, history_from_json, history_to_json
from .._gateway import WorkflowKey
from .connect import connect
from .failures import CommandError, ExitCode, told
from .loading import load
from .logs import set_up
from .options import Address, AnswerTimeout, AsJson, Namespace, RunId, WorkflowId
from .output import print_json, stderr, stdout

_ANSWER_SECONDS = 10.0


def export(
    workflow_id: WorkflowId,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.")] = "",
    run_id: RunId = "",
    address: Address = "",
    namespace: Namespace = "default",
    timeout: AnswerTimeout = _ANSWER_SECONDS,
) -> None:
    """Write a run's history as JSON, for `replay` and for tests."""

    async def fetch() -> ExportedHistory:
        async with connect(address, namespace, timeout) as service:
            return await service.export(WorkflowKey(workflow_id, run_id or None))

    with told(as_json=False):
        set_up("error", "text")
        text = history_to_json(asyncio.run(fetch()))
        if not output:
            print(text)
            return
        try:
            Path(output).write_text(text + "\n")
        except OSError as error:
            raise CommandError(ExitCode.USAGE, f"cannot write {output}: {error.strerror}") from error
        stderr.print(f"Wrote the history of {workflow_id} to {output}", markup=False, soft_wrap=True)


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `odradek workflow export` wrote.")],
    targets: Annotated[list[str], typer.Argument(metavar="MODULE...", help="Modules or files with the workflows.")],
    debug: Annotated[bool, typer.Option("--debug", help="Step through the workflow's code with pdb.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a workflow's code over a recorded history. Ends with 1 if the code now asks for something else."""
    with told(as_json):
        set_up("error", "text")
        history = _read(file)
        workflows = load(targets).workflows
        if history.workflow_type not in workflows:
            known = ", ".join(sorted(workflows)) or "none"
            raise CommandError(
                ExitCode.USAGE, f"no workflow type {history.workflow_type!r} in {' '.join(targets)}; there are: {known}"
            )
        try:
            _replay(history, workflows[history.workflow_type], debug)
        except errors.WorkflowTaskError as error:
            _print_failure(error, history, as_json)
            raise typer.Exit(ExitCode.FAILED) from error
    about = {"workflow_id": history.workflow_id, "run_id": history.run_id, "events": len(history.events)}
    if as_json:
        print_json({**about, "replayed": True})
    else:
        stdout.print(
            f"{history.workflow_id}: the code gives what history holds ({len(history.events)} events)",
            markup=False, soft_wrap=True,
        )


def _read(file: Path) -> ExportedHistory:
    try:
        return history_from_json(file.read_bytes())
    except OSError as error:
        raise CommandError(ExitCode.USAGE, f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(ExitCode.USAGE, f"{file}: {error}") from error


def _replay(history: ExportedHistory, workflow: Any, debug: bool) -> None:
    from ..testing import replay as replay_history  # brings the engine with it

    if not debug:
        replay_history(history, workflows=[workflow])
        return
    code = (workflow.fn if isinstance(workflow, WorkflowFunction) else workflow.run).__code__
    debugger = pdb.Pdb()
    debugger.set_break(code.co_filename, code.co_firstlineno, temporary=True, funcname=code.co_name)
    debugger.rcLines = ["continue"]  # from where the replay begins to where the code does
    debugger.runcall(replay_history, history, workflows=[workflow])


def _print_failure(error: errors.WorkflowTaskError, history: ExportedHistory, as_json: bool) -> None:
    cause = error.__cause__
    what = str(error) if cause is None else f"{type(cause).__name__}: {cause}"
    if as_json:
        print_json({"workflow_id": history.workflow_id, "run_id": history.run_id, "replayed": False, "error": what})
    else:
        stderr.print(what, markup=False, soft_wrap=True)
