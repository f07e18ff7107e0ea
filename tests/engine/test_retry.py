"""Backoff and the end of retries, as properties of any policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odradek_engine.fold.limits import MAX_DURATION_MS, check_retry_policy
from odradek_schemas.common import RetryPolicy
from odradek_schemas.retry import backoff_ms, maximum_interval_ms, refusal

from .harness import failure

policies = st.builds(
    RetryPolicy,
    initial_interval_ms=st.integers(0, 10**7),
    backoff_coefficient=st.floats(1, 100),
    maximum_interval_ms=st.integers(0, 10**8),
    maximum_attempts=st.integers(0, 50),
)


@given(policy=policies, attempts=st.integers(1, 300))
def test_intervals_never_fall_and_never_pass_their_limit(policy: RetryPolicy, attempts: int) -> None:
    now, following = backoff_ms(policy, attempts), backoff_ms(policy, attempts + 1)
    assert 0 <= now <= following <= maximum_interval_ms(policy)


@given(policy=policies)
def test_the_first_interval_is_the_initial_one(policy: RetryPolicy) -> None:
    assert backoff_ms(policy, 1) == min(policy.initial_interval_ms, maximum_interval_ms(policy))


@given(policy=policies, attempts=st.integers(1, 20))
def test_an_interval_is_the_one_before_times_the_coefficient(policy: RetryPolicy, attempts: int) -> None:
    now, following = backoff_ms(policy, attempts), backoff_ms(policy, attempts + 1)
    if following < maximum_interval_ms(policy):
        error = policy.backoff_coefficient + 2
        assert abs(following - now * policy.backoff_coefficient) <= error + following * 1e-9


def test_without_a_maximum_the_limit_is_a_hundred_times_the_first() -> None:
    assert backoff_ms(RetryPolicy(initial_interval_ms=10), 60) == 1000


@given(policy=policies, attempts=st.integers(1, 100))
def test_attempts_end_with_the_maximum_and_not_before(policy: RetryPolicy, attempts: int) -> None:
    over = policy.maximum_attempts != 0 and attempts >= policy.maximum_attempts
    assert refusal(policy, failure(), attempts) == ("maximum_attempts" if over else "")


@given(policy=policies, attempts=st.integers(1, 100))
def test_what_is_not_retryable_ends_at_once(policy: RetryPolicy, attempts: int) -> None:
    assert refusal(policy, failure(non_retryable=True), attempts) == "non_retryable"


@given(policy=policies)
def test_usual_policies_are_accepted(policy: RetryPolicy) -> None:
    check_retry_policy(policy)


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(initial_interval_ms=-1),
        RetryPolicy(initial_interval_ms=MAX_DURATION_MS + 1),
        RetryPolicy(maximum_interval_ms=-1),
        RetryPolicy(backoff_coefficient=0.5),
        RetryPolicy(backoff_coefficient=float("nan")),
        RetryPolicy(backoff_coefficient=float("inf")),
        RetryPolicy(maximum_attempts=-1),
    ],
    ids=repr,
)
def test_policies_that_cannot_be_followed_are_refused(policy: RetryPolicy) -> None:
    with pytest.raises(ValueError, match="use"):
        check_retry_policy(policy)
