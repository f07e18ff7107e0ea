"""The calls of a client that start workflows, typed by the workflow's arguments.

Written by tools/gen_ladder.py: change that, then run it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Unpack, overload

from typing_extensions import TypeForm

from ._handle import UpdateHandle, WorkflowHandle
from ._handlers import Signal, SignalOf, Update, UpdateOf
from ._types import (
    Arg1,
    Arg2,
    Arg3,
    Arg4,
    Arg5,
    MakesFive,
    MakesFour,
    MakesMany,
    MakesOne,
    MakesThree,
    MakesTwo,
    MakesZero,
    R,
    StartOptions,
    TakesFive,
    TakesFour,
    TakesMany,
    TakesOne,
    TakesThree,
    TakesTwo,
    TakesZero,
    U,
    V,
    W,
)


class Starting:
    """Base of Client."""

    @abstractmethod
    async def _start(self, workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> Any: ...

    @abstractmethod
    async def _execute(self, workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> Any: ...

    @abstractmethod
    async def _signal_with_start(self, workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> Any: ...

    @abstractmethod
    async def _update_with_start(self, workflow: Any, args: Sequence[Any], options: dict[str, Any]) -> Any: ...

    @overload
    async def start(
        self, workflow: str, /, *args: Any, result_type: TypeForm[R], **options: Unpack[StartOptions]
    ) -> WorkflowHandle[Any, R]: ...
    @overload
    async def start(
        self, workflow: str, /, *args: Any, **options: Unpack[StartOptions]
    ) -> WorkflowHandle[Any, Any]: ...
    @overload
    async def start(self, workflow: TakesZero[W, R], /, **options: Unpack[StartOptions]) -> WorkflowHandle[W, R]: ...
    @overload
    async def start(
        self, workflow: TakesOne[W, Arg1, R], arg1: Arg1, /, **options: Unpack[StartOptions]
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def start(
        self, workflow: TakesTwo[W, Arg1, Arg2, R], arg1: Arg1, arg2: Arg2, /, **options: Unpack[StartOptions]
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def start(
        self,
        workflow: TakesThree[W, Arg1, Arg2, Arg3, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        /,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def start(
        self,
        workflow: TakesFour[W, Arg1, Arg2, Arg3, Arg4, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        /,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def start(
        self,
        workflow: TakesFive[W, Arg1, Arg2, Arg3, Arg4, Arg5, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        arg5: Arg5,
        /,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload  # from six arguments on: not checked, pass a dataclass
    async def start(
        self,
        workflow: TakesMany[W, R],
        arg1: Any,
        arg2: Any,
        arg3: Any,
        arg4: Any,
        arg5: Any,
        arg6: Any,
        /,
        *args: Any,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    async def start(self, workflow: Any, /, *args: Any, **options: Any) -> Any:
        """Start a workflow and return its handle.

        `workflow` is a class, a function or the name of a type. Options are those of StartOptions; `id` is required.
        Raises WorkflowAlreadyStartedError if the ID policies forbid it, DefinitionError for arguments that do not
        fit, RequestTimeoutError if no engine answers, UnavailableError if the log cannot be reached.
        """
        return await self._start(workflow, args, options)

    @overload
    async def execute(
        self, workflow: str, /, *args: Any, result_type: TypeForm[R], **options: Unpack[StartOptions]
    ) -> R: ...
    @overload
    async def execute(self, workflow: str, /, *args: Any, **options: Unpack[StartOptions]) -> Any: ...
    @overload
    async def execute(self, workflow: TakesZero[W, R], /, **options: Unpack[StartOptions]) -> R: ...
    @overload
    async def execute(self, workflow: TakesOne[W, Arg1, R], arg1: Arg1, /, **options: Unpack[StartOptions]) -> R: ...
    @overload
    async def execute(
        self, workflow: TakesTwo[W, Arg1, Arg2, R], arg1: Arg1, arg2: Arg2, /, **options: Unpack[StartOptions]
    ) -> R: ...
    @overload
    async def execute(
        self,
        workflow: TakesThree[W, Arg1, Arg2, Arg3, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        /,
        **options: Unpack[StartOptions],
    ) -> R: ...
    @overload
    async def execute(
        self,
        workflow: TakesFour[W, Arg1, Arg2, Arg3, Arg4, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        /,
        **options: Unpack[StartOptions],
    ) -> R: ...
    @overload
    async def execute(
        self,
        workflow: TakesFive[W, Arg1, Arg2, Arg3, Arg4, Arg5, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        arg5: Arg5,
        /,
        **options: Unpack[StartOptions],
    ) -> R: ...
    @overload  # from six arguments on: not checked, pass a dataclass
    async def execute(
        self,
        workflow: TakesMany[W, R],
        arg1: Any,
        arg2: Any,
        arg3: Any,
        arg4: Any,
        arg5: Any,
        arg6: Any,
        /,
        *args: Any,
        **options: Unpack[StartOptions],
    ) -> R: ...
    async def execute(self, workflow: Any, /, *args: Any, **options: Any) -> Any:
        """Start a workflow and return its result.

        Raises WorkflowFailedError if it fails, is cancelled, is terminated or times out, and what `start` raises.
        """
        return await self._execute(workflow, args, options)

    @overload
    async def signal_with_start(
        self,
        workflow: str,
        /,
        *args: Any,
        result_type: TypeForm[R],
        signal: Signal[Any, ...] | str,
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[Any, R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: str,
        /,
        *args: Any,
        signal: Signal[Any, ...] | str,
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[Any, Any]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: TakesZero[W, R],
        /,
        *,
        signal: str,
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: TakesOne[W, Arg1, R],
        arg1: Arg1,
        /,
        *,
        signal: str,
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: TakesTwo[W, Arg1, Arg2, R],
        arg1: Arg1,
        arg2: Arg2,
        /,
        *,
        signal: str,
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: TakesThree[W, Arg1, Arg2, Arg3, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        /,
        *,
        signal: str,
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: TakesFour[W, Arg1, Arg2, Arg3, Arg4, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        /,
        *,
        signal: str,
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: TakesFive[W, Arg1, Arg2, Arg3, Arg4, Arg5, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        arg5: Arg5,
        /,
        *,
        signal: str,
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload  # from six arguments on: not checked, pass a dataclass
    async def signal_with_start(
        self,
        workflow: TakesMany[W, R],
        arg1: Any,
        arg2: Any,
        arg3: Any,
        arg4: Any,
        arg5: Any,
        arg6: Any,
        /,
        *args: Any,
        signal: str,
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: MakesZero[W, V, R],
        /,
        *,
        signal: SignalOf[W, V],
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: MakesOne[W, V, Arg1, R],
        arg1: Arg1,
        /,
        *,
        signal: SignalOf[W, V],
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: MakesTwo[W, V, Arg1, Arg2, R],
        arg1: Arg1,
        arg2: Arg2,
        /,
        *,
        signal: SignalOf[W, V],
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: MakesThree[W, V, Arg1, Arg2, Arg3, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        /,
        *,
        signal: SignalOf[W, V],
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: MakesFour[W, V, Arg1, Arg2, Arg3, Arg4, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        /,
        *,
        signal: SignalOf[W, V],
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: MakesFive[W, V, Arg1, Arg2, Arg3, Arg4, Arg5, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        arg5: Arg5,
        /,
        *,
        signal: SignalOf[W, V],
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    @overload  # from six arguments on: not checked, pass a dataclass
    async def signal_with_start(
        self,
        workflow: MakesMany[W, V, R],
        arg1: Any,
        arg2: Any,
        arg3: Any,
        arg4: Any,
        arg5: Any,
        arg6: Any,
        /,
        *args: Any,
        signal: SignalOf[W, V],
        signal_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[W, R]: ...
    async def signal_with_start(self, workflow: Any, /, *args: Any, **options: Any) -> Any:
        """Signal the workflow of this ID; start it first if it is not running. One step: both happen, or neither.

        `signal` and `signal_args` are the message; the rest is as for `start`.
        """
        return await self._signal_with_start(workflow, args, options)

    @overload
    async def update_with_start(
        self,
        workflow: str,
        /,
        *args: Any,
        update: Update[Any, ..., U] | str,
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload
    async def update_with_start(
        self,
        workflow: TakesZero[W, R],
        /,
        *,
        update: str,
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload
    async def update_with_start(
        self,
        workflow: TakesOne[W, Arg1, R],
        arg1: Arg1,
        /,
        *,
        update: str,
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload
    async def update_with_start(
        self,
        workflow: TakesTwo[W, Arg1, Arg2, R],
        arg1: Arg1,
        arg2: Arg2,
        /,
        *,
        update: str,
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload
    async def update_with_start(
        self,
        workflow: TakesThree[W, Arg1, Arg2, Arg3, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        /,
        *,
        update: str,
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload
    async def update_with_start(
        self,
        workflow: TakesFour[W, Arg1, Arg2, Arg3, Arg4, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        /,
        *,
        update: str,
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload
    async def update_with_start(
        self,
        workflow: TakesFive[W, Arg1, Arg2, Arg3, Arg4, Arg5, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        arg5: Arg5,
        /,
        *,
        update: str,
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload  # from six arguments on: not checked, pass a dataclass
    async def update_with_start(
        self,
        workflow: TakesMany[W, R],
        arg1: Any,
        arg2: Any,
        arg3: Any,
        arg4: Any,
        arg5: Any,
        arg6: Any,
        /,
        *args: Any,
        update: str,
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload
    async def update_with_start(
        self,
        workflow: MakesZero[W, V, R],
        /,
        *,
        update: UpdateOf[W, V, U],
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload
    async def update_with_start(
        self,
        workflow: MakesOne[W, V, Arg1, R],
        arg1: Arg1,
        /,
        *,
        update: UpdateOf[W, V, U],
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload
    async def update_with_start(
        self,
        workflow: MakesTwo[W, V, Arg1, Arg2, R],
        arg1: Arg1,
        arg2: Arg2,
        /,
        *,
        update: UpdateOf[W, V, U],
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload
    async def update_with_start(
        self,
        workflow: MakesThree[W, V, Arg1, Arg2, Arg3, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        /,
        *,
        update: UpdateOf[W, V, U],
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload
    async def update_with_start(
        self,
        workflow: MakesFour[W, V, Arg1, Arg2, Arg3, Arg4, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        /,
        *,
        update: UpdateOf[W, V, U],
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload
    async def update_with_start(
        self,
        workflow: MakesFive[W, V, Arg1, Arg2, Arg3, Arg4, Arg5, R],
        arg1: Arg1,
        arg2: Arg2,
        arg3: Arg3,
        arg4: Arg4,
        arg5: Arg5,
        /,
        *,
        update: UpdateOf[W, V, U],
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    @overload  # from six arguments on: not checked, pass a dataclass
    async def update_with_start(
        self,
        workflow: MakesMany[W, V, R],
        arg1: Any,
        arg2: Any,
        arg3: Any,
        arg4: Any,
        arg5: Any,
        arg6: Any,
        /,
        *args: Any,
        update: UpdateOf[W, V, U],
        update_args: Sequence[Any] = (),
        **options: Unpack[StartOptions],
    ) -> UpdateHandle[U]: ...
    async def update_with_start(self, workflow: Any, /, *args: Any, **options: Any) -> Any:
        """Update the workflow of this ID; start it first if it is not running. One step: both happen, or neither.

        `update` and `update_args` are the message; the rest is as for `start`. Returns once the update is accepted;
        its handle has the `result()`, and the `workflow`. Raises UpdateRejectedError if it is not: a workflow that
        was started for it goes on.
        """
        return await self._update_with_start(workflow, args, options)
