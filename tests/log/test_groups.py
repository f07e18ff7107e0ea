"""Consumer groups: what every log does, on every log."""

from __future__ import annotations

import threading
import uuid

import pytest
from odradek_log import Committed, LogError, TopicPartition

from .harness import Harness, Membership, append, background, poll_until, read, reader


def group_name() -> str:
    return f"group.{uuid.uuid4().hex}"


def test_a_single_member_gets_all_from_the_earliest(harness: Harness) -> None:
    topics = [harness.topic(3), harness.topic(2)]
    append(harness.log, topics[0], [b"a", b"b"], 2)
    append(harness.log, topics[1], [b"c"], 0)
    member = Membership(harness.log, group_name(), topics)
    poll_until(lambda: len(member.records) == 3, member)
    everything = {TopicPartition(topics[0], i) for i in range(3)} | {TopicPartition(topics[1], i) for i in range(2)}
    assert member.owned == everything
    assert all(committed is None for gained in member.gained for committed in gained.values())
    assert sorted(r.value for r in member.records) == [b"a", b"b", b"c"]
    member.consumer.close()
    assert member.owned == set()  # revoked in `close`


def test_a_group_goes_on_where_it_had_committed(harness: Harness) -> None:
    topic, group = harness.topic(2), group_name()
    where = TopicPartition(topic, 0)
    append(harness.log, topic, (b"%d" % i for i in range(10)), 0)
    member = Membership(harness.log, group, [topic])
    poll_until(lambda: len(member.records) == 10, member)
    member.consumer.commit({where: Committed(3, "before")})
    member.consumer.commit({where: Committed(6, '{"é": 1}')})
    member.consumer.close()
    log = harness.restart()
    again = Membership(log, group, [topic])
    poll_until(lambda: len(again.records) == 4, again)
    assert [r.offset for r in again.records] == [6, 7, 8, 9]
    told = {p: committed for gained in again.gained for p, committed in gained.items()}
    assert told == {where: Committed(6, '{"é": 1}'), TopicPartition(topic, 1): None}


def test_metadata_may_have_4000_characters(harness: Harness) -> None:
    topic, group = harness.topic(), group_name()
    where, metadata = TopicPartition(topic, 0), "x" * 4_000
    member = Membership(harness.log, group, [topic])
    poll_until(lambda: member.owned, member)
    member.consumer.commit({where: Committed(0, metadata)})
    member.consumer.close()
    again = Membership(harness.log, group, [topic])
    poll_until(lambda: again.owned, again)
    assert again.gained == [{where: Committed(0, metadata)}]
    again.consumer.close()


def test_on_assigned_says_where_to_begin(harness: Harness) -> None:
    topic = harness.topic(2)
    for partition in range(2):
        append(harness.log, topic, (b"%d" % i for i in range(5)), partition)
    member = Membership(harness.log, group_name(), [topic])
    member.begin = {TopicPartition(topic, 1): 3}
    poll_until(lambda: len(member.records) == 7, member)
    assert [r.offset for r in member.records if r.partition == 0] == [0, 1, 2, 3, 4]
    assert [r.offset for r in member.records if r.partition == 1] == [3, 4]
    member.consumer.close()


def test_who_is_given_partitions_may_pause_them_there_and_then(harness: Harness) -> None:
    topic = harness.topic(1)
    append(harness.log, topic, (b"%d" % i for i in range(5)), 0)
    where = TopicPartition(topic, 0)
    member = Membership(harness.log, group_name(), [topic])

    def pause(gained: list[TopicPartition]) -> None:
        member.consumer.pause(gained)
        member.consumer.seek(where, 2)

    member.on_assign = pause
    poll_until(lambda: member.owned, member)
    member.poll()
    assert member.records == []
    member.consumer.resume([where])
    poll_until(lambda: len(member.records) == 3, member)
    assert [r.offset for r in member.records] == [2, 3, 4]
    member.consumer.close()


def test_members_share_and_what_stays_is_not_interrupted(harness: Harness) -> None:
    topic, group = harness.topic(6), group_name()
    everything = {TopicPartition(topic, i) for i in range(6)}
    first = Membership(harness.log, group, [topic])
    poll_until(lambda: first.owned == everything, first)
    second = Membership(harness.another(), group, [topic])
    poll_until(lambda: len(second.owned) == 3 and len(first.owned) == 3, first, second)
    assert first.owned | second.owned == everything
    assert sum(map(len, first.lost)) == 3  # only those that moved
    third = Membership(harness.another(), group, [topic])
    members = (first, second, third)

    def shared_without_overlap() -> bool:
        assert len(first.owned | second.owned | third.owned) == sum(len(m.owned) for m in members)
        return all(len(m.owned) == 2 for m in members)

    poll_until(shared_without_overlap, *reversed(members))  # the one that gains asks before those that lose
    assert sum(map(len, first.lost)) + sum(map(len, second.lost)) == 5
    for partition in everything:
        append(harness.log, topic, [b"it"], partition.partition)
    poll_until(lambda: sum(len(m.records) for m in members) == 6, *members)
    for member in members:
        assert {TopicPartition(r.topic, r.partition) for r in member.records} == member.owned
    third.consumer.close()
    poll_until(lambda: len(first.owned) + len(second.owned) == 6, first, second)
    assert first.owned | second.owned == everything
    second.consumer.close()
    poll_until(lambda: first.owned == everything, first)
    first.consumer.close()


def test_more_members_than_partitions(harness: Harness) -> None:
    topic, group = harness.topic(1), group_name()
    members = [Membership(harness.another(), group, [topic]) for _ in range(3)]
    poll_until(lambda: any(m.owned for m in members), *members)
    holder = next(m for m in members if m.owned)
    others = [m for m in members if m is not holder]
    holder.consumer.close()
    poll_until(lambda: sum(len(m.owned) for m in others) == 1, *others)
    for member in others:
        member.consumer.close()


