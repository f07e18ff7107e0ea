"""Bugs in the state of a partition: how it is made, kept, bounded, and what becomes of bytes that are wrong."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import Any

import msgspec
from odradek_engine import (
    catching_up,
    comparison,
    folding,
    opening,
    processor,
    reads,
    sessions,
    store,
    store_memory,
    stores,
)
from odradek_engine import fold as fold_package
from odradek_engine.agenda import Agenda
from odradek_engine.fold import (
    core,
    keys,
    limits,
    outcomes,
    pieces,
    requests,
)
from odradek_engine.fold.rows import CurrentBuildRow
from odradek_engine.fold.state import State
from odradek_engine.fold.step import Step
from odradek_engine.maintenance import Verified
from odradek_log import TopicPartition
from odradek_schemas import codec, decode

from ..simulation.mutants import effects
from .planting import Patch, bug

# ---------------------------------------------------------------- the state, and what it costs


@bug("Partitions that an engine is given are opened", "tests/engine/test_opening.py -k side_by_side")
def partitions_are_opened_one_after_another(patch: Patch) -> None:
    """All of them wait for the slowest checkpoint."""
    patch(opening, "OPENED_AT_ONCE", 1)


@bug("Partitions that an engine is given are opened", "tests/engine/test_opening.py -k others_are_folded")
def checkpoints_are_waited_for(patch: Patch) -> None:
    """All partitions of an engine stand still for as long as the states of new ones are on their way."""

    def begin(self: Any, partitions: Any, begin: Any = opening.Opening.begin) -> None:
        begin(self, partitions)
        self.wait()

    patch(opening.Opening, "begin", begin)


@bug("An engine that gains partitions far behind", "tests/engine/test_catching_up.py -k l3")
def processes_fold_on_top_of_any_state(patch: Patch) -> None:
    """A state of another log is gone on with: the record that it ends with is not held against this one's."""
    patch(catching_up, "is_last_of", lambda job, record: True)


@bug("An engine that gains partitions far behind", "tests/engine/test_catching_up_trimmed.py -k from_a_checkpoint")
def processes_fold_on_behind_a_gap(patch: Patch) -> None:
    """What was trimmed before a process had read it is missing in the state."""

    def whatever_comes(self: Any, job: Any, consumer: Any) -> Any:
        here = TopicPartition(self._topic, job.partition)
        return catching_up.read_with(consumer, here, job.position, job.end)

    patch(catching_up.CatchingUp, "_records", whatever_comes)


@bug("An engine that gains partitions far behind", "tests/engine/test_catching_up.py -k promised")
def processes_keep_what_starts_ask(patch: Patch) -> None:
    """A client has its result when it asks again, ten seconds later."""
    patch(folding.Folding, "asked", lambda self: ())


@bug("What a turn of an engine costs", "tests/engine/test_agenda.py -k is_due")
def one_that_is_due_has_all_looked_at(patch: Patch) -> None:
    """Each turn costs as much as there are partitions."""
    take = Agenda.take
    patch(Agenda, "take", lambda self, now: list(self._at) if take(self, now) else [])


_REBUILT = "State rebuilt from the log is byte for byte"
_COSTS = "What a record costs stays bounded"


@bug(_REBUILT, "tests/engine/test_rules_workflows.py -k w1_only", "tests/engine/test_random_logs.py -k any_sequence")
def something_changes_without_an_event(patch: Patch) -> None:
    """A decision writes into the state itself: who replays the events alone has another one."""
    finish = core._finish

    def meddling(step: Any, source: Any, record: Any) -> Any:
        if type(record).__name__ == "StartWorkflow":
            step.state.put(keys.current_build("meddled"), CurrentBuildRow(task_queue="meddled", build_id="b"))
        return finish(step, source, record)

    patch(core, "_finish", meddling)


