"""The consumer groups of an embedded log: their members' deadlines, and the file with their positions."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..membership import Group, Member
from ..protocol import Committed, LogCorruptError, TopicPartition
from .files import Files


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
        self._last_poll: dict[Member, float] = {}
        self._dirty = False
        self._saves = threading.Lock()
        self.on_change: Callable[[], None] = lambda: None
        if path.exists():
            self._load()

    # ------------------------------------------------------------ membership

    def join(self, name: str, topics: Iterable[str], wake: Callable[[], None]) -> Member:
        with self._lock:
            group = self._groups.setdefault(name, Group(name, self._partitions))
            member = group.join(topics, wake)
            self._last_poll[member] = time.monotonic()
            self._dirty = True
        self.on_change()
        return member

    def leave(self, member: Member) -> None:
        with self._lock:
            self._last_poll.pop(member, None)
            member.group.leave(member)

    def alive(self, member: Member) -> float | None:
        """Note that the member polls, and let the others go that did not for too long.

        Returns the seconds until the next of them would be too late; None if there are no others.
        """
        now = time.monotonic()
        self._last_poll[member] = now
        if len(member.group.members) < 2:
            return None
        with self._lock:
            others = [m for m in member.group.members if m is not member]
            for other in others:
                if now - self._last_poll[other] > self._max_poll_interval:
                    member.group.expel(other)
            rest = [self._last_poll[m] for m in member.group.members if m is not member]
            return max(0.0, min(rest) + self._max_poll_interval - now) + 0.001 if rest else None

    def rejoin(self, member: Member) -> None:
        with self._lock:
            member.group.rejoin(member)

    def topics_added(self) -> None:
        with self._lock:
            for group in self._groups.values():
                group.rebalance()

    def surplus(self, member: Member) -> list[TopicPartition]:
        with self._lock:
            return member.group.surplus(member)

    def release(self, member: Member, partitions: Iterable[TopicPartition]) -> None:
        with self._lock:
            member.group.release(member, partitions)

    def take(self, member: Member) -> dict[TopicPartition, Committed | None]:
        with self._lock:
            return member.group.take(member)

    # ------------------------------------------------------------ positions

    def commit(self, member: Member, positions: Mapping[TopicPartition, Committed]) -> None:
        with self._lock:
            self._dirty |= member.group.commit(member, positions)
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
                group = self._groups[row["group"]] = Group(row["group"], self._partitions)
                group.topics = set(row["topics"])
                for topic, number, offset, metadata in row["committed"]:
                    group.committed[TopicPartition(topic, number)] = Committed(offset, metadata)
        except (ValueError, KeyError, TypeError) as e:
            raise LogCorruptError(
                f"{self._path} is damaged ({e}): restore it from a copy, or remove it: "
                "all groups then begin at the earliest record"
            ) from e
