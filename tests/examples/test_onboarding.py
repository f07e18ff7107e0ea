"""Onboarding on the test kit's clock."""

from __future__ import annotations

from datetime import timedelta

import pytest
from odradek.testing import Environment

from examples.onboarding import User, has_returned, onboard, send_email

from .recording import recorded


@pytest.mark.parametrize(
    ("returns", "outcome", "weeks", "last"),
    [(1, "active", 1, "three things"), (2, "won back", 2, "welcome back"), (None, "gone", 2, "goodbye")],
)
async def test_a_week_passes_before_each_look(returns: int | None, outcome: str, weeks: int, last: str) -> None:
    written: list[str] = []

    def write(user: User, text: str) -> None:
        written.append(text)

    async with Environment(workflows=[onboard], activities=[has_returned, send_email.with_fn(write)]) as env:
        began = env.now()
        user = await env.client.start(onboard, User("ada", returns), id="ada")
        assert await user.result() == outcome
        assert timedelta(weeks=weeks) <= env.now() - began < timedelta(weeks=weeks, days=1)
        await recorded(user, f"onboarding-{outcome.replace(' ', '-')}")
    assert written[0] == "welcome"
    assert written[-1].startswith(last)
