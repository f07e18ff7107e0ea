"""What is on its way between processes and the simulated log: appends, acknowledgements, commits, answers.

Queues keep their order; between queues any order may come about.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

Delivery: TypeAlias = Callable[[], None]


@dataclass(eq=False)
class Channel:
    """One ordered queue: a session's appends to one partition, or its acknowledgements, or a consumer's commits.

    `held`: nothing of it is delivered for now. `ended`: nothing more is put into it.
    """

    queue: deque[Delivery] = field(default_factory=deque)
    held: bool = False
    ended: bool = False

    def put(self, delivery: Delivery) -> None:
        self.queue.append(delivery)

    def cut(self, rng: Random) -> None:
        """The sender is gone: a random part from the front is in the network already, the rest never was."""
        self.held = False
        kept = rng.randint(0, len(self.queue))
        while len(self.queue) > kept:
            self.queue.pop()


class Network:
    """All channels, in the order of their making."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._channels: list[Channel] = []

    def channel(self) -> Channel:
        channel = Channel()
        self._channels.append(channel)
        return channel

    def step(self) -> bool:
        """Deliver one thing of one channel, by the seed; False if nothing can be."""
        ready = [c for c in self._channels if c.queue and not c.held]
        if not ready:
            return False
        self._rng.choice(ready).queue.popleft()()
        self._channels = [c for c in self._channels if c.queue or not c.ended]
        return True
