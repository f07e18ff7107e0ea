"""Consumer groups inside one process: who reads which partition, and what was committed.

A change of the members moves as few partitions as an even spread allows. A partition that moves is first
revoked from the one member, in its own `poll`, and only then given to the other.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..protocol import Committed, LogCorruptError, TopicPartition
from .files import Files


class Member:
    """One consumer in one group. `changed`: what it has is not what it should have."""

    def __init__(self, group: Group, topics: frozenset[str], wake: Callable[[], None], now: float) -> None:
        self.group = group
        self.topics = topics
        self.wake = wake
        self.last_poll = now
        self.owned: set[TopicPartition] = set()
        self.target: set[TopicPartition] = set()
        self.changed = True
        self.expelled = False


class Group:
    def __init__(self, name: str) -> None:
        self.name = name
        self.topics: set[str] = set()
        self.members: list[Member] = []
        self.owners: dict[TopicPartition, Member] = {}
        self.committed: dict[TopicPartition, Committed] = {}


class Groups:
    """`max_poll_interval`: after so many seconds without a `poll` a member counts as dead."""

    def __init__(
        self, path: Path, files: Files, partitions: Callable[[str], int], max_poll_interval: float, fsync: bool
    ) -> None:
        self._path = path
        self._files = files
        self._partitions = partitions
        self._max_poll_interval = max_poll_interval
        self._fsync = fsync
        self._lock = threading.RLock()
        self._groups: dict[str, Group] = {}
        self._dirty = False
        self._saves = threading.Lock()
        self.on_change: Callable[[], None] = lambda: None
        if path.exists():
            self._load()

    # ------------------------------------------------------------ membership

    def join(self, name: str, topics: Iterable[str], wake: Callable[[], None]) -> Member:
        with self._lock:
            group = self._groups.setdefault(name, Group(name))
            member = Member(group, frozenset(topics), wake, time.monotonic())
            group.topics |= member.topics
            self._dirty = True
            group.members.append(member)
            self._rebalance(group)
        self.on_change()
        return member

    def leave(self, member: Member) -> None:
        with self._lock:
            self._remove(member)
            self._rebalance(member.group)

    def alive(self, member: Member) -> float | None:
        """Note that the member polls, and let the others go that did not for too long.

        Returns the seconds until the next of them would be too late; None if there are no others.
        """
        now = time.monotonic()
        member.last_poll = now
        group = member.group
        if len(group.members) < 2:
            return None
        with self._lock:
            late = [m for m in group.members if m is not member and now - m.last_poll > self._max_poll_interval]
            for other in late:
                self._remove(other)
                other.expelled = other.changed = True
            if late:
                self._rebalance(group)
            rest = [m.last_poll for m in group.members if m is not member]
            return max(0.0, min(rest) + self._max_poll_interval - now) + 0.001 if rest else None

    def rejoin(self, member: Member) -> None:
        """An expelled member polls again."""
        with self._lock:
            member.expelled = False
            member.group.members.append(member)
            self._rebalance(member.group)

    def topics_added(self) -> None:
        with self._lock:
            for group in self._groups.values():
                self._rebalance(group)

    def surplus(self, member: Member) -> list[TopicPartition]:
        """What the member must give up."""
        with self._lock:
            return sorted(member.owned - member.target)

    def release(self, member: Member, partitions: Iterable[TopicPartition]) -> None:
        with self._lock:
            for partition in partitions:
                member.owned.discard(partition)
                if member.group.owners.get(partition) is member:
                    del member.group.owners[partition]
            self._tell(member.group)

    def take(self, member: Member) -> dict[TopicPartition, Committed | None]:
        """Give the member what it should have and nobody has any more, with what was committed."""
        with self._lock:
            group = member.group
            free = sorted(p for p in member.target - member.owned if p not in group.owners)
            for partition in free:
                group.owners[partition] = member
            member.owned.update(free)
            member.changed = member.owned != member.target
            return {partition: group.committed.get(partition) for partition in free}

    def _remove(self, member: Member) -> None:
        group = member.group
        group.members = [m for m in group.members if m is not member]
        group.owners = {p: m for p, m in group.owners.items() if m is not member}
        member.owned, member.target = set(), set()

    def _rebalance(self, group: Group) -> None:
        for member in group.members:
            member.target = set()
        for topic in sorted({topic for member in group.members for topic in member.topics}):
            self._spread(group, topic)
        self._tell(group)

    def _spread(self, group: Group, topic: str) -> None:
        """Share one topic among its members: everybody keeps what an even spread lets it keep."""
        partitions = [TopicPartition(topic, i) for i in range(self._partitions(topic))]
        members = [m for m in group.members if topic in m.topics]
        kept = {m: [p for p in partitions if group.owners.get(p) is m] for m in members}
        # Those who get one more than others: who has most of this topic, then who has least of the topics before.
        order = sorted(members, key=lambda m: (-len(kept[m]), len(m.target)))
        share, more = divmod(len(partitions), len(members))
        quota = {m: share + (i < more) for i, m in enumerate(order)}
        taken: set[TopicPartition] = set()
        for m in members:
            keep = kept[m][: quota[m]]
            m.target.update(keep)
            taken.update(keep)
            quota[m] -= len(keep)
        free = [p for p in partitions if p not in taken]
        for m in order:
            m.target.update(free[: quota[m]])
            free = free[quota[m] :]

    def _tell(self, group: Group) -> None:
        for member in group.members:
            if member.owned != member.target:
                member.changed = True
                member.wake()

    # ------------------------------------------------------------ positions

    def commit(self, member: Member, positions: Mapping[TopicPartition, Committed]) -> None:
        with self._lock:
            for partition, committed in positions.items():
                if partition in member.owned:
                    member.group.committed[partition] = committed
                    self._dirty = True
        self.on_change()

    def passed(self, partition: TopicPartition, end: int) -> bool:
        """Whether all groups that ever read the topic have committed `end` or more."""
        with self._lock:
            for group in self._groups.values():
                if partition.topic in group.topics:
                    committed = group.committed.get(partition)
                    if committed is None or committed.offset < end:
                        return False
            return True

    def clamp(self, ends: Callable[[TopicPartition], int]) -> None:
        """After a crash positions may be ahead of what was stored of their topic: take them back to its end."""
        with self._lock:
            for group in self._groups.values():
                for partition, committed in group.committed.items():
                    end = ends(partition)
                    if committed.offset > end:
                        group.committed[partition] = committed._replace(offset=end)

    # ------------------------------------------------------------ the file

    def save(self) -> None:
        """Store the positions if any changed. Raises OSError, and then they stay to be stored."""
        with self._saves:
            self._save()

    def _save(self) -> None:
        with self._lock:
            if not self._dirty:
                return
            self._dirty = False
            groups = [
                {
                    "group": group.name,
                    "topics": sorted(group.topics),
                    "committed": [[*partition, *committed] for partition, committed in group.committed.items()],
                }
                for group in self._groups.values()
            ]
        try:
            self._files.replace(self._path, json.dumps({"version": 1, "groups": groups}).encode(), self._fsync)
        except OSError:
            self._dirty = True
            raise

    def _load(self) -> None:
        try:
            for row in json.loads(self._path.read_bytes())["groups"]:
                group = self._groups[row["group"]] = Group(row["group"])
                group.topics = set(row["topics"])
                for topic, number, offset, metadata in row["committed"]:
                    group.committed[TopicPartition(topic, number)] = Committed(offset, metadata)
        except (ValueError, KeyError, TypeError) as e:
            raise LogCorruptError(
                f"{self._path} is damaged ({e}): restore it from a copy, or remove it: "
                "all groups then begin at the earliest record"
            ) from e
