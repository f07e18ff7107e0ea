"""Consumer groups as plain values: who reads which partition, and what was committed.

A change of the members moves as few partitions as an even spread allows. A partition that moves is first revoked
from the one member, and only then given to the other. No clock, no threads: whoever uses it brings a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from .protocol import Committed, TopicPartition


class Member:
    """One consumer in one group. `changed`: what it has is not what it should have."""

    def __init__(self, group: Group, topics: Iterable[str], wake: Callable[[], None]) -> None:
        self.group = group
        self.topics = frozenset(topics)
        self.wake = wake
        self.owned: set[TopicPartition] = set()
        self.target: set[TopicPartition] = set()
        self.changed = True
        self.expelled = False


class Group:
    """`topics`: all that ever had a member. `partitions` gives the partition count of a topic."""

    def __init__(self, name: str, partitions: Callable[[str], int]) -> None:
        self.name = name
        self.topics: set[str] = set()
        self.members: list[Member] = []
        self.committed: dict[TopicPartition, Committed] = {}
        self._owners: dict[TopicPartition, Member] = {}
        self._partitions = partitions

    # ------------------------------------------------------------ members

    def join(self, topics: Iterable[str], wake: Callable[[], None]) -> Member:
        member = Member(self, topics, wake)
        self.topics |= member.topics
        self.members.append(member)
        self.rebalance()
        return member

    def leave(self, member: Member) -> None:
        self._remove(member)
        self.rebalance()

    def expel(self, member: Member) -> None:
        """Take everything from a member that does not answer. It learns of it when it comes back."""
        self._remove(member)
        member.expelled = member.changed = True
        self.rebalance()

    def rejoin(self, member: Member) -> None:
        """An expelled member is back."""
        member.expelled = False
        self.members.append(member)
        self.rebalance()

    def _remove(self, member: Member) -> None:
        self.members = [m for m in self.members if m is not member]
        self._owners = {p: m for p, m in self._owners.items() if m is not member}
        member.owned, member.target = set(), set()

    # ------------------------------------------------------------ partitions

    def rebalance(self) -> None:
        """Decide anew who should have what, and wake those for whom that is a change."""
        for member in self.members:
            member.target = set()
        for topic in sorted({topic for member in self.members for topic in member.topics}):
            self._spread(topic)
        self._tell()

    def _spread(self, topic: str) -> None:
        """Share one topic among its members: everybody keeps what an even spread lets it keep."""
        partitions = [TopicPartition(topic, i) for i in range(self._partitions(topic))]
        members = [m for m in self.members if topic in m.topics]
        kept = {m: [p for p in partitions if self._owners.get(p) is m] for m in members}
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

    def give(self, partition: TopicPartition, member: Member) -> None:
        """Move one partition to a member, whatever an even spread says; the next change of members may undo it."""
        for m in self.members:
            m.target.discard(partition)
        member.target.add(partition)
        self._tell()

    def _tell(self) -> None:
        for member in self.members:
            if member.owned != member.target:
                member.changed = True
                member.wake()

    def surplus(self, member: Member) -> list[TopicPartition]:
        """What the member must give up."""
        return sorted(member.owned - member.target)

    def release(self, member: Member, partitions: Iterable[TopicPartition]) -> None:
        """The member has given them up."""
        for partition in partitions:
            member.owned.discard(partition)
            if self._owners.get(partition) is member:
                del self._owners[partition]
        self._tell()

    def take(self, member: Member) -> dict[TopicPartition, Committed | None]:
        """Give the member what it should have and nobody has any more, with what was committed."""
        free = sorted(p for p in member.target - member.owned if p not in self._owners)
        for partition in free:
            self._owners[partition] = member
        member.owned.update(free)
        member.changed = member.expelled or member.owned != member.target
        return {partition: self.committed.get(partition) for partition in free}

    # ------------------------------------------------------------ positions

    def commit(self, member: Member, positions: Mapping[TopicPartition, Committed]) -> bool:
        """Store positions of partitions that are the member's; say whether there were any."""
        ours = {p: committed for p, committed in positions.items() if p in member.owned}
        self.committed.update(ours)
        return bool(ours)
