"""The workflow and its activities: a route, then one provider after the other, each of which answers by a callback."""

from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp
from odradek import ActivityTimeoutError, RetryPolicy, activity, workflow

TASK_QUEUE = "routing"
MOST_PROVIDERS = 4


@dataclass(frozen=True)
class Message:
    number: int
    text: str
    retries: int = 2
    """How often another route is looked for when no provider of the first one has answered."""
    answer_within: timedelta = timedelta(seconds=10)


@dataclass(frozen=True)
class Delivery:
    delivered: bool
    provider: str | None = None
    receipt: str | None = None
    silent: list[str] = field(default_factory=list[str])
    """Providers that did not answer in time, in their order."""


class Network:
    """The activities: they call the providers at `providers`, who answer to `callbacks`."""

    def __init__(self, http: aiohttp.ClientSession, providers: str, callbacks: str) -> None:
        self.http = http
        self.providers = providers
        self.callbacks = callbacks

    @activity.define(
        start_to_close_timeout=timedelta(seconds=10),
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=10),
    )
    async def find_route(self, message: Message, retry: int) -> list[str]:
        async with self.http.get(f"{self.providers}/route/{message.number}") as response:
            response.raise_for_status()
            route: list[str] = await response.json()
            return route

    @activity.define(retry_policy=RetryPolicy(maximum_attempts=1))
    async def transmit(self, provider: str, message: Message) -> str:
        """The provider's receipt, which it sends to the callback server with the token of this activity."""
        token = activity.info().task_token.decode()
        body = {"number": message.number, "text": message.text, "answer_to": f"{self.callbacks}/answers/{token}"}
        async with self.http.post(f"{self.providers}/{provider}", json=body) as response:
            response.raise_for_status()
        raise activity.CompleteAsync


@workflow.define
async def route(message: Message) -> Delivery:
    silent: list[str] = []
    for retry in range(message.retries + 1):
        providers = await Network.find_route(message, retry)
        for provider in providers[:MOST_PROVIDERS]:
            transmit = Network.transmit.with_options(start_to_close_timeout=message.answer_within)
            try:
                receipt = await transmit(provider, message)
                return Delivery(True, provider, receipt, silent)
            except ActivityTimeoutError:
                silent.append(provider)
    return Delivery(False, silent=silent)
