"""The retry policy: whether and when a failed attempt is repeated."""

from __future__ import annotations

from .common import Failure, RetryPolicy


def maximum_interval_ms(policy: RetryPolicy) -> int:
    """The longest backoff: what the policy says, or 100 times the initial one."""
    return policy.maximum_interval_ms or 100 * policy.initial_interval_ms


def backoff_ms(policy: RetryPolicy, attempts: int) -> int:
    """How long to wait after the `attempts`-th failed attempt, in ms."""
    limit = maximum_interval_ms(policy)
    interval = float(policy.initial_interval_ms)
    for _ in range(attempts - 1):
        interval *= policy.backoff_coefficient
        if interval >= limit:
            return limit
    return min(limit, int(interval))


def refusal(policy: RetryPolicy, failure: Failure, attempts: int) -> str:
    """Why there is no further attempt after `attempts` of them; empty if there is one."""
    if failure.non_retryable or failure.type in policy.non_retryable_error_types:
        return "non_retryable"
    if policy.maximum_attempts and attempts >= policy.maximum_attempts:
        return "maximum_attempts"
    return ""
