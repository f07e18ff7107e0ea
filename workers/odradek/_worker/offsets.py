"""Which offset of a task partition may be committed: the low-water mark of finished tasks (rule T1)."""

from __future__ import annotations

from collections import deque

from odradek_log.protocol import Committed

from .chain import Chain, Link
from .held import HeldBytes


class Ticket:
    """Stands for one record that was read. `finish` may be called from any thread, and again.

    `fresh`: the record came after this worker got the partition, and was read in time (rule T4). `size`: bytes that
    count as held until it is finished.
    """

    __slots__ = ("_held", "finished", "forget", "fresh", "link", "offset", "size", "source")

    def __init__(
        self, offset: int, source: int = -1, link: Link | None = None, *, forget: bool = False, size: int = 0,
        held: HeldBytes | None = None,
    ) -> None:
        self.offset = offset
        self.source = source
        self.link = link
        self.forget = forget
        self.fresh = True
        self.finished = False
        self.size = size
        self._held = held
        if held is not None:
            held.add(size)

    def grow(self, size: int) -> None:
        """At least so many bytes count as held, unless it is finished."""
        if self._held is not None:
            self._held.grow(self, size)

    def finish(self) -> None:
        """What the record asked for is durable: its offset may be committed."""
        self.finished = True
        self.let_go()

    def let_go(self) -> None:
        """Its bytes count as held no more."""
        if self._held is not None:
            self._held.free(self)


class LowWaterMark:
    """The records of one partition that were read and are not finished, in order.

    What is committed with an offset is the chain as it stood there, not as it stands now: a task that is
    read again must be the next link again.
    """

    def __init__(self, chain: Chain) -> None:
        self._settled = chain.copy()
        self._open: deque[Ticket] = deque()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, ticket: Ticket) -> None:
        self._open.append(ticket)

    def abandon(self) -> None:
        """Nothing of this is committed any more, and it counts as held no longer."""
        for ticket in self._open:
            ticket.let_go()

    def commit(self) -> Committed | None:
        """What to commit, if finished tasks have moved the mark since the last call."""
        offset = -1
        while self._open and self._open[0].finished:
            ticket = self._open.popleft()
            offset = ticket.offset + 1
            if ticket.forget:
                self._settled.forget()
            if ticket.link is not None:
                self._settled.advance(ticket.source, ticket.link)
        return None if offset < 0 else Committed(offset, self._settled.dump())

    def restart(self, chain: Chain) -> None:
        """The reading turned out to begin with this chain. Only before the first record."""
        self._settled = chain.copy()
