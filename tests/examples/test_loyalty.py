"""The loyalty programme: years of purchases, and the repair of a bug by resetting all members."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from odradek.testing import Environment

from examples import loyalty
from examples.loyalty import MEMBERS, Account, Loyalty, repair, send_card, settled

from .recording import recorded


async def test_points_are_carried_from_run_to_run() -> None:
    async with Environment(workflows=[Loyalty], activities=[send_card]) as env:
        member = await env.client.start(Loyalty, Account("ada"), 3, id="member-ada")
        first = member.run_id
        for _ in range(10):
            await member.signal(Loyalty.buy, 7)
        latest = env.client.get("member-ada", Loyalty)
        assert await latest.query(Loyalty.status) == Account("ada", 70)
        assert (await latest.describe()).first_run_id == first != (await latest.describe()).run_id
        await latest.signal(Loyalty.leave)
        assert await member.result() == Account("ada", 70)
        await recorded(env.client.get("member-ada", Loyalty, run_id=first), "loyalty-first-run")
        await recorded(latest, "loyalty-last-run")


async def test_gold_is_reached_once() -> None:
    cards: list[str] = []
    async with Environment(workflows=[Loyalty], activities={send_card: cards.append}) as env:
        member = await env.client.start(Loyalty, Account("ada"), id="member-ada")
        for _ in range(3):
            await member.signal(Loyalty.buy, 60)
        await member.signal(Loyalty.leave)
        assert await member.result() == Account("ada", 180, is_gold=True)
        await recorded(member, "loyalty-gold")
    assert cards == ["ada"]


@pytest.fixture
def bug() -> Iterator[None]:
    loyalty.BUG = True
    yield
    loyalty.BUG = False


async def test_a_bug_is_repaired_by_resetting_all_members(bug: None) -> None:
    async with Environment(workflows=[Loyalty], activities=[send_card]) as env:
        for name, purchases in MEMBERS.items():
            member = await env.client.start(Loyalty, Account(name), id=f"member-{name}")
            for euros in purchases:
                await member.signal(Loyalty.buy, euros)
            assert (await settled(member)).points == 2 * sum(purchases)
        loyalty.BUG = False
        assert await repair(env.client) == len(MEMBERS)
        assert await repair(env.client) == len(MEMBERS)  # the same batch: none is reset twice
        for name, purchases in MEMBERS.items():
            member = env.client.get(f"member-{name}", Loyalty)
            total = sum(purchases)
            assert await settled(member) == Account(name, total, is_gold=total >= 100)
            await recorded(member, f"loyalty-repaired-{name}")
