"""Bugs in the fold, and in the engine around it. Those of `tests/simulation/mutants` serve here, too."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import Any

import msgspec
from odradek_engine import (
    catching_up,
    comparison,
    opening,
    processor,
    reads,
    sessions,
    store,
    store_memory,
    stores,
    strays,
)
from odradek_engine import fold as fold_package
from odradek_engine.agenda import Agenda
from odradek_engine.fold import (
    completions,
    core,
    deployments,
    keys,
    limits,
    outcomes,
    pieces,
    requests,
    tasks,
    updates,
)
from odradek_engine.fold.rows import CurrentBuildRow
from odradek_engine.fold.state import State
from odradek_engine.fold.step import Step
from odradek_engine.handover import Handover
from odradek_engine.maintenance import Verified
from odradek_engine.restoring import CheckpointedStates
from odradek_engine.standbys import LeaderWatch
from odradek_log import TopicPartition
from odradek_schemas import codec, decode
from odradek_schemas.records import StartWorkflow

from ..simulation.mutants import effects, upgrading, workflows
from ..simulation.mutants import requests as of_requests
from .planting import Patch, bug

# ---------------------------------------------------------------- what was acknowledged

bug(
    "An acknowledged start, signal or result is in the history",
    "tests/engine/test_rules_requests.py -k q1",
    "tests/e2e/test_features.py -k 'q1 and embedded'",
)(of_requests.repeated_requests_are_done_again)

bug(
    "Two workers never both advance a workflow",
    "tests/engine/test_rules_workflows.py -k w1_only",
)(workflows.any_base_will_do)

bug(
    "Two workers never both advance a workflow",
    "tests/engine/test_rules_workflows.py -k w6_a_result",
)(workflows.results_of_closed_activities_are_no_matter)

bug(
    "Two workers never both advance a workflow",
    "tests/workers/test_worker_workflow_tasks.py -k w8_task_above",
)(workflows.every_answered_task_is_superseded)

@bug("Who asks for a result has it when the run closes", "tests/engine/test_reads.py -k as_any_other")
def only_starts_that_came_by_themselves_are_answered(patch: Patch) -> None:
    """Those that waited for the clock, or came by another partition, have their results only when asked for again."""

    def wait(self: Any, folded: Any, timestamp_ms: int, wait: Any = processor.Processor._await_results) -> None:
        if type(folded.record) is StartWorkflow:
            wait(self, folded, timestamp_ms)

    patch(processor.Processor, "_await_results", wait)


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


# ---------------------------------------------------------------- time

_EARLY = "A timer never fires early; a broken clock fires none"
bug(_EARLY, "tests/engine/test_rules_requests.py -k c1_a_timer_fired_early")(
    of_requests.timers_that_fire_early_are_taken
)
bug(_EARLY, "tests/engine/test_rules_requests.py -k c1_a_sleep_counts")(
    of_requests.sleeps_count_from_the_time_of_the_log
)
bug(_EARLY, "tests/engine/test_rules_requests.py -k c1_a_year_ahead_delays")(of_requests.any_stamp_is_believed)
bug(
    _EARLY,
    "tests/engine/test_leading_in_time.py -k r2_a_timer", "tests/engine/test_rules_requests.py -k r2_what_is_due",
)(
    of_requests.due_records_are_appended_once
)

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


# ---------------------------------------------------------------- effects and leaders

bug("A record in the wrong partition is not lost", "tests/e2e/test_foreign.py")(
    effects.records_in_the_wrong_partition_stay_there
)

_ONCE = "Effects leave once, in order, whoever leads"
bug(_ONCE, "tests/engine -k e1_")(effects.links_that_name_no_predecessor)
bug(_ONCE, "tests/engine -k e2_")(effects.an_error_counts_as_delivered)
bug(_ONCE, "tests/engine -k e3_")(effects.a_new_leader_skips_the_outbox)
bug(_ONCE, "tests/engine -k e4_")(effects.one_chain_for_all_partitions)
bug(_ONCE, "tests/engine -k e5_")(effects.what_was_sent_counts_as_gone)
bug(_ONCE, "tests/engine -k e5_marks")(effects.one_mark_for_all_outputs)
bug(_ONCE, "tests/engine -k e6_")(effects.what_cannot_be_delivered_is_kept_for_ever)
bug(_ONCE, "tests/engine/test_leadership.py -k l1_")(effects.a_deposed_holder_never_stands_again)

_LED = "A partition is led again soon after its leader died"


@bug(_LED, "tests/engine/test_standbys.py -k l1_a_standby_leads")
def silent_leaders_are_not_missed(patch: Patch) -> None:
    """A partition waits for the group of engines, although a standby could lead it."""
    patch(LeaderWatch, "gone", property(lambda self: False))


@bug(_LED, "tests/engine/test_standbys.py -k 'while_the_log_is_away or paused_itself'")
def any_silence_is_the_leader_s(patch: Patch) -> None:
    """Leaders that live are deposed when the log is away, or when who stands by stood still."""

    def listened(self: Any, now: float) -> None:
        passed = now - (self._looked_at if self._looked_at is not None else now)
        self._looked_at = now
        if self._silent is not None:
            self._silent += passed

    patch(LeaderWatch, "listened", listened)
    patch(LeaderWatch, "gone", property(lambda self: self._silent is not None and self._silent >= self._lost_after))


@bug(_LED, "tests/engine/test_standbys.py -k planned_stop")
def farewells_are_not_heard(patch: Patch) -> None:
    """An engine that is stopped is missed only after its time."""
    patch(LeaderWatch, "left", lambda self: None)


_TRIMMED = "A log is trimmed only behind good checkpoints"


@bug(_TRIMMED, "tests/engine/test_trimming.py", "tests/cli/test_kafka.py")
def logs_are_trimmed_to_their_end(patch: Patch) -> None:
    """What no checkpoint holds is gone."""
    class Ahead:
        def __init__(self, good: Any) -> None:
            self._good = good

        def __getattr__(self, name: str) -> Any:
            found = getattr(self._good, name)
            return found + 1_000_000 if name == "position" else found

    good = CheckpointedStates.trimmable
    patch(CheckpointedStates, "trimmable", lambda self, partition: Ahead(good(self, partition)))


@bug(_TRIMMED, "tests/engine/test_trimming.py -k only_once")
def logs_are_trimmed_behind_the_only_checkpoint(patch: Patch) -> None:
    """If it turns out to be damaged, nothing has what it covered."""
    good = CheckpointedStates.prune
    patch(CheckpointedStates, "prune", lambda self, partition, keep: max(keep, good(self, partition, keep)))


# ---------------------------------------------------------------- updates, builds, versions

_UPDATES = "An update has one answer, and a rejected one leaves no trace"


@bug(_UPDATES, "tests/engine/test_rules_updates.py -k rejected_update_leaves", "tests/e2e/test_messages.py -k embedded")
def rejected_updates_stay(patch: Patch) -> None:
    """The code is asked about them again and again."""

    def reject(step: Any, run: Any, rejected: Any) -> int:
        for one in rejected:
            row = updates._pending(step, run, one.seq, one.update_id)
            if row is not None:
                updates.answer_update(step, row, "rejected", failure=one.failure)
        return 0

    for owner in (updates, completions):
        patch(owner, "reject_updates", reject)


_BUILDS = "A pinned workflow never runs on another build"


@bug(
    _BUILDS, "tests/engine/test_rules_versions.py -k pinned_run_stays", "tests/e2e/test_versions.py -k r1_pinned"
)
def pinned_runs_go_to_the_current_build(patch: Patch) -> None:
    """Code that was changed is given histories of the old one."""

    def current(state: Any, run: Any, task_queue: str) -> str:
        row = state.row(keys.current_build(task_queue), CurrentBuildRow)
        return row.build_id if row is not None else ""

    for owner in (deployments, strays):
        patch(owner, "build_of", current)


@bug(_BUILDS, "tests/engine/test_strays.py -k goes_on_to_the_current")
def nobody_looks_after_strays(patch: Patch) -> None:
    """Tasks wait for a build that is gone."""
    patch(strays.Strays, "_is_stray", lambda self, row: False)


@bug(_BUILDS, "tests/engine/test_handover.py -k 'another_build or where_there_is_room'")
def nothing_is_handed_over(patch: Patch) -> None:
    """Tasks wait for a worker that is full, while another has room."""
    patch(Handover, "take", lambda self, now_ms, room: iter(()))


@bug(_BUILDS, "tests/engine/test_rules_versions.py -k 'needed_until or counted_without'")
def builds_are_never_needed(patch: Patch) -> None:
    """A build is called drained that runs are pinned to."""
    patch(State, "_count", lambda self, entry, change: None)


_VERSIONS = "Engines of two fold versions run side by side"
bug(_VERSIONS, "tests/engine/test_rules_upgrade.py -k v1")(upgrading.older_code_takes_the_state_of_newer)
bug(_VERSIONS, "tests/engine/test_rules_upgrade.py -k v2", "tests/e2e/test_upgrade_kafka.py")(
    upgrading.one_who_knows_is_enough
)


@bug(_VERSIONS, "tests/golden/test_golden.py -k folds_as_it_did")
def old_logs_fold_otherwise(patch: Patch) -> None:
    """Code was changed, and not its version: engines disagree about the same log."""
    patch(tasks, "MAX_TASK_EVENT_BYTES", 0)

