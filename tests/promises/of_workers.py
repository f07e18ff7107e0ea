"""Bugs in workers, clients and schedules."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from odradek import _connection, _converter, _instance, _loop, _read
from odradek._claims import Claims, Packed
from odradek._conditions import Conditions
from odradek._gateway import server
from odradek._instance_updates import InstanceUpdates
from odradek._room import Room
from odradek._schedules import planner, times
from odradek._worker import activity_runner, bounded_history, dividing, intake, worker
from odradek._worker.bounded_history import BoundedHistory
from odradek._worker.consumer import TaskConsumer
from odradek._worker.steps import Steps

from ..simulation.mutants import tasks, told, workflows
from .planting import Patch, bug

_ONCE = "A completed step never runs again"


@bug(_ONCE, "tests/e2e/test_kill.py")
def each_execution_has_a_key_of_its_own(patch: Patch) -> None:
    """Whoever asks a payment provider twice pays twice."""
    numbers = itertools.count()
    patch(activity_runner, "idempotency_key", lambda *identity: f"key-{next(numbers)}")


bug(_ONCE, "tests/workers/test_worker_claims.py -k t4_a_task_older")(tasks.old_tasks_run_at_once)
bug(_ONCE, "tests/engine/test_rules_activities.py -k t7_only_the_current")(tasks.any_attempt_may_fail)
bug(_ONCE, "tests/engine/test_rules_activities.py -k t7_a_success")(tasks.only_the_current_attempt_may_succeed)

# ---------------------------------------------------------------- any bytes

_BYTES = "No task, page of history, query, reply or HTTP body ends a thread"


@bug(_BYTES, "tests/fuzz/test_fuzz.py -k 'any_bytes and worker'")
def tasks_that_are_no_record_end_the_worker(patch: Patch) -> None:
    """One bad record in the topic of a queue, and its workers end one after the other."""

    class Unknown(Exception):
        pass

    patch(intake, "DecodeError", Unknown)


@bug(_BYTES, "tests/fuzz/test_fuzz.py -k 'any_bytes and client'")
def replies_that_are_no_record_end_the_client(patch: Patch) -> None:
    """One bad record in `replies`, and a client hears no answers any more."""
    class Unknown(Exception):
        pass

    patch(_connection, "DecodeError", Unknown)


@bug(_BYTES, "tests/fuzz/test_fuzz.py -k 'any_bytes and answers or calendar'")
def times_are_shown_as_they_are(patch: Patch) -> None:
    """A timer of a million years keeps its workflow from being described."""
    patch(_read, "_moment", lambda at_ms: datetime.fromtimestamp(at_ms / 1000, UTC))


@bug(_BYTES, "tests/cli/test_gateway.py")
def bodies_are_taken_as_they_are(patch: Patch) -> None:
    """A body with other fields than expected is a defect of the server."""
    async def body(request: Any, kind: Any) -> Any:
        return msgspec.json.decode(await request.read() or b"{}", type=kind)

    patch(server, "_body", body)


# ---------------------------------------------------------------- ends

_ENDS = "A worker ends when it is asked to"


@bug(_ENDS, "tests/workers/test_worker_ending.py -k shutdown_needs_no_thread")
def ending_waits_for_a_thread_of_the_pool(patch: Patch) -> None:
    """A worker whose activities block all threads never ends."""
    patch(worker, "_in_a_thread", lambda call: asyncio.ensure_future(asyncio.to_thread(call)))


@bug(_ENDS, "tests/workers/test_worker_ending.py -k shutdown_gives_a_log_up")
def a_log_without_room_is_waited_for(patch: Patch) -> None:
    """A worker cannot be stopped while brokers are away."""
    patch(worker._RunningWorker, "_give_up", lambda self, ended: None)


# ---------------------------------------------------------------- bounds

_MEMORY = "Memory is bounded in bytes"


def _at_once(patch: Patch) -> None:
    """Whatever a program asks for is kept until it is answered: it runs out of memory, and nobody told it."""

    async def enter(self: Room, waits: bool, patience: float) -> None:
        return

    patch(Room, "enter", enter)


@bug(_MEMORY, "tests/workers/test_client_limits.py -k wait_for_answers")
def clients_ask_for_as_much_as_they_like(patch: Patch) -> None:
    """Requests without an answer fill the memory of a client."""
    _at_once(patch)


@bug("A client that asks too much is made to wait", "tests/workers/test_client_limits.py -k after_their_patience")
def nobody_is_told_to_wait(patch: Patch) -> None:
    """A client asks for more and more of engines that are behind."""
    _at_once(patch)


@bug(_MEMORY, "tests/workers/test_worker_consumer.py -k too_many_bytes")
def tasks_weigh_nothing(patch: Patch) -> None:
    """Large tasks fill the memory of a worker that is slow."""
    patch(TaskConsumer, "held_bytes", property(lambda self: 0))


@bug(_MEMORY, "tests/workers/test_bounded_history.py -k few_bytes_wait")
def pages_weigh_nothing(patch: Patch) -> None:
    """A worker that begins fetches the histories of all its tasks at once."""
    patch(BoundedHistory, "held", property(lambda self: 0))


@bug(_MEMORY, "tests/workers/test_bounded_history.py -k may_hold", "tests/workers/test_worker.py -k may_hold")
def histories_have_no_end(patch: Patch) -> None:
    """One endless workflow takes worker after worker all its memory."""
    patch(bounded_history, "in_memory", lambda size, events: 0)


# ---------------------------------------------------------------- large values

_LARGE = "A value too large for the log goes by the payload store"


@bug(_LARGE, "tests/workers/test_claims.py -k small_enough", "tests/e2e/test_payload_store.py -k 'above and embedded'")
def nothing_goes_to_the_store(patch: Patch) -> None:
    """The log refuses what is too large for it."""
    patch(Claims, "pack", lambda self, record, limit: Packed(record, {}))


@bug(_LARGE, "tests/e2e/test_payload_store.py -k 'refused_at_the_call and embedded'")
def what_is_too_large_is_sent(patch: Patch) -> None:
    """A call waits for the answer to what never got into the log."""
    patch(_converter, "_check_sizes", lambda payloads: None)
    patch(_connection.Connection, "_check_size", lambda self, record, size: None)


@bug("A step that is larger than a record", "tests/workers/test_worker_dividing.py -k one_piece_that_was_not")
def the_first_piece_speaks_for_all(patch: Patch) -> None:
    """A completion counts as appended of which a piece is missing."""

    def settle(self: Any, offset: int, error: Any) -> None:
        on_delivery, self._on_delivery = self._on_delivery, None
        if on_delivery is not None:
            on_delivery(offset, error)

    patch(dividing._Delivery, "settle", settle)


# ---------------------------------------------------------------- the workflow's code

_REPLAY = "Workflow code gives the same commands on replay, under any hash seed"


@bug(_REPLAY, "tests/workers/test_loop_order.py")
def tasks_hash_by_where_they_are(patch: Patch) -> None:
    """Sets of tasks have another order in each process."""
    patch(_loop.WorkflowTask, "__hash__", object.__hash__)
    patch(_loop.WorkflowFuture, "__hash__", object.__hash__)


bug(_REPLAY, "tests/workers/test_replay_random.py -k every_prefix")(workflows.replay_feeds_the_last_input_first)


@bug("The loop behaves as asyncio's own", "tests/workers/test_loop_against_asyncio.py -k end_alike")
def what_came_last_runs_first(patch: Patch) -> None:
    """Programs do otherwise than on asyncio's loop."""

    def call_soon(self: Any, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.appendleft(handle)
        return handle

    patch(_loop.WorkflowLoop, "call_soon", call_soon)


_MESSAGES = "Messages are taken once, in order, and each is looked at on its own"


@bug(
    _MESSAGES,
    "tests/workers/test_instance_messages.py -k 'do_not_skip or one_by_one or wake_in_order'",
    "tests/workers/test_instance_updates.py -k random_messages",
)
def conditions_are_looked_at_in_the_end(patch: Patch) -> None:
    """Two signals in one task pass a state over that the code waits for."""
    run = Conditions.run
    waiting: dict[Any, int] = {}

    def lazily(self: Any, halted: Any) -> None:
        waiting[self] = waiting.get(self, 0) + 1
        if waiting[self] % 3 == 1:
            run(self, halted)
        else:
            self._loop.run_ready()

    patch(Conditions, "run", lazily)


bug(
    _MESSAGES, "tests/engine/test_continuing.py -k w3", "tests/e2e/test_continuing.py -k 'w3 and embedded'",
)(workflows.continue_as_new_carries_nothing)


@bug(_MESSAGES, "tests/e2e/test_messages_kill.py")
def signals_come_twice(patch: Patch) -> None:
    """What was said once is heard again."""
    handle = _instance._EVENTS[_instance.history.SignalReceived]

    def twice(run: Any, event: Any) -> None:
        handle(run, event)
        handle(run, event)

    patch(_instance._EVENTS, _instance.history.SignalReceived, twice)


_UPDATES = "An update has one answer, and a rejected one leaves no trace"
bug(_UPDATES, "tests/e2e/test_messages.py -k 'validated and embedded'")(told.updates_are_answered_with_nothing)


@bug(_MESSAGES, "tests/workers/test_instance_updates.py -k would_reject")
def accepted_updates_are_asked_about_again(patch: Patch) -> None:
    """On replay a validator rejects what history says was accepted."""
    accepted = InstanceUpdates.on_accepted

    def again(self: Any, event: Any) -> Any:
        return accepted(self, event) if self.refusal(event) is None else None

    patch(InstanceUpdates, "on_accepted", again)


@bug("A workflow that blocks its thread is reported", "tests/workers/test_worker_blocked.py")
def nobody_watches_the_workflow_thread(patch: Patch) -> None:
    """One workflow that blocks holds all the others up, and nobody says which."""
    patch(Steps, "blocked", lambda self, after: None)


# ---------------------------------------------------------------- schedules

_SCHEDULES = "A schedule starts exactly one workflow for each of its times"


@bug(_SCHEDULES, "tests/schedules/test_planner.py", "tests/schedules/test_schedules.py -k missed_while")
def what_was_missed_is_left_out(patch: Patch) -> None:
    """An engine that was away for a minute has lost a night's run."""
    advance = planner.Planner.advance

    async def strict(self: Any, until_ms: int, now_ms: int) -> bool:
        kept, self.standing.plan.catchup_window_ms = self.standing.plan.catchup_window_ms, 0
        try:
            return await advance(self, until_ms, now_ms + 1)
        finally:
            self.standing.plan.catchup_window_ms = kept

    patch(planner.Planner, "advance", strict)


@bug(_SCHEDULES, "tests/schedules/test_times.py -k every_second")
def clocks_are_never_changed(patch: Patch) -> None:
    """Twice a year the nightly run comes at another time."""
    offset = times._Calendar._offset
    known: dict[Any, timedelta] = {}

    def first(self: Any, at: Any) -> timedelta:
        return known.setdefault(self, offset(self, at))

    patch(times._Calendar, "_offset", first)


@bug(_SCHEDULES, "tests/e2e/test_schedules_killed.py -k folder")
def some_times_are_begun_twice(patch: Patch) -> None:
    """Under another name each time."""
    begin = planner.Planner._begin

    def twice(self: Any, start: Any, now_ms: int, decisions: Any) -> None:
        begin(self, start, now_ms, decisions)
        taken = decisions.begin[-1]
        if start.nominal_ms // 1000 % 3 == 0:
            decisions.begin.append(msgspec.structs.replace(taken, workflow_id=f"{taken.workflow_id}-again"))

    patch(planner.Planner, "_begin", twice)


@bug(_SCHEDULES, "tests/e2e/test_schedules_killed.py -k kafka", "tests/schedules/test_planner.py -k acted_on_once")
def some_times_are_left_out(patch: Patch) -> None:
    """They count as handled, and nothing begins."""
    buffer = planner.Planner._buffer

    def lossy(self: Any, start: Any) -> None:
        if start.nominal_ms // 1000 % 3:
            buffer(self, start)

    patch(planner.Planner, "_buffer", lossy)