@bug(_REBUILT, "tests/engine/test_gaps.py -k loses_its_end")
def logs_never_go_back(patch: Patch) -> None:
    """An engine goes on with what its log has lost, and passes over what comes in its place."""
    patch(comparison.Comparison, "_look_back", lambda self, end: None)


@bug(_REBUILT, "tests/cli/test_log_commands.py -k verify_finds_every")
def verifying_finds_nothing(patch: Patch) -> None:
    """A state that was changed on its disk is called good."""
    patch(Verified, "ok", property(lambda self: True))


@bug(_COSTS, "tests/engine/test_costs.py -k never_encoded")
def each_effect_is_encoded_at_once(patch: Patch) -> None:
    """A rebuild encodes what left long ago."""
    stage = Step.effect

    def eager(self: Any, *args: Any, **more: Any) -> Any:
        made = stage(self, *args, **more)
        assert not self.effects or self.effects[-1].value
        return made

    patch(Step, "effect", eager)


@bug(_COSTS, "tests/engine/test_costs.py -k came_and_went")
def what_came_and_went_is_deleted(patch: Patch) -> None:
    """The store fills with tombstones of what it never held."""
    patch(State, "put_new", lambda self, key, row: self.put(key, row))


@bug(_COSTS, "tests/engine/test_costs.py -k looked_up_once")
def what_is_not_there_is_looked_up_again(patch: Patch) -> None:
    """Each time it costs a search of the disk."""
    load = State._load

    def forgetful(self: Any, key: bytes) -> Any:
        row = load(self, key)
        if row is None:
            del self._slots[key]
        return row

    patch(State, "_load", forgetful)


# ---------------------------------------------------------------- any bytes at all

_BYTES = "Any bytes at all fold to something"


@bug(_BYTES, "tests/engine/test_rules_effects.py -k e6_what_users_choose")
def numbers_are_taken_as_they_are(patch: Patch) -> None:
    """A duration of a million years overflows where it is used."""
    patch(limits, "check_durations", lambda record, *fields: None)


@bug(
    _BYTES,
    "tests/engine/test_random_logs.py -k any_bytes_become",
    "tests/fuzz/test_fuzz.py -k 'any_bytes and processor'",
    "tests/e2e/test_features.py -k 'bad_records and embedded'",
)
def bytes_that_are_no_record_end_the_fold(patch: Patch) -> None:
    """One bad record, and its partition stands still."""
    fold = core.fold

    def strict(state: Any, topics: Any, offset: int, timestamp_ms: int, key: bytes, value: bytes) -> Any:
        decode(value)
        return fold(state, topics, offset, timestamp_ms, key, value)

    for owner in (core, fold_package, processor):
        patch(owner, "fold", strict)


@bug(
    _BYTES,
    "tests/schemas/test_hostile_bytes.py",
    "tests/fuzz/test_fuzz.py -k 'any_bytes and codec'",
)
def what_the_reader_raises_gets_out(patch: Patch) -> None:
    """Readers of the log end by errors that nobody expects."""

    def slowly(f: Any, older: Any, data: bytes) -> Any:
        return f.read(BytesIO(data[10:]), older)

    patch(codec, "_decode_slowly", slowly)


@bug(_BYTES, "tests/fuzz/test_fuzz.py -k 'any_bytes and json'")
def json_by_hand_raises_what_it_likes(patch: Patch) -> None:
    """A typo in JSON ends whoever reads it."""

    read = codec.from_json

    def careless(data: bytes) -> Any:
        try:
            return read(data)
        except ValueError as error:
            raise LookupError from error

    patch(codec, "from_json", careless)


# ---------------------------------------------------------------- bounds

_MEMORY = "Memory is bounded in bytes"


@bug(_MEMORY, "tests/engine/test_bounded_memory.py -k reads_are_bounded")
def reads_weigh_nothing(patch: Patch) -> None:
    """Queries with large arguments fill the memory of an engine that is behind."""
    patch(reads, "_weight", lambda read: 0)


