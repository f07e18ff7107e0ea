"""Standbys: engines that keep up with what others lead, and lead it when those are gone (L1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from odradek_engine import Engine
from odradek_engine.candidacy import NEAR
from odradek_engine.early_reads import EARLY_S
from odradek_engine.members import LISTEN_S, Members
from odradek_engine.standbys import LeaderWatch, chosen
from odradek_schemas import encode, records
from odradek_schemas.ephemeral import DescribeWorkflow, EngineAlive

from .harness import T0, request
from .solo import ManualClock, Solo
from .test_rules_upgrade import PARTITIONS, TOPICS, Fleet

LOST_AFTER = 4


class Guard(Fleet):
    """Engines with standbys."""

    def add(self, name: str, version: int = 1) -> Engine:
        engine = Engine(log=self.log, namespace="test", data_dir=self.folder / name, clock=self.clock, standbys=1)
        engine.connect()
        self.engines[name] = engine
        return engine

    def die(self, name: str) -> Engine:
        """It says and does nothing more; the group has not noticed yet."""
        return self.engines.pop(name)

    def warm(self) -> bool:
        """Everything is led, and whatever one does not lead it follows, up to the end."""
        return self.led() and all(
            sorted({*engine.leading, *engine.following}) == list(PARTITIONS)
            and all(p.state.partition.position == self.end(TOPICS.events, n) for n, p in engine._processors.items())
            for engine in self.engines.values()
        )

    def until_warm(self) -> None:
        for _ in range(20):
            self.pass_time(1)
            if self.warm():
                return
        pytest.fail(f"{[(e.leading, e.following) for e in self.engines.values()]}")

    def leader(self, partition: int) -> str:
        [name] = [name for name, engine in self.engines.items() if partition in engine.leading]
        return name

    def work(self, count: int) -> None:
        """Workflows start in both partitions."""
        for number in range(count):
            start = records.StartWorkflow(workflow_id=f"x{number}", workflow_type="T", task_queue="q")
            self.append(TOPICS.events, number % len(PARTITIONS), encode(start))


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    guard = Guard(tmp_path)
    yield guard
    for name in list(guard.engines):
        guard.remove(name)
    guard.log.close()


def test_a_follower_s_state_is_the_leader_s(guard: Guard) -> None:
    """Breaks when one who follows folds anything otherwise than who leads: byte for byte, at the same position."""
    for name in "ab":
        guard.add(name)
    guard.until_warm()
    guard.work(20)
    guard.until_warm()
    states = [[engine._processors[p].state for engine in guard.engines.values()] for p in PARTITIONS]
    for leader, follower in states:
        assert leader.dump() == follower.dump()
    assert sum(leader.partition.open_workflows for leader, _ in states) == 20
    sent = [p.counters.emitted for e in guard.engines.values() for n, p in e._processors.items() if n in e.following]
    assert sent == [0, 0], "who follows says nothing"


def test_l1_a_standby_leads_once_the_leader_is_silent(guard: Guard) -> None:
    """Breaks when a dead leader is waited for until the group notices, or one who lives is deposed."""
    first = guard.add("a")
    guard.until_warm()
    other = guard.add("b")
    guard.until_warm()
    guard.pass_time(20)
    assert all(len(guard.elections(p)) <= 2 for p in PARTITIONS), "nobody deposes a leader that lives"
    before = [guard.end(TOPICS.events, p) for p in PARTITIONS]
    guard.die("a")
    guard.pass_time(LOST_AFTER - 2)
    assert [guard.end(TOPICS.events, p) for p in PARTITIONS] == before, "nothing is concluded from a short silence"
    guard.pass_time(4)
    assert other.leading == list(PARTITIONS)
    assert all(guard.works(p) for p in PARTITIONS)
    guard.engines["a"] = first
    guard.pass_time(5)
    guard.until_warm()
    assert first.leading, "it was only paused, and holds what it holds"
    assert all(guard.works(p) for p in PARTITIONS)


def test_a_planned_stop_is_handed_over_at_once(guard: Guard) -> None:
    """Breaks when who stands by waits for silence, or for the group: no time passes here."""
    guard.add("a")
    guard.until_warm()
    other = guard.add("b")
    guard.until_warm()
    leaving = guard.die("a")
    elections = [len(guard.elections(p)) for p in PARTITIONS]
    taken = leaving.leading
    group = leaving._consumer.close
    leaving._consumer.close = lambda: None  # type: ignore[method-assign]  # it has not left the group yet
    leaving.hand_over()
    guard.until(lambda: other.leading == list(PARTITIONS))
    assert [len(guard.elections(p)) - elections[p] for p in PARTITIONS] == [int(p in taken) for p in PARTITIONS]
    group()
    guard.until(lambda: other.following == [] and not other._following.partitions)
    assert other.leading == list(PARTITIONS), "and now the group gives it what it leads"
    assert [len(guard.elections(p)) - elections[p] for p in PARTITIONS] == [int(p in taken) for p in PARTITIONS]
    leaving._following.consumer.close()
    leaving.stop()


def test_the_group_is_left_before_the_state_is_put_on_disk(guard: Guard) -> None:
    """Breaks when the other engines wait for the disk of one that stops."""
    engine = guard.add("a")
    guard.until(guard.led)
    happened: list[str] = []
    leave, close = engine._consumer.close, engine._stores.close
    engine._consumer.close = lambda: (leave(), happened.append("left"))[0]  # type: ignore[method-assign, func-returns-value]
    engine._stores.close = lambda p: (close(p), happened.append("closed"))[0]  # type: ignore[method-assign, func-returns-value]
    guard.remove("a")
    assert happened == ["left", "closed", "closed"]


def test_who_has_to_give_a_partition_up_leads_until_the_other_does(guard: Guard) -> None:
    """Breaks when a partition has no leader while its new holder opens it and catches up."""
    first = guard.add("a")
    guard.until_warm()
    second = guard.add("b")
    while sorted(first.leading) == list(PARTITIONS):
        guard.turn()
        lost = sorted(first._following.partitions)
        if lost and lost[0] in first.leading:
            break
    assert lost
    assert first._following.partitions <= set(first.leading), "given up, and led on"
    guard.until(lambda: second.leading == lost)
    assert sorted(first.leading + second.leading) == list(PARTITIONS)


def test_without_standbys_a_partition_is_led_while_it_moves_and_then_let_go(tmp_path: Path) -> None:
    """Breaks when what the group takes, or all that is held once the group is lost, has no leader until another is
    ready; or when it is followed for ever."""
    fleet = Fleet(tmp_path)
    first = fleet.add("a", 1)
    fleet.until(fleet.led)
    second = fleet.add("b", 1)

    def moved() -> bool:
        led = {*first.leading, *second.leading}
        assert led == set(PARTITIONS), "all the time"
        return len(second.leading) == len(first.leading) == 1

    fleet.until(moved)
    for _ in range(5):
        fleet.pass_time(1)
    for engine in (first, second):
        assert sorted(engine._processors) == engine.leading
    for name in ("a", "b"):
        fleet.remove(name)
    fleet.log.close()


def test_of_three_engines_one_stands_by_for_each_partition(guard: Guard) -> None:
    """Breaks when who stands by is not agreed upon: none, or all."""
    for name in "abc":
        guard.add(name)
    for _ in range(30):
        guard.pass_time(1)
        if guard.led() and sorted(n for e in guard.engines.values() for n in e.following) == list(PARTITIONS):
            return
    pytest.fail(f"{[(e.leading, e.following) for e in guard.engines.values()]}")


# ---------------------------------------------------------------- one processor


def alive(solo: Solo, member: str = "other", leaving: bool = False) -> None:
    solo.processor.handle_ephemeral(encode(EngineAlive(member=member, leaving=leaving)))


def follow(solo: Solo) -> None:
    solo.put(records.LeaderElected(member="other", nonce="n", clock_ms=T0, version=1, partitions=1))
    solo.settle()
    alive(solo)


def silence(solo: Solo, seconds: int) -> None:
    for _ in range(seconds):
        solo.pass_time(1)
        solo.processor.candidacy.watch.listened(solo.clock.monotonic())
        solo.processor.tick()


def answer(solo: Solo) -> None:
    for found in solo.ends:
        found(len(solo.events))
    solo.ends.clear()
    solo.processor.tick()


def test_l1_while_the_log_is_away_nobody_is_taken_for_gone() -> None:
    """Breaks when all standbys depose all leaders whenever the broker restarts."""
    solo = Solo()
    follow(solo)
    silence(solo, 60)
    assert solo.take(records.LeaderElected) == [], "the log does not answer"
    answer(solo)
    assert solo.take(records.LeaderElected) == []
    alive(solo)
    silence(solo, 2)
    assert solo.take(records.LeaderElected) == []
    silence(solo, 2)
    answer(solo)
    silence(solo, 1)
    assert len(solo.take(records.LeaderElected)) == 1


def test_l1_a_follower_that_is_behind_does_not_lead() -> None:
    """Breaks when a partition is taken by one who must first catch up with it."""
    solo = Solo()
    follow(solo)
    alive(solo, leaving=True)
    solo.processor.tick()
    [found] = solo.ends
    found(len(solo.events) + 1)
    solo.processor.tick()
    assert solo.take(records.LeaderElected) == []
    solo.put(b"nonsense")
    solo.fold()
    assert len(solo.take(records.LeaderElected)) == 1


def test_l1_a_holder_that_is_behind_stands_when_it_has_caught_up() -> None:
    """Breaks when it deposes a warm leader first and folds then, or never stands."""
    solo = Solo()
    for _ in range(NEAR + 1):
        solo.put(b"nonsense")
    solo.processor.assigned(len(solo.events))
    assert solo.take(records.LeaderElected) == []
    solo.put(b"nonsense")
    solo.fold()
    assert solo.take(records.LeaderElected) == [], "much has come meanwhile, perhaps"
    answer(solo)
    [own] = solo.take(records.LeaderElected)
    solo.land(own)
    solo.fold()
    assert solo.leading


def test_l1_one_who_leads_in_place_of_another_does_not_contest() -> None:
    """Breaks when a standby deposes the one to whom the group gave the partition."""
    solo = Solo()
    follow(solo)
    alive(solo, leaving=True)
    solo.processor.tick()
    answer(solo)
    solo.settle()
    assert solo.leading
    solo.put(records.LeaderElected(member="holder", nonce="n2", clock_ms=T0, version=1, partitions=1))
    solo.settle()
    solo.pass_time(100)
    solo.settle()
    assert not solo.leading
    assert [e.member for e in solo.elections()] == ["other", "me", "holder"]


def test_what_was_asked_before_a_standby_leads_is_answered_by_it() -> None:
    """Breaks when whoever asked while nobody led waits until it asks again, ten seconds later."""
    solo = Solo()
    follow(solo)
    describe = [DescribeWorkflow(workflow_id="w", request=request(f"r{n}"), barrier=0) for n in range(2)]
    solo.processor.handle_ephemeral(encode(describe[0]))
    solo.clock.seconds += EARLY_S + 1
    solo.processor.handle_ephemeral(encode(describe[1]))
    alive(solo, leaving=True)
    solo.processor.tick()
    answer(solo)
    solo.settle()
    assert [reply.request_id for reply in solo.outputs("replies")] == ["r1"]


def test_one_who_was_paused_itself_blames_nobody() -> None:
    """Breaks when the time in which we did not listen counts as the leader's silence."""
    watch = LeaderWatch(LOST_AFTER)
    watch.heard()
    watch.listened(0)
    watch.listened(1000)
    assert not watch.suspect
    for second in range(4):
        watch.listened(1001 + second)
    assert watch.suspect


