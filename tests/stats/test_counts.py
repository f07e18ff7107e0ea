"""The counting: exact whatever comes again, late, or is nothing to count (rule E1)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from odradek_engine.stats.counts import PartitionCounts, TypeCounts, decode_row, encode_row
from odradek_schemas import Position, encode
from odradek_schemas.history import HistoryEvent, WorkflowCancelled, WorkflowTerminated, WorkflowTimedOut
from odradek_schemas.records import WorkerStopped
from odradek_schemas.tasks import HistoryBatch, VoidEffect

from .histories import Source


def counted(values: list[bytes], row: PartitionCounts | None = None) -> PartitionCounts:
    row = row or PartitionCounts()
    for offset, value in enumerate(values, row.next_offset):
        row.read(offset, value)
    return row


def test_starts_and_ends_are_counted_by_type() -> None:
    source = Source()
    row = counted(
        [
            source.batch("Order", "started", "timer"),
            source.batch("Hello", "started", "completed"),
            source.batch("Order", "completed"),
            source.batch("Order", "started", "failed"),
            source.batch("Order", "started"),
        ]
    )
    assert row.types == {
        "Order": TypeCounts(started=3, completed=1, failed=1),
        "Hello": TypeCounts(started=1, completed=1),
    }
    assert row.types["Order"].open == 1
    assert row.next_offset == 5


def test_the_other_ends() -> None:
    events = [WorkflowCancelled(), WorkflowTerminated(), WorkflowTimedOut(timeout_type="run")]
    batch = HistoryBatch(
        position=Position(partition=0, offset=1, index=0), workflow_id="w", run_id="r", workflow_type="T",
        task_queue="q", events=[encode(HistoryEvent(event_id=1, time_ms=0, attributes=e)) for e in events],
    )  # fmt: skip
    assert counted([encode(batch)]).types == {"T": TypeCounts(cancelled=1, terminated=1, timed_out=1)}


def test_e1_a_batch_that_comes_again_is_not_counted_again() -> None:
    source = Source()
    first, second = source.batch("A", "started"), source.batch("A", "completed")
    assert counted([first, first, second, first, second, second]).types == {"A": TypeCounts(started=1, completed=1)}


def test_e1_a_batch_whose_predecessor_is_missing_waits_for_it() -> None:
    """Effect 0 of a record fails, effect 1 of it lands; then both are emitted again."""
    source = Source()
    zero, one = source.batch("A", "started"), source.batch("B", "started", index=1)
    row = counted([one])
    assert row.types == {}
    assert counted([zero, one], row).types == {"A": TypeCounts(started=1), "B": TypeCounts(started=1)}


def test_e4_each_source_partition_has_its_own_chain() -> None:
    here, there = Source(0), Source(7)
    values = [here.batch("A", "started"), here.batch("A", "started"), there.batch("A", "started")]
    assert counted([*values, *values]).types == {"A": TypeCounts(started=3)}


def test_e6_what_stands_for_an_effect_that_could_not_be_delivered_is_a_link_of_the_chain() -> None:
    position = Position(partition=0, offset=4, index=0)
    void = encode(VoidEffect(position=position))
    source = Source()
    source._last = (4, 0)
    source._offset = 4
    assert counted([void, source.batch("A", "started")]).types == {"A": TypeCounts(started=1)}


def test_what_is_no_batch_is_passed_over() -> None:
    source = Source()
    garbage = [b"", b"\xc3\x01garbage", b"{}", encode(WorkerStopped(session="s"))]
    row = counted([*garbage, source.batch("A", "started"), *garbage, source.batch("A", "completed")])
    assert row.types == {"A": TypeCounts(started=1, completed=1)}
    assert row.next_offset == 10


def test_after_a_cut_the_chain_begins_anywhere() -> None:
    source = Source()
    values = [source.batch("A", "started") for _ in range(10)]
    row = PartitionCounts()
    row.begin_at(6)
    assert counted([*values[6:], *values[5:]], row).types == {"A": TypeCounts(started=4)}


@given(st.data())
@settings(deadline=None)
def test_any_repetition_gives_the_same_counts(data: st.DataObject) -> None:
    """An emission session may begin again at any batch that is not marked as delivered."""
    source = Source()
    kinds = data.draw(st.lists(st.sampled_from(["A started", "A completed", "B started", "B failed"]), max_size=12))
    batches = [source.batch(*kind.split()) for kind in kinds]
    values: list[bytes] = []
    delivered = 0
    for lost in data.draw(st.lists(st.sets(st.integers(0, 11), max_size=3), max_size=4)):
        begin = data.draw(st.integers(0, delivered))
        end = data.draw(st.integers(delivered, len(batches)))
        values += [batch for i, batch in enumerate(batches[begin:end], begin) if i not in lost]
        delivered = min((i for i in lost if begin <= i < end), default=end)
    values += batches[delivered:]
    row = PartitionCounts()
    for offset, value in enumerate(values):
        row = decode_row(encode_row(row))
        row.read(offset, value)
    expected: dict[str, TypeCounts] = {}
    for kind in kinds:
        name, outcome = kind.split()
        counts = expected.setdefault(name, TypeCounts())
        setattr(counts, outcome, getattr(counts, outcome) + 1)
    assert row.types == expected


def test_a_partition_reads_from_any_earlier_row() -> None:
    """Whatever row comes back after a crash, reading on from its own offset gives the same."""
    source = Source()
    values = [source.batch("A", "started") for _ in range(8)]
    rows = [encode_row(counted(values[:n])) for n in range(9)]
    for saved in rows:
        row = decode_row(saved)
        assert encode_row(counted(values[row.next_offset :], row)) == rows[-1]