@bug(_MEMORY, "tests/engine/test_bounded_memory.py -k heartbeat_details")
def heartbeats_weigh_nothing(patch: Patch) -> None:
    """Their details fill the memory of an engine."""
    patch(sessions, "details_bytes", lambda details: 0)


@bug(_MEMORY, "tests/engine/test_store_memory.py -k 'many_partitions or one_busy'")
def stores_make_no_room(patch: Patch) -> None:
    """What was written to many partitions stays in memory."""
    patch(store_memory.StoreMemory, "make_room", lambda self, size: None)


@bug(_MEMORY, "tests/engine/test_emission.py -k e6_unacknowledged")
def effects_are_never_too_many(patch: Patch) -> None:
    """What the log has not acknowledged fills the memory of an engine."""
    patch(processor.Processor, "overloaded", property(lambda self: False))


@bug("A storm of signals at one workflow is refused", "tests/engine/test_flooded.py")
def nothing_is_too_much_for_a_workflow(patch: Patch) -> None:
    """A storm of signals fills a history that nobody can read any more."""
    for owner in (outcomes, requests):
        patch(owner, "is_flooded", lambda run, update="": False)


_PIECES = "A step that is larger than a record takes effect as one"


@bug(_PIECES, "tests/engine/test_pieces.py -k 'come_again or take_effect_as_one'")
def a_piece_that_comes_again_counts_twice(patch: Patch) -> None:
    """The whole is another one than was sent."""
    kept = pieces._kept
    patch(pieces, "_kept", lambda step, run: list(reversed(kept(step, run))))


@bug(_PIECES, "tests/engine/test_pieces.py -k of_two_workers", "tests/e2e/test_large_steps.py -k embedded")
def pieces_of_two_workers_are_mixed(patch: Patch) -> None:
    """What is put together was sent by nobody."""
    decide = pieces.decide_piece

    def mixed(step: Any, record: Any) -> None:
        decide(step, msgspec.structs.replace(record, id="all-the-same"))

    patch(core._DECIDE, pieces.CompletionPiece, mixed)


_DISK = "A full disk loses nothing that was acknowledged"


@bug(_DISK, "tests/e2e/test_full_disk.py -k state", "tests/engine/test_engine_embedded.py -k full_disk")
def a_state_that_finds_no_room_is_passed_over(patch: Patch) -> None:
    """The state has a hole, and the engine goes on with it."""
    write, persist = store.RocksStorage.write, store.RocksStorage.persist

    def passed_over(self: Any, changes: Any) -> None:
        with suppress(store.StoreError):
            write(self, changes)

    def said_to_be_done(self: Any) -> None:
        with suppress(store.StoreError):
            persist(self)

    patch(store.RocksStorage, "write", passed_over)
    patch(store.RocksStorage, "persist", said_to_be_done)


@bug(_DISK, "tests/engine/test_engine_embedded.py -k without_room")
def nobody_looks_for_room(patch: Patch) -> None:
    """An engine whose disk is full takes partitions from others, and drops them, whenever it is started."""
    for owner in (store, stores):
        patch(owner, "check_room", lambda folder: None)


_DAMAGE = "A stored state that a power cut or a bad disk has damaged"


@bug(_DAMAGE, "tests/engine/test_damaged_stores.py -k 'not_the_end or flipped'")
def what_cannot_be_read_is_the_end(patch: Patch) -> None:
    """A scan ends where a block is damaged, as if there was nothing more."""
    patch(store.RocksStorage, "_problem", lambda self, iterator: None)


@bug(_DAMAGE, "tests/engine/test_damaged_stores.py -k discarded")
def what_cannot_be_opened_stops_the_engine(patch: Patch) -> None:
    """One damaged file of one partition keeps all of them from being led."""
    patch(stores, "StoreDamagedError", store.StoreHeldError)


bug(_DAMAGE, "tests/engine/test_damaged_stores.py -k blamed")(effects.records_answer_for_the_disk)
