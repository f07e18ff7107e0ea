"""Exported histories replay against the code as it is now."""

from __future__ import annotations

import asyncio
import json

import pytest
from odradek import NonDeterminismError, activity, workflow
from odradek.errors import DefinitionError
from odradek.testing import Environment, replay


@activity.define
async def price(product: str) -> int:
    return len(product)


@activity.define
async def discount(product: str) -> int:
    return 1


@workflow.define(name="Quote")
async def quote(product: str) -> int:
    await asyncio.sleep(3600)
    return await price(product)


@workflow.define(name="Quote")
async def changed_quote(product: str) -> int:
    await asyncio.sleep(3600)
    return await discount(product)


async def exported(workflow_id: str = "q") -> str:
    async with Environment(workflows=[quote], activities=[price]) as env:
        handle = await env.client.start(quote, "poke", id=workflow_id)
        assert await handle.result() == 4
        return await handle.export()


async def test_a_history_replays_with_the_code_that_made_it() -> None:
    history = await exported()
    replay(history, workflows=[quote])
    document = json.loads(history)
    assert (document["workflow_id"], document["workflow_type"]) == ("q", "Quote")
    assert [event["event_id"] for event in document["events"]] == list(range(1, len(document["events"]) + 1))


async def test_changed_code_is_told_with_what_differs() -> None:
    with pytest.raises(NonDeterminismError) as raised:
        replay(await exported(), workflows=[changed_quote])
    assert "price" in str(raised.value)
    assert "discount" in str(raised.value)


async def test_what_cannot_be_replayed_is_said() -> None:
    history = await exported()
    with pytest.raises(DefinitionError, match="Quote"):
        replay(history, workflows=[])
    with pytest.raises(ValueError, match="no exported history"):
        replay("{}", workflows=[quote])
    with pytest.raises(ValueError, match="format 99"):
        replay(history.replace('"format": 1', '"format": 99'), workflows=[quote])
