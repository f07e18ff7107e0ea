"""Effects that may not have left, beside a plain map of them: in memory and in the storage, over steps that are taken
back, writes, and marks."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from odradek_engine.fold import MemoryStorage, State, keys
from odradek_engine.fold.rows import Effect, OutboxRow, PartitionRow, outbox_row

Place = tuple[int, int]
OUTPUTS = (("history", 0), ("replies", 0), ("replies", 1))


class Outboxes(RuleBasedStateMachine):
    """Each step stages effects, then removes or replaces some; then it lasts, or is taken back."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State(MemoryStorage(), 0)
        self.offset = self.index = 0
        self.kept: dict[Place, OutboxRow] = {}
        """What lasts."""
        self.now = dict(self.kept)
        """The same, as of this step."""

    @rule(output=st.sampled_from(OUTPUTS))
    def stage(self, output: tuple[str, int]) -> None:
        effect = Effect(*output, self.offset, self.index, b"key", b"value", 5)
        self.index += 1
        self.state.stage(effect)
        self.now[(self.offset, effect.index)] = outbox_row(effect)

    @precondition(lambda self: self.now)
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.now)))
        old = self.now[place]
        row = OutboxRow(
            topic=old.topic, partition=old.partition, offset=old.offset, index=old.index, key=old.key, value=b"void"
        )
        self.state.replace_effect(keys.outbox(*place), row)
        self.now[place] = row

    @rule(marks=st.dictionaries(st.sampled_from(OUTPUTS), st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1))
    def mark(self, marks: dict[tuple[str, int], Place]) -> None:
        self.state.effects_left(marks)
        self.now = {
            place: row
            for place, row in self.now.items()
            if place > marks.get((row.topic, row.partition), (-1, -1))
        }

    @rule()
    def last(self) -> None:
        """The step's end."""
        self.offset += 1
        self.index = 0
        self.state.put_partition(PartitionRow(partition=0, position=self.offset))
        self.state.commit()
        self.kept = dict(self.now)

    @rule()
    def take_back(self) -> None:
        self.state.rollback()
        self.now = dict(self.kept)

    @rule()
    def write(self) -> None:
        """Between two steps."""
        self.take_back()
        self.state.flush()
        stored = {key for key in self.state.storage.entries if key[:1] == keys.OUTBOX}  # type: ignore[attr-defined]
        assert stored == {keys.outbox(*place) for place in self.kept}

    @rule()
    def open_again(self) -> None:
        """From what was written."""
        self.write()
        self.state = State(self.state.storage, 0)

    @invariant()
    def all_are_there_in_order(self) -> None:
        found = [(key, outbox_row(row)) for key, row in self.state.scan(keys.OUTBOX)]
        assert found == [(keys.outbox(*place), row) for place, row in sorted(self.now.items())]
        for key, row in found:
            effect = self.state.effect(key)
            assert effect is not None
            assert outbox_row(effect) == row


TestOutboxes = Outboxes.TestCase
