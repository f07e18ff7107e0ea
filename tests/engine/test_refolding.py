"""Folding partitions again in processes of their own: the same as in this one; what goes wrong there is told here."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from odradek_engine import StoreError
from odradek_engine.fold import UnsupportedVersionError
from odradek_engine.folding import Folded, Task
from odradek_engine.maintenance import rebuild, verify
from odradek_engine.refolding import refold
from odradek_engine.store import RocksStorage
from odradek_log import TopicPartition

from .test_engine_embedded import TOPICS, Place

NAMESPACE = "test"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A folder with a log of two partitions, and the state that an engine left."""
    place = Place(tmp_path)
    place.start(40)
    place.boot()
    place.settle()
    place.stop()
    yield place
    place.log.close()


def tasks(place: Place, folder: Path) -> list[Task]:
    ends = [place.log.offsets(TopicPartition(TOPICS.events, p))[1] for p in (0, 1)]
    return [Task(p, folder / str(p), end) for p, end in enumerate(ends)]


def begin_with_nothing(task: Task) -> None:
    """The whole log is there."""


def rows(folder: Path) -> dict[bytes, bytes]:
    storage = RocksStorage(folder)
    try:
        return dict(storage.scan(b"\x01", b"\xff"))
    finally:
        storage.close()


def folding_processes() -> list[psutil.Process]:
    found = []
    for one in psutil.Process().children():
        with suppress(psutil.Error):  # it has just ended
            if any("folding_process" in part for part in one.cmdline()):
                found.append(one)
    return found


def test_processes_fold_what_one_folds(place: Place, tmp_path: Path) -> None:
    """Breaks when a record is lost, doubled or given to another partition on its way to a process."""
    alone, together = tasks(place, tmp_path / "alone"), tasks(place, tmp_path / "together")
    reported: list[Folded] = []
    expected = list(refold(place.log, TOPICS, alone, begin_with_nothing, processes=1))
    found = list(refold(place.log, TOPICS, together, begin_with_nothing, reported.append, processes=2))
    assert found == expected
    assert [one.partition for one in found] == [0, 1]
    assert sum(news.records for news in reported) == sum(one.records for one in found) >= 40
    assert sum(news.events for news in reported) == sum(one.events for one in found) >= 40
    for one, other in zip(alone, together, strict=True):
        assert rows(one.folder) == rows(other.folder)
    assert folding_processes() == []


def test_a_state_is_rebuilt_in_processes(place: Place) -> None:
    """Breaks when the old state is kept, or the processes go on from it."""
    data_dir = place.data
    storage = RocksStorage(data_dir / NAMESPACE / "1")
    storage.write([(b"w-none", b"damage")])
    storage.close()
    assert [one.ok for one in verify(place.log, NAMESPACE, data_dir, processes=1)] == [True, False]
    assert [one.begun_at for one in rebuild(place.log, NAMESPACE, data_dir, processes=2)] == [0, 0]
    assert all(one.ok for one in verify(place.log, NAMESPACE, data_dir, processes=1))


def test_what_goes_wrong_in_a_process_is_told(place: Place, tmp_path: Path) -> None:
    """Breaks when an error there is taken for an end, or waited for."""

    def spoil(task: Task) -> None:
        task.folder.parent.mkdir(exist_ok=True)
        task.folder.write_bytes(b"no folder")

    with pytest.raises(StoreError, match="cannot make the folder"):
        list(refold(place.log, TOPICS, tasks(place, tmp_path / "spoilt"), spoil, processes=2))
    assert folding_processes() == []


def test_a_process_that_is_killed_is_told(place: Place, tmp_path: Path) -> None:
    """Breaks when one that takes too much memory leaves the others, and the person, waiting."""

    def kill(task: Task) -> None:
        for process in folding_processes():
            process.kill()

    with pytest.raises(StoreError, match="exit code -9"):
        list(refold(place.log, TOPICS, tasks(place, tmp_path / "killed"), kill, processes=2))


def test_an_error_about_versions_comes_through_as_it_is() -> None:
    """Breaks when it cannot be told from one process to another."""
    there = pickle.loads(pickle.dumps(UnsupportedVersionError(3, 1)))
    assert (there.version, str(there)) == (3, str(UnsupportedVersionError(3, 1)))
    assert "upgrade this engine" in str(there)
