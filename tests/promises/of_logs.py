"""Bugs in the log, on a folder and on Kafka."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import OffsetSpec
from odradek_log.embedded import consumer, files, segment, writer
from odradek_log.embedded import journal as journals
from odradek_log.embedded.log import EmbeddedLog
from odradek_log.kafka import KafkaLog
from odradek_log.kafka.offsets import OffsetListing
from odradek_log.kafka.producer import KafkaProducer
from odradek_log.simulated.log import SimulatedProcess

from .planting import Patch, bug

_DISK = "A full disk loses nothing that was acknowledged"
_MEMORY = "Memory is bounded in bytes"
_DAMAGE = "A torn tail is recovered, damage in the middle is reported"


@bug(
    "An acknowledged start, signal or result is in the history",
    "tests/e2e/test_kill.py",
    "tests/log/test_embedded.py -k kill_at_any_moment",
)
def appends_are_acknowledged_and_not_stored(patch: Patch) -> None:
    """A process that is killed takes what it had acknowledged with it."""
    patch(writer.DurableWriter, "_store", lambda self, items: None)


@bug(_DISK, "tests/e2e/test_full_disk.py -k log", "tests/log/test_embedded.py -k full_disk")
def what_finds_no_room_counts_as_written(patch: Patch) -> None:
    """Appends are acknowledged that the disk did not take."""
    write = journals.Journal._write

    def passed_over(self: Any, data: bytes) -> None:
        with suppress(OSError):
            write(self, data)

    patch(journals.Journal, "_write", passed_over)


@bug(_MEMORY, "tests/log/test_embedded.py -k too_many_bytes_are_out")
def appends_never_wait(patch: Patch) -> None:
    """What waits for the disk fills the memory."""
    patch(writer.Writer, "is_current", lambda self: True)


@bug(_MEMORY, "tests/log/test_embedded.py -k memory_holds_no_more")
def the_newest_records_stay_in_memory(patch: Patch) -> None:
    """All of them, however many."""
    patch(writer.Writer, "_cache", lambda self, items: None)


@bug(_DAMAGE, "tests/log/test_embedded_recovery.py -k 'flipped or closed_segment or hole'")
def damage_ends_the_log(patch: Patch) -> None:
    """What lies behind a damaged entry is cut off, as if it had never been."""

    def quietly(found: segment.Segment, handle: Any, last: bool) -> int:
        end = segment.HEADER_SIZE
        for position, entry in segment._entries(handle, handle.files.size(handle.fd)):
            if entry.topic != segment.MARK_TOPIC:
                segment._add(found, position, entry)
            end = position + entry.size
        return end

    patch(journals, "scan", quietly)


@bug(_DAMAGE, "tests/log/test_embedded_recovery.py -k 'cut_off_anywhere or written_in_part'")
def a_torn_tail_is_damage(patch: Patch) -> None:
    """After a power cut the log cannot be opened."""
    scan = segment.scan
    patch(journals, "scan", lambda found, handle, last: scan(found, handle, last=False))


@bug("An embedded folder has one process", "tests/log/test_embedded.py -k second_process")
def nobody_locks_the_folder(patch: Patch) -> None:
    """Two processes append to one file."""
    free = SimpleNamespace(**{**vars(fcntl), "flock": lambda *_: None})
    patch(files, "fcntl", free)


@bug("A worker ends when it is asked to", "tests/log/test_kafka_away.py -k test_close_lets_go")
def closing_lets_nobody_go(patch: Patch) -> None:
    """A thread that waits for room in the log waits for ever, where brokers are away."""

    def close(self: Any) -> None:
        with self._changed:
            self._closed = True

    patch(KafkaProducer, "close", close)


_CLIENT = "Kafka's client ends no process"


@bug(_CLIENT, "tests/log/test_kafka_threads.py -k 'may_be_closed and answer'")
def offsets_are_told_in_a_thread_of_librdkafka(patch: Patch) -> None:
    """Who is told may be the last that holds the client, which then is ended by a thread of its own."""

    def end_offsets(self: Any, partitions: Any, on_result: Any) -> None:
        [where], admin = partitions, self._client()
        [answer] = admin.list_offsets({Position(*where): OffsetSpec.latest()}).values()
        answer.add_done_callback(lambda done: (on_result({where: done.result().offset}, None), admin))

    patch(KafkaLog, "end_offsets", end_offsets)


@bug(_CLIENT, "tests/log/test_kafka_offsets.py -k looked_for_before")
def librdkafka_looks_for_leaders_itself(patch: Patch) -> None:
    """It uses what its other thread frees that is told of them meanwhile."""
    patch(OffsetListing, "_look_for_leaders", lambda self: True)


_TRIMMED = "A log is trimmed only behind good checkpoints"


@bug(_TRIMMED, "tests/log/test_embedded_segments.py -k given_up")
def files_are_never_deleted(patch: Patch) -> None:
    """A log that is trimmed grows for ever all the same."""
    patch(EmbeddedLog, "_expire", lambda self, durable: None)


@bug(
    _TRIMMED, "tests/log/test_contract.py -k 'can_be_given_up and simulated'",
    "tests/log/test_embedded_segments.py -k given_up",
)
def more_goes_than_was_given_up(patch: Patch) -> None:
    """Records that no checkpoint has are gone."""
    for log in (EmbeddedLog, SimulatedProcess):
        _greedy(patch, log)


def _greedy(patch: Patch, log: Any) -> None:
    delete = log.delete_before

    def more(self: Any, offsets: Any) -> Any:
        return delete(self, {where: offset + 100 for where, offset in offsets.items()})

    patch(log, "delete_before", more)


@bug(_MEMORY, "tests/log/test_embedded.py -k poll_gives_a_bounded")
def a_poll_gives_all_there_is(patch: Patch) -> None:
    """Large records that were not read yet fill the memory of whoever reads."""
    patch(consumer, "MAX_POLL_BYTES", 1 << 60)
