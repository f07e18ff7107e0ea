"""Ten messages; one provider never answers, one answers too late.

python -m examples.data_routing
"""

import asyncio
import json
import os
from dataclasses import asdict
from datetime import timedelta

import aiohttp
from odradek import Client, Worker

from .callbacks import callback_server, serve
from .providers import Providers
from .routing import TASK_QUEUE, Message, Network, route


async def main() -> None:
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        aiohttp.ClientSession() as http,
    ):
        world = Providers(http)
        callbacks, callback_address = await serve(callback_server(client))
        providers, provider_address = await serve(world.app())
        network = Network(http, provider_address, callback_address)
        async with Worker(
            client, task_queue=TASK_QUEUE, workflows=[route], activities=[network.find_route, network.transmit]
        ):
            messages = [Message(number, f"hello {number}", answer_within=timedelta(seconds=5)) for number in range(10)]
            deliveries = await asyncio.gather(
                *[client.execute(route, m, id=f"message-{m.number}", task_queue=TASK_QUEUE) for m in messages]
            )
        for delivery in deliveries:
            print(json.dumps(asdict(delivery)))
        print(f"refused because they came too late: {', '.join(world.refused)}")
        await providers.cleanup()
        await callbacks.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
