"""The receiver's side of the effect chain (rule E1), and how it is kept with a committed offset (rule T2).

Every task names its position and that of its predecessor from the same source partition. A receiver takes
the next link, drops what it has, and ignores what would leave a gap.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

from odradek_schemas import Position

_KNOWN, _UNKNOWN = "=", "~"


Link: TypeAlias = tuple[int, int]
"""A place in the chain of one source partition: (offset, index)."""

START: Link = (-1, 0)


class Verdict(enum.Enum):
    TAKE = "take"
    OLD = "old"
    GAP = "gap"


class Chain:
    """The last position taken per source partition, for one partition of a task topic.

    `known`: what was taken before is known, so a source without an entry is at the start of its chain.
    Otherwise the first effect seen of a source starts its chain.
    """

    __slots__ = ("_last", "known")

    def __init__(self, last: dict[int, Link] | None = None, *, known: bool = True) -> None:
        self._last = dict(last or {})
        self.known = known

    def offer(self, position: Position) -> Verdict:
        """Take the effect at `position`, or say why not. Only a taken one is remembered."""
        at = (position.offset, position.index)
        last = self._last.get(position.partition)
        if last is None:
            last = START if self.known else None
        if last is not None:
            if at <= last:
                return Verdict.OLD
            if (position.previous_offset, position.previous_index) > last:
                return Verdict.GAP
        self._last[position.partition] = at
        return Verdict.TAKE

    def advance(self, source: int, link: Link) -> None:
        """Remember an effect that another chain has taken."""
        self._last[source] = link

    def forget(self) -> None:
        """Records were skipped (retention, a moved offset): the next effect of each source starts its chain again."""
        self._last.clear()
        self.known = False

    def copy(self) -> Chain:
        return Chain(self._last, known=self.known)

    def dump(self) -> str:
        """At most 2,300 characters for 64 sources, whatever the offsets."""
        links = (f"{source}:{offset}.{index}" for source, (offset, index) in sorted(self._last.items()))
        return (_KNOWN if self.known else _UNKNOWN) + " ".join(links)


def load_chain(metadata: str) -> Chain | None:
    """The chain that `dump` wrote, or None for any other text: losing it costs duplicates only (rule T2)."""
    if metadata[:1] not in (_KNOWN, _UNKNOWN):
        return None
    last: dict[int, Link] = {}
    try:
        for entry in metadata[1:].split():
            source, _, link = entry.partition(":")
            offset, _, index = link.partition(".")
            last[int(source)] = (int(offset), int(index))
    except ValueError:
        return None
    return Chain(last, known=metadata[0] == _KNOWN)
