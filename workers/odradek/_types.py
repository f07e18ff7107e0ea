"""Types shared by the public modules: type variables, options, and the protocols that workflows match by shape."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, ParamSpec, Protocol, Required, TypeAlias, TypedDict

from typing_extensions import TypeVar

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
W = TypeVar("W")
W_co = TypeVar("W_co", covariant=True)
W_contra = TypeVar("W_contra", contravariant=True)
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)
V_contra = TypeVar("V_contra", contravariant=True)
S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U", default=Any)
Arg1 = TypeVar("Arg1")
Arg2 = TypeVar("Arg2")
Arg3 = TypeVar("Arg3")
Arg4 = TypeVar("Arg4")
Arg5 = TypeVar("Arg5")
A1_contra = TypeVar("A1_contra", contravariant=True)
A2_contra = TypeVar("A2_contra", contravariant=True)
A3_contra = TypeVar("A3_contra", contravariant=True)
A4_contra = TypeVar("A4_contra", contravariant=True)
A5_contra = TypeVar("A5_contra", contravariant=True)

Duration: TypeAlias = timedelta | float
"""A `timedelta`, or a number of seconds."""


# A workflow class matches these as a class object (PEP 544, "class objects as implementations of
# protocols"): `Order.run` taken from the class has `self` first, and that is where W comes from.
class TakesZero(Protocol[W_contra, R_co]):
    def run(_self, self: W_contra, /) -> Coroutine[Any, Any, R_co]: ...


class TakesOne(Protocol[W_contra, A1_contra, R_co]):
    def run(_self, self: W_contra, a1: A1_contra, /) -> Coroutine[Any, Any, R_co]: ...


class TakesTwo(Protocol[W_contra, A1_contra, A2_contra, R_co]):
    def run(_self, self: W_contra, a1: A1_contra, a2: A2_contra, /) -> Coroutine[Any, Any, R_co]: ...


class TakesThree(Protocol[W_contra, A1_contra, A2_contra, A3_contra, R_co]):
    def run(_self, self: W_contra, a1: A1_contra, a2: A2_contra, a3: A3_contra, /) -> Coroutine[Any, Any, R_co]: ...


class TakesFour(Protocol[W_contra, A1_contra, A2_contra, A3_contra, A4_contra, R_co]):
    def run(
        _self, self: W_contra, a1: A1_contra, a2: A2_contra, a3: A3_contra, a4: A4_contra, /
    ) -> Coroutine[Any, Any, R_co]: ...


class TakesFive(Protocol[W_contra, A1_contra, A2_contra, A3_contra, A4_contra, A5_contra, R_co]):
    def run(
        _self, self: W_contra, a1: A1_contra, a2: A2_contra, a3: A3_contra, a4: A4_contra, a5: A5_contra, /
    ) -> Coroutine[Any, Any, R_co]: ...


class TakesMany(Protocol[W_contra, R_co]):
    def run(_self, self: W_contra, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, R_co]: ...


# The same of a class that can be instantiated, with what that makes: V_co. A message that is to be of the class is held
# against both. W alone has only upper bounds, and mypy would solve it with a subclass of both classes, as there may
# be one.
class MakesZero(TakesZero[W_contra, R_co], Protocol[W_contra, V_co, R_co]):
    def __call__(_self, *args: Any, **kwargs: Any) -> V_co: ...


class MakesOne(TakesOne[W_contra, A1_contra, R_co], Protocol[W_contra, V_co, A1_contra, R_co]):
    def __call__(_self, *args: Any, **kwargs: Any) -> V_co: ...


class MakesTwo(TakesTwo[W_contra, A1_contra, A2_contra, R_co], Protocol[W_contra, V_co, A1_contra, A2_contra, R_co]):
    def __call__(_self, *args: Any, **kwargs: Any) -> V_co: ...


class MakesThree(
    TakesThree[W_contra, A1_contra, A2_contra, A3_contra, R_co],
    Protocol[W_contra, V_co, A1_contra, A2_contra, A3_contra, R_co],
):
    def __call__(_self, *args: Any, **kwargs: Any) -> V_co: ...


class MakesFour(
    TakesFour[W_contra, A1_contra, A2_contra, A3_contra, A4_contra, R_co],
    Protocol[W_contra, V_co, A1_contra, A2_contra, A3_contra, A4_contra, R_co],
):
    def __call__(_self, *args: Any, **kwargs: Any) -> V_co: ...


class MakesFive(
    TakesFive[W_contra, A1_contra, A2_contra, A3_contra, A4_contra, A5_contra, R_co],
    Protocol[W_contra, V_co, A1_contra, A2_contra, A3_contra, A4_contra, A5_contra, R_co],
):
    def __call__(_self, *args: Any, **kwargs: Any) -> V_co: ...


class MakesMany(TakesMany[W_contra, R_co], Protocol[W_contra, V_co, R_co]):
    def __call__(_self, *args: Any, **kwargs: Any) -> V_co: ...


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How a failed attempt is repeated: after `initial_interval`, then each time `backoff_coefficient` times later.

    `maximum_interval` None: 100 times the initial one. `maximum_attempts` None: without limit. Errors whose class
    name (or `ApplicationError.type`) is among `non_retryable_error_types` are not repeated. Raises ValueError for
    values that make no sense.
    """

    initial_interval: Duration = 1
    backoff_coefficient: float = 2
    maximum_interval: Duration | None = None
    maximum_attempts: int | None = None
    non_retryable_error_types: tuple[str | type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        from ._options import check_retry_policy

        check_retry_policy(self)


class ActivityOptions(TypedDict, total=False):
    """Options of an activity. A timeout of None is no timeout; `start_to_close_timeout` is 10 minutes by default.

    cancellation_type: when the workflow cancels the call, `try` (the default) asks the activity to stop and raises
    CancelledError at once, `wait` asks and waits for its end (its result or error, or CancelledError), `abandon` lets
    it run. on_exhausted: without an attempt left the activity fails (`fail`, the default), or waits for a person
    (`pause`): see `WorkflowHandle.retry_activity`. What must not be repeated fails all the same.
    """

    task_queue: str
    start_to_close_timeout: Duration | None
    schedule_to_start_timeout: Duration | None
    schedule_to_close_timeout: Duration | None
    heartbeat_timeout: Duration | None
    retry_policy: RetryPolicy | None
    delivery: Literal["at_least_once", "at_most_once"]
    cancellation_type: Literal["try", "wait", "abandon"]
    summary: str
    on_exhausted: Literal["fail", "pause"]


class PendingActivityOptions(TypedDict, total=False):
    """What can be changed about an activity that is pending. A timeout of None takes it away."""

    task_queue: str
    start_to_close_timeout: Duration | None
    schedule_to_start_timeout: Duration | None
    schedule_to_close_timeout: Duration | None
    heartbeat_timeout: Duration | None
    retry_policy: RetryPolicy


class CommonOptions(TypedDict, total=False):
    """Options of a run, however it is started. Timeouts are none by default."""

    task_queue: str
    execution_timeout: Duration | None
    run_timeout: Duration | None
    task_timeout: Duration | None
    retry_policy: RetryPolicy | None
    memo: Mapping[str, Any]
    search_attributes: Mapping[str, Any]


class StartOptions(CommonOptions, total=False):
    """Options of `Client.start`. `id_conflict_policy` is for a run that is open, `id_reuse_policy` for a closed one.

    `build_id`: pin the workflow to this build of the workers from its beginning (default: it begins on the current
    one).
    """

    id: Required[str]
    id_conflict_policy: Literal["fail", "use_existing", "terminate_existing"]
    id_reuse_policy: Literal["allow", "allow_if_failed", "reject"]
    request_id: str
    start_delay: Duration
    cron_schedule: str
    build_id: str


class ChildOptions(CommonOptions, total=False):
    """Options of a child. `id`: default one of its own. `task_queue`: default the parent's.

    `parent_close_policy` is what becomes of it when the parent closes first (default terminate). `cancellation_type`,
    when the task that waits for it is cancelled: wait (the default: it is asked to cancel, and the wait goes on until
    it has ended), try (it is asked, and the wait ends at once), abandon (it is not asked).
    """

    id: str
    id_reuse_policy: Literal["allow", "allow_if_failed", "reject"]
    parent_close_policy: Literal["terminate", "abandon", "request_cancel"]
    cancellation_type: Literal["wait", "try", "abandon"]


class ContinueOptions(CommonOptions, total=False):
    """Options of the next run; what is left out stays as it is.

    `versioning`: auto_upgrade, the next run begins on the current build; by default one of a pinned run stays on its
    build.
    """

    versioning: Literal["auto_upgrade"]


class Serving(Protocol):
    """A worker that runs on a connection."""

    @property
    def task_queue(self) -> str: ...
    @property
    def working(self) -> int: ...
