"""An activity that a partner answers over HTTP: `callback.py worker|server TARGET NAMESPACE QUEUE`, or in a test.

The activity gives its partner an address with the task token in it, and ends; the server completes it when the
partner answers there.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aiohttp
from aiohttp import web
from odradek import ActivityNotFoundError, Client, Worker, activity, workflow
from odradek.errors import InvalidRequestError


@activity.define
async def ask_partner(partner: str, question: str) -> str:
    token = activity.info().task_token.decode()
    async with aiohttp.ClientSession() as http, http.post(partner, json={"question": question, "token": token}):
        raise activity.CompleteAsync


@workflow.define
async def ask(partner: str, question: str, options: dict[str, float]) -> str:
    timeouts: Any = options
    answer: str = await ask_partner.with_options(**timeouts)(partner, question)
    return answer


async def answered(request: web.Request) -> web.Response:
    client = request.app[CLIENT]
    try:
        await client.complete_activity(request.match_info["token"], (await request.json())["answer"])
    except InvalidRequestError as error:
        return web.json_response({"error": str(error)}, status=400)
    except ActivityNotFoundError as error:
        return web.json_response({"error": str(error)}, status=410)
    return web.json_response({"taken": True})


CLIENT = web.AppKey("client", Client)


def callback_app(client: Client) -> web.Application:
    app = web.Application()
    app[CLIENT] = client
    app.add_routes([web.post("/answers/{token}", answered)])
    return app


async def serve(app: web.Application) -> tuple[web.AppRunner, str]:
    """Serve on a free port of this machine; returns the address too."""
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def main(role: str, target: str, namespace: str, queue: str) -> None:
    async with Client(target, namespace=namespace) as client:
        if role == "worker":
            async with Worker(client, task_queue=queue, workflows=[ask], activities=[ask_partner]):
                print("ready", flush=True)
                await asyncio.Event().wait()
        _, address = await serve(callback_app(client))
        print(address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
