"""A look at a workflow's source when it is registered: calls that would come out differently on a replay.

Best effort, and only a warning: it follows the workflow itself and the plain functions of its module that it calls by
name. A line with the comment `# deterministic` is left alone.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import types
import warnings
from collections.abc import Iterator
from typing import Any

ALLOWED = "# deterministic"
_ACTIVITY = "an activity"
_CALLS = {
    **{f"time.{name}": "workflow.time()" for name in ("time", "time_ns", "monotonic", "perf_counter")},
    "time.sleep": "await asyncio.sleep(...), which is a durable timer",
    **{f"time.{name}": "workflow.now()" for name in ("localtime", "gmtime", "ctime")},
    **{f"datetime.datetime.{name}": "workflow.now()" for name in ("now", "utcnow", "today")},
    "datetime.date.today": "workflow.now().date()",
    "uuid.uuid1": "workflow.uuid4()",
    "uuid.uuid4": "workflow.uuid4()",
    "os.urandom": "workflow.random().randbytes(...)",
    "os.getenv": f"an argument of the workflow, or {_ACTIVITY}",
    "os.environ.get": f"an argument of the workflow, or {_ACTIVITY}",
    **{f"os.{name}": _ACTIVITY for name in ("listdir", "scandir", "walk", "stat", "remove", "rename", "makedirs")},
    **{f"os.path.{name}": _ACTIVITY for name in ("exists", "isfile", "isdir", "getsize", "getmtime")},
    **{
        f"pathlib.Path.{name}": _ACTIVITY
        for name in ("open", "read_text", "read_bytes", "write_text", "write_bytes", "exists", "iterdir", "glob",
                     "unlink", "mkdir", "touch", "stat")
    },
    "open": _ACTIVITY,
    "input": _ACTIVITY,
}
_MODULES = {
    "random": "workflow.random()",
    "secrets": "workflow.random()",
    "threading": _ACTIVITY,
    "multiprocessing": _ACTIVITY,
    "concurrent.futures": _ACTIVITY,
    "subprocess": _ACTIVITY,
    "shutil": _ACTIVITY,
    "tempfile": _ACTIVITY,
    "socket": _ACTIVITY,
    "urllib.request": _ACTIVITY,
    "http.client": _ACTIVITY,
    "requests": _ACTIVITY,
    "httpx": _ACTIVITY,
    "aiohttp": _ACTIVITY,
}


class DeterminismWarning(UserWarning):
    """A workflow's source calls what would come out differently on a replay; the message says what to use instead."""


def check_source(name: str, target: Any) -> None:
    """Warn of each such call in the class or function `target` of workflow `name`. Says nothing without a source."""
    module = sys.modules.get(target.__module__)
    names = vars(module) if module is not None else {}
    seen: set[Any] = set()
    waiting = [target]
    while waiting:
        part = waiting.pop()
        if part in seen:
            continue
        seen.add(part)
        try:
            lines, first = inspect.getsourcelines(part)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError):
            continue
        known = {**names, **_imported_inside(tree)}
        for node, dotted in _calls(tree):
            found = known.get(dotted)
            if isinstance(found, types.FunctionType) and found.__module__ == target.__module__:
                waiting.append(found)
            path = _real_name(dotted, known)
            instead = _instead(path)
            if instead is not None and ALLOWED not in lines[node.lineno - 1]:
                place = f"{inspect.getsourcefile(part)}:{first + node.lineno - 1}"
                warnings.warn(
                    f"workflow {name} calls {path} ({place}), which comes out differently on a replay: use {instead}. "
                    f"If that cannot be, end the line with `{ALLOWED}`",
                    DeterminismWarning,
                    stacklevel=4,
                )


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """The calls in it, with their names; not those inside a side effect, which is what side effects are for."""
    for node in ast.iter_child_nodes(tree):
        dotted = _dotted(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and dotted:
            yield node, dotted
        if dotted.rpartition(".")[2] != "side_effect":
            yield from _calls(node)


def _imported_inside(tree: ast.AST) -> dict[str, Any]:
    """What the code imports where it runs, as far as it has been imported by somebody."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                module = sys.modules.get(name.name if name.asname else name.name.partition(".")[0])
                found[name.asname or name.name.partition(".")[0]] = module
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                found[name.asname or name.name] = getattr(sys.modules.get(node.module), name.name, None)
    return {name: value for name, value in found.items() if value is not None}


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Call):  # Path("x").read_text is "Path().read_text"
            before = _dotted(node.value.func)
            return f"{before}().{node.attr}" if before else ""
        before = _dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def _real_name(dotted: str, names: dict[str, Any]) -> str:
    """What a name stands for in its module, such as `datetime.datetime.now` for `dt.now`; "" for what is no import."""
    head, _, rest = dotted.partition(".")
    made, head = head.endswith("()"), head.removesuffix("()")
    if head not in names:
        return dotted if head in ("open", "input") and not rest else ""
    found = names[head]
    if isinstance(found, types.ModuleType):
        real = found.__name__
    else:
        module, qualname = getattr(found, "__module__", None), getattr(found, "__qualname__", "")
        owner = getattr(found, "__self__", None)  # random.random is a method of a hidden generator
        if module is None and owner is not None:
            module = type(owner).__module__
        if not isinstance(module, str):
            return ""
        real = f"{module}.{qualname}"
    path = f"{real}{'()' * made}.{rest}" if rest else real
    for here, everywhere in (("posixpath.", "os.path."), ("posix.", "os."), ("pathlib.Path().", "pathlib.Path.")):
        path = path.replace(here, everywhere) if path.startswith(here) else path
    return "" if "()" in path else path  # of what a call gives, only a Path is known


def _instead(path: str) -> str | None:
    if path in _CALLS:
        return _CALLS[path]
    if path == "random.Random":  # with a seed it is fine, and without one it shows at once
        return None
    return next((use for module, use in _MODULES.items() if path.startswith(f"{module}.")), None)