def test_a_leader_that_was_never_heard_is_left_to_the_group() -> None:
    """Breaks when a leader without beats, as of before there were any, is deposed again and again."""
    watch = LeaderWatch(LOST_AFTER)
    for second in range(100):
        watch.listened(second)
    watch.confirm()
    assert (watch.suspect, watch.gone) == (False, False)


def test_l1_a_leader_that_dies_as_soon_as_it_was_elected_is_missed(guard: Guard) -> None:
    """Breaks when one who lived long enough to be elected, and not to be heard, is left to the group."""
    guard.add("a")
    guard.until_warm()
    other = guard.add("b")
    guard.until(lambda: len(other.leading) == 1)
    guard.die("b")
    first = guard.engines["a"]
    guard.pass_time(LOST_AFTER + 3)
    assert first.leading == list(PARTITIONS)


def test_who_stands_by_changes_little_when_engines_come_and_go() -> None:
    """Breaks when one more engine makes all of them open other partitions."""
    before = {p: chosen(p, ["a", "b", "c"], 1) for p in range(200)}
    after = {p: chosen(p, ["a", "b", "c", "d"], 1) for p in range(200)}
    assert all(after[p] in (before[p], ["d"]) for p in before)
    assert 20 < sum(after[p] == ["d"] for p in before) < 80
    clock = ManualClock()
    members = Members("a", 1, clock, 10.0, standbys=1)
    members.heard(EngineAlive(member="b", holds=[0], standbys=1))
    clock.seconds = LISTEN_S
    assert members.stands_by(0), "b holds it"
    assert sum(members.stands_by(p) for p in range(1, 100)) == sum(chosen(p, "ab", 1) == ["a"] for p in range(1, 100))