def test_what_is_committed_while_revoking_reaches_the_next_owner(harness: Harness) -> None:
    topic, group = harness.topic(4), group_name()
    for i in range(4):
        append(harness.log, topic, [b""] * 10, i)
    first = Membership(harness.log, group, [topic])
    poll_until(lambda: len(first.records) == 40, first)
    first.on_revoke = lambda lost: first.consumer.commit({p: Committed(7, f"of {p.partition}") for p in lost})
    second = Membership(harness.another(), group, [topic])
    poll_until(lambda: len(second.owned) == 2 and len(second.records) == 6, first, second)
    told = {p: committed for gained in second.gained for p, committed in gained.items()}
    assert told == {p: Committed(7, f"of {p.partition}") for p in second.owned}
    assert [r.offset for r in second.records if r.partition == second.records[0].partition] == [7, 8, 9]
    second.consumer.close()
    first.consumer.close()


def test_what_a_member_has_committed_that_leaves_while_the_group_changes_is_stored(harness: Harness) -> None:
    """Breaks when a worker that ends while another begins leaves all to be read again that it has done: Kafka's group
    takes no position of a member that has yet to join anew."""
    topic, group = harness.topic(4), group_name()
    for i in range(4):
        append(harness.log, topic, [b""] * 10, i)
    first = Membership(harness.log, group, [topic])
    poll_until(lambda: len(first.records) == 40, first)
    first.on_revoke = lambda lost: first.consumer.commit({p: Committed(10, "read") for p in lost})
    second = Membership(harness.another(), group, [topic])
    poll_until(lambda: first.lost, first, second)
    left = threading.Event()

    def poll_meanwhile() -> None:
        while harness.threads and not left.is_set():
            second.poll()

    with background(poll_meanwhile):
        first.consumer.close()
        left.set()
    assert sorted(p for lost in first.lost for p in lost) == [TopicPartition(topic, i) for i in range(4)]
    poll_until(lambda: len(second.owned) == 4, second)
    told = {p: committed for gained in second.gained for p, committed in gained.items()}
    assert told == {TopicPartition(topic, i): Committed(10, "read") for i in range(4)}
    second.consumer.close()


def test_positions_of_partitions_that_are_not_ours_are_ignored(harness: Harness) -> None:
    topic, other, group = harness.topic(2), harness.topic(1), group_name()
    member = Membership(harness.log, group, [topic])
    poll_until(lambda: len(member.owned) == 2, member)
    member.consumer.commit({TopicPartition(other, 0): Committed(5), TopicPartition(topic, 0): Committed(0, "ours")})
    member.consumer.close()
    again = Membership(harness.log, group, [topic, other])
    poll_until(lambda: len(again.owned) == 3, again)
    told = {p: committed for gained in again.gained for p, committed in gained.items()}
    assert told[TopicPartition(other, 0)] is None
    assert told[TopicPartition(topic, 0)] == Committed(0, "ours")
    again.consumer.close()


def test_a_member_that_dies_loses_its_partitions_and_its_say(harness: Harness) -> None:
    topic, group = harness.topic(2), group_name()
    everything = {TopicPartition(topic, i) for i in range(2)}
    dying = Membership(harness.another(max_poll_interval=6.0), group, [topic])
    poll_until(lambda: dying.owned == everything, dying)
    harness.let_die(dying.consumer)
    alive = Membership(harness.log, group, [topic])
    poll_until(lambda: alive.owned == everything, alive)
    alive.consumer.commit({p: Committed(0, "alive") for p in everything})
    dying.consumer.commit({p: Committed(0, "dead") for p in everything})
    poll_until(lambda: sum(map(len, dying.lost)) >= 2, dying, alive)
    assert {p for lost in dying.lost for p in lost} == everything
    alive.consumer.close()
    dying.consumer.close()
    heir = Membership(harness.another(), group, [topic])
    poll_until(lambda: heir.owned == everything, heir)
    assert {committed for gained in heir.gained for committed in gained.values()} == {Committed(0, "alive")}
    heir.consumer.close()


def test_groups_do_not_disturb_each_other(harness: Harness) -> None:
    topic = harness.topic(2)
    append(harness.log, topic, [b"a", b"b"], 0)
    one, two = Membership(harness.log, group_name(), [topic]), Membership(harness.log, group_name(), [topic])
    poll_until(lambda: len(one.records) == len(two.records) == 2, one, two)
    by_hand = reader(harness.log, topic, 2)
    assert len(read(by_hand, 2)) == 2
    with pytest.raises(LogError, match="subscribe"):
        by_hand.commit({TopicPartition(topic, 0): Committed(1)})
    with pytest.raises(LogError, match="group"):
        one.consumer.assign({TopicPartition(topic, 0): 0})
    one.consumer.close()
    two.consumer.close()


def test_pause_and_seek_in_a_group(harness: Harness) -> None:
    topic = harness.topic(2)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    member = Membership(harness.log, group_name(), [topic])
    poll_until(lambda: len(member.owned) == 2, member)
    member.consumer.pause([first])
    append(harness.log, topic, [b"a"], 0)
    append(harness.log, topic, [b"b"], 1)
    poll_until(lambda: member.records, member)
    assert [r.value for r in member.records] == [b"b"]
    member.consumer.resume([first])
    poll_until(lambda: len(member.records) == 2, member)
    member.consumer.seek(second, 0)
    poll_until(lambda: len(member.records) == 3, member)
    assert [r.value for r in member.records] == [b"b", b"a", b"b"]
    member.consumer.close()
