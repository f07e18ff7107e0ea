"""Who leads a partition, and goes on leading whatever comes (L1, V1, E2)."""

from __future__ import annotations

from odradek_engine.leadership import CONTEST_S, READ_BACK_S
from odradek_log import ProducerFailedError
from odradek_schemas import decode, encode, ephemeral, records, replies

from .harness import request
from .solo import START, Solo, elected

# ---------------------------------------------------------------- L1


def test_l1_leads_only_after_reading_its_own_record_back() -> None:
    """Breaks when a processor emits from the moment of its assignment."""
    solo = Solo()
    solo.put(elected("other"))
    solo.put(START)
    solo.processor.gain()
    solo.fold()
    assert not solo.leading
    assert [s.topic.rsplit(".")[-1] for s in solo.producer.held] == ["events"]
    solo.settle()
    assert solo.leading
    assert len(solo.outputs("workflow-tasks")) == 1


def test_l1_a_foreign_record_deposes_and_is_contested_after_a_delay() -> None:
    """Breaks when a deposed leader goes on emitting, or never stands again, or stands again at once."""
    solo = Solo()
    solo.lead()
    solo.put(elected("other"))
    solo.put(START)
    solo.settle()
    assert not solo.leading
    assert solo.outputs("workflow-tasks") == []
    assert len(solo.elections()) == 2
    solo.pass_time(CONTEST_S[1])
    solo.settle()
    assert solo.leading
    assert [e.member for e in solo.elections()] == ["me", "other", "me"]
    assert len({e.nonce for e in solo.elections()}) == 3
    assert len(solo.outputs("workflow-tasks")) == 1


def test_l1_one_who_does_not_hold_the_partition_does_not_stand_again() -> None:
    """Breaks when two engines contest a partition that the group has given to one of them."""
    solo = Solo()
    solo.lead()
    solo.processor.release()
    solo.put(elected("other"))
    solo.settle()
    solo.pass_time(100)
    solo.settle()
    assert [e.member for e in solo.elections()] == ["me", "other"]


def test_l1_others_are_ignored_while_the_own_record_is_out() -> None:
    """Breaks when each foreign record is answered: two engines would depose each other for ever."""
    solo = Solo()
    solo.processor.gain()
    [own] = solo.take(records.LeaderElected)
    for nonce in "abc":
        solo.put(elected("other", nonce))
    solo.fold()
    solo.pass_time(CONTEST_S[1])
    assert solo.producer.held == []
    solo.land(own)
    solo.fold()
    assert solo.leading


def test_l1_a_second_copy_of_the_own_record_deposes_nobody() -> None:
    """Breaks when a retried append that landed twice is taken for another's."""
    solo = Solo()
    solo.processor.gain()
    [own] = solo.take(records.LeaderElected)
    solo.land(own)
    solo.fold()
    epoch = solo.state.partition.epoch
    solo.put(START)
    solo.fold()
    solo.put(own.value)
    solo.settle()
    assert solo.leading
    assert solo.state.partition.epoch == epoch
    assert len(solo.outputs("workflow-tasks")) == 1


def test_l1_an_append_that_failed_is_made_again() -> None:
    """Breaks when a lost election leaves a partition without a leader."""
    solo = Solo()
    solo.processor.gain()
    [own] = solo.take(records.LeaderElected)
    own.refuse()
    solo.processor.tick()
    assert solo.producer.held == []
    solo.pass_time(CONTEST_S[1])
    solo.settle()
    assert solo.leading


def test_l1_a_record_that_is_not_read_back_in_time_is_appended_again() -> None:
    """Breaks when an election that was lost without a word is waited for, for ever."""
    solo = Solo()
    solo.processor.gain()
    solo.take(records.LeaderElected)
    solo.pass_time(READ_BACK_S)
    solo.settle()
    assert solo.leading


def test_l1_two_who_hold_one_partition_come_to_rest() -> None:
    """Breaks when they answer each other without a delay, or the one that is left does not lead in the end."""
    for seed in range(20):
        a, b = Solo("a"), Solo("b")
        b.events = a.events
        a.randomness.delay, b.randomness.delay = 0.05 + 0.9 * (seed % 7) / 7, 0.05 + 0.9 * (seed % 5) / 5
        for solo in (a, b):
            solo.processor.gain()
        play(a, b, rounds=100)
        assert 4 < len(a.elections()) < 10 + 5 / min(a.randomness.delay, b.randomness.delay)
        b.processor.release()
        play(a, b, rounds=50)
        assert (a.leading, b.leading) == (True, False)
        count = len(a.elections())
        play(a, b, rounds=200)
        assert len(a.elections()) == count


def play(a: Solo, b: Solo, rounds: int) -> None:
    """Two processors of one partition take turns for `rounds` times 0.05 s."""
    for _ in range(rounds):
        for solo in (a, b):
            solo.deliver()
            solo.fold()
            solo.pass_time(0.05)


def test_v1_an_election_from_before_a_switch_of_versions_is_stood_for_again() -> None:
    """Breaks when who may lead never does, as its first election was for the version before."""
    solo = Solo(fold_version=2)
    solo.processor.gain()
    [own] = solo.take(records.LeaderElected)
    solo.put(elected("other", "n", version=2))
    solo.put(own.value)
    solo.fold()
    assert not solo.leading, "the version never goes down"
    solo.pass_time(2)
    [again] = solo.take(records.LeaderElected)
    assert (again.body.version, again.body.nonce != own.body.nonce) == (2, True)
    solo.land(again)
    solo.fold()
    assert solo.leading


# ---------------------------------------------------------------- whatever comes


def test_a_poison_record_becomes_a_dead_letter_and_the_partition_goes_on() -> None:
    """Breaks when bytes that are no record stop the processor."""
    solo = Solo()
    solo.lead()
    solo.put(b"\xc3\x01poison")
    solo.put(START)
    solo.settle()
    assert [letter.value for letter in solo.outputs("dead-letters")] == [b"\xc3\x01poison"]
    assert len(solo.outputs("workflow-tasks")) == 1
    assert solo.processor.counters.dead_letters == 1
    assert decode(encode(START)) == START


def test_e2_a_producer_that_fails_under_an_answer_is_replaced() -> None:
    """Breaks when only appends and effects tell of a producer's end: a quiet partition then answers nobody for ever."""
    solo = Solo()
    solo.lead()
    asked = ephemeral.DescribeWorkflow(workflow_id="w", request=request("r"), barrier=0)
    solo.processor.handle_ephemeral(encode(asked))
    (answer,) = solo.take(replies.WorkflowDescription)
    answer.refuse(ProducerFailedError("fenced"))
    assert solo.processor.producer_failed
    solo.processor.use(solo.producer, solo.producer)
    assert not solo.processor.producer_failed
