"""Writes the modules of overloads by number of arguments: `workers/odradek/_starting.py` and `_children.py`.

A type variable tuple would say the same in one line, but mypy refuses it for workflows whose parameters have defaults.

    python tools/gen_ladder.py           write the two modules
    python tools/gen_ladder.py --check   exit with 1 if they are not what this script writes
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "workers" / "odradek"
LADDER = ("Zero", "One", "Two", "Three", "Four", "Five")
MANY = 6

HEADER = '''"""{docstring}

Written by tools/gen_ladder.py: change that, then run it.
"""

from __future__ import annotations

{imports}
'''
TYPES = """from ._types import (
{names}
)"""


@dataclass(frozen=True)
class Function:
    """One overloaded function: what it is called, and what its overloads have in common."""

    name: str
    options: str
    result: str  # of a call with a class; {W} and {R} are replaced
    doc: str
    body: str
    method: bool = False
    is_async: bool = True
    has_result: bool = True
    message: tuple[str, str, str] | None = None  # one that goes with it: its kind, its type, its type for a class

    def render(self) -> str:
        overloads = [self._by_name(typed=True)] if self.has_result else []
        overloads += [self._by_name(typed=False)]
        overloads += [self._overload(count) for count in range(MANY + 1)]
        if self.message is not None:  # the same with messages of the class that starts
            overloads += [self._overload(count, "Makes") for count in range(MANY + 1)]
        return "\n".join([*overloads, self._implementation()])

    def _by_name(self, *, typed: bool) -> str:
        result = self.result.format(W="Any", R="R" if typed else "Any")
        extra = ["result_type: TypeForm[R]"] if typed else []
        return self._signature(["workflow: str", "/", "*args: Any", *extra, *self._others("Any")], result)

    def _overload(self, count: int, family: str = "Takes") -> str:
        result = self.result.format(W="W", R="R")
        made = "V, " if family == "Makes" else ""
        if count == MANY:
            numbered = [f"arg{number}: Any" for number in range(1, MANY + 1)]
            first = f"workflow: {family}Many[W, {made}R]"
            parameters = [first, *numbered, "/", "*args: Any", *self._others(family)]
            return self._signature(parameters, result, "  # from six arguments on: not checked, pass a dataclass")
        numbered = [f"arg{number}: Arg{number}" for number in range(1, count + 1)]
        variables = "".join(f"Arg{number}, " for number in range(1, count + 1))
        first = f"workflow: {family}{LADDER[count]}[W, {made}{variables}R]"
        star = [] if self.message is None else ["*"]
        return self._signature([first, *numbered, "/", *star, *self._others(family)], result)

    def _others(self, workflow: str) -> list[str]:
        """The keyword parameters. A message must be one of the workflow that starts, or a name."""
        options = f"**options: Unpack[{self.options}]"
        if self.message is None:
            return [options]
        kind, of_any, of_class = self.message
        kind_type = {"Any": f"{of_any} | str", "Takes": "str", "Makes": of_class}[workflow]
        return [f"{kind}: {kind_type}", f"{kind}_args: Sequence[Any] = ()", options]

    def _signature(self, parameters: list[str], result: str, comment: str = "") -> str:
        indent = "    " if self.method else ""
        start = f"{indent}{'async ' if self.is_async else ''}def {self.name}("
        parameters = (["self"] if self.method else []) + parameters
        line = f"{start}{', '.join(parameters)}) -> {result}: ..."
        if len(line) > 120:
            inner = f"{indent}    {', '.join(parameters)}"
            if len(inner) > 120:
                inner = "\n".join(f"{indent}    {parameter}," for parameter in parameters)
            line = f"{start}\n{inner}\n{indent}) -> {result}: ..."
        return f"{indent}@overload{comment}\n{line}"

    def _implementation(self) -> str:
        indent = "    " if self.method else ""
        receiver = "self, " if self.method else ""
        result = "NoReturn" if self.result == "NoReturn" else "Any"
        start = f"{indent}{'async ' if self.is_async else ''}def {self.name}("
        lines = [f"{start}{receiver}workflow: Any, /, *args: Any, **options: Any) -> {result}:"]
        lines += [f'{indent}    """{self.doc}"""', f"{indent}    {self.body}"]
        return "\n".join(lines)


START_DOC = """Start a workflow and return its handle.

        `workflow` is a class, a function or the name of a type. Options are those of StartOptions; `id` is required.
        Raises WorkflowAlreadyStartedError if the ID policies forbid it, DefinitionError for arguments that do not
        fit, RequestTimeoutError if no engine answers, UnavailableError if the log cannot be reached.
        """
EXECUTE_DOC = """Start a workflow and return its result.

        Raises WorkflowFailedError if it fails, is cancelled, is terminated or times out, and what `start` raises.
        """
SIGNAL_DOC = """Signal the workflow of this ID; start it first if it is not running. One step: both happen, or neither.

        `signal` and `signal_args` are the message; the rest is as for `start`.
        """
UPDATE_DOC = """Update the workflow of this ID; start it first if it is not running. One step: both happen, or neither.

        `update` and `update_args` are the message; the rest is as for `start`. Returns once the update is accepted;
        its handle has the `result()`, and the `workflow`. Raises UpdateRejectedError if it is not: a workflow that
        was started for it goes on.
        """

EXECUTE_CHILD_DOC = """Start a child workflow and return its result. Options are those of ChildOptions.

    Cancelling the call cancels the child, as `cancellation_type` says. Raises what `start_child` raises, and
    ChildWorkflowError, with the reason as its cause, if the child fails, is cancelled or terminated, or times out.
    """
START_CHILD_DOC = """Start a child workflow; returns when it runs. The handle signals and cancels it, and waits for it.

    Raises WorkflowAlreadyStartedError if its ID is in use, ChildWorkflowError if it cannot be started, DefinitionError
    for arguments or options that do not fit.
    """

STARTING = [
    Function("start", "StartOptions", "WorkflowHandle[{W}, {R}]", START_DOC,
             "return await self._start(workflow, args, options)", method=True),
    Function("execute", "StartOptions", "{R}", EXECUTE_DOC,
             "return await self._execute(workflow, args, options)", method=True),
    Function("signal_with_start", "StartOptions", "WorkflowHandle[{W}, {R}]", SIGNAL_DOC,
             "return await self._signal_with_start(workflow, args, options)", method=True,
             message=("signal", "Signal[Any, ...]", "SignalOf[W, V]")),
    Function("update_with_start", "StartOptions", "UpdateHandle[U]", UPDATE_DOC,
             "return await self._update_with_start(workflow, args, options)", method=True, has_result=False,
             message=("update", "Update[Any, ..., U]", "UpdateOf[W, V, U]")),
]  # fmt: skip
CHILDREN = [
    Function("execute_child", "ChildOptions", "{R}", EXECUTE_CHILD_DOC,
             "return await _child_calls.execute_child(workflow, args, options)"),
    Function("start_child", "ChildOptions", "ChildWorkflowHandle[{W}, {R}]",
             START_CHILD_DOC, "return await _child_calls.start_child(workflow, args, options)"),
    Function("continue_as_new", "ContinueOptions", "NoReturn",
             "End this run and begin the next one, with an empty history; unread messages go on into it.",
             "begin_next(workflow, args, options)", is_async=False, has_result=False),
]  # fmt: skip

LADDER_TYPES = [
    *[f"Arg{number}" for number in range(1, MANY)],
    "R",
    *sorted(["TakesMany", *[f"Takes{word}" for word in LADDER]]),
    "W",
]


def imported_types(*extra: str) -> str:
    names = sorted({*LADDER_TYPES, *extra}, key=lambda name: (name.lower(), name))
    return TYPES.format(names="\n".join(f"    {name}," for name in names))


def starting() -> str:
    imports = "\n".join([
        "from abc import abstractmethod",
        "from collections.abc import Sequence",
        "from typing import Any, Unpack, overload",
        "",
        "from typing_extensions import TypeForm",
        "",
        "from ._handle import UpdateHandle, WorkflowHandle",
        "from ._handlers import Signal, SignalOf, Update, UpdateOf",
        imported_types("StartOptions", "U", "V", "MakesMany", *[f"Makes{word}" for word in LADDER]),
    ])  # fmt: skip
    header = HEADER.format(docstring="The calls of a client that start workflows, typed by the workflow's arguments.",
                           imports=imports)  # fmt: skip
    lines = ["", "", "class Starting:", '    """Base of Client."""', ""]
    calls = ("_start", "_execute", "_signal_with_start", "_update_with_start")
    for name, result in ((name, "Any") for name in calls):
        lines += [
            "    @abstractmethod",
            f"    async def {name}(self, workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> {result}: ...",
            "",
        ]
    return header + "\n".join(lines) + "\n" + "\n\n".join(function.render() for function in STARTING) + "\n"


def children() -> str:
    imports = "\n".join([
        "from typing import Any, NoReturn, Unpack, overload",
        "",
        "from typing_extensions import TypeForm",
        "",
        "from . import _child_calls",
        "from ._continuing import begin_next",
        "from ._handle import ChildWorkflowHandle",
        imported_types("ChildOptions", "ContinueOptions"),
    ])  # fmt: skip
    docstring = "What a workflow calls to start other runs, typed by their arguments."
    header = HEADER.format(docstring=docstring, imports=imports)
    return header + "\n\n" + "\n\n\n".join(function.render() for function in CHILDREN) + "\n"


def main() -> int:
    stale = 0
    for name, text in (("_starting.py", starting()), ("_children.py", children())):
        path = PACKAGE / name
        if path.exists() and path.read_text() == text:
            continue
        stale += 1
        if "--check" not in sys.argv:
            path.write_text(text)
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
