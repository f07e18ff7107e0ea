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
_ACTIVITY = "put it into an activity"
_CALLS = {
    **{f"time.{name}": "workflow.time()" for name in ("time", "time_ns", "monotonic", "perf_counter")},
    "time.sleep": "await asyncio.sleep(...), which is a durable timer",
    **{f"datetime.datetime.{name}": "workflow.now()" for name in ("now", "utcnow", "today")},
    "datetime.date.today": "workflow.now().date()",
    "uuid.uuid1": "workflow.uuid4()",
    "uuid.uuid4": "workflow.uuid4()",
    "os.urandom": "workflow.random().randbytes(...)",
    "os.getenv": f"pass the value as an argument, or {_ACTIVITY}",
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
        for node, dotted in _calls(tree):
            found = names.get(dotted)
            if isinstance(found, types.FunctionType) and found.__module__ == target.__module__:
                waiting.append(found)
            path = _real_name(dotted, names)
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
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            dotted = _dotted(node.func)
            if dotted:
                yield node, dotted


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def _real_name(dotted: str, names: dict[str, Any]) -> str:
    """What a name stands for in its module, such as `datetime.datetime.now` for `dt.now`; "" for what is no import."""
    head, _, rest = dotted.partition(".")
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
    return f"{real}.{rest}" if rest else real


def _instead(path: str) -> str | None:
    if path in _CALLS:
        return _CALLS[path]
    if path == "random.Random":  # with a seed it is fine, and without one it shows at once
        return None
    return next((use for module, use in _MODULES.items() if path.startswith(f"{module}.")), None)
