"""Data routing, with providers and directory replaced by functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from unittest.mock import Mock

import aiohttp
import pytest
from odradek import ActivityNotFoundError, WorkflowFailedError, activity
from odradek.testing import Environment

from examples.data_routing import Delivery, Message, Network, route
from examples.data_routing.callbacks import callback_server, serve
from examples.data_routing.providers import Providers

from .recording import recorded

HELLO = Message(1, "hello")
FIVE = ["a", "b", "c", "d", "e"]


def transmitted(answers: Callable[[str], bool]) -> Callable[[str, Message], str]:
    """A transmission whose provider answers at once, or never."""

    def transmit(provider: str, message: Message) -> str:
        if answers(provider):
            return f"{provider} has it"
        raise activity.CompleteAsync

    return transmit


def environment(find: Callable[[Message, int], list[str]], answers: Callable[[str], bool]) -> Environment:
    return Environment(workflows=[route], activities={Network.find_route: find, Network.transmit: transmitted(answers)})


async def test_the_first_that_answers_has_delivered() -> None:
    async with environment(lambda message, retry: FIVE, lambda provider: provider == "c") as env:
        began = env.now()
        message = await env.client.start(route, HELLO, id="m")
        assert await message.result() == Delivery(True, "c", "c has it", silent=["a", "b"])
        assert timedelta(seconds=20) <= env.now() - began < timedelta(seconds=30), "a third one had ten more"
        await recorded(message, "data_routing-third")


@pytest.mark.parametrize("retries", [0, 2])
async def test_four_providers_a_route_and_as_many_routes_as_the_message_says(retries: int) -> None:
    find = Mock(return_value=FIVE)
    async with environment(find, lambda provider: False) as env:
        began = env.now()
        message = await env.client.start(route, Message(1, "hello", retries), id="m")
        assert await message.result() == Delivery(False, silent=FIVE[:4] * (retries + 1))
        assert env.now() - began >= timedelta(seconds=40) * (retries + 1)
        await recorded(message, f"data_routing-{retries}-retries")
    assert [call.args[1] for call in find.call_args_list] == list(range(retries + 1))


async def test_a_directory_that_is_busy_is_asked_again() -> None:
    find = Mock(side_effect=[OSError("busy"), OSError("busy"), ["a"]])
    async with environment(find, lambda provider: True) as env:
        assert (await env.client.execute(route, HELLO, id="m")).provider == "a"
    assert find.call_count == 3


async def test_a_directory_that_is_away_fails_the_message() -> None:
    find = Mock(side_effect=OSError("away"))
    async with environment(find, lambda provider: True) as env:
        with pytest.raises(WorkflowFailedError, match="away"):
            await env.client.execute(route, HELLO, id="m")
    assert find.call_count == 10


async def test_a_late_answer_is_refused_and_does_not_complete_the_next_providers_activity() -> None:
    tokens: list[bytes] = []
    second = asyncio.Event()
    loop = asyncio.get_running_loop()

    def transmit(provider: str, message: Message) -> str:
        tokens.append(activity.info().task_token)
        if len(tokens) == 2:
            loop.call_soon_threadsafe(second.set)
        raise activity.CompleteAsync

    fakes = {Network.find_route: lambda message, retry: FIVE, Network.transmit: transmit}
    async with Environment(workflows=[route], activities=fakes) as env:
        message = await env.client.start(route, HELLO, id="m")
        await env.sleep(11)
        await second.wait()
        with pytest.raises(ActivityNotFoundError):
            await env.client.complete_activity(tokens[0], "a, too late")
        await env.client.complete_activity(tokens[1], "b, in time")
        assert await message.result() == Delivery(True, "b", "b, in time", silent=["a"])
        await recorded(message, "data_routing-late")


async def test_providers_answer_over_http() -> None:
    async with aiohttp.ClientSession() as http:
        world = Providers(http)
        providers, address = await serve(world.app())
        network = Network(http, address, callbacks="")
        async with Environment(workflows=[route], activities=[network.find_route, network.transmit]) as env:
            callbacks, network.callbacks = await serve(callback_server(env.client))
            patient = Message(13, "hello", answer_within=timedelta(minutes=1))
            message = await env.client.start(route, patient, id="m")
            while (await message.describe()).status == "running":
                pass  # nobody waits for the result: time goes on as it does outside, where the providers are
            assert await message.result() == Delivery(True, "west", "west-13")
            await callbacks.cleanup()
        await providers.cleanup()
