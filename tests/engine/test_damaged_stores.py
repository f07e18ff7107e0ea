"""What a power cut or a bad disk leaves of a stored state is noticed, and the log rebuilds it; no record is blamed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from odradek_engine import CheckpointError, CheckpointSettings, CheckpointStore
from odradek_engine.fold import MemoryStorage, State, StorageError, fold, keys
from odradek_engine.maintenance import rebuild, verify
from odradek_engine.restoring import CheckpointedStates
from odradek_engine.store import RocksStorage, StoreDamagedError, StoreError
from odradek_log import TopicPartition
from odradek_schemas import encode, ephemeral, records
from odradek_schemas.common import Request

from .test_engine_embedded import TOPICS, Place, place

__all__ = ["place"]


def _only(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_size)


def _cut(folder: Path, pattern: str) -> None:
    """The last half of a file never came to be on disk."""
    path = _only(folder, pattern)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(folder: Path, pattern: str) -> None:
    """One bit is another one, in the first block of data."""
    path = _only(folder, pattern)
    data = bytearray(path.read_bytes())
    data[len(data) // 10] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "a table cut": lambda folder: _cut(folder, "*.sst"),
    "a table gone": lambda folder: _only(folder, "*.sst").unlink(),
    "a bit of a table flipped": lambda folder: _flip(folder, "*.sst"),
    "the manifest cut": lambda folder: _cut(folder, "MANIFEST-*"),
    "the manifest flipped": lambda folder: _flip(folder, "MANIFEST-*"),
    "the manifest gone": lambda folder: _only(folder, "MANIFEST-*").unlink(),
    "the pointer cut": lambda folder: _cut(folder, "CURRENT"),
}


def a_store(folder: Path) -> RocksStorage:
    """A store whose one table has a flipped bit."""
    storage = RocksStorage(folder)
    storage.write([(b"k%04d" % n, b"v" * 100) for n in range(2_000)])
    storage.close()
    _flip(folder, "*.sst")
    return RocksStorage(folder)


def test_what_cannot_be_read_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    """Breaks when a scan ends at a damaged block as if there was nothing more: timers and activities are forgotten."""
    storage = a_store(tmp_path / "store")
    with pytest.raises(StoreDamagedError, match="is damaged: Corruption"):
        list(storage.scan(b"k", b"l"))
    with pytest.raises(StoreDamagedError):
        storage.count()
    with pytest.raises(StoreDamagedError):
        for n in range(2_000):
            storage.get(b"k%04d" % n)
    storage.close()
    with pytest.raises(StoreDamagedError, match="as was seen"):
        RocksStorage(tmp_path / "store")


class Failing(MemoryStorage):
    """Does not read the rows of workflows, while it is told so; the others can be read, as those for dead letters."""

    fails = False

    def get(self, key: bytes) -> bytes | None:
        if self.fails and key[:1] == keys.CURRENT:
            raise StoreError("input/output error")
        return super().get(key)


def test_no_record_is_blamed_for_a_storage_that_cannot_be_read() -> None:
    """Breaks when a reading error counts as a defect: the record becomes a dead letter here, and nowhere else."""
    log = [
        encode(records.LeaderElected(member="m", nonce="n", version=1, partitions=1, clock_ms=1_000)),
        *(encode(records.StartWorkflow(workflow_id=f"w{n}", workflow_type="t", task_queue="q")) for n in range(3)),
        encode(records.SignalWorkflow(workflow_id="w1", signal="s")),
    ]

    def take(state: State, offset: int) -> list[str]:
        return [effect.topic for effect in fold(state, TOPICS, offset, 1_000, b"", log[offset]).effects]

    sound, storage = State(MemoryStorage()), Failing()
    state = State(storage)
    for offset in range(len(log)):
        state.flush()
        state = State(storage)  # which knows nothing but what it reads
        storage.fails = offset > 0
        if storage.fails:
            before = state.partition
            with pytest.raises(StorageError):
                take(state, offset)
            assert state.partition == before
        storage.fails = False
        assert take(state, offset) == take(sound, offset)
    assert state.dump() == sound.dump()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_state_is_discarded_and_rebuilt(
    place: Place, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Breaks when an engine does not begin, or goes on with what is left: of one partition, while the other is well."""
    place.start(300)
    place.boot()
    place.settle()
    place.stop()
    damage(place.data / "test" / "1")
    place.start(60, first=300)
    engine = place.boot()
    place.settle()
    for n in range(1, 300, 2):  # histories are most of what there is, and folding does not look at them
        asked = ephemeral.FetchHistory(f"w{n}", Request("r", "c", 0), barrier=0)
        engine._processors[1].handle_ephemeral(encode(asked))
    if damage is not DAMAGE["the manifest cut"]:  # which may leave a state as it was earlier
        place.until(lambda: engine.counters()[1].rebuilds == 1)
        assert "ALARM" in caplog.text
        assert "is damaged" in caplog.text
    place.settle()
    for partition in (0, 1):
        state = place.state(partition)
        assert state.dump() == place.golden(partition, state.partition.position)
    dead = place.log.offsets(TopicPartition(TOPICS.dead_letters, 1))
    assert dead == (0, 0)
    assert engine.counters()[0].rebuilds == 0


