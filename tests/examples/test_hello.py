"""The smallest example."""

from __future__ import annotations

from odradek.testing import Environment

from examples.hello import compose, greet

from .recording import recorded


async def test_hello() -> None:
    async with Environment(workflows=[greet], activities=[compose]) as env:
        greeting = await env.client.start(greet, "Ada", id="g")
        assert await greeting.result() == "Hello, Ada!"
        await recorded(greeting, "hello-ada")
