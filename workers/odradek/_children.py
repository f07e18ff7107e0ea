"""What a workflow calls to start other runs, typed by their arguments.

Written by tools/gen_ladder.py: change that, then run it.
"""

from __future__ import annotations

from typing import Any, NoReturn, Unpack, overload

from typing_extensions import TypeForm

from . import _child_calls
from ._continuing import begin_next
from ._handle import ChildWorkflowHandle
from ._types import (
    Arg1,
    Arg2,
    Arg3,
    Arg4,
    Arg5,
    ChildOptions,
    ContinueOptions,
    R,
    TakesFive,
    TakesFour,
    TakesMany,
    TakesOne,
    TakesThree,
    TakesTwo,
    TakesZero,
    W,
)


@overload
async def execute_child(
    workflow: str, /, *args: Any, result_type: TypeForm[R], **options: Unpack[ChildOptions]
) -> R: ...
@overload
async def execute_child(workflow: str, /, *args: Any, **options: Unpack[ChildOptions]) -> Any: ...
@overload
async def execute_child(workflow: TakesZero[W, R], /, **options: Unpack[ChildOptions]) -> R: ...
@overload
async def execute_child(workflow: TakesOne[W, Arg1, R], arg1: Arg1, /, **options: Unpack[ChildOptions]) -> R: ...
@overload
async def execute_child(
    workflow: TakesTwo[W, Arg1, Arg2, R], arg1: Arg1, arg2: Arg2, /, **options: Unpack[ChildOptions]
) -> R: ...
@overload
async def execute_child(
    workflow: TakesThree[W, Arg1, Arg2, Arg3, R], arg1: Arg1, arg2: Arg2, arg3: Arg3, /, **options: Unpack[ChildOptions]
) -> R: ...
@overload
async def execute_child(
    workflow: TakesFour[W, Arg1, Arg2, Arg3, Arg4, R],
    arg1: Arg1,
    arg2: Arg2,
    arg3: Arg3,
    arg4: Arg4,
    /,
    **options: Unpack[ChildOptions],
) -> R: ...
@overload
async def execute_child(
    workflow: TakesFive[W, Arg1, Arg2, Arg3, Arg4, Arg5, R],
    arg1: Arg1,
    arg2: Arg2,
    arg3: Arg3,
    arg4: Arg4,
    arg5: Arg5,
    /,
    **options: Unpack[ChildOptions],
) -> R: ...
@overload  # from six arguments on: not checked, pass a dataclass
async def execute_child(
    workflow: TakesMany[W, R],
    arg1: Any,
    arg2: Any,
    arg3: Any,
    arg4: Any,
    arg5: Any,
    arg6: Any,
    /,
    *args: Any,
    **options: Unpack[ChildOptions],
) -> R: ...
async def execute_child(workflow: Any, /, *args: Any, **options: Any) -> Any:
    """Start a child workflow and return its result. Options are those of ChildOptions.

    Cancelling the call cancels the child, as `cancellation_type` says. Raises what `start_child` raises, and
    ChildWorkflowError, with the reason as its cause, if the child fails, is cancelled or terminated, or times out.
    """
    return await _child_calls.execute_child(workflow, args, options)


