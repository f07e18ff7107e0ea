"""Planted bugs in emission and leadership (rules E, L, N)."""

from __future__ import annotations

from typing import Any

from odradek_engine import CheckpointStore, processor
from odradek_engine.comparison import Comparison
from odradek_engine.emission import Emitter
from odradek_engine.fold import State, UnsupportedVersionError, core, keys, step
from odradek_engine.fold.state import _to_bytes
from odradek_engine.leadership import Leadership
from odradek_engine.processor import Processor
from odradek_engine.restoring import CheckpointedStates
from odradek_log import ProducerFailedError
from odradek_schemas.common import Position
from odradek_schemas.records import EffectsEmitted, Mark

from .. import races
from . import worlds
from .planting import Patch, mutant

# ---------------------------------------------------------------- emitting and receiving effects


@mutant("E1", seed=1, scenario=races.EMISSION)
def links_that_name_no_predecessor(patch: Patch) -> None:
    """Receivers take what leaves a gap."""

    def position(**fields: Any) -> Position:
        return Position(**{**fields, "previous_offset": -1, "previous_index": 0})

    patch(step, "Position", position)


@mutant("E2", seed=1, scenario=races.EMISSION)
def an_error_counts_as_delivered(patch: Patch) -> None:
    """An effect that failed is not sent again."""

    def fail(self: Emitter, output: Any, session: Any, place: Any, error: Any) -> None:
        session.acknowledged = place
        self.producer_failed = isinstance(error, ProducerFailedError)

    patch(Emitter, "_fail", fail)


@mutant("E3", seed=1, scenario=races.EMISSION)
def a_new_leader_skips_the_outbox(patch: Patch) -> None:
    """It takes what is there for delivered."""
    observe = Leadership.observe

    def skipping(self: Leadership, *args: Any) -> bool:
        observe(self, *args)
        return False

    patch(Leadership, "observe", skipping)


@mutant("E4", seed=1, scenario=races.EMISSION)
def one_chain_for_all_partitions(patch: Patch) -> None:
    """The predecessor is that of another output partition, so that receivers wait for what never comes."""
    tail = keys.tail
    patch(keys, "tail", lambda topic, partition: tail(topic, 0))


@mutant("E5", seed=1, scenario=races.EMISSION)
def what_was_sent_counts_as_gone(patch: Patch) -> None:
    """Effects leave the outbox that are not acknowledged, and are lost if their append fails."""
    marks = Emitter.marks

    def early(self: Emitter) -> EffectsEmitted | None:
        for session in self._sessions.values():
            if session.in_flight:
                session.acknowledged = session.in_flight[-1][0]
        return marks(self)

    patch(Emitter, "marks", early)


@mutant("E5", seed=1, scenario=races.EMISSION)
def one_mark_for_all_outputs(patch: Patch) -> None:
    """What one output has acknowledged counts for all of them."""
    marks = Emitter.marks

    def together(self: Emitter) -> EffectsEmitted | None:
        made = marks(self)
        if made is None:
            return None
        last = max((m.offset, m.index) for m in made.marks)
        return EffectsEmitted(marks=[Mark(*output, *last) for output in self._sessions])

    patch(Emitter, "marks", together)


@mutant("E6", seed=1, scenario=races.UNDELIVERABLE)
def what_cannot_be_delivered_is_kept_for_ever(patch: Patch) -> None:
    """The workflow waits for an activity that nobody will ever get."""
    patch(Processor, "_report_failed", lambda self, output, place, error: None)


# ---------------------------------------------------------------- leading


@mutant("L1", seed=4, scenario=races.ELECTIONS)
def a_deposed_holder_never_stands_again(patch: Patch) -> None:
    """A partition that it holds has no leader."""
    observe = Leadership.observe

    def once(self: Leadership, *args: Any) -> bool:
        leading = self.leading
        led = observe(self, *args)
        if leading and not self.leading:
            self.resign()
        return led

    patch(Leadership, "observe", once)


@mutant("L2", seed=1, scenario=races.TAKEOVERS)
def records_of_former_leaders_are_taken(patch: Patch) -> None:
    """A zombie says that workers are lost."""
    dispatch = core._dispatch

    def unfenced(step: Any, record: Any) -> None:
        if getattr(record, "epoch", None) is not None:
            core._DECIDE[type(record)](step, record)
        else:
            dispatch(step, record)

    patch(core, "_dispatch", unfenced)


@mutant("L3", seed=3, scenario=races.DISKS)
def any_state_is_trusted(patch: Patch) -> None:
    """A state that is not of this log is gone on with."""
    patch(Comparison, "check", lambda self, record: setattr(self, "check_at", -1))


@mutant("L3", seed=2, scenario=worlds.OTHER_DISKS)
def nothing_to_compare_counts_as_the_same(patch: Patch) -> None:
    """A state is gone on with whose last record is, in this log, what a transaction left."""
    patch(Comparison, "_unchecked", lambda self, first: None)


@mutant("L3", seed=1, scenario=races.TORN)
def the_position_is_written_before_the_rest(patch: Patch) -> None:
    """After a crash in between, a state is gone on with that lacks what records did."""
    flush = State.flush

    def torn(self: State) -> None:
        if self.unflushed:
            self.storage.write([(keys.PARTITION, _to_bytes(self.partition))])
        flush(self)

    patch(State, "flush", torn)
    patch(processor, "FLUSH_AFTER_S", 0.1)  # the more often, the more crashes come in between


@mutant("L3", seed=4, scenario=worlds.TORN_DISKS)
def records_answer_for_the_disk(patch: Patch) -> None:
    """What cannot be decided on, because the state cannot be read, is a dead letter here, and nowhere else."""
    patch(core, "StorageError", UnsupportedVersionError)


@mutant("L3", seed=5, scenario=worlds.DAMAGED_CHECKPOINTS)
def any_checkpoint_is_good(patch: Patch) -> None:
    """A state that was damaged where it was kept is gone on with."""
    patch(CheckpointStore, "_parts", lambda self, checkpoint, file: [file.content])


@mutant("L3", seed=2, scenario=races.CHECKPOINTS)
def the_log_is_trimmed_behind_the_newest(patch: Patch) -> None:
    """When the newest checkpoint turns out to be damaged, nothing can be folded any more."""

    def newest(self: Any, partition: int) -> Any:
        return self._store.read(self._store.entries(self._namespace, partition)[0])

    patch(CheckpointedStates, "trimmable", newest)


@mutant("N1", seed=1, scenario=races.STRANGERS)
def records_in_the_wrong_partition_stay_there(patch: Patch) -> None:
    """A workflow runs where nobody looks for it."""
    patch(core, "_forward", lambda step, home: None)
