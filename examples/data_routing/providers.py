"""The world outside: a directory of routes, and providers that answer when they have delivered, or do not.

Of ten first providers one never answers, and one answers only when the next one has been asked already.
"""

import asyncio

import aiohttp
from aiohttp import web

NAMES = ["north", "east", "south", "west", "centre"]
BUSY, SILENT, LATE = 3, 4, 8
"""Of ten messages: the directory is busy at first; the first provider never answers; it answers too late."""


class Providers:
    """`refused`: answers that came too late."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.refused: list[str] = []
        self._http = http
        self._asked: dict[int, list[str]] = {}
        self._late: dict[int, str] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._busy: set[int] = set()

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/route/{number}", self.find), web.post("/{provider}", self.take)])
        return app

    async def find(self, request: web.Request) -> web.Response:
        """GET /route/<number>: the providers to be asked, the best first."""
        number = int(request.match_info["number"])
        if number % 10 == BUSY and number not in self._busy:
            self._busy.add(number)
            return web.Response(status=503, text="try again")
        first = number % len(NAMES)
        return web.json_response(NAMES[first:] + NAMES[:first])

    async def take(self, request: web.Request) -> web.Response:
        """POST /<provider>: data, and where to send the receipt."""
        body = await request.json()
        answering = asyncio.create_task(
            self._deliver(request.match_info["provider"], int(body["number"]), str(body["answer_to"]))
        )
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)
        return web.Response(status=202)

    async def _deliver(self, provider: str, number: int, answer_to: str) -> None:
        asked = self._asked.setdefault(number, [])
        asked.append(provider)
        if len(asked) == 1 and number % 10 == SILENT:
            return
        if len(asked) == 1 and number % 10 == LATE:
            self._late[number] = answer_to
            return
        if number in self._late:
            await self._answer(asked[0], number, self._late.pop(number))
        await self._answer(provider, number, answer_to)

    async def _answer(self, provider: str, number: int, answer_to: str) -> None:
        async with self._http.post(answer_to, data=f"{provider}-{number}") as response:
            if response.status == 410:
                self.refused.append(f"{provider}-{number}")