@overload
async def start_child(
    workflow: str, /, *args: Any, result_type: TypeForm[R], **options: Unpack[ChildOptions]
) -> ChildWorkflowHandle[Any, R]: ...
@overload
async def start_child(
    workflow: str, /, *args: Any, **options: Unpack[ChildOptions]
) -> ChildWorkflowHandle[Any, Any]: ...
@overload
async def start_child(workflow: TakesZero[W, R], /, **options: Unpack[ChildOptions]) -> ChildWorkflowHandle[W, R]: ...
@overload
async def start_child(
    workflow: TakesOne[W, Arg1, R], arg1: Arg1, /, **options: Unpack[ChildOptions]
) -> ChildWorkflowHandle[W, R]: ...
@overload
async def start_child(
    workflow: TakesTwo[W, Arg1, Arg2, R], arg1: Arg1, arg2: Arg2, /, **options: Unpack[ChildOptions]
) -> ChildWorkflowHandle[W, R]: ...
@overload
async def start_child(
    workflow: TakesThree[W, Arg1, Arg2, Arg3, R], arg1: Arg1, arg2: Arg2, arg3: Arg3, /, **options: Unpack[ChildOptions]
) -> ChildWorkflowHandle[W, R]: ...
@overload
async def start_child(
    workflow: TakesFour[W, Arg1, Arg2, Arg3, Arg4, R],
    arg1: Arg1,
    arg2: Arg2,
    arg3: Arg3,
    arg4: Arg4,
    /,
    **options: Unpack[ChildOptions],
) -> ChildWorkflowHandle[W, R]: ...
@overload
async def start_child(
    workflow: TakesFive[W, Arg1, Arg2, Arg3, Arg4, Arg5, R],
    arg1: Arg1,
    arg2: Arg2,
    arg3: Arg3,
    arg4: Arg4,
    arg5: Arg5,
    /,
    **options: Unpack[ChildOptions],
) -> ChildWorkflowHandle[W, R]: ...
@overload  # from six arguments on: not checked, pass a dataclass
async def start_child(
    workflow: TakesMany[W, R],
    arg1: Any,
    arg2: Any,
    arg3: Any,
    arg4: Any,
    arg5: Any,
    arg6: Any,
    /,
    *args: Any,
    **options: Unpack[ChildOptions],
) -> ChildWorkflowHandle[W, R]: ...
async def start_child(workflow: Any, /, *args: Any, **options: Any) -> Any:
    """Start a child workflow; returns when it runs. The handle signals and cancels it, and waits for it.

    Raises WorkflowAlreadyStartedError if its ID is in use, ChildWorkflowError if it cannot be started, DefinitionError
    for arguments or options that do not fit.
    """
    return await _child_calls.start_child(workflow, args, options)


@overload
def continue_as_new(workflow: str, /, *args: Any, **options: Unpack[ContinueOptions]) -> NoReturn: ...
@overload
def continue_as_new(workflow: TakesZero[W, R], /, **options: Unpack[ContinueOptions]) -> NoReturn: ...
@overload
def continue_as_new(workflow: TakesOne[W, Arg1, R], arg1: Arg1, /, **options: Unpack[ContinueOptions]) -> NoReturn: ...
@overload
def continue_as_new(
    workflow: TakesTwo[W, Arg1, Arg2, R], arg1: Arg1, arg2: Arg2, /, **options: Unpack[ContinueOptions]
) -> NoReturn: ...
@overload
def continue_as_new(
    workflow: TakesThree[W, Arg1, Arg2, Arg3, R],
    arg1: Arg1,
    arg2: Arg2,
    arg3: Arg3,
    /,
    **options: Unpack[ContinueOptions],
) -> NoReturn: ...
@overload
def continue_as_new(
    workflow: TakesFour[W, Arg1, Arg2, Arg3, Arg4, R],
    arg1: Arg1,
    arg2: Arg2,
    arg3: Arg3,
    arg4: Arg4,
    /,
    **options: Unpack[ContinueOptions],
) -> NoReturn: ...
@overload
def continue_as_new(
    workflow: TakesFive[W, Arg1, Arg2, Arg3, Arg4, Arg5, R],
    arg1: Arg1,
    arg2: Arg2,
    arg3: Arg3,
    arg4: Arg4,
    arg5: Arg5,
    /,
    **options: Unpack[ContinueOptions],
) -> NoReturn: ...
@overload  # from six arguments on: not checked, pass a dataclass
def continue_as_new(
    workflow: TakesMany[W, R],
    arg1: Any,
    arg2: Any,
    arg3: Any,
    arg4: Any,
    arg5: Any,
    arg6: Any,
    /,
    *args: Any,
    **options: Unpack[ContinueOptions],
) -> NoReturn: ...
def continue_as_new(workflow: Any, /, *args: Any, **options: Any) -> NoReturn:
    """End this run and begin the next one, with an empty history; unread messages go on into it."""
    begin_next(workflow, args, options)
