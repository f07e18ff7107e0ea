"""Finding the workflows and activities of a module or a file."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import sys
import traceback
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from .. import errors
from .._activity import Activity
from .._definitions import WorkflowFunction, activity_definition, definition_of
from .failures import CommandError, ExitCode

T = TypeVar("T")


@dataclass
class Definitions:
    """What modules define. `queues`: the task queues that their activities name. `warnings`: what is left out."""

    workflows: dict[str, Any] = field(default_factory=dict)
    activities: dict[str, Activity[..., Any]] = field(default_factory=dict)
    queues: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def load(targets: Sequence[str]) -> Definitions:
    """Import modules or files, and collect what they define or import.

    Raises CommandError if one cannot be imported, or if there is nothing in them.
    """
    found = Definitions()
    for target in targets:
        module = _import(target)
        for name, value in list(vars(module).items()):
            if not name.startswith("__"):
                _collect(found, value)
    unbound = [name for name in found.warnings if name not in found.activities]
    found.warnings = [
        f"activity {name} is a method: make an object at the top of the module, `x = {name.partition('.')[0]}(...)`, "
        "to have it served"
        for name in dict.fromkeys(unbound)
    ]
    if not found.workflows and not found.activities:
        raise CommandError(
            ExitCode.USAGE,
            f"{' '.join(targets)}: no workflow and no activity in there",
            "Put @workflow.define on a class with `async def run`, and @activity.define on functions, at top level.",
        )
    return found


def attribute(name: str, kind: type[T]) -> T:
    """What `module:name` is, a `kind`. Raises CommandError if it is not there, or is something else."""
    target, _, attribute_name = name.partition(":")
    found = getattr(_import(target), attribute_name, None) if attribute_name else None
    if not isinstance(found, kind):
        hint = "Write MODULE:NAME, as it is in that module."
        raise CommandError(ExitCode.USAGE, f"{name} is no {kind.__name__}", hint)
    return found


def _collect(found: Definitions, value: Any) -> None:
    if isinstance(value, Activity):
        _add_activity(found, value)
    elif isinstance(value, WorkflowFunction):
        _add_workflow(found, value)
    elif inspect.isclass(value):
        if "__odradek_workflow__" in vars(value):
            _add_workflow(found, value)
        else:
            found.warnings += [a.name for a in vars(value).values() if isinstance(a, Activity)]
    elif not isinstance(value, ModuleType):
        for name in _activity_methods(type(value)):
            _add_activity(found, getattr(value, name))


def _activity_methods(cls: type[Any]) -> list[str]:
    """The methods that are activities of a class of the user's."""
    if cls.__module__ == "builtins":
        return []
    return [name for base in cls.__mro__ for name, value in vars(base).items() if isinstance(value, Activity)]


def _add_activity(found: Definitions, activity: Activity[..., Any]) -> None:
    try:
        definition = activity_definition(activity)
    except errors.DefinitionError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from error
    queue = activity.options.get("task_queue")
    if queue and queue not in found.queues:
        found.queues.append(queue)
    other = found.activities.get(definition.name)
    if other is None:
        found.activities[definition.name] = activity
    elif other.fn != activity.fn:
        raise _two_of_a_name("activity", definition.name)


def _add_workflow(found: Definitions, workflow: Any) -> None:
    try:
        name = definition_of(workflow).name
    except errors.DefinitionError as error:
        raise CommandError(ExitCode.USAGE, str(error)) from error
    if found.workflows.setdefault(name, workflow) is not workflow:
        raise _two_of_a_name("workflow", name)


def _two_of_a_name(kind: str, name: str) -> CommandError:
    return CommandError(
        ExitCode.USAGE,
        f"two {kind} definitions named {name!r}",
        f"Give one of them another name: @{kind}.define(name=...).",
    )


# ---------------------------------------------------------------- importing


