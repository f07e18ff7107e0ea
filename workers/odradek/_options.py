"""Options checked at the call, and turned into what records hold: milliseconds and retry policies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from odradek_schemas import common

from ._cron import next_time
from .errors import DefinitionError

if TYPE_CHECKING:
    from ._types import Duration, RetryPolicy

DEFAULT_START_TO_CLOSE_SECONDS = 600.0
_TIMEOUTS = (
    "start_to_close_timeout",
    "schedule_to_start_timeout",
    "schedule_to_close_timeout",
    "heartbeat_timeout",
)
ACTIVITY_OPTIONS = frozenset(
    {"task_queue", *_TIMEOUTS, "retry_policy", "delivery", "cancellation_type", "summary", "on_exhausted"}
)
_ACTIVITY_CHOICES = {
    "delivery": ("at_least_once", "at_most_once"),
    "cancellation_type": ("try", "wait", "abandon"),
    "on_exhausted": ("fail", "pause"),
}
_START_TIMEOUTS = ("execution_timeout", "run_timeout", "task_timeout", "start_delay")
_POLICIES = {
    "id_conflict_policy": ("fail", "use_existing", "terminate_existing"),
    "id_reuse_policy": ("allow", "allow_if_failed", "reject"),
}
START_OPTIONS = frozenset(
    {"id", "task_queue", "request_id", *_START_TIMEOUTS, *_POLICIES, "retry_policy", "memo", "search_attributes",
     "cron_schedule", "build_id"}
)
CONTINUE_OPTIONS = frozenset(
    {"task_queue", "run_timeout", "task_timeout", "retry_policy", "memo", "search_attributes", "versioning"}
)
_MAXIMUM_SECONDS = 1000 * 365 * 86_400.0


def seconds(value: Duration) -> float:
    """A duration as seconds. Raises DefinitionError for what is not a timedelta or a number, or is negative."""
    given = cast(object, value)  # callers without a type checker pass anything
    if isinstance(given, timedelta):
        result: float = given.total_seconds()
    elif isinstance(given, int | float) and not isinstance(given, bool):
        result = given  # an int may be larger than any float
    else:
        raise DefinitionError(f"a duration is a timedelta or a number of seconds, not {value!r}")
    if not (0 <= result <= _MAXIMUM_SECONDS):
        raise DefinitionError(f"a duration is between 0 and 1000 years, not {value!r}")
    return float(result)


def milliseconds(value: Duration | None) -> int:
    """A duration as whole milliseconds, rounded up so that a short one is not none; None is 0."""
    return 0 if value is None else math.ceil(round(seconds(value) * 1000, 6))


def check_retry_policy(policy: RetryPolicy) -> None:
    """Raise DefinitionError (a TypeError) or ValueError if `policy` makes no sense."""
    initial = seconds(policy.initial_interval)
    if initial <= 0:
        raise ValueError("RetryPolicy: initial_interval is more than 0 seconds; use maximum_attempts=1 for no retries")
    if not 1 <= policy.backoff_coefficient <= _MAXIMUM_SECONDS:
        raise ValueError(f"RetryPolicy: backoff_coefficient is from 1 to 3e10, not {policy.backoff_coefficient}")
    if policy.maximum_interval is not None and seconds(policy.maximum_interval) < initial:
        raise ValueError("RetryPolicy: maximum_interval is not below initial_interval")
    if policy.maximum_attempts is not None and policy.maximum_attempts < 1:
        raise ValueError("RetryPolicy: maximum_attempts is at least 1, or None for no limit")
    kinds = cast(object, policy.non_retryable_error_types)
    if isinstance(kinds, str) or not all(isinstance(kind, str | type) for kind in policy.non_retryable_error_types):
        raise ValueError(f"RetryPolicy: non_retryable_error_types are names or classes of errors, not {kinds!r}")


def retry_policy_record(policy: RetryPolicy | None) -> common.RetryPolicy | None:
    """The policy as records hold it."""
    if policy is None:
        return None
    return common.RetryPolicy(
        initial_interval_ms=max(1, milliseconds(policy.initial_interval)),
        backoff_coefficient=float(policy.backoff_coefficient),
        maximum_interval_ms=milliseconds(policy.maximum_interval),
        maximum_attempts=policy.maximum_attempts or 0,
        non_retryable_error_types=[
            kind if isinstance(kind, str) else kind.__name__ for kind in policy.non_retryable_error_types
        ],
    )


def check_activity_options(options: Mapping[str, Any], what: str) -> None:
    """Raise DefinitionError for unknown options of activity `what`, or values that make no sense."""
    check_names(options, ACTIVITY_OPTIONS, what)
    _check_timeouts(options, _TIMEOUTS, what)
    _check_common(options, what)
    for name, allowed in _ACTIVITY_CHOICES.items():
        if options.get(name, allowed[0]) not in allowed:
            raise DefinitionError(f"{what}: {name} is one of {', '.join(allowed)}, not {options[name]!r}")


_CHILD_CHOICES = {
    "id_reuse_policy": _POLICIES["id_reuse_policy"],
    "parent_close_policy": ("terminate", "abandon", "request_cancel"),
    "cancellation_type": ("wait", "try", "abandon"),
}
CHILD_OPTIONS = (START_OPTIONS | set(_CHILD_CHOICES)) - {"id_conflict_policy", "request_id", "start_delay", "build_id"}


def check_child_options(options: Mapping[str, Any], what: str) -> None:
    """Raise DefinitionError for unknown options of a start of child `what`, or values that make no sense."""
    check_names(options, CHILD_OPTIONS, what)
    for name, allowed in _CHILD_CHOICES.items():
        if options.get(name, allowed[0]) not in allowed:
            raise DefinitionError(f"{what}: {name} is one of {', '.join(allowed)}, not {options[name]!r}")
    workflow_id = options.get("id", "x")
    if not (isinstance(workflow_id, str) and workflow_id):
        raise DefinitionError(f"{what}: id is a string, not {workflow_id!r}")
    check_start_options({name: options[name] for name in options if name in START_OPTIONS}, what)


def check_start_options(options: Mapping[str, Any], what: str) -> None:
    """Raise DefinitionError for unknown options of a start of `what`, or values that make no sense."""
    check_names(options, START_OPTIONS, what)
    _check_timeouts(options, _START_TIMEOUTS, what)
    _check_common(options, what)
    for name, allowed in _POLICIES.items():
        if options.get(name, allowed[0]) not in allowed:
            raise DefinitionError(f"{what}: {name} is one of {', '.join(allowed)}, not {options[name]!r}")
    _check_mappings(options, what)
    _check_cron(options, what)
    for name in ("request_id", "build_id"):
        value = options.get(name)
        if value is not None and not (isinstance(value, str) and value):
            raise DefinitionError(f"{what}: {name} is a string, not {value!r}")


def check_continue_options(options: Mapping[str, Any], what: str) -> None:
    """Raise DefinitionError for unknown options of continue_as_new, or values that make no sense."""
    if "execution_timeout" in options:
        raise DefinitionError(f"{what}: execution_timeout is of all runs together, and is given at the start")
    check_names(options, CONTINUE_OPTIONS, what)
    if options.get("versioning", "auto_upgrade") != "auto_upgrade":
        raise DefinitionError(f"{what}: versioning is auto_upgrade or left out, not {options['versioning']!r}")
    _check_timeouts(options, ("run_timeout", "task_timeout"), what)
    _check_common(options, what)
    _check_mappings(options, what)


def _check_mappings(options: Mapping[str, Any], what: str) -> None:
    for name in ("memo", "search_attributes"):
        if not isinstance(options.get(name, {}), Mapping):
            raise DefinitionError(f"{what}: {name} is a dict, not {options[name]!r}")


def _check_cron(options: Mapping[str, Any], what: str) -> None:
    schedule = options.get("cron_schedule")
    if schedule is None:
        return
    if not isinstance(schedule, str):
        raise DefinitionError(f"{what}: cron_schedule is a text such as '0 9 * * MON-FRI', not {schedule!r}")
    if options.get("start_delay"):
        raise DefinitionError(f"{what}: a cron_schedule says when to begin; leave out start_delay")
    try:
        next_time(schedule, 0.0)
    except ValueError as error:
        raise DefinitionError(f"{what}: {error}") from None


def _check_timeouts(options: Mapping[str, Any], names: Iterable[str], what: str) -> None:
    for name in names:
        value = options.get(name)
        if value is None:
            continue
        try:
            none_at_all = seconds(value) == 0
        except DefinitionError as error:
            raise DefinitionError(f"{what}: {name}: {error}") from None
        if none_at_all and name != "start_delay":
            raise DefinitionError(f"{what}: {name} is more than 0; None is no timeout")


def _check_common(options: Mapping[str, Any], what: str) -> None:
    queue = options.get("task_queue")
    if queue is not None and not (isinstance(queue, str) and queue):
        raise DefinitionError(f"{what}: task_queue is a name, not {queue!r}")
    policy = options.get("retry_policy")
    if policy is not None and not hasattr(policy, "maximum_attempts"):
        raise DefinitionError(f"{what}: retry_policy is a RetryPolicy, not {policy!r}")


def check_names(options: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise DefinitionError if an option is not among the known ones."""
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise DefinitionError(f"{what}: unknown option {unknown[0]!r}; there are {', '.join(sorted(known))}")


