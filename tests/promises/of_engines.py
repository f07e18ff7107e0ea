"""Bugs in the fold, and in the engine around it. Those of `tests/simulation/mutants` serve here, too."""

from __future__ import annotations

from typing import Any

from odradek_engine import (
    processor,
    strays,
)
from odradek_engine.fold import (
    completions,
    deployments,
    keys,
    tasks,
    updates,
)
from odradek_engine.fold.rows import CurrentBuildRow
from odradek_engine.fold.state import State
from odradek_engine.following import Following
from odradek_engine.handover import Handover
from odradek_engine.restoring import CheckpointedStates
from odradek_engine.standbys import LeaderWatch
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


@bug(_LED, "tests/engine/test_standbys.py -k while_it_moves", "tests/engine/test_standbys.py -k until_the_other_does")
def what_the_group_takes_is_let_go(patch: Patch) -> None:
    """All partitions wait for as long as engines take to join their group anew, when its coordinator dies."""
    patch(Following, "keep", lambda self, partition: self._release([partition]))


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

