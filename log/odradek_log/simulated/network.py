"""What is on its way between processes and the simulated log: appends, acknowledgements, commits, answers.

Queues keep their order; between queues any order may come about.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TypeAlias

Delivery: TypeAlias = Callable[[], None]


class Channel:
    """One ordered queue: a session's appends to one partition, or its acknowledgements, or a consumer's commits.

    `held`: nothing of it is delivered for now. `ended`: nothing more is put into it.
    """

    __slots__ = ("_held", "_network", "ended", "listed", "queue")

    def __init__(self, network: Network) -> None:
        self.queue: deque[Delivery] = deque()
        self.ended = False
        self.listed = False
        """The network knows that it has, or had, something to deliver."""
        self._held = False
        self._network = network

    def put(self, delivery: Delivery) -> None:
        self.queue.append(delivery)
        if len(self.queue) == 1 and not self._held:
            self._network.ready(self)

    @property
    def held(self) -> bool:
        return self._held

    @held.setter
    def held(self, held: bool) -> None:
        if self._held and not held and self.queue:
            self._network.ready(self)
        self._held = held

    def cut(self, rng: Random) -> None:
        """The sender is gone: a random part from the front is in the network already, the rest never was."""
        self.held = False
        kept = rng.randint(0, len(self.queue))
        while len(self.queue) > kept:
            self.queue.pop()


class Network:
    """All channels; those that have something to deliver, and some that had."""

    def __init__(self, rng: Random) -> None:
        self._random = rng.random
        self._ready: list[Channel] = []

    def channel(self) -> Channel:
        return Channel(self)

    def ready(self, channel: Channel) -> None:
        """A channel has something to deliver."""
        if not channel.listed:
            channel.listed = True
            self._ready.append(channel)

    @property
    def idle(self) -> bool:
        """Whether nothing can be delivered."""
        return not any(channel.queue and not channel.held for channel in self._ready)

    def step(self) -> bool:
        """Deliver one thing of one channel, by the seed; False if nothing can be."""
        ready = self._ready
        while ready:
            at = int(self._random() * len(ready))
            channel = ready[at]
            if channel.queue and not channel.held:
                channel.queue.popleft()()
                return True
            channel.listed = False
            ready[at] = ready[-1]
            ready.pop()
        return False
