"""What is on its way between processes and the simulated log: appends, acknowledgements, commits, answers.

Queues keep their order; between queues any order may come about.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TypeAlias

Delivery: TypeAlias = Callable[[], None]


class Channel:
    """One ordered queue: a session's appends to one partition, or its acknowledgements, or a consumer's commits.

    `held`: nothing of it is delivered for now. `ended`: nothing more is put into it.
    """

    __slots__ = ("_held", "_network", "ended", "number", "queue")

    def __init__(self, network: Network, number: int) -> None:
        self.queue: deque[Delivery] = deque()
        self.ended = False
        self.number = number
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


def _number(channel: Channel) -> int:
    return channel.number


class Network:
    """All channels; those that have something to deliver in the order of their making, and some that had."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._made = 0
        self._ready: list[Channel] = []

    def channel(self) -> Channel:
        self._made += 1
        return Channel(self, self._made)

    def ready(self, channel: Channel) -> None:
        """A channel has something to deliver."""
        if channel not in self._ready:
            insort(self._ready, channel, key=_number)

    @property
    def idle(self) -> bool:
        """Whether nothing can be delivered."""
        return not any(channel.queue and not channel._held for channel in self._ready)

    def step(self) -> bool:
        """Deliver one thing of one channel, by the seed; False if nothing can be."""
        if not all(channel.queue and not channel._held for channel in self._ready):
            self._ready = [c for c in self._ready if c.queue and not c._held]
        if not self._ready:
            return False
        self._rng.choice(self._ready).queue.popleft()()
        return True