def _import(target: str) -> ModuleType:
    if target.endswith(".py") or Path(target).is_file():
        return _import_file(Path(target))
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        missing = importlib.util.find_spec(target) is None
    except (ModuleNotFoundError, ValueError):
        missing = True
    except Exception as error:  # importing a package above it runs code of the user's
        raise _broken(target, error, None) from error
    if missing:
        raise CommandError(
            ExitCode.USAGE,
            f"there is no module {target!r} (in {here}, nor installed)",
            "Name a module (`orders.workflows`) that can be imported from here, or a file (`orders/workflows.py`).",
        )
    return _run(target, None)


def _import_file(path: Path) -> ModuleType:
    """Import a file under its own name: the one that it has in its package, if it is in one."""
    if not path.is_file():
        raise CommandError(ExitCode.USAGE, f"there is no file {path}", "Check the path.")
    if path.suffix != ".py":
        raise CommandError(ExitCode.USAGE, f"{path} is no Python file", "Name one, such as `orders/workflows.py`.")
    path = path.resolve()
    names, root = [path.stem], path.parent
    while (root / "__init__.py").exists():
        names.insert(0, root.name)
        root = root.parent
    if names[-1] == "__init__":
        names.pop()
    name = ".".join(names)
    if not all(part.isidentifier() for part in names):
        raise CommandError(ExitCode.USAGE, f"{path.name} cannot be imported: {path.stem!r} is no name of a module")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    known = sys.modules.get(name)
    if known is not None and Path(getattr(known, "__file__", None) or "").resolve() != path:
        raise CommandError(
            ExitCode.USAGE,
            f"{path} cannot be imported: Python has another module of the name {name!r} already",
            "Give the file another name.",
        )
    return _run(name, path)


def _run(name: str, path: Path | None) -> ModuleType:
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise _broken(name, error, path) from error
    if path is not None and Path(module.__file__ or "").resolve() != path:
        raise CommandError(
            ExitCode.USAGE,
            f"{path} cannot be imported: {name!r} is {module.__file__} for Python",
            "Give the file another name.",
        )
    return module


def _broken(name: str, error: Exception, path: Path | None) -> CommandError:
    """The module's own error, with the lines of its own code that led there."""
    own = list(traceback.walk_tb(error.__traceback__))
    first = next((i for i, (f, _) in enumerate(own) if _is_own(f.f_code.co_filename)), len(own))
    lines = traceback.format_list(traceback.StackSummary.extract(iter(own[first:])))
    shown = "".join([*lines, *traceback.format_exception_only(error)]).rstrip()
    return CommandError(ExitCode.USAGE, f"{path or name} cannot be imported:\n\n{shown}\n")


def _is_own(filename: str) -> bool:
    return not filename.startswith("<frozen") and not filename.startswith(str(Path(__file__).parent.parent))


# ---------------------------------------------------------------- how to start one


def example_input(workflow: Any) -> list[Any]:
    """JSON values that the workflow's required arguments could have."""
    signature = definition_of(workflow).signature
    return [
        _example(parameter.annotation)
        for parameter in signature.parameters
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
    ]


def _example(hint: Any, depth: int = 3) -> Any:
    plain: dict[Any, Any] = {str: "text", int: 1, float: 1.5, bool: True, list: [], dict: {}, tuple: []}
    if hint in plain:
        return plain[hint]
    fields = _required_fields(hint)
    if fields is not None and depth:
        return {name: _example(kind, depth - 1) for name, kind in fields.items()}
    return plain.get(getattr(hint, "__origin__", None))


def _required_fields(hint: Any) -> dict[str, Any] | None:
    """Names and types of the fields without a default of a dataclass; None for what is none."""
    if not (inspect.isclass(hint) and dataclasses.is_dataclass(hint)):
        return None
    types = typing.get_type_hints(hint)
    missing = dataclasses.MISSING
    return {
        f.name: types[f.name] for f in dataclasses.fields(hint) if f.default is missing and f.default_factory is missing
    }