_DEFAULT_TIMEOUTS_MS: Mapping[str, int] = {
    **{f"{name}_ms": 0 for name in _TIMEOUTS},
    "start_to_close_timeout_ms": round(DEFAULT_START_TO_CLOSE_SECONDS * 1000),
}


def activity_timeouts_ms(options: Mapping[str, Any]) -> Mapping[str, int]:
    """The timeouts of a ScheduleActivity command, by field name, with the default of 10 minutes for
    `start_to_close_timeout`; 0 is none."""
    if options.keys().isdisjoint(_TIMEOUTS):
        return _DEFAULT_TIMEOUTS_MS
    merged: dict[str, Any] = {"start_to_close_timeout": DEFAULT_START_TO_CLOSE_SECONDS, **options}
    return {f"{name}_ms": milliseconds(merged.get(name)) for name in _TIMEOUTS}


def pending_activity_changes(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a ChangeActivity record. Raises DefinitionError for options that make no sense."""
    what = "update_activity_options"
    check_names(options, {"task_queue", *_TIMEOUTS, "retry_policy"}, what)
    _check_timeouts(options, _TIMEOUTS, what)
    _check_common(options, what)
    changes: dict[str, Any] = {f"{name}_ms": milliseconds(options[name]) for name in _TIMEOUTS if name in options}
    if options.get("task_queue"):
        changes["task_queue"] = options["task_queue"]
    if options.get("retry_policy") is not None:
        changes["retry_policy"] = retry_policy_record(options["retry_policy"])
    return changes