def test_damage_that_shows_while_the_engine_runs_has_the_partition_rebuilt(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.start(300)
    place.boot()
    place.settle()
    place.stop()
    engine = place.boot(standbys=0)
    place.settle()
    place.state(1).flush()
    storage = place.state(1).storage
    assert isinstance(storage, RocksStorage)
    reads = storage.get

    def damaged(key: bytes) -> bytes | None:
        reads(key)
        raise storage._unreadable(Exception("Corruption: block checksum mismatch"))

    storage.get = damaged  # type: ignore[method-assign]
    place.append(records.SignalWorkflow(workflow_id="nobody has asked for this one", signal="s"), partition=1)
    place.until(lambda: engine.counters()[1].rebuilds == 1)
    place.settle()
    state = place.state(1)
    assert state.storage is not storage
    assert state.dump() == place.golden(1, state.partition.position)
    assert "ALARM" in caplog.text


def test_a_damaged_state_that_nothing_can_rebuild_is_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when it is deleted before it is known that the log, or a checkpoint, has what it held."""
    place.start(300)
    place.boot()
    place.settle()
    place.stop()
    DAMAGE["a table cut"](place.data / "test" / "1")
    offsets = place.log.offsets

    def trimmed(where: TopicPartition) -> tuple[int, int]:
        return 100 if where == TopicPartition(TOPICS.events, 1) else 0, offsets(where)[1]

    monkeypatch.setattr(place.log, "offsets", trimmed)
    place.boot()
    with pytest.raises(StoreError, match="is damaged: records in between are gone"):
        place.settle()
    assert list((place.data / "test" / "1").glob("*.sst"))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_state_is_rebuilt_by_hand(place: Place, damage: Callable[[Path], None]) -> None:
    """Breaks when the command that is to help cannot begin either."""
    place.start(300)
    place.boot()
    place.settle()
    place.stop()
    damage(place.data / "test" / "1")
    assert len(list(rebuild(place.log, "test", place.data))) == 2
    assert all(one.ok for one in verify(place.log, "test", place.data))


def test_a_checkpoint_of_a_damaged_state_is_none(place: Place, tmp_path: Path) -> None:
    """Breaks when a copy counts as good because its files are what they were when they were damaged already."""
    folder = tmp_path / "copy"
    storage = a_store(folder)
    storage.close()
    (folder / "DAMAGED").unlink(missing_ok=True)
    store = CheckpointStore(str(tmp_path / "kept"))
    checkpoint = store.save(folder, "test", 0, 0, 1)
    with pytest.raises(CheckpointError, match="is damaged"):
        CheckpointedStates(store, "test").check(checkpoint, tmp_path / "back")


def test_a_new_state_comes_from_a_checkpoint_where_there_is_one(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="odradek_engine")
    settings = CheckpointSettings(str(tmp_path / "kept"), every=0.0)
    place.start(300)
    place.boot(checkpoints=settings)
    place.settle()
    store = CheckpointStore(settings.address)
    place.until(lambda: len({entry.partition for entry in store.entries("test")}) == 2)
    place.stop()
    DAMAGE["the pointer cut"](place.data / "test" / "0")
    place.boot(checkpoints=settings)
    place.settle()
    assert "partition 0 begins from the checkpoint" in caplog.text
    state = place.state(0)
    assert state.dump() == place.golden(0, state.partition.position)
