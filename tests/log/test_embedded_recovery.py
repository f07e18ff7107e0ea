"""What the embedded log makes of its files after a crash, a power cut, or damage."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from odradek_log import Committed, LogCorruptError, TopicPartition, TopicSpec
from odradek_log.embedded import EmbeddedLog

from .disk import FaultyFiles, entries_of, segments_of
from .harness import Deliveries, append, read, reader

TOPIC = "t"
WHERE = TopicPartition(TOPIC, 0)


@pytest.fixture(params=[True, False], ids=["durable", "not-durable"])
def journal(request: pytest.FixtureRequest) -> str:
    """The folder of the journal that holds the topic."""
    return "durable" if request.param else "other"


@pytest.fixture
def make(tmp_path: Path, journal: str) -> Iterator[Callable[..., EmbeddedLog]]:
    """Open a log with the topic in it; `folder` names a copy."""
    opened: list[EmbeddedLog] = []

    def make(folder: str = "log", **settings: object) -> EmbeddedLog:
        log = EmbeddedLog(tmp_path / folder, **settings)  # type: ignore[arg-type]
        opened.append(log)
        log.create_topics([TopicSpec(TOPIC, 1, durable=journal == "durable")])
        return log

    yield make
    for log in opened:
        log.close()


def values(log: EmbeddedLog) -> list[bytes]:
    count = log.offsets(WHERE)[1]
    return [r.value for r in read(reader(log, TOPIC), count)]


def test_an_entry_cut_off_anywhere_is_dropped(
    make: Callable[..., EmbeddedLog], tmp_path: Path, journal: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = make()
    for value in (b"one", b"two", b"three"):
        append(log, TOPIC, [value])
    log.close()
    whole = segments_of(tmp_path / "log" / journal)[-1]
    last = [e for e in entries_of(whole) if not e.mark][-1]
    for cut in range(last.start, last.end + 1):
        shutil.copytree(tmp_path / "log", tmp_path / "copy")
        with open(tmp_path / "copy" / journal / whole.name, "r+b") as file:
            file.truncate(cut)
        caplog.clear()
        log = make("copy")
        kept = [b"one", b"two", b"three"] if cut == last.end else [b"one", b"two"]
        assert values(log) == kept
        warned = [r for r in caplog.records if r.levelno == logging.WARNING and whole.name in r.getMessage()]
        assert len(warned) == (last.start < cut < last.end)
        assert append(log, TOPIC, [b"new"]) == [len(kept)]
        log.close()
        log = make("copy")
        assert values(log) == [*kept, b"new"]
        log.close()
        shutil.rmtree(tmp_path / "copy")


def test_a_last_entry_that_was_written_in_part_is_dropped(
    make: Callable[..., EmbeddedLog], tmp_path: Path, journal: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = make()
    for value in (b"one", b"two"):
        append(log, TOPIC, [value])
    log.close()
    path = segments_of(tmp_path / "log" / journal)[-1]
    last = [e for e in entries_of(path) if not e.mark][-1]
    data = path.read_bytes()
    path.write_bytes(data[: last.end - 2] + b"\x00\x00")  # all of its bytes, not all of them right
    log = make()
    assert values(log) == [b"one"]
    assert "unfinished append" in caplog.text
    assert [e.value for e in entries_of(path) if not e.mark] == [b"one"]  # nothing is left of it


def test_a_flipped_byte_is_reported_wherever_it_is(
    make: Callable[..., EmbeddedLog], tmp_path: Path, journal: str
) -> None:
    log = make()
    for value in (b"one", b"two", b"three"):
        append(log, TOPIC, [value])
    log.close()
    path = segments_of(tmp_path / "log" / journal)[-1]
    data = path.read_bytes()
    for entry in entries_of(path)[:-1]:
        for position in range(entry.start, entry.end):
            damaged = bytearray(data)
            damaged[position] ^= 0x10
            path.write_bytes(damaged)
            with pytest.raises(LogCorruptError, match=str(path)) as caught:
                EmbeddedLog(tmp_path / "log")
            assert f"byte {entry.start}" in str(caught.value)
            assert path.read_bytes() == damaged  # nothing was changed
    path.write_bytes(data)
    assert values(make()) == [b"one", b"two", b"three"]


def test_a_power_cut_may_leave_a_hole_in_what_was_not_synced(
    make: Callable[..., EmbeddedLog], tmp_path: Path, journal: str
) -> None:
    """Pages reach the disk in any order. Valid entries after a hole are no damage if nothing there was acknowledged."""
    files = FaultyFiles()
    log = make(files=files)
    append(log, TOPIC, [b"kept"])
    files.syncing.clear()
    files.let_sync.clear()
    producer, deliveries = log.producer(), Deliveries()
    for value in (b"first", b"hole", b"last"):
        producer.send(TOPIC, 0, b"", value, deliveries.of(value))
    log.hurry()
    assert files.syncing.wait(60)
    shutil.copytree(tmp_path / "log", tmp_path / "cut")  # as the disk may be when the power goes now
    assert deliveries.seen == []
    files.let_sync.set()
    deliveries.wait(3)
    path = segments_of(tmp_path / "cut" / journal)[-1]
    written = [e for e in entries_of(path) if not e.mark]
    victim = written[1]
    data = bytearray(path.read_bytes())
    data[victim.start : victim.end] = bytes(victim.end - victim.start)
    path.write_bytes(data)
    expected = [e.value for e in written[:1]]
    assert expected == [b"kept"]
    assert values(make("cut")) == expected


def test_damage_in_a_closed_segment_is_reported_when_it_is_read(
    make: Callable[..., EmbeddedLog], tmp_path: Path, journal: str
) -> None:
    log = make(segment_bytes=2_000)
    append(log, TOPIC, [b"%02d" % i * 50 for i in range(60)])
    for i in range(60):
        append(log, TOPIC, [b"%02d" % i * 50])
    log.close()
    first = segments_of(tmp_path / "log" / journal)[0]
    entry = entries_of(first)[-1]
    data = bytearray(first.read_bytes())
    data[entry.end - 1] ^= 1
    first.write_bytes(data)
    log = make(segment_bytes=2_000)
    consumer = reader(log, TOPIC)
    with pytest.raises(LogCorruptError, match=f"{first} is damaged at byte {entry.start}"):
        read(consumer, 120)
    log.close()
    first.with_suffix(".idx").unlink()  # now it must be scanned to be opened
    with pytest.raises(LogCorruptError, match=f"{first} is damaged at byte {entry.start}"):
        make()


def test_a_closed_segment_that_is_cut_off_is_damage(
    make: Callable[..., EmbeddedLog], tmp_path: Path, journal: str
) -> None:
    log = make(segment_bytes=2_000)
    for i in range(60):
        append(log, TOPIC, [b"%02d" % i * 50])
    log.close()
    first = segments_of(tmp_path / "log" / journal)[0]
    with open(first, "r+b") as file:
        file.truncate(first.stat().st_size - 3)
    with pytest.raises(LogCorruptError, match=str(first)):
        make()


def test_a_missing_segment_is_damage(make: Callable[..., EmbeddedLog], tmp_path: Path, journal: str) -> None:
    log = make(segment_bytes=2_000)
    for i in range(60):
        append(log, TOPIC, [b"%02d" % i * 50])
    log.close()
    segments = segments_of(tmp_path / "log" / journal)
    for missing in (segments[0], segments[1]):
        missing.rename(tmp_path / "away")
        with pytest.raises(LogCorruptError):
            make()
        (tmp_path / "away").rename(missing)
    assert len(values(make())) == 60


@pytest.mark.parametrize("damage", ["missing", "header", "listing", "positions"])
def test_an_index_that_is_missing_or_damaged_is_made_again(
    make: Callable[..., EmbeddedLog], tmp_path: Path, journal: str, damage: str
) -> None:
    log = make(segment_bytes=2_000)
    for i in range(60):
        append(log, TOPIC, [b"%02d" % i * 50])
    log.close()
    index = segments_of(tmp_path / "log" / journal)[0].with_suffix(".idx")
    whole = index.read_bytes()
    if damage == "missing":
        index.unlink()
    else:
        damaged = bytearray(whole)
        damaged[{"header": 0, "listing": 30, "positions": -1}[damage]] ^= 1
        index.write_bytes(damaged)
    log = make(segment_bytes=2_000)
    assert values(log) == [b"%02d" % i * 50 for i in range(60)]
    assert index.read_bytes() == whole


@pytest.mark.parametrize("name", ["topics.json", "groups.json"])
def test_a_damaged_small_file_is_reported(make: Callable[..., EmbeddedLog], tmp_path: Path, name: str) -> None:
    log = make()
    log.consumer().subscribe("g", [TOPIC], lambda _: {}, lambda _: None)
    log.close()
    path = tmp_path / "log" / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(LogCorruptError, match=name):
        make()


def test_committed_positions_ahead_of_the_records_go_back_to_their_end(
    make: Callable[..., EmbeddedLog], tmp_path: Path, journal: str
) -> None:
    """Records that are shown before they are stored may be gone after a crash, while a position behind them is not."""
    log = make()
    append(log, TOPIC, [b"0", b"1", b"2"])
    log.close()
    groups = tmp_path / "log" / "groups.json"
    groups.write_text('{"version": 1, "groups": [{"group": "g", "topics": ["t"], "committed": [["t", 0, 9, "m"]]}]}')
    log = make()
    consumer = log.consumer()
    told: list[object] = []

    def on_assigned(gained: dict[TopicPartition, Committed | None]) -> dict[TopicPartition, int]:
        told.append(gained)
        return {}

    consumer.subscribe("g", [TOPIC], on_assigned, lambda _: None)
    assert consumer.poll(0) == []
    assert told == [{WHERE: (3, "m")}]
    append(log, TOPIC, [b"3"])
    assert [r.value for r in read(consumer, 1)] == [b"3"]
